//! Where each part of the embedded stack listens, all on loopback.

use serde::{Deserialize, Serialize};

/// The ports of one stack, all derived from its base.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Ports {
    /// Envoy listens on this + 80.
    pub(crate) base: u16,
}

macro_rules! ports {
    ($($(#[$doc:meta])* $name:ident = $offset:literal;)*) => {
        impl Ports {
            $($(#[$doc])* pub(crate) fn $name(self) -> u16 { self.base.saturating_add($offset) })*

            /// All of them.
            pub(crate) fn all(self) -> Vec<u16> {
                vec![$(self.$name()),*]
            }
        }
    };
}

ports! {
    envoy = 80;
    envoy_admin = 1901;
    sts = 81;
    sts_ops = 1081;
    coordinator = 82;
    /// The internal gRPC feed. It has the port that the rule for health and metrics would give.
    coordinator_grpc = 1082;
    coordinator_ops = 1092;
    audit = 83;
    audit_ops = 1083;
    ext_authz = 1090;
    ext_authz_ops = 1091;
    upstream = 99;
}

impl Default for Ports {
    fn default() -> Self {
        Self { base: 8000 }
    }
}
