//! What can go wrong with a call, and how it looks to the caller.

use axum::response::{IntoResponse, Response};
use chassis::db::DbError;
use chassis::{BoxError, Problem};
use http::{HeaderValue, header};

/// Why a call was not answered as asked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The query or the body is not of the documented shape.
    #[error("invalid: {0}")]
    Invalid(String),
    /// No credential, or not the one.
    #[error("unauthenticated")]
    Unauthenticated,
    /// There is no such ledger.
    #[error("no such {0}")]
    NotFound(&'static str),
    /// Too many calls, or one that is under way already.
    #[error("too many calls")]
    RateLimited(std::time::Duration),
    /// It took longer than it may.
    #[error("this took too long")]
    Deadline,
    /// Postgres.
    #[error(transparent)]
    Database(#[from] DbError),
    /// Something that should not have happened.
    #[error("internal: {0}")]
    Internal(#[source] BoxError),
}

impl Error {
    /// Wraps an error that should not have happened.
    pub(crate) fn internal(error: impl Into<BoxError>) -> Self {
        Self::Internal(error.into())
    }
}

impl From<sqlx::Error> for Error {
    fn from(error: sqlx::Error) -> Self {
        Self::Database(error.into())
    }
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        match error {
            Error::Invalid(what) => Self::new("invalid_request", 400, 3, what),
            Error::Unauthenticated => Self::new(
                "unauthenticated",
                401,
                16,
                "this wants the service's bearer token",
            ),
            Error::NotFound(what) => {
                Self::new("not_found", 404, 5, format!("there is no such {what}"))
            }
            Error::RateLimited(after) => Self::overloaded(after),
            Error::Deadline => Self::new("deadline_exceeded", 503, 4, "this took too long")
                .retry_after(std::time::Duration::from_secs(1)),
            Error::Database(error) => error.into(),
            Error::Internal(source) => Self::internal(source),
        }
    }
}

impl IntoResponse for Error {
    fn into_response(self) -> Response {
        let challenge = matches!(self, Self::Unauthenticated);
        let mut response = Problem::from(self).into_response();
        if challenge {
            let bearer = HeaderValue::from_static("Bearer");
            response
                .headers_mut()
                .insert(header::WWW_AUTHENTICATE, bearer);
        }
        response
    }
}
