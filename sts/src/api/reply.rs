//! Answers of the token endpoint (RFC 6749 §5): JSON, never stored.

use axum::response::{IntoResponse, Response};
use chassis::Problem;
use chassis::http::request_id;
use http::{HeaderName, HeaderValue, StatusCode, header};
use mandate::id::DecisionId;
use serde_json::{Value, json};

use crate::error::{BoxError, Error, Unavailable};
use crate::mint::{Issued, whole_seconds};

const DECISION: HeaderName = HeaderName::from_static("x-caracal-decision");

/// A mandate.
pub(super) fn issued(issued: &Issued, token_type: Option<&str>, decision: DecisionId) -> Response {
    let mut body = json!({
        "access_token": issued.mandate,
        "token_type": "Bearer",
        "expires_in": issued.expires_in,
        "scope": issued.scopes.to_string(),
    });
    if let (Some(token_type), Some(members)) = (token_type, body.as_object_mut()) {
        members.insert("issued_token_type".to_owned(), token_type.into());
    }
    finish(StatusCode::OK, &body, decision)
}

/// A refusal, or that there is no answer.
pub(super) fn refused(error: Error, issuer: Option<&str>, decision: DecisionId) -> Response {
    let face = error.face();
    let status = StatusCode::from_u16(face.status).unwrap_or(StatusCode::SERVICE_UNAVAILABLE);
    let (code, description) = (error.code(), error.describe());
    let mut body = json!({
        "error": face.error,
        "error_description": description,
        "code": code,
        "decision_id": decision.to_string(),
    });
    if let (Some(id), Some(members)) = (request_id(), body.as_object_mut()) {
        members.insert("request_id".to_owned(), id.to_string().into());
    }
    let mut response = finish(status, &body, decision);
    let headers = response.headers_mut();
    if status == StatusCode::UNAUTHORIZED {
        headers.insert(header::WWW_AUTHENTICATE, challenge(issuer));
    }
    if let Some(wait) = face.retry_after {
        headers.insert(header::RETRY_AFTER, HeaderValue::from(whole_seconds(wait)));
    }
    let problem = Problem::new(code, face.status, 0, description);
    let problem = match cause(error) {
        Some(cause) => problem.because(cause),
        None => problem,
    };
    response.extensions_mut().insert(problem);
    response
}

/// The method is not one of the token endpoint's.
pub(super) fn method_not_allowed(decision: DecisionId) -> Response {
    let body = json!({
        "error": "invalid_request",
        "error_description": "the token endpoint takes POST alone",
        "code": "method_not_allowed",
        "decision_id": decision.to_string(),
    });
    let mut response = finish(StatusCode::METHOD_NOT_ALLOWED, &body, decision);
    response
        .headers_mut()
        .insert(header::ALLOW, HeaderValue::from_static("POST"));
    response
}

fn finish(status: StatusCode, body: &Value, decision: DecisionId) -> Response {
    let mut response = (status, body.to_string()).into_response();
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/json"),
    );
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::PRAGMA, HeaderValue::from_static("no-cache"));
    if let Ok(value) = HeaderValue::from_str(&decision.to_string()) {
        headers.insert(DECISION, value);
    }
    response
}

/// RFC 7617 §2.1. An issuer has no quote and no backslash.
fn challenge(issuer: Option<&str>) -> HeaderValue {
    let realm = issuer.unwrap_or("caracal");
    HeaderValue::from_str(&format!("Basic realm=\"{realm}\", charset=\"UTF-8\""))
        .unwrap_or(HeaderValue::from_static("Basic"))
}

fn cause(error: Error) -> Option<BoxError> {
    match error {
        Error::Unavailable(
            Unavailable::PolicyBroken(source) | Unavailable::Dependency { source, .. },
        ) => Some(source),
        Error::Unavailable(Unavailable::Policy(error)) => Some(error.into()),
        Error::Refused(_)
        | Error::Unavailable(
            Unavailable::Provisioning
            | Unavailable::ClockSkew
            | Unavailable::Contended
            | Unavailable::NoSigningKey,
        ) => None,
    }
}
