use std::fmt;

/// How the stack's listener is protected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Way {
    /// Envoy's own `ext_authz` filter asks.
    #[default]
    ExtAuthz,
    /// The wasm filter verifies, refuses by itself, and asks for what it would admit.
    Filter,
    /// `ext_authz` decides, and the wasm filter behind it checks again.
    Both,
}

impl Way {
    /// What `caracal up --attach` calls it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::ExtAuthz => "ext_authz",
            Self::Filter => "filter",
            Self::Both => "both",
        }
    }
}

impl fmt::Display for Way {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}
