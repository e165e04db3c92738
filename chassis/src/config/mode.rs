//! How strict the process is with its surroundings. The one parser of `CARACAL_MODE`.

use std::str::FromStr;

/// How strict the process is with its surroundings. Nothing that decides about a request reads it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// For a developer's machine: what is unsafe is allowed.
    Dev,
    /// What is unsafe stops the start.
    #[default]
    Stable,
}

/// Not a mode.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("is neither dev nor stable")]
pub struct NotAMode;

impl Mode {
    /// Whether what is unsafe stops the start.
    pub fn is_stable(self) -> bool {
        matches!(self, Self::Stable)
    }

    /// As written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Dev => "dev",
            Self::Stable => "stable",
        }
    }
}

impl FromStr for Mode {
    type Err = NotAMode;

    fn from_str(text: &str) -> Result<Self, NotAMode> {
        match text {
            "dev" => Ok(Self::Dev),
            "stable" => Ok(Self::Stable),
            _ => Err(NotAMode),
        }
    }
}
