//! The filter's configuration: read from the proxy's, and written by `caracal filter config`.
//!
//! Everything wrong is found at once, each finding with the path of its key. Keys, revocations, resources and operations
//! are not here: they come by the feed alone.

mod read;

use std::fmt;
use std::time::Duration;

use mandate::canonical::CanonicalHost;
use mandate::id::{AttachmentName, Issuer, ZoneId};
use prost::Message as _;
use serde::Serialize;
use wire::envoy::{EnvoyGrpc, GrpcService};

/// The version of this form.
pub const VERSION: u32 = 1;

/// The longest name of a target's cluster and authority together: with four bytes of envelope, every byte of what the
/// proxy parses is below 128.
const MOST_TARGET: usize = 123;

/// How requests of a route are treated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// This filter refuses, and asks about what it would admit.
    Enforce,
    /// Envoy's own `ext_authz` filter decides on the same listener, and this one must come to the same.
    VerifyOnly,
}

/// The configuration as it is written down.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RawConfig {
    /// 1.
    pub version: u32,
    /// Which bindings may apply.
    pub attachment: String,
    /// The zones whose bindings may apply.
    pub zones: Vec<RawZone>,
    /// Who decides.
    pub authz: RawAuthz,
    /// Where keys, revocations, resources and bindings come from.
    pub feed: RawFeed,
    /// Routes whose mode is another.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub routes: Vec<RawRoute>,
    /// The mode of every other route.
    pub mode: Mode,
}

/// A zone, and who alone issues for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RawZone {
    /// Its id.
    pub id: String,
    /// Its issuer.
    pub issuer: String,
}

/// Who decides.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RawAuthz {
    /// The proxy's cluster.
    pub cluster: String,
    /// `:authority` of the calls.
    pub authority: String,
    /// A decision that takes longer is none: `500ms`.
    pub timeout: String,
}

/// Where the feed comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RawFeed {
    /// The proxy's cluster.
    pub cluster: String,
    /// `:authority` of the stream.
    pub authority: String,
}

/// A route, named by its name or by its host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RawRoute {
    /// The route's name in the proxy's configuration.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub route_name: Option<String>,
    /// A canonical host.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// Its mode.
    pub mode: Mode,
}

impl RawConfig {
    /// The text to put into the proxy's configuration.
    pub fn to_json(&self) -> String {
        // Structs of texts and numbers; serde_json refuses nothing of them.
        serde_json::to_string_pretty(self).unwrap_or_default()
    }
}

/// One thing that is wrong, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The path of the key, such as `zones[0].issuer`.
    pub key: String,
    /// What is wrong with it.
    pub what: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {}", self.key, self.what)
    }
}

/// A service behind a cluster of the proxy's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    envelope: String,
}

impl Target {
    /// Takes a cluster's name and an authority.
    ///
    /// A bare name is never handed to the proxy: it takes one such as `authority` for a message of no content, and then
    /// the whole process ends.
    fn new(cluster: &str, authority: &str) -> Option<Self> {
        let fit = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic());
        let length = cluster.len().saturating_add(authority.len());
        if !fit(cluster) || !fit(authority) || length > MOST_TARGET {
            return None;
        }
        let service = GrpcService {
            envoy_grpc: Some(EnvoyGrpc {
                cluster_name: cluster.to_owned(),
                authority: authority.to_owned(),
            }),
        };
        let envelope = String::from_utf8(service.encode_to_vec()).ok()?;
        Some(Self { envelope })
    }

    /// The message that names it to the proxy.
    pub fn envelope(&self) -> &str {
        &self.envelope
    }
}

/// A zone, and who alone issues for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Zone {
    /// Its id.
    pub id: ZoneId,
    /// Its issuer.
    pub issuer: Issuer,
}

/// Which requests a mode is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Route {
    /// Those of the route of this name.
    Name(String),
    /// Those to this host.
    Host(CanonicalHost),
}

/// A configuration to run with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Which bindings may apply.
    pub attachment: AttachmentName,
    /// The zones whose bindings may apply.
    pub zones: Vec<Zone>,
    /// Who decides.
    pub authz: Target,
    /// A decision that takes longer is none.
    pub timeout: Duration,
    /// Where the feed comes from.
    pub feed: Target,
    /// Routes whose mode is another.
    pub routes: Vec<(Route, Mode)>,
    /// The mode of every other route.
    pub mode: Mode,
}

impl Config {
    /// Reads a configuration, or finds everything that is wrong with it.
    pub fn parse(text: &[u8]) -> Result<Self, Vec<Finding>> {
        read::config(text)
    }

    /// A zone of the configuration.
    pub fn zone(&self, id: ZoneId) -> Option<&Zone> {
        self.zones.iter().find(|zone| zone.id == id)
    }

    /// The mode of a request. Where several routes name it, enforcing comes first.
    pub fn mode_of(&self, route: Option<&[u8]>, host: Option<&CanonicalHost>) -> Mode {
        let named = |(of, _): &&(Route, Mode)| match of {
            Route::Name(name) => route == Some(name.as_bytes()),
            Route::Host(name) => host == Some(name),
        };
        let mut modes = self.routes.iter().filter(named).map(|(_, mode)| *mode);
        let Some(first) = modes.next() else {
            return self.mode;
        };
        let enforced = first == Mode::Enforce || modes.any(|mode| mode == Mode::Enforce);
        if enforced {
            Mode::Enforce
        } else {
            Mode::VerifyOnly
        }
    }

    /// Whether some mode depends on the name of a route.
    pub fn needs_route(&self) -> bool {
        self.routes
            .iter()
            .any(|(route, _)| matches!(route, Route::Name(_)))
    }

    /// Whether some request is only verified.
    pub fn verifies(&self) -> bool {
        let mut modes = self.routes.iter().map(|(_, mode)| *mode).chain([self.mode]);
        modes.any(|mode| mode == Mode::VerifyOnly)
    }
}

#[cfg(test)]
mod tests;
