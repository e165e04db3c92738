//! Evidence, until it is in the ledger.

use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

use chassis::config::{Checks, Period};
use chassis::journal::Durability;
use mandate::id::KeyId;
use serde::{Deserialize, Serialize};

/// Evidence, until it is in the ledger.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RawEvidence {
    /// The id of the key in `EVENT_KEY_FILE`.
    pub kid: String,
    /// The journal's folder; on a disk that outlives the process.
    pub dir: PathBuf,
    /// The operator attests that a folder which does not last is meant so. Empty: not attested.
    pub attested_loss: String,
    /// What an answered decision survives: `process` (written) or `host` (synced).
    pub durability: Durability,
    /// The most bytes the journal may take.
    pub max_bytes: u64,
    /// How many of them only decisions about authenticated callers may use.
    pub reserve_bytes: u64,
    /// The share of it that one zone may use, in percent: one zone's flood is not another's outage.
    pub zone_percent: u8,
    /// Refusals of callers that did not authenticate are counted over this long.
    pub refusals_every: Period,
    /// How many kinds of them are told apart by network.
    pub refusals_kinds: usize,
    /// Partitions of the event streams.
    pub partitions: u32,
}

impl Default for RawEvidence {
    fn default() -> Self {
        Self {
            kid: "ext-authz-1".to_owned(),
            dir: PathBuf::from("journal"),
            attested_loss: String::new(),
            durability: Durability::Host,
            max_bytes: 256 * 1024 * 1024,
            reserve_bytes: 64 * 1024 * 1024,
            zone_percent: 50,
            refusals_every: Period::from_secs(10),
            refusals_kinds: 4_096,
            partitions: 4,
        }
    }
}

/// Evidence, until it is in the ledger.
#[derive(Clone, Debug)]
pub struct Evidence {
    /// The id of our key.
    pub kid: KeyId,
    /// The journal's folder.
    pub dir: PathBuf,
    /// What an answered decision survives.
    pub durability: Durability,
    /// The most bytes the journal may take.
    pub max_bytes: u64,
    /// How many of them only decisions about authenticated callers may use.
    pub reserve_bytes: u64,
    /// The share of it that one zone may use, in percent.
    pub zone_percent: u8,
    /// Refusals are counted over this long.
    pub refusals_every: Duration,
    /// How many kinds are told apart.
    pub refusals_kinds: usize,
    /// Partitions of the event streams.
    pub partitions: NonZeroU32,
}

impl RawEvidence {
    pub(super) fn resolve(self, checks: &mut Checks<'_>) -> Option<Evidence> {
        let kid = checks.take("evidence.kid", KeyId::parse(&self.kid));
        checks.ensure(
            self.max_bytes >= 1024 * 1024,
            "evidence.max_bytes",
            "must be at least 1048576",
        );
        checks.ensure(
            self.reserve_bytes < self.max_bytes,
            "evidence.reserve_bytes",
            "must be less than evidence.max_bytes",
        );
        checks.durable_path("evidence.dir", &self.dir, &self.attested_loss);
        let every = self.refusals_every.get();
        checks.ensure(
            !every.is_zero(),
            "evidence.refusals_every",
            "must not be zero",
        );
        checks.ensure(
            self.refusals_kinds > 0,
            "evidence.refusals_kinds",
            "must be at least 1",
        );
        checks.ensure(
            (1..=100).contains(&self.zone_percent),
            "evidence.zone_percent",
            "must be between 1 and 100",
        );
        let partitions = NonZeroU32::new(self.partitions).ok_or("must be at least 1");
        let partitions = checks.take("evidence.partitions", partitions);
        Some(Evidence {
            kid: kid?,
            dir: self.dir,
            durability: self.durability,
            max_bytes: self.max_bytes,
            reserve_bytes: self.reserve_bytes,
            zone_percent: self.zone_percent,
            refusals_every: every,
            refusals_kinds: self.refusals_kinds,
            partitions: partitions?,
        })
    }
}
