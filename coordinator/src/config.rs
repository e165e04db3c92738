//! The configuration of the coordinator: one TOML file, and the secrets the environment points at.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use chassis::config::{
    Checks, Database, Http, Ops, Period, Raw, RawDatabase, RawHttp, RawOps, RawProducer, RawRedis,
    RawSigner, Redis, Role,
};
use chassis::crypto::EventKey;
use chassis::secrets::{Key32, Shape};
use ledger::envelope::{Producer, Producers};
use mandate::id::{Issuer, KeyId};
use secrecy::SecretString;
use serde::{Deserialize, Serialize};

use crate::api::Rate;
use crate::retention::Keep;

/// The role that serves requests: it sees one zone at a time.
pub(crate) const SERVING: Role = "caracal_coordinator";
/// The role that lists zones.
pub(crate) const OPERATING: Role = "caracal_operator";
/// The role that sequences.
pub(crate) const SEQUENCING: Role = "caracal_sequencer";
/// The role that reads snapshots across zones.
pub(crate) const SNAPSHOTS: Role = "caracal_snapshot";
/// The role that removes what is over.
pub(crate) const RETAINING: Role = "caracal_retention";

/// The file as written.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RawConfig {
    /// Log filter.
    pub log: String,
    /// How long requests may take to finish when the process is asked to end.
    pub drain: Period,
    /// What the issuer of a new zone starts with: `/z/<zone>` is added to it.
    pub issuer_base: String,
    /// The admin API.
    pub http: RawAdmin,
    /// The internal gRPC service of enforcement points.
    pub grpc: RawGrpc,
    /// Health and metrics.
    pub ops: RawOps,
    /// The system of record.
    pub database: RawDatabase,
    /// Where changes and evidence are published.
    pub redis: RawRedis,
    /// The key that signs evidence of changes; its seed is in `EVENT_KEY_FILE`.
    pub event_key: RawSigner,
    /// The key that signs `caracal.authority`; its seed is in `STREAM_KEY_FILE`.
    pub stream_key: RawSigner,
    /// The id under which the same seed signs the evidence that the sequencer numbers.
    pub outbox_key: RawSigner,
    /// Whose signatures are believed: the ledger's cursors. Ours are believed by themselves.
    pub producer: Vec<RawProducer>,
    /// Sessions.
    pub sessions: RawSessions,
    /// How often callers may call.
    pub limits: RawLimits,
    /// Positions and streams.
    pub sequencer: RawSequencer,
    /// How long what is over is kept.
    pub retention: RawRetention,
}

impl Default for RawConfig {
    fn default() -> Self {
        let signer = |kid: &str| RawSigner {
            kid: kid.to_owned(),
        };
        Self {
            log: "info".to_owned(),
            drain: Period::from_secs(20),
            issuer_base: "http://127.0.0.1:8081".to_owned(),
            http: RawAdmin::default(),
            grpc: RawGrpc::default(),
            ops: RawOps::default(),
            database: RawDatabase::default(),
            redis: RawRedis::default(),
            event_key: signer("coordinator-event"),
            stream_key: signer("coordinator-stream"),
            outbox_key: signer("outbox"),
            producer: Vec::new(),
            sessions: RawSessions::default(),
            limits: RawLimits::default(),
            sequencer: RawSequencer::default(),
            retention: RawRetention::default(),
        }
    }
}

/// The admin API.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RawAdmin {
    /// Address and port. Left out: loopback and 8082.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub listen: Option<SocketAddr>,
    /// What protects it beyond loopback: `none` or `mesh`.
    pub tls: chassis::config::Tls,
    /// Larger request bodies are refused.
    pub max_body_bytes: usize,
    /// Requests take no longer than this.
    pub timeout: Period,
    /// More requests at a time are refused with 429.
    pub max_in_flight: usize,
}

impl Default for RawAdmin {
    fn default() -> Self {
        let others = RawHttp::default();
        Self {
            listen: others.listen,
            tls: others.tls,
            // A policy is larger than what other services are sent.
            max_body_bytes: 1024 * 1024,
            // A revocation may wait for the slowest enforcement point: its bound and a second.
            timeout: Period::from_secs(65),
            max_in_flight: others.max_in_flight,
        }
    }
}

/// The internal gRPC service.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RawGrpc {
    /// Address and port. Left out: loopback and 9082.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub listen: Option<SocketAddr>,
    /// What protects it beyond loopback: `none` or `mesh`.
    pub tls: chassis::config::Tls,
}

