//! The configuration of the STS: one TOML file, and the secrets the environment points at.

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use chassis::config::{
    Checks, Database, Http, Ops, Period, Raw, RawDatabase, RawHttp, RawOps, RawProducer, RawRedis,
    RawSigner, Redis, Role,
};
use chassis::crypto::EventKey;
use chassis::journal::Durability;
use chassis::secrets::{Key32, Shape};
use ledger::envelope::Producers;
use serde::{Deserialize, Serialize};

use crate::limit::Allowance;

/// The role that serves requests: it sees one zone at a time.
pub(crate) const SERVING: Role = "caracal_sts";
/// The role that gives new zones their first key: it finds them across zones.
pub(crate) const KEEPING: Role = "caracal_keeper";

/// The file as written.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RawConfig {
    /// Log filter; empty: `info`.
    pub log: String,
    /// How long requests may take to finish when the process is asked to end.
    pub drain: Drain,
    /// Where tokens are asked for.
    pub http: RawHttp,
    /// Health and metrics.
    pub ops: RawOps,
    /// The system of record.
    pub database: RawDatabase,
    /// Where evidence is sent.
    pub redis: RawRedis,
    /// Signing keys in memory.
    pub keys: RawKeys,
    /// Failed authentications, per source.
    pub failures: RawFailures,
    /// Evidence of refusals.
    pub evidence: RawEvidence,
    /// Whose messages are believed: those of audit, which say what is committed evidence.
    pub producer: Vec<RawProducer>,
}

/// How long the process may take to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Drain(pub Period);

impl Default for Drain {
    fn default() -> Self {
        Self(Period::from_secs(20))
    }
}

/// Signing keys in memory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RawKeys {
    /// A zone's keys are read again when they are asked for and older than this.
    pub refresh: Period,
    /// Keys older than this are not used: without the database, nothing is signed.
    pub max_age: Period,
    /// `max-age` of a key set's answer.
    pub jwks_max_age: Period,
    /// How often new zones are looked for.
    pub provision_every: Period,
    /// The most zones whose keys are held at once.
    pub zones: usize,
}

impl Default for RawKeys {
    fn default() -> Self {
        Self {
            refresh: Period::from_secs(2),
            max_age: Period::from_secs(30),
            jwks_max_age: Period::from_secs(60),
            provision_every: Period::from_millis(250),
            zones: 4096,
        }
    }
}

/// Failed authentications, per source.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RawFailures {
    /// Failures at once before a source has to wait.
    pub burst: u32,
    /// One failure is forgiven per this time.
    pub forgive_every: Period,
    /// The most sources told apart.
    pub sources: usize,
    /// Proxies whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Vec<IpAddr>,
}

impl Default for RawFailures {
    fn default() -> Self {
        Self {
            burst: 30,
            forgive_every: Period::from_secs(1),
            sources: 65_536,
            trusted_proxies: Vec::new(),
        }
    }
}

/// Evidence of refusals, until it is in the ledger.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RawEvidence {
    /// The id of the key in `EVENT_KEY_FILE`.
    pub kid: String,
    /// The journal's folder; on a disk that outlives the process.
    pub dir: PathBuf,
    /// Why the folder may go with the machine, if it may. Empty: it may not.
    pub attested_loss: String,
    /// What a written refusal survives: `process` (written) or `host` (synced).
    pub durability: Durability,
    /// The most bytes the journal may take.
    pub max_bytes: u64,
    /// How many of them only refusals of authenticated clients may use.
    pub reserve_bytes: u64,
    /// Refusals of callers that did not authenticate are counted over this long.
    pub refusals_every: Period,
    /// How many kinds of them are told apart by network.
    pub refusals_kinds: usize,
    /// Partitions of the event streams; the same number everywhere.
    pub partitions: NonZeroU32,
}

impl Default for RawEvidence {
    fn default() -> Self {
        Self {
            kid: "sts-event-1".to_owned(),
            dir: PathBuf::from("journal"),
            attested_loss: String::new(),
            durability: Durability::Host,
            max_bytes: 256 * 1024 * 1024,
            reserve_bytes: 64 * 1024 * 1024,
            refusals_every: Period::from_secs(1),
            refusals_kinds: 4_096,
            partitions: NonZeroU32::MIN.saturating_add(3),
        }
    }
}

/// Evidence of refusals, until it is in the ledger.
#[derive(Clone, Debug)]
pub(crate) struct Evidence {
    /// The journal's folder.
    pub dir: PathBuf,
    /// What a written refusal survives.
    pub durability: Durability,
    /// The most bytes the journal may take.
    pub max_bytes: u64,
    /// How many of them only refusals of authenticated clients may use.
    pub reserve_bytes: u64,
    /// Refusals of strangers are counted over this long.
    pub refusals_every: Duration,
    /// How many kinds of them are told apart.
    pub refusals_kinds: usize,
    /// Partitions of the event streams.
    pub partitions: NonZeroU32,
}

