//! The configuration of the enforcement point: one TOML file, and the secrets the environment
//! points at.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use chassis::config::{Checks, Ops, Period, Raw, RawOps, RawProducer, RawRedis, Redis};
use chassis::secrets::{Key32, Shape};
use mandate::id::{AttachmentName, ZoneId};
use secrecy::SecretString;
use serde::{Deserialize, Serialize};

use crate::decide::Bounds;

mod authority;
mod filter;
mod journal;

pub use authority::{Authority, RawAuthority};
pub use filter::{Filter, RawFilter};
pub use journal::{Evidence, RawEvidence};

/// The file as written.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RawConfig {
    /// Log filter; empty: `info`.
    pub log: String,
    /// How long Checks may take to finish when the process is asked to end.
    pub drain: Drain,
    /// Where Envoy asks.
    pub check: RawCheck,
    /// The filters inside Envoy.
    pub filter: RawFilter,
    /// Health and metrics.
    pub ops: RawOps,
    /// Where memory comes from.
    pub authority: RawAuthority,
    /// Where changes are announced and evidence is sent.
    pub redis: RawRedis,
    /// Evidence, until it is in the ledger.
    pub evidence: RawEvidence,
    /// Verified mandates in memory.
    pub cache: RawCache,
    /// What a caller may be decided about, by the name its proxy gives.
    pub attachment: Vec<RawAttachment>,
    /// Whose messages are believed.
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

/// Where Envoy asks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RawCheck {
    /// `127.0.0.1:9090`, or `unix:/path/to.sock`. A caller is known only by that it reaches this
    /// address, so nothing but loopback and Unix sockets will do.
    pub listen: String,
    /// A decision that takes longer is none: 503.
    pub deadline: Period,
    /// More Checks at a time are shed before they are looked at.
    pub max_in_flight: usize,
    /// Streams of one connection.
    pub max_concurrent_streams: u32,
    /// After SIGTERM, health says `NOT_SERVING` for this long before the listener closes.
    pub lame_duck: Period,
}

impl Default for RawCheck {
    fn default() -> Self {
        Self {
            listen: "127.0.0.1:9090".to_owned(),
            deadline: Period::from_millis(400),
            max_in_flight: 1_024,
            max_concurrent_streams: 10_000,
            lame_duck: Period::from_millis(500),
        }
    }
}

/// Verified mandates in memory, per zone and generation (there are two).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RawCache {
    /// Mandates.
    pub mandates: usize,
    /// Bytes.
    pub bytes: usize,
}

impl Default for RawCache {
    fn default() -> Self {
        Self {
            mandates: 20_000,
            bytes: 32 * 1024 * 1024,
        }
    }
}

/// What a caller may be decided about.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RawAttachment {
    /// The name in the context extension `caracal.bindings`.
    pub name: String,
    /// The zones whose bindings may apply. There is no way to say "all".
    pub zones: Vec<String>,
}

/// Where Envoy asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Listen {
    /// A port on loopback.
    Loopback(SocketAddr),
    /// A Unix socket.
    Unix(PathBuf),
}

/// How Checks are answered.
#[derive(Clone, Debug)]
pub struct Check {
    /// Where Envoy asks.
    pub listen: Listen,
    /// A decision that takes longer is none.
    pub deadline: Duration,
    /// More Checks at a time are shed.
    pub max_in_flight: usize,
    /// Streams of one connection.
    pub max_concurrent_streams: u32,
    /// How long health says `NOT_SERVING` before the listener closes.
    pub lame_duck: Duration,
}

/// The zones of each attachment.
pub type Attachments = BTreeMap<AttachmentName, Vec<ZoneId>>;

/// A configuration to run with.
#[derive(Debug)]
pub struct Config {
    /// How Checks are answered.
    pub check: Check,
    /// The filters inside Envoy.
    pub filter: Filter,
    /// Health and metrics.
    pub ops: Ops,
    /// Where memory comes from.
    pub authority: Authority,
    /// Where changes are announced and evidence is sent.
    pub redis: Redis,
    /// Evidence, until it is in the ledger.
    pub evidence: Evidence,
    /// Verified mandates in memory.
    pub cache: Bounds,
    /// The zones of each attachment.
    pub attachments: Attachments,
    /// Whose messages are believed.
    pub producers: ledger::envelope::Producers,
    /// The seed of the key that signs our evidence.
    pub event_key: Key32,
    /// What the coordinator knows us by.
    pub service_token: SecretString,
}

impl Raw for RawConfig {
    type Config = Config;
    const SERVICE: &'static str = "ext-authz";