/// How long what is over is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RawRetention {
    /// How often it is looked for what may go.
    pub every: Period,
    /// Answers to a repeated idempotency key, from when they were given.
    pub receipts: Period,
    /// Records of mandates and what was revoked of them, from when no mandate can carry their id any more.
    pub records: Period,
}

impl Default for RawRetention {
    fn default() -> Self {
        Self {
            every: Period::from_secs(60),
            receipts: Period::from_secs(24 * 60 * 60),
            records: Period::from_secs(24 * 60 * 60),
        }
    }
}

/// Sessions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RawSessions {
    /// The most an application may let its sessions last.
    pub max_ttl: Period,
    /// How often sessions that ran out are looked for.
    pub sweep_every: Period,
}

impl Default for RawSessions {
    fn default() -> Self {
        Self {
            max_ttl: Period::from_secs(8 * 60 * 60),
            sweep_every: Period::from_secs(1),
        }
    }
}

/// How often callers may call.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RawLimits {
    /// Calls a second of one operator or application, on the average.
    pub calls_per_second: f64,
    /// Calls of one operator or application at once.
    pub calls_at_once: f64,
    /// Failed authentications a second of one source, on the average.
    pub failures_per_second: f64,
    /// Failed authentications of one source at once.
    pub failures_at_once: f64,
}

impl Default for RawLimits {
    fn default() -> Self {
        Self {
            calls_per_second: 2_000.0,
            calls_at_once: 4_000.0,
            failures_per_second: 1.0,
            failures_at_once: 30.0,
        }
    }
}

/// Positions and streams.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RawSequencer {
    /// How many partitions the evidence streams have; the same for every process.
    pub partitions: u32,
    /// How long positions are kept: readers further behind load a snapshot.
    pub keep_positions: Period,
    /// How long entries stay in the streams.
    pub keep_entries: Period,
}

impl Default for RawSequencer {
    fn default() -> Self {
        Self {
            partitions: 4,
            keep_positions: Period::from_secs(60 * 60),
            keep_entries: Period::from_secs(60 * 60),
        }
    }
}

/// A configuration to run with.
#[derive(Debug)]
pub struct Config {
    /// What the issuer of a new zone starts with.
    pub issuer_base: String,
    /// The admin API.
    pub http: Http,
    /// Where the internal gRPC service listens.
    pub grpc: SocketAddr,
    /// Health and metrics.
    pub ops: Ops,
    /// The system of record.
    pub database: Database,
    /// Where changes and evidence are published.
    pub redis: Redis,
    /// Signs evidence of changes.
    pub event_key: EventKey,
    /// Signs `caracal.authority`.
    pub stream_key: EventKey,
    /// Signs numbered evidence.
    pub outbox_key: EventKey,
    /// Whose signatures are believed.
    pub producers: Producers,
    /// The pepper of application secrets.
    pub pepper: Key32,
    /// The operator's token.
    pub bootstrap_token: SecretString,
    /// The token of enforcement points.
    pub service_token: SecretString,
    /// The most an application may let its sessions last.
    pub max_session_ttl: Duration,
    /// How often sessions that ran out are looked for.
    pub sweep_every: Duration,
    /// Calls of one caller.
    pub calls: Rate,
    /// Failed authentications of one source.
    pub failures: Rate,
    /// Positions and streams.
    pub sequencer: Sequencer,
    /// How long what is over is kept.
    pub(crate) retention: Keep,
}

/// Positions and streams.
#[derive(Clone, Copy, Debug)]
pub struct Sequencer {
    /// How many partitions the evidence streams have.
    pub partitions: u32,
    /// How long positions are kept.
    pub keep_positions: Duration,
    /// How long entries stay in the streams.
    pub keep_entries: Duration,
}

impl Raw for RawConfig {
    type Config = Config;
    const SERVICE: &'static str = "coordinator";

