//! The configuration.

use std::num::NonZeroU32;
use std::time::Duration;

use chassis::config::{
    Checks, Database, Http, Ops, Period, Raw, RawDatabase, RawHttp, RawOps, RawProducer, RawRedis,
    RawSigner, Redis, Role,
};
use chassis::crypto::EventKey;
use chassis::secrets::{Key32, Shape};
use ledger::envelope::Producers;
use secrecy::SecretString;
use serde::{Deserialize, Serialize};

/// Appends, and verifies zone by zone.
pub(crate) const WRITER: Role = "caracal_audit_writer";
/// Searches one zone.
pub(crate) const READER: Role = "caracal_audit_reader";
/// Searches all zones, and knows which there are.
pub(crate) const OPERATOR: Role = "caracal_audit_operator";

/// The configuration as written.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RawConfig {
    /// A filter for log lines; empty is `info`.
    pub log: String,
    /// How long requests may take to finish after SIGTERM.
    pub drain: Drain,
    /// Where evidence is searched and verified.
    pub http: RawHttp,
    /// Health and metrics.
    pub ops: RawOps,
    /// The system of record.
    pub database: RawDatabase,
    /// Where evidence comes from.
    pub redis: RawRedis,
    /// From the streams into the ledgers.
    pub ingest: RawIngest,
    /// The key in `EVENT_KEY_FILE`, under which producers are told what is committed.
    pub signer: Option<RawSigner>,
    /// Verification on demand.
    pub verify: RawVerify,
    /// How often callers may ask.
    pub limits: RawLimits,
    /// Whose evidence is believed, and about what.
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

/// From the streams into the ledgers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RawIngest {
    /// Partitions of the event streams; the same number everywhere.
    pub partitions: u32,
}

impl Default for RawIngest {
    fn default() -> Self {
        Self { partitions: 4 }
    }
}

/// Verification on demand.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RawVerify {
    /// It takes no longer than this.
    pub timeout: Period,
}

impl Default for RawVerify {
    fn default() -> Self {
        Self {
            timeout: Period::from_secs(600),
        }
    }
}

/// How often callers may ask.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RawLimits {
    /// Calls a second of the holder of the service token.
    pub calls_per_second: u32,
    /// Wrong credentials a second, from one address.
    pub failures_per_second: u32,
}

impl Default for RawLimits {
    fn default() -> Self {
        Self {
            calls_per_second: 200,
            failures_per_second: 5,
        }
    }
}

/// A configuration to run with.
#[derive(Debug)]
pub struct Config {
    /// Where evidence is searched and verified.
    pub http: Http,
    /// Health and metrics.
    pub ops: Ops,
    /// The system of record.
    pub database: Database,
    /// Where evidence comes from.
    pub redis: Redis,
    /// Partitions of the event streams.
    pub partitions: NonZeroU32,
    /// The key under which producers are told what is committed.
    pub signer: EventKey,
    /// The root key of the chains' keys.
    pub root_key: Key32,
    /// The token of whoever may search and verify.
    pub token: SecretString,
    /// A verification takes no longer than this.
    pub verify_timeout: Duration,
    /// Calls a second.
    pub calls_per_second: u32,
    /// Wrong credentials a second, from one address.
    pub failures_per_second: u32,
    /// Whose evidence is believed.
    pub producers: Producers,
}

impl Raw for RawConfig {
    type Config = Config;
    const SERVICE: &'static str = "audit";

    fn resolve(self, checks: &mut Checks<'_>) -> Option<Config> {
        let http = self.http.resolve("http", 8083, checks);
        let ops = self.ops.resolve("ops", 9083, checks);
        let database = self
            .database
            .resolve("database", &[WRITER, READER, OPERATOR], checks);
        let redis = self.redis.resolve("redis", checks);
        let partitions = NonZeroU32::new(self.ingest.partitions);
        checks.ensure(
            partitions.is_some(),
            "ingest.partitions",
            "must be at least 1",
        );
        let verify_timeout = self.verify.timeout.get();
        checks.ensure(
            !verify_timeout.is_zero(),
            "verify.timeout",
            "must not be zero",
        );
        for (key, rate) in [
            ("limits.calls_per_second", self.limits.calls_per_second),
            (
                "limits.failures_per_second",
                self.limits.failures_per_second,
            ),
        ] {
            checks.ensure(rate > 0, key, "must be at least 1");
        }
        checks.ensure(
            !self.producer.is_empty(),
            "producer",
            "is missing: nothing would be believed",
        );
        checks.ensure(self.signer.is_some(), "signer.kid", "is missing");
        let signer = self
            .signer
            .and_then(|signer| signer.resolve("signer", "EVENT_KEY_FILE", checks));
        let producers = RawProducer::resolve_all(self.producer, "producer", checks);
        let root_key = checks.secret("AUDIT_KEK_FILE", Shape::Key32);
        let token = checks.secret("SERVICE_TOKEN_FILE", Shape::Token);
        Some(Config {
            http: http?,
            ops: ops?,
            database: database?,
            redis: redis?,
            partitions: partitions?,
            signer: signer?,
            root_key: Key32::of(&root_key?)?,
            token: token?,
            verify_timeout,
            calls_per_second: self.limits.calls_per_second,
            failures_per_second: self.limits.failures_per_second,
            producers: producers?,
        })
    }

    fn log(&self) -> Option<&str> {
        Some(self.log.as_str()).filter(|log| !log.is_empty())
    }

    fn drain(&self) -> Period {
        self.drain.0
    }
}
