//! The sections that several services share.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::str::FromStr;
use std::time::Duration;

use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use sqlx::postgres::PgConnectOptions;

use super::checks::Checks;
use super::period::Period;
use crate::secrets::Shape;

/// What protects bytes on their way beyond this machine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Tls {
    /// Nothing: fit for loopback and Unix sockets only.
    #[default]
    None,
    /// A mesh sidecar or a proxy on the same machine, as the operator attests.
    Mesh,
}

/// An HTTP or gRPC listener.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RawHttp {
    /// Address and port. Left out: loopback and the service's own port.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub listen: Option<SocketAddr>,
    /// What protects it beyond loopback: `none` or `mesh`.
    pub tls: Tls,
    /// Larger request bodies are refused.
    pub max_body_bytes: usize,
    /// Requests take no longer than this.
    pub timeout: Period,
    /// More requests at a time are refused with 429.
    pub max_in_flight: usize,
}

impl Default for RawHttp {
    fn default() -> Self {
        Self {
            listen: None,
            tls: Tls::None,
            max_body_bytes: 64 * 1024,
            timeout: Period::from_secs(10),
            max_in_flight: 512,
        }
    }
}

/// A listener that can be bound.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Http {
    /// Address and port.
    pub listen: SocketAddr,
    /// Larger request bodies are refused.
    pub max_body_bytes: usize,
    /// Requests take no longer than this.
    pub timeout: Duration,
    /// More requests at a time are refused.
    pub max_in_flight: usize,
}

impl RawHttp {
    /// Checks the section at `key`.
    pub fn resolve(self, key: &str, default_port: u16, checks: &mut Checks<'_>) -> Option<Http> {
        let listen = self.listen.unwrap_or_else(|| loopback(default_port));
        beyond_loopback(listen, self.tls, &format!("{key}.listen"), checks);
        positive(
            self.max_body_bytes,
            &format!("{key}.max_body_bytes"),
            checks,
        );
        positive(self.max_in_flight, &format!("{key}.max_in_flight"), checks);
        checks.ensure(
            !self.timeout.get().is_zero(),
            format!("{key}.timeout"),
            "must not be zero",
        );
        Some(Http {
            listen,
            max_body_bytes: self.max_body_bytes,
            timeout: self.timeout.into(),
            max_in_flight: self.max_in_flight,
        })
    }
}

/// Health and metrics.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RawOps {
    /// Address and port. Left out: loopback and the service's own port for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub listen: Option<SocketAddr>,
    /// What protects it beyond loopback: `none` or `mesh`.
    pub tls: Tls,
}

/// Where health and metrics are served.
#[derive(Clone, Debug)]
pub struct Ops {
    /// Address and port.
    pub listen: SocketAddr,
    /// The bearer token that `/metrics` wants, from `METRICS_TOKEN_FILE`; stable mode has one.
    pub token: Option<SecretString>,
}

impl RawOps {
    /// Checks the section at `key`; takes `METRICS_TOKEN_FILE`.
    pub fn resolve(self, key: &str, default_port: u16, checks: &mut Checks<'_>) -> Option<Ops> {
        let listen = self.listen.unwrap_or_else(|| loopback(default_port));
        beyond_loopback(listen, self.tls, &format!("{key}.listen"), checks);
        Some(Ops {
            listen,
            token: checks.secret_in_stable("METRICS_TOKEN_FILE", Shape::Token),
        })
    }
}

/// Postgres, at `DATABASE_URL`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RawDatabase {
    /// Connections of each pool.
    pub max_connections: u32,
    /// Waiting longer than this for a connection is an outage.
    pub acquire_timeout: Period,
    /// Statements take no longer than this.
    pub statement_timeout: Period,
    /// What protects a connection over the network: `none` or `mesh`.
    pub tls: Tls,
    /// The operator attests that what the start checks about durability would find is meant so, and
    /// names what a failure may lose. Empty: not attested.
    pub attested_loss: String,
}