    fn resolve(self, checks: &mut Checks<'_>) -> Option<Config> {
        let check = self.check.resolve(checks);
        let filter = self.filter.resolve(checks);
        let ops = self.ops.resolve("ops", 9091, checks);
        let authority = self.authority.resolve(checks);
        let redis = self.redis.resolve("redis", checks);
        let evidence = self.evidence.resolve(checks);
        let cache = self.cache.resolve(checks);
        let attachments = attachments(self.attachment, checks);
        checks.ensure(
            !self.producer.is_empty(),
            "producer",
            "is missing: no message of the authority would be believed",
        );
        let producers = RawProducer::resolve_all(self.producer, "producer", checks);
        let event_key = checks
            .secret("EVENT_KEY_FILE", Shape::Key32)
            .as_ref()
            .and_then(Key32::of);
        let service_token = checks.secret("SERVICE_TOKEN_FILE", Shape::Token);
        Some(Config {
            check: check?,
            filter,
            ops: ops?,
            authority,
            redis: redis?,
            evidence: evidence?,
            cache,
            attachments: attachments?,
            producers: producers?,
            event_key: event_key?,
            service_token: service_token?,
        })
    }

    fn log(&self) -> Option<&str> {
        Some(self.log.as_str()).filter(|log| !log.is_empty())
    }

    fn drain(&self) -> Period {
        self.drain.0
    }
}

impl RawCheck {
    fn resolve(&self, checks: &mut Checks<'_>) -> Option<Check> {
        let deadline = self.deadline.get();
        checks.ensure(!deadline.is_zero(), "check.deadline", "must not be zero");
        checks.ensure(
            self.max_in_flight > 0,
            "check.max_in_flight",
            "must be at least 1",
        );
        checks.ensure(
            self.max_concurrent_streams > 0,
            "check.max_concurrent_streams",
            "must be at least 1",
        );
        Some(Check {
            listen: checks.take("check.listen", listen(&self.listen))?,
            deadline,
            max_in_flight: self.max_in_flight,
            max_concurrent_streams: self.max_concurrent_streams,
            lame_duck: self.lame_duck.get(),
        })
    }
}

/// The answer to a Check says what an upstream is shown, so nobody but the proxy may ask.
fn listen(text: &str) -> Result<Listen, &'static str> {
    if let Some(path) = text.strip_prefix("unix:") {
        let path = PathBuf::from(path);
        return if path.is_absolute() && path.as_os_str().len() < 100 {
            Ok(Listen::Unix(path))
        } else {
            Err("names a Unix socket by a path that is not absolute or has 100 bytes or more")
        };
    }
    let address: SocketAddr = text
        .parse()
        .map_err(|_| "is neither `address:port` nor `unix:/path/to.sock`")?;
    if address.ip().to_canonical().is_loopback() {
        Ok(Listen::Loopback(address))
    } else {
        Err(
            "leaves this machine, which needs callers that authenticate themselves by mutual TLS; \
             listen on loopback or a Unix socket",
        )
    }
}

impl Listen {
    /// The default port on loopback.
    pub fn default_port() -> Self {
        Self::Loopback(SocketAddr::from((Ipv4Addr::LOCALHOST, 9090)))
    }
}

impl RawCache {
    fn resolve(self, checks: &mut Checks<'_>) -> Bounds {
        checks.ensure(self.mandates > 0, "cache.mandates", "must be at least 1");
        checks.ensure(
            self.bytes >= 65_536,
            "cache.bytes",
            "must be at least 65536",
        );
        Bounds {
            mandates: self.mandates,
            bytes: self.bytes,
        }
    }
}

fn attachments(raw: Vec<RawAttachment>, checks: &mut Checks<'_>) -> Option<Attachments> {
    if raw.is_empty() {
        checks.find(
            "attachment",
            "is missing: without one, nothing can be decided about",
        );
        return None;
    }
    let mut attachments = Attachments::new();
    let mut whole = true;
    for (index, raw) in raw.into_iter().enumerate() {
        let key = format!("attachment[{index}]");
        let name = checks.take(format!("{key}.name"), AttachmentName::parse(&raw.name));
        checks.ensure(
            !raw.zones.is_empty(),
            format!("{key}.zones"),
            "names no zone",
        );
        let mut zones = Vec::new();
        for (at, zone) in raw.zones.iter().enumerate() {
            match checks.take(format!("{key}.zones[{at}]"), ZoneId::parse(zone)) {
                Some(zone) if !zones.contains(&zone) => zones.push(zone),
                Some(_) => checks.find(format!("{key}.zones[{at}]"), "is named twice"),
                None => whole = false,
            }
        }
        match name {
            Some(name) if attachments.contains_key(&name) => {
                checks.find(
                    format!("{key}.name"),
                    "is the name of another attachment, too",
                );
                whole = false;
            }
            Some(name) => {
                attachments.insert(name, zones);
            }
            None => whole = false,
        }
    }
    whole.then_some(attachments)
}

#[cfg(test)]
mod tests;