    fn resolve(self, checks: &mut Checks<'_>) -> Option<Config> {
        let issuer_base = self.issuer_base.trim_end_matches('/').to_owned();
        checks.take("issuer_base", Issuer::parse(&issuer_base));
        checks.ensure_stable(
            issuer_base.starts_with("https://"),
            "issuer_base",
            "is not https",
        );
        let sessions = self.sessions.resolve(checks);
        let (calls, failures) = self.limits.resolve(checks);
        let sequencer = self.sequencer.resolve(checks);
        let retention = self.retention.resolve(checks);
        let http = self.http.resolve(checks);
        let grpc = self.grpc.resolve(checks);
        // 9082 is the internal service's.
        let ops = self.ops.resolve("ops", 9092, checks);
        let roles = [SERVING, OPERATING, SEQUENCING, SNAPSHOTS, RETAINING];
        let database = self.database.resolve("database", &roles, checks);
        let redis = self.redis.resolve("redis", checks);
        let event_key = self
            .event_key
            .resolve("event_key", "EVENT_KEY_FILE", checks);
        let stream_key = self
            .stream_key
            .resolve("stream_key", "STREAM_KEY_FILE", checks);
        let outbox_key = self
            .outbox_key
            .resolve("outbox_key", "STREAM_KEY_FILE", checks);
        let producers = believed(self.producer, stream_key.as_ref(), checks);
        let pepper = checks.secret("PEPPER_FILE", Shape::Key32);
        let bootstrap_token = checks.secret("BOOTSTRAP_TOKEN_FILE", Shape::Token);
        let service_token = checks.secret("SERVICE_TOKEN_FILE", Shape::Token);
        Some(Config {
            issuer_base,
            http: http?,
            grpc: grpc?.listen,
            ops: ops?,
            database: database?,
            redis: redis?,
            event_key: event_key?,
            stream_key: stream_key?,
            outbox_key: outbox_key?,
            producers: producers?,
            pepper: pepper.as_ref().and_then(Key32::of)?,
            bootstrap_token: bootstrap_token?,
            service_token: service_token?,
            max_session_ttl: sessions.max_ttl.into(),
            sweep_every: sessions.sweep_every.into(),
            calls,
            failures,
            sequencer,
            retention,
        })
    }

    fn log(&self) -> Option<&str> {
        Some(&self.log)
    }

    fn drain(&self) -> Period {
        self.drain
    }
}

impl RawAdmin {
    fn resolve(self, checks: &mut Checks<'_>) -> Option<Http> {
        let raw = RawHttp {
            listen: self.listen,
            tls: self.tls,
            max_body_bytes: self.max_body_bytes,
            timeout: self.timeout,
            max_in_flight: self.max_in_flight,
        };
        raw.resolve("http", 8082, checks)
    }
}

impl RawGrpc {
    fn resolve(self, checks: &mut Checks<'_>) -> Option<Http> {
        let raw = RawHttp {
            listen: self.listen,
            tls: self.tls,
            ..RawHttp::default()
        };
        raw.resolve("grpc", 9082, checks)
    }
}

impl RawSessions {
    fn resolve(self, checks: &mut Checks<'_>) -> Self {
        let day = Period::from_secs(24 * 60 * 60);
        let fits = self.max_ttl >= Period::from_secs(1) && self.max_ttl <= day;
        checks.ensure(fits, "sessions.max_ttl", "must be between 1s and 24h");
        let fits = self.sweep_every >= Period::from_millis(100);
        checks.ensure(fits, "sessions.sweep_every", "must be at least 100ms");
        self
    }
}

impl RawLimits {
    fn resolve(&self, checks: &mut Checks<'_>) -> (Rate, Rate) {
        for (name, value, least) in [
            ("calls_per_second", self.calls_per_second, 0.001),
            ("calls_at_once", self.calls_at_once, 1.0),
            ("failures_per_second", self.failures_per_second, 0.001),
            ("failures_at_once", self.failures_at_once, 1.0),
        ] {
            let fits = value.is_finite() && value >= least;
            checks.ensure(
                fits,
                format!("limits.{name}"),
                format!("must be at least {least}"),
            );
        }
        let calls = Rate {
            per_second: self.calls_per_second,
            burst: self.calls_at_once,
        };
        let failures = Rate {
            per_second: self.failures_per_second,
            burst: self.failures_at_once,
        };
        (calls, failures)
    }
}

impl RawSequencer {
    fn resolve(&self, checks: &mut Checks<'_>) -> Sequencer {
        let fits = (1..=256).contains(&self.partitions);
        checks.ensure(fits, "sequencer.partitions", "must be between 1 and 256");
        let minute = Period::from_secs(60);
        for (name, value) in [
            ("keep_positions", self.keep_positions),
            ("keep_entries", self.keep_entries),
        ] {
            checks.ensure(
                value >= minute,
                format!("sequencer.{name}"),
                "must be at least 1m",
            );
        }
        Sequencer {
            partitions: self.partitions,
            keep_positions: self.keep_positions.into(),
            keep_entries: self.keep_entries.into(),
        }
    }
}