impl Default for RawDatabase {
    fn default() -> Self {
        Self {
            max_connections: 8,
            acquire_timeout: Period::from_secs(2),
            statement_timeout: Period::from_secs(5),
            tls: Tls::None,
            attested_loss: String::new(),
        }
    }
}

/// A database that pools can be made for.
#[derive(Clone, Debug)]
pub struct Database {
    /// Where it is, without a user.
    pub options: PgConnectOptions,
    /// Connections of each pool.
    pub max_connections: u32,
    /// Waiting longer than this for a connection is an outage.
    pub acquire_timeout: Duration,
    /// Statements take no longer than this.
    pub statement_timeout: Duration,
    /// What the operator attests that a failure may lose.
    pub attested_loss: Option<String>,
    passwords: BTreeMap<&'static str, SecretString>,
}

/// A role of the database, by its full name, such as `caracal_sts`.
pub type Role = &'static str;

impl Database {
    /// A database without passwords, for tests and tools.
    pub fn at(options: PgConnectOptions) -> Self {
        let raw = RawDatabase::default();
        Self {
            options,
            max_connections: raw.max_connections,
            acquire_timeout: raw.acquire_timeout.into(),
            statement_timeout: raw.statement_timeout.into(),
            attested_loss: None,
            passwords: BTreeMap::new(),
        }
    }

    /// The password of a role, if it has one.
    pub fn password(&self, role: Role) -> Option<&SecretString> {
        self.passwords.get(role)
    }
}

impl RawDatabase {
    /// Checks the section at `key`; takes `DATABASE_URL` and for each role
    /// `DATABASE_PASSWORD_FILE_<ROLE>`, the role's name without `caracal_` in capitals, or else
    /// `DATABASE_PASSWORD_FILE`.
    pub fn resolve(self, key: &str, roles: &[Role], checks: &mut Checks<'_>) -> Option<Database> {
        checks.ensure(
            self.max_connections > 0,
            format!("{key}.max_connections"),
            "must be at least 1",
        );
        let mut passwords = BTreeMap::new();
        for role in roles {
            let own = format!(
                "DATABASE_PASSWORD_FILE_{}",
                role.trim_start_matches("caracal_").to_ascii_uppercase()
            );
            let own_is_set = checks.environment().value(&own).is_some();
            let variable = if own_is_set {
                own.as_str()
            } else {
                "DATABASE_PASSWORD_FILE"
            };
            if let Some(password) = checks.secret_in_stable(variable, Shape::Chosen) {
                passwords.insert(*role, password);
            }
        }
        let options = self.options(checks)?;
        Some(Database {
            options,
            max_connections: self.max_connections,
            acquire_timeout: self.acquire_timeout.into(),
            statement_timeout: self.statement_timeout.into(),
            attested_loss: Some(self.attested_loss).filter(|loss| !loss.is_empty()),
            passwords,
        })
    }

    fn options(&self, checks: &mut Checks<'_>) -> Option<PgConnectOptions> {
        let Some(url) = checks.environment().value("DATABASE_URL") else {
            checks.find("DATABASE_URL", "is not set");
            return None;
        };
        checks.ensure(
            !has_password(url),
            "DATABASE_URL",
            "carries a password; put it into DATABASE_PASSWORD_FILE",
        );
        // The library's own message could repeat the URL.
        let parsed = PgConnectOptions::from_str(url).map_err(
            |_| "is not a PostgreSQL connection URL such as postgres:///caracal?host=/run",
        );
        let options = checks.take("DATABASE_URL", parsed)?;
        let local = options.get_socket().is_some() || is_local(options.get_host());
        checks.ensure_stable(
            local || self.tls == Tls::Mesh,
            "DATABASE_URL",
            "leaves this machine without TLS; set database.tls",
        );
        Some(options)
    }
}

/// Redis or Valkey, at `REDIS_URL`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RawRedis {
    /// No call takes longer than this.
    pub timeout: Period,
    /// What protects a connection over the network: `none` or `mesh`.
    pub tls: Tls,
    /// The operator attests `noeviction` and an append-only file where the server does not let
    /// itself be asked, and says how it is known. Empty: not attested.
    pub attested_durability: String,
}

