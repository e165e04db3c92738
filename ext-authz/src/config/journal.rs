//! Evidence, until it is in the ledger.

use std::path::PathBuf;
use std::time::Duration;

use chassis::config::{Checks, Period};
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
    /// What an answered decision survives: `process` (written) or `host` (synced).
    pub durability: Durability,
    /// The most bytes the journal may take.
    pub max_bytes: u64,
    /// How many of them only decisions about authenticated callers may use.
    pub reserve_bytes: u64,
    /// Refusals of callers that did not authenticate are counted over this long.
    pub refusals_every: Period,
    /// How many kinds of them are told apart by network.
    pub refusals_kinds: usize,
    /// Partitions of the event streams.
    pub partitions: u32,
}

/// What an answered decision survives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Durability {
    /// The end of this process.
    Process,
    /// The end of this machine.
    #[default]
    Host,
}

impl Default for RawEvidence {
    fn default() -> Self {
        Self {
            kid: "ext-authz-1".to_owned(),
            dir: PathBuf::from("journal"),
            durability: Durability::Host,
            max_bytes: 256 * 1024 * 1024,
            reserve_bytes: 64 * 1024 * 1024,
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
    /// Refusals are counted over this long.
    pub refusals_every: Duration,
    /// How many kinds are told apart.
    pub refusals_kinds: usize,
    /// Partitions of the event streams.
    pub partitions: u32,
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
            self.partitions > 0,
            "evidence.partitions",
            "must be at least 1",
        );
        Some(Evidence {
            kid: kid?,
            dir: self.dir,
            durability: self.durability,
            max_bytes: self.max_bytes,
            reserve_bytes: self.reserve_bytes,
            refusals_every: every,
            refusals_kinds: self.refusals_kinds,
            partitions: self.partitions,
        })
    }
}
