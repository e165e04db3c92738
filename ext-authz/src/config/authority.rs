//! Where memory comes from.

use std::time::Duration;

use chassis::config::{Checks, Period, Tls, is_local};
use serde::{Deserialize, Serialize};
use tonic::transport::Uri;

/// Where memory comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RawAuthority {
    /// The coordinators' `Authority`: `http://127.0.0.1:9082`. The next one is asked when one fails.
    pub endpoints: Vec<String>,
    /// What protects the way there beyond loopback: `none` or `mesh`.
    pub tls: Tls,
    /// No call takes longer than this.
    pub timeout: Period,
    /// A stream silent for this long is not waited for: changes are asked for.
    pub silence: Period,
    /// How often the database's clock is read.
    pub clock_every: Period,
    /// How often we say which position we hold, changes apart.
    pub ack_every: Period,
}

impl Default for RawAuthority {
    fn default() -> Self {
        Self {
            endpoints: vec!["http://127.0.0.1:9082".to_owned()],
            tls: Tls::None,
            timeout: Period::from_secs(2),
            silence: Period::from_secs(2),
            clock_every: Period::from_secs(5),
            ack_every: Period::from_secs(1),
        }
    }
}

/// Where memory comes from.
#[derive(Clone, Debug)]
pub struct Authority {
    /// The coordinators.
    pub endpoints: Vec<Uri>,
    /// No call takes longer than this.
    pub timeout: Duration,
    /// A stream silent for this long is not waited for.
    pub silence: Duration,
    /// How often the database's clock is read.
    pub clock_every: Duration,
    /// How often we say which position we hold.
    pub ack_every: Duration,
}

impl RawAuthority {
    pub(super) fn resolve(&self, checks: &mut Checks<'_>) -> Authority {
        checks.ensure(
            !self.endpoints.is_empty(),
            "authority.endpoints",
            "names no coordinator",
        );
        let mut endpoints = Vec::new();
        for (index, endpoint) in self.endpoints.iter().enumerate() {
            let key = format!("authority.endpoints[{index}]");
            let uri = endpoint.parse::<Uri>().map_err(|_| "is not a URI");
            let Some(uri) = checks.take(key.clone(), uri) else {
                continue;
            };
            let plain = uri.scheme_str() == Some("http") && uri.authority().is_some();
            checks.ensure(plain, key.clone(), "is not of the form http://host:port");
            let local = uri.host().is_some_and(is_local);
            checks.ensure_stable(
                local || self.tls == Tls::Mesh,
                key,
                "leaves this machine without TLS; set authority.tls to say what protects it",
            );
            endpoints.push(uri);
        }
        for (name, period) in [
            ("timeout", self.timeout),
            ("silence", self.silence),
            ("clock_every", self.clock_every),
            ("ack_every", self.ack_every),
        ] {
            let key = format!("authority.{name}");
            checks.ensure(!period.get().is_zero(), key, "must not be zero");
        }
        Authority {
            endpoints,
            timeout: self.timeout.get(),
            silence: self.silence.get(),
            clock_every: self.clock_every.get(),
            ack_every: self.ack_every.get(),
        }
    }
}