impl Default for RawRedis {
    fn default() -> Self {
        Self {
            timeout: Period::from_millis(500),
            tls: Tls::None,
            attested_durability: String::new(),
        }
    }
}

/// A Redis that can be connected to.
#[derive(Clone, Debug)]
pub struct Redis {
    /// Where it is.
    pub info: ::redis::ConnectionInfo,
    /// No call takes longer than this.
    pub timeout: Duration,
    /// What the operator attests about its durability.
    pub attested_durability: Option<String>,
}

impl Redis {
    /// A Redis by its URL, for tests and tools.
    pub fn at(url: &str, timeout: Duration) -> Result<Self, ::redis::RedisError> {
        use ::redis::IntoConnectionInfo;
        Ok(Self {
            info: url.into_connection_info()?,
            timeout,
            attested_durability: None,
        })
    }
}

impl RawRedis {
    /// Checks the section at `key`; takes `REDIS_URL` and `REDIS_PASSWORD_FILE`.
    pub fn resolve(self, key: &str, checks: &mut Checks<'_>) -> Option<Redis> {
        use ::redis::IntoConnectionInfo;
        use secrecy::ExposeSecret;

        let timeout = self.timeout.get();
        checks.ensure(
            !timeout.is_zero(),
            format!("{key}.timeout"),
            "must not be zero",
        );
        let password = checks.secret_in_stable("REDIS_PASSWORD_FILE", Shape::Chosen);
        let Some(url) = checks.environment().value("REDIS_URL") else {
            checks.find("REDIS_URL", "is not set");
            return None;
        };
        let parsed = url
            .into_connection_info()
            .map_err(|_| "is neither redis://host:port nor unix:///path/to.sock");
        let info = checks.take("REDIS_URL", parsed)?;
        checks.ensure(
            info.redis_settings().password().is_none(),
            "REDIS_URL",
            "carries a password; put it into REDIS_PASSWORD_FILE",
        );
        let local = match info.addr() {
            ::redis::ConnectionAddr::Unix(_) => true,
            ::redis::ConnectionAddr::Tcp(host, _) => is_local(host),
            ::redis::ConnectionAddr::TcpTls { .. } | _ => false,
        };
        checks.ensure_stable(
            local || self.tls == Tls::Mesh,
            "REDIS_URL",
            "leaves this machine without TLS; set redis.tls",
        );
        let settings = info.redis_settings().clone();
        let settings = match &password {
            Some(password) => settings.set_password(password.expose_secret()),
            None => settings,
        };
        Some(Redis {
            info: info.set_redis_settings(settings),
            timeout,
            attested_durability: Some(self.attested_durability).filter(|text| !text.is_empty()),
        })
    }
}

fn loopback(port: u16) -> SocketAddr {
    SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port)
}

fn beyond_loopback(listen: SocketAddr, tls: Tls, key: &str, checks: &mut Checks<'_>) {
    checks.ensure_stable(
        listen.ip().is_loopback() || tls == Tls::Mesh,
        key,
        "listens beyond loopback without TLS; set tls to say what protects it",
    );
}

fn positive(value: usize, key: &str, checks: &mut Checks<'_>) {
    checks.ensure(value > 0, key, "must be at least 1");
}

/// Whether what is sent to this host stays on this machine.
pub fn is_local(host: &str) -> bool {
    host == "localhost"
        || host.starts_with('/')
        || host
            .trim_matches(['[', ']'])
            .parse::<IpAddr>()
            .is_ok_and(|ip| ip.is_loopback())
}

/// Whether the URL has a password before its host or among its parameters.
fn has_password(url: &str) -> bool {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let (place, query) = rest.split_once('?').unwrap_or((rest, ""));
    let authority = place.split('/').next().unwrap_or("");
    let before_host = authority
        .rsplit_once('@')
        .is_some_and(|(user, _)| user.contains(':'));
    before_host || query.split('&').any(|pair| pair.starts_with("password="))
}
