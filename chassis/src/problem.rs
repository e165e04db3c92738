//! How an error looks to a caller: RFC 9457 over HTTP, a status with our code over gRPC. What is
//! logged of it is apart from what is told.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use serde_json::{Map, Value};
use tonic::metadata::MetadataValue;

use crate::failure::BoxError;
use crate::http::request_id;

/// The metadata key under which a gRPC status carries our code.
pub const CODE_METADATA: &str = "x-caracal-code";

/// An error as a caller sees it.
#[derive(Clone)]
pub struct Problem {
    /// The stable code.
    pub code: &'static str,
    /// The HTTP status.
    pub http: u16,
    /// The gRPC code.
    pub grpc: u8,
    /// The same sentence for every problem of this status.
    pub title: &'static str,
    /// What happened this time, in words that may be told.
    pub detail: String,
    /// When another try makes sense.
    pub retry_after: Option<Duration>,
    members: Map<String, Value>,
    cause: Option<Arc<BoxError>>,
}

impl Problem {
    /// A problem.
    pub fn new(code: &'static str, http: u16, grpc: u8, detail: impl Into<String>) -> Self {
        let title = StatusCode::from_u16(http)
            .ok()
            .and_then(|status| status.canonical_reason())
            .unwrap_or("Error");
        Self {
            code,
            http,
            grpc,
            title,
            detail: detail.into(),
            retry_after: None,
            members: Map::new(),
            cause: None,
        }
    }

    /// Something that should not have happened; the cause is logged and not told.
    pub fn internal(cause: impl Into<BoxError>) -> Self {
        Self::new("internal", 500, 13, "this should not have happened").because(cause)
    }

    /// A dependency does not answer; try again in a second.
    pub fn unavailable(dependency: &'static str, cause: impl Into<BoxError>) -> Self {
        Self::new(
            "unavailable",
            503,
            14,
            format!("{dependency} does not answer"),
        )
        .retry_after(Duration::from_secs(1))
        .because(cause)
    }

    /// Too much at a time, here or from this caller. Never a decision.
    pub fn overloaded(retry_after: Duration) -> Self {
        Self::new("rate_limited", 429, 8, "too many requests").retry_after(retry_after)
    }

    /// Says when another try makes sense.
    #[must_use]
    pub fn retry_after(mut self, after: Duration) -> Self {
        self.retry_after = Some(after);
        self
    }

    /// Keeps what is logged.
    #[must_use]
    pub fn because(mut self, cause: impl Into<BoxError>) -> Self {
        self.cause = Some(Arc::new(cause.into()));
        self
    }

    /// Adds a member of its own to the document (RFC 9457 §3.2). The standard ones stay.
    #[must_use]
    pub fn member(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.members.insert(name.to_owned(), value.into());
        self
    }

    /// What is logged: the cause and everything behind it.
    pub fn cause(&self) -> Option<String> {
        self.cause
            .as_ref()
            .map(|cause| chain(cause.as_ref().as_ref()))
    }

    /// The document, with the id of the current request.
    pub fn document(&self) -> Value {
        let mut document = self.members.clone();
        let standard: [(&str, Value); 6] = [
            ("type", format!("urn:caracal:problem:{}", self.code).into()),
            ("title", self.title.into()),
            ("status", self.http.into()),
            ("detail", self.detail.clone().into()),
            ("code", self.code.into()),
            ("error", self.code.into()),
        ];
        for (name, value) in standard {
            document.insert(name.to_owned(), value);
        }
        if let Some(id) = request_id() {
            document.insert("request_id".to_owned(), id.to_string().into());
        }
        Value::Object(document)
    }

    /// Whole seconds to wait, rounded up: what `Retry-After` says.
    pub fn retry_after_seconds(&self) -> Option<u64> {
        let after = self.retry_after?;
        let part = u64::from(after.subsec_nanos() > 0);
        Some(after.as_secs().saturating_add(part).max(1))
    }
}

/// An error and its sources, one after the other.
pub(crate) fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        let more = error.to_string();
        // Many errors repeat their source in their own text.
        if !text.contains(&more) {
            text.push_str(": ");
            text.push_str(&more);
        }
        source = error.source();
    }
    text
}

impl fmt::Debug for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Problem")
            .field("code", &self.code)
            .field("http", &self.http)
            .field("detail", &self.detail)
            .field("cause", &self.cause())
            .finish_non_exhaustive()
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.detail)
    }
}

impl std::error::Error for Problem {}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.http).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = (status, self.document().to_string()).into_response();
        let headers = response.headers_mut();
        let json = HeaderValue::from_static("application/problem+json");
        headers.insert(header::CONTENT_TYPE, json);
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some(seconds) = self.retry_after_seconds() {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response.extensions_mut().insert(self);
        response
    }
}

impl From<Problem> for tonic::Status {
    fn from(problem: Problem) -> Self {
        let mut status = Self::new(tonic::Code::from(i32::from(problem.grpc)), &problem.detail);
        let metadata = status.metadata_mut();
        metadata.insert(CODE_METADATA, MetadataValue::from_static(problem.code));
        if let Some(seconds) = problem.retry_after_seconds() {
            metadata.insert("retry-after", MetadataValue::from(seconds));
        }
        if let Some(cause) = problem.cause() {
            tracing::warn!(code = problem.code, cause, "a call failed");
        }
        status
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unavailable() -> Problem {
        Problem::unavailable("postgres", "password=hunter2 refused")
    }

    #[test]
    fn tells_the_detail_and_never_the_cause() {
        let text = unavailable().document().to_string();
        assert!(text.contains("postgres does not answer"));
        assert!(!text.contains("hunter2"));
        assert_eq!(
            unavailable().cause().as_deref(),
            Some("password=hunter2 refused")
        );
    }

    #[test]
    fn the_document_has_the_standard_members_whatever_is_added() {
        let problem = Problem::new("invalid_request", 422, 3, "2 findings")
            .member("status", 200)
            .member("findings", vec!["a", "b"]);
        let document = problem.document();
        assert_eq!(document["status"], 422);
        assert_eq!(document["title"], "Unprocessable Entity");
        assert_eq!(document["code"], "invalid_request");
        assert_eq!(document["error"], "invalid_request");
        assert_eq!(document["findings"][1], "b");
    }

    #[test]
    fn over_http_it_is_not_cached_and_says_when_to_come_back() {
        let problem = unavailable().retry_after(Duration::from_millis(1500));
        let response = problem.into_response();
        assert_eq!(response.status(), 503);
        assert_eq!(
            response.headers()["content-type"],
            "application/problem+json"
        );
        assert_eq!(response.headers()["cache-control"], "no-store");
        assert_eq!(response.headers()["retry-after"], "2");
    }

    #[test]
    fn over_grpc_the_code_is_in_the_metadata() {
        let status = tonic::Status::from(unavailable());
        assert_eq!(status.code(), tonic::Code::Unavailable);
        assert_eq!(status.metadata().get(CODE_METADATA).unwrap(), "unavailable");
        assert_eq!(status.metadata().get("retry-after").unwrap(), "1");
        assert!(!status.message().contains("hunter2"));
    }
}
