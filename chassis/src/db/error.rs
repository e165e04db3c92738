//! What can go wrong with Postgres, sorted by what the caller is to do.

use std::time::Duration;

use crate::problem::Problem;

/// An error of Postgres or on the way there.
#[derive(Debug, thiserror::Error)]
pub enum DbError {
    /// It did not answer, or had no connection to give: try again.
    #[error("postgres does not answer: {0}")]
    Unavailable(#[source] sqlx::Error),
    /// Somebody else was at it at the same moment: try the whole transaction again.
    #[error("postgres broke a conflict: {0}")]
    Contended(#[source] sqlx::Error),
    /// A constraint refused the write.
    #[error("constraint {constraint} refused: {source}")]
    Constraint {
        /// Its name.
        constraint: String,
        /// As told.
        source: sqlx::Error,
    },
    /// Anything else: a mistake of ours.
    #[error("postgres refused: {0}")]
    Internal(#[source] sqlx::Error),
}

impl DbError {
    /// The constraint that refused, if it was one.
    pub fn constraint(&self) -> Option<&str> {
        match self {
            Self::Constraint { constraint, .. } => Some(constraint),
            Self::Unavailable(_) | Self::Contended(_) | Self::Internal(_) => None,
        }
    }

    /// Whether another try can help.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Unavailable(_) | Self::Contended(_))
    }
}

impl From<sqlx::Error> for DbError {
    fn from(error: sqlx::Error) -> Self {
        if let sqlx::Error::Database(database) = &error {
            let code = database.code().unwrap_or_default();
            // Classes of appendix A of the PostgreSQL manual.
            return match code.get(..2).unwrap_or_default() {
                "23" => match database.constraint().map(ToOwned::to_owned) {
                    Some(constraint) => Self::Constraint {
                        constraint,
                        source: error,
                    },
                    None => Self::Internal(error),
                },
                // Rollback (serialisation, deadlock), and a lock that was not to be had.
                "40" => Self::Contended(error),
                _ if code == "55P03" => Self::Contended(error),
                // Connection, authorisation, resources, operator, system, read-only standby.
                "08" | "28" | "53" | "57" | "58" => Self::Unavailable(error),
                _ if code == "25006" => Self::Unavailable(error),
                _ => Self::Internal(error),
            };
        }
        let unavailable = matches!(
            error,
            sqlx::Error::Io(_)
                | sqlx::Error::Tls(_)
                | sqlx::Error::Protocol(_)
                | sqlx::Error::PoolTimedOut
                | sqlx::Error::PoolClosed
                | sqlx::Error::WorkerCrashed
                | sqlx::Error::BeginFailed
        );
        if unavailable {
            Self::Unavailable(error)
        } else {
            Self::Internal(error)
        }
    }
}

impl From<DbError> for Problem {
    fn from(error: DbError) -> Self {
        match error {
            DbError::Unavailable(source) => Self::unavailable("postgres", source),
            DbError::Contended(source) => Self::new(
                "contended",
                503,
                14,
                "somebody else changed the same at this moment",
            )
            .retry_after(Duration::from_secs(1))
            .because(source),
            DbError::Constraint { source, .. } | DbError::Internal(source) => {
                Self::internal(source)
            }
        }
    }
}