impl RawEvidence {
    fn resolve(self, checks: &mut Checks<'_>) -> Evidence {
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
        checks.durable_path("evidence.dir", &self.dir, &self.attested_loss);
        Evidence {
            dir: self.dir,
            durability: self.durability,
            max_bytes: self.max_bytes,
            reserve_bytes: self.reserve_bytes,
            refusals_every: every,
            refusals_kinds: self.refusals_kinds,
            partitions: self.partitions,
        }
    }
}

/// A configuration to run with.
#[derive(Debug)]
pub struct Config {
    /// Where tokens are asked for.
    pub(crate) http: Http,
    /// Health and metrics.
    pub(crate) ops: Ops,
    /// The system of record.
    pub(crate) database: Database,
    /// Where evidence is sent.
    pub(crate) redis: Redis,
    /// Signing keys in memory.
    pub(crate) keys: Keys,
    /// Failed authentications.
    pub(crate) failures: Allowance,
    /// Proxies whose `X-Forwarded-For` is believed.
    pub(crate) trusted_proxies: Vec<IpAddr>,
    /// Evidence of refusals.
    pub(crate) evidence: Evidence,
    /// Whose messages are believed.
    pub(crate) producers: Producers,
    /// The root key that seals zone keys.
    pub(crate) root_key: Key32,
    /// The pepper of application secrets.
    pub(crate) pepper: Key32,
    /// The key that signs our evidence.
    pub(crate) event_key: Arc<EventKey>,
}

/// Signing keys in memory.
#[derive(Clone, Debug)]
pub(crate) struct Keys {
    /// Read again when older.
    pub(crate) refresh: Duration,
    /// Not used when older.
    pub(crate) max_age: Duration,
    /// `max-age` of a key set's answer.
    pub(crate) jwks_max_age: Duration,
    /// How often new zones are looked for.
    pub(crate) provision_every: Duration,
    /// The most zones held at once.
    pub(crate) zones: usize,
}

impl Raw for RawConfig {
    type Config = Config;
    const SERVICE: &'static str = "sts";

    fn resolve(self, checks: &mut Checks<'_>) -> Option<Config> {
        let keys = self.keys.resolve(checks);
        let failures = self.failures.allowance(checks);
        let http = self.http.resolve("http", 8081, checks);
        let ops = self.ops.resolve("ops", 9081, checks);
        let database = self
            .database
            .resolve("database", &[SERVING, KEEPING], checks);
        let redis = self.redis.resolve("redis", checks);
        let root_key = key("STS_KEK_FILE", checks);
        let pepper = key("PEPPER_FILE", checks);
        let event_key = RawSigner {
            kid: self.evidence.kid.clone(),
        };
        let event_key = event_key.resolve("evidence", "EVENT_KEY_FILE", checks);
        let producers = RawProducer::resolve_all(self.producer, "producer", checks);
        let evidence = self.evidence.resolve(checks);
        Some(Config {
            http: http?,
            ops: ops?,
            database: database?,
            redis: redis?,
            keys,
            failures: failures?,
            trusted_proxies: self
                .failures
                .trusted_proxies
                .iter()
                .map(IpAddr::to_canonical)
                .collect(),
            evidence,
            producers: producers?,
            root_key: root_key?,
            pepper: pepper?,
            event_key: Arc::new(event_key?),
        })
    }

    fn log(&self) -> Option<&str> {
        Some(self.log.as_str()).filter(|log| !log.is_empty())
    }

    fn drain(&self) -> Period {
        self.drain.0
    }
}

fn key(variable: &str, checks: &mut Checks<'_>) -> Option<Key32> {
    checks
        .secret(variable, Shape::Key32)
        .as_ref()
        .and_then(Key32::of)
}

impl RawKeys {
    fn resolve(&self, checks: &mut Checks<'_>) -> Keys {
        checks.ensure(
            self.refresh < self.max_age,
            "keys.refresh",
            "must be shorter than keys.max_age",
        );
        checks.ensure(
            !self.provision_every.get().is_zero(),
            "keys.provision_every",
            "must not be zero",
        );
        checks.ensure(self.zones > 0, "keys.zones", "must be at least 1");
        Keys {
            refresh: self.refresh.into(),
            max_age: self.max_age.into(),
            jwks_max_age: self.jwks_max_age.into(),
            provision_every: self.provision_every.into(),
            zones: self.zones,
        }
    }
}

impl RawFailures {
    fn allowance(&self, checks: &mut Checks<'_>) -> Option<Allowance> {
        checks.ensure(
            !self.forgive_every.get().is_zero(),
            "failures.forgive_every",
            "must not be zero",
        );
        checks.ensure(self.sources > 0, "failures.sources", "must be at least 1");
        let burst = NonZeroU32::new(self.burst).ok_or("must be at least 1");
        Some(Allowance {
            burst: checks.take("failures.burst", burst)?,
            every: self.forgive_every.into(),
            sources: self.sources,
        })
    }
}

#[cfg(test)]
mod tests;
