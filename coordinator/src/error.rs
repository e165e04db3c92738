//! What can go wrong with a call, and the one place that says how each looks to the caller.

use std::time::Duration;

use axum::response::{IntoResponse, Response};
use chassis::db::DbError;
use chassis::{BoxError, Problem};
use http::{HeaderValue, header};
use mandate::Rejection;
use serde::Serialize;
use utoipa::ToSchema;

/// One thing wrong with what was sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Finding {
    /// Where, as a path into the body.
    pub path: String,
    /// What.
    pub what: String,
}

impl Finding {
    /// A finding at a path.
    pub fn new(path: impl Into<String>, what: impl Into<String>) -> Self {
        Self {
            path: path.into(),
            what: what.into(),
        }
    }
}

/// What stands against a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Conflict {
    /// The id is taken.
    Exists,
    /// Another resource of the zone has this identifier.
    Identifier,
    /// Another binding of the zone holds this host and prefix at this attachment.
    Binding,
    /// Another policy version was uploaded at the same moment.
    Policy,
    /// The object is not in a state that allows this.
    State,
    /// Two secrets may overlap, not three.
    Secrets,
}

/// Why a call was not answered as asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The body is not JSON of the documented shape.
    #[error("malformed: {0}")]
    Malformed(String),
    /// The body has the shape but not the values.
    #[error("invalid: {0:?}")]
    Invalid(Vec<Finding>),
    /// The body is larger than allowed.
    #[error("the body is too large")]
    TooLarge,
    /// Not `application/json`.
    #[error("not JSON")]
    MediaType,
    /// No credential, or not one of ours.
    #[error("unauthenticated: {0}")]
    Unauthenticated(&'static str),
    /// The session mandate was refused.
    #[error("the mandate was refused: {}", .0.code())]
    Rejected(Rejection),
    /// Known, but not allowed this.
    #[error("forbidden: {0}")]
    Forbidden(&'static str),
    /// Not there, or another zone's; which is not told.
    #[error("no such {0}")]
    NotFound(&'static str),
    /// The state of things stands against it.
    #[error("conflict: {0:?}")]
    Conflict(Conflict),
    /// A change of a versioned object without `If-Match`.
    #[error("If-Match is required")]
    PreconditionRequired,
    /// The object changed since it was read.
    #[error("If-Match does not match")]
    PreconditionFailed,
    /// The idempotency key was used for another request.
    #[error("the idempotency key was used for another request")]
    KeyReused,
    /// Too many calls.
    #[error("too many calls")]
    RateLimited(Duration),
    /// Somebody else changed the same at the same moment; another try may do.
    #[error("contended: {0}")]
    Contended(#[source] BoxError),
    /// Something we depend on did not answer as it should.
    #[error("{dependency} is unavailable: {source}")]
    Unavailable {
        /// Which.
        dependency: &'static str,
        /// How.
        source: BoxError,
    },
    /// Something that should not have happened.
    #[error("internal: {0}")]
    Internal(#[source] BoxError),
}

impl Error {
    /// One finding.
    pub fn invalid(path: impl Into<String>, what: impl Into<String>) -> Self {
        Self::Invalid(vec![Finding::new(path, what)])
    }

    /// A row that no statement of ours writes.
    pub fn bad_row(table: &'static str, key: impl std::fmt::Display) -> Self {
        Self::Internal(format!("table {table} holds a row that is not valid: {key}").into())
    }

    /// Anything that should not have happened.
    pub fn internal(source: impl Into<BoxError>) -> Self {
        Self::Internal(source.into())
    }

    /// The stable code.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Malformed(_) => "malformed_request",
            Self::Invalid(_) => "invalid_request",
            Self::TooLarge => "request_too_large",
            Self::MediaType => "unsupported_media_type",
            Self::Unauthenticated(_) => "unauthenticated",
            Self::Rejected(rejection) => rejection.code(),
            Self::Forbidden(_) => "forbidden",
            Self::NotFound(_) => "not_found",
            Self::Conflict(Conflict::Exists) => "already_exists",
            Self::Conflict(Conflict::Identifier) => "identifier_taken",
            Self::Conflict(Conflict::Binding) => "binding_taken",
            Self::Conflict(Conflict::Policy) => "policy_contended",
            Self::Conflict(Conflict::State) => "wrong_state",
            Self::Conflict(Conflict::Secrets) => "too_many_secrets",
            Self::PreconditionRequired => "precondition_required",
            Self::PreconditionFailed => "precondition_failed",
            Self::KeyReused => "idempotency_key_reused",
            Self::RateLimited(_) => "rate_limited",
            Self::Contended(_) => "contended",
            Self::Unavailable { .. } => "unavailable",
            Self::Internal(_) => "internal",
        }
    }

    /// HTTP status and gRPC code.
    pub fn status(&self) -> (u16, u8) {
        match self {
            Self::Malformed(_) => (400, 3),
            Self::Invalid(_) | Self::KeyReused => (422, 3),
            Self::TooLarge => (413, 8),
            Self::MediaType => (415, 3),
            Self::Unauthenticated(_) => (401, 16),
            Self::Rejected(rejection) => (rejection.http(), rejection.grpc()),
            Self::Forbidden(_) => (403, 7),
            Self::NotFound(_) => (404, 5),
            Self::Conflict(_) => (409, 9),
            Self::PreconditionRequired => (428, 9),
            Self::PreconditionFailed => (412, 9),
            Self::RateLimited(_) => (429, 8),
            Self::Contended(_) | Self::Unavailable { .. } => (503, 14),
            Self::Internal(_) => (500, 13),
        }
    }

    /// What the caller is told; never how a dependency failed.
    pub fn detail(&self) -> String {
        match self {
            Self::Malformed(what) => what.clone(),
            Self::Invalid(findings) => match findings.as_slice() {
                [one] => format!("{}: {}", one.path, one.what),
                several => format!("{} findings", several.len()),
            },
            Self::Unauthenticated(what) | Self::Forbidden(what) => (*what).to_owned(),
            Self::Rejected(_) => "the session mandate was refused".to_owned(),
            Self::NotFound(what) => format!("no such {what}"),
            Self::Conflict(conflict) => conflict.detail().to_owned(),
            Self::TooLarge => "the body is larger than this call allows".to_owned(),
            Self::MediaType => "send application/json".to_owned(),
            Self::PreconditionRequired => "send If-Match with the ETag you read".to_owned(),
            Self::PreconditionFailed => "the object changed since you read it".to_owned(),
            Self::KeyReused => "this Idempotency-Key was used for another request".to_owned(),
            Self::RateLimited(_) => "too many calls".to_owned(),
            Self::Contended(_) => "somebody else changed the same at this moment".to_owned(),
            Self::Unavailable { dependency, .. } => format!("{dependency} does not answer"),
            Self::Internal(_) => "this should not have happened".to_owned(),
        }
    }
}

impl Conflict {
    fn detail(self) -> &'static str {
        match self {
            Self::Exists => "an object with this id exists",
            Self::Identifier => "another resource has this identifier",
            Self::Binding => "another binding holds this host and prefix at this attachment",
            Self::Policy => "another version was uploaded at the same moment; try again",
            Self::State => "the object is not in a state that allows this",
            Self::Secrets => "two secrets may overlap, not three; wait for the older one to expire",
        }
    }
}

impl From<DbError> for Error {
    fn from(error: DbError) -> Self {
        match error {
            DbError::Unavailable(source) => Self::Unavailable {
                dependency: "postgres",
                source: source.into(),
            },
            DbError::Contended(source) => Self::Contended(source.into()),
            DbError::Constraint { .. } | DbError::Internal(_) => Self::Internal(error.into()),
        }
    }
}

impl From<sqlx::Error> for Error {
    fn from(error: sqlx::Error) -> Self {
        DbError::from(error).into()
    }
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        let (http, grpc) = error.status();
        let problem = Self::new(error.code(), http, grpc, error.detail());
        match error {
            Error::Invalid(findings) => {
                let findings: Vec<serde_json::Value> = findings
                    .into_iter()
                    .map(|finding| serde_json::json!({"path": finding.path, "what": finding.what}))
                    .collect();
                problem.member("findings", findings)
            }
            Error::RateLimited(wait) => problem.retry_after(wait),
            Error::Contended(source) | Error::Unavailable { source, .. } => {
                problem.retry_after(Duration::from_secs(1)).because(source)
            }
            Error::Internal(source) => problem.because(source),
            Error::Malformed(_)
            | Error::TooLarge
            | Error::MediaType
            | Error::Unauthenticated(_)
            | Error::Rejected(_)
            | Error::Forbidden(_)
            | Error::NotFound(_)
            | Error::Conflict(_)
            | Error::PreconditionRequired
            | Error::PreconditionFailed
            | Error::KeyReused => problem,
        }
    }
}

impl IntoResponse for Error {
    fn into_response(self) -> Response {
        let challenge = if matches!(self, Self::Unauthenticated(_)) {
            Some("Bearer realm=\"caracal\"")
        } else if matches!(self, Self::Rejected(_)) {
            Some("Bearer realm=\"caracal\", error=\"invalid_token\"")
        } else {
            None
        };
        let mut response = Problem::from(self).into_response();
        if let Some(challenge) = challenge {
            let challenge = HeaderValue::from_static(challenge);
            response
                .headers_mut()
                .insert(header::WWW_AUTHENTICATE, challenge);
        }
        response
    }
}

impl From<Error> for tonic::Status {
    fn from(error: Error) -> Self {
        Problem::from(error).into()
    }
}