impl RawRetention {
    fn resolve(&self, checks: &mut Checks<'_>) -> Keep {
        let hour = Period::from_secs(60 * 60);
        for (name, value) in [("receipts", self.receipts), ("records", self.records)] {
            checks.ensure(
                value >= hour,
                format!("retention.{name}"),
                "must be at least 1h",
            );
        }
        let second = Period::from_secs(1);
        checks.ensure(
            self.every >= second,
            "retention.every",
            "must be at least 1s",
        );
        Keep {
            every: self.every.into(),
            receipts: self.receipts.into(),
            records: self.records.into(),
        }
    }
}

/// Everybody from the file, and ourselves.
fn believed(
    entries: Vec<RawProducer>,
    stream_key: Option<&EventKey>,
    checks: &mut Checks<'_>,
) -> Option<Producers> {
    let kids: Vec<KeyId> = entries
        .iter()
        .filter_map(|entry| KeyId::parse(&entry.kid).ok())
        .collect();
    let resolved = RawProducer::resolve_all(entries, "producer", checks);
    let ours = ourselves(stream_key?);
    let resolved = resolved?;
    let others = kids.iter().filter_map(|kid| resolved.find(kid).cloned());
    Some(Producers::new(others.chain([ours])))
}

fn ourselves(key: &EventKey) -> Producer {
    let kinds: BTreeSet<String> = [
        "revocation",
        "cutoff",
        "state",
        "policy",
        "key",
        "resource",
        "binding",
        "zone",
        "heartbeat",
        "snapshot",
    ]
    .into_iter()
    .map(ToOwned::to_owned)
    .collect();
    Producer {
        kid: ledger::envelope::EventSigner::kid(key).clone(),
        public_key: key.public(),
        service: crate::sequencer::PRODUCER.to_owned(),
        kinds,
    }
}

#[cfg(test)]
mod tests {
    use chassis::config;

    use super::*;

    #[test]
    fn the_full_sample_mentions_every_field() {
        let text = include_str!("../../docs/config/coordinator.full.toml");
        let missing = config::unmentioned::<RawConfig>(text).unwrap();
        assert_eq!(missing, Vec::<String>::new());
    }

    #[test]
    fn the_minimal_sample_is_valid_and_without_secrets_everything_missing_is_named() {
        let text = include_str!("../../docs/config/coordinator.toml");
        config::unmentioned::<RawConfig>(text).unwrap();
        let environment = config::Environment::of([("CARACAL_MODE", "dev")]);
        let findings = config::resolve::<RawConfig>(text, &environment)
            .unwrap_err()
            .to_string();
        for name in [
            "DATABASE_URL",
            "REDIS_URL",
            "EVENT_KEY_FILE",
            "STREAM_KEY_FILE",
            "PEPPER_FILE",
            "BOOTSTRAP_TOKEN_FILE",
            "SERVICE_TOKEN_FILE",
        ] {
            assert!(findings.contains(name), "{name} in {findings}");
        }
    }

    #[test]
    fn a_section_that_says_where_to_listen_keeps_what_it_does_not_say() {
        let text = "[http]\nlisten = \"127.0.0.1:8182\"";
        let http = crate::tests::bench::configuration(text).http;
        assert_eq!(http.listen.port(), 8182);
        assert_eq!(http.timeout, Duration::from_secs(65));
        assert_eq!(http.max_body_bytes, 1024 * 1024);
        assert_eq!(http.max_in_flight, 512);
    }

    #[test]
    fn reports_every_value_that_is_out_of_range() {
        let text = r#"
            issuer_base = "ftp://x"
            [sessions]
            max_ttl = "0s"
            [limits]
            calls_at_once = 0.0
            [sequencer]
            partitions = 0
        "#;
        let environment = config::Environment::of([("CARACAL_MODE", "dev")]);
        let findings = config::resolve::<RawConfig>(text, &environment)
            .unwrap_err()
            .to_string();
        for key in [
            "issuer_base",
            "sessions.max_ttl",
            "limits.calls_at_once",
            "sequencer.partitions",
        ] {
            assert!(findings.contains(key), "{key} in {findings}");
        }
    }
}
