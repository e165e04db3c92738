//! How a process ends.

use crate::config::Findings;

/// Any error, where only its text and its sources matter.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Why a service did not start or did not go on; decides the exit code.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The configuration, or what it points at, is not fit to run with.
    #[error("the configuration is not valid:\n{0}")]
    Configuration(Findings),
    /// A dependency could not be reached.
    #[error("{dependency} is unavailable: {source}")]
    Dependency {
        /// Which.
        dependency: &'static str,
        /// How it failed.
        source: BoxError,
    },
    /// Anything else.
    #[error(transparent)]
    Internal(BoxError),
}

impl Failure {
    /// Wraps an error of a dependency.
    pub fn dependency(dependency: &'static str, source: impl Into<BoxError>) -> Self {
        Self::Dependency {
            dependency,
            source: source.into(),
        }
    }

    /// Wraps an error that should not have happened.
    pub fn internal(source: impl Into<BoxError>) -> Self {
        Self::Internal(source.into())
    }

    /// 64 invalid configuration, 69 a dependency is unavailable, 1 anything else.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Configuration(_) => 64,
            Self::Dependency { .. } => 69,
            Self::Internal(_) => 1,
        }
    }
}

impl From<Findings> for Failure {
    fn from(findings: Findings) -> Self {
        Self::Configuration(findings)
    }
}

impl From<BoxError> for Failure {
    fn from(error: BoxError) -> Self {
        Self::Internal(error)
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self::Internal(Box::new(error))
    }
}
