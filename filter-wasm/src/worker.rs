//! The memory of one VM: what it decides from, what it has still to tell, and the ids it gives.

use std::time::Duration;

use jiff::Timestamp;

use crate::config::Config;
use crate::feed::Feed;
use crate::ids::Ids;
use crate::memory::Memory;
use crate::report::Reports;

/// A moment, on both scales.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// The time of day.
    pub now: Timestamp,
    /// Time since an arbitrary start.
    pub monotonic: Duration,
}

/// No time at all: what is known then is as old as can be.
impl Default for Moment {
    fn default() -> Self {
        Self {
            now: Timestamp::UNIX_EPOCH,
            monotonic: Duration::MAX,
        }
    }
}

/// Random bits that the host drew for a VM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seed(pub [u8; 40]);

/// The memory of one VM.
#[derive(Debug)]
pub struct Worker {
    /// What it decides from.
    pub memory: Memory,
    /// Where that comes from.
    pub feed: Feed,
    /// What it has still to tell.
    pub reports: Reports,
    /// The ids it gives.
    pub ids: Ids,
}

impl Worker {
    /// One that knows nothing yet.
    pub fn new(config: &Config, seed: Seed) -> Self {
        let (vm, rest) = seed.0.split_first_chunk::<16>().unwrap_or((&[0; 16], &[]));
        let ids = rest.first_chunk::<16>().unwrap_or(&[0; 16]);
        let hash = rest.last_chunk::<8>().unwrap_or(&[0; 8]);
        let zones = config.zones.iter().map(|zone| zone.id).collect();
        Self {
            memory: Memory::new(zones, u64::from_le_bytes(*hash)),
            feed: Feed::new(config, vm),
            reports: Reports::default(),
            ids: Ids::new(*ids),
        }
    }
}
