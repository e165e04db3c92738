//! What verifiers read: key sets and metadata.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use chassis::Problem;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use mandate::id::ZoneId;

use crate::api::Desk;
use crate::api::metadata::Metadata;
use crate::error::{Error, Refusal, Unavailable};
use crate::keys::{Issuing, ZoneKeys};

/// `GET /z/{zone}/jwks.json` (RFC 7517 §5): keys that verify, and those that will.
pub(super) async fn jwks(
    State(desk): State<Arc<Desk>>,
    Path(zone): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let issuing = issuing(&desk, &zone).await?;
    let keys = issuing.keys();
    let fresh = headers
        .get(header::IF_NONE_MATCH)
        .and_then(|value| value.to_str().ok())
        .is_some_and(|known| matches_etag(known, &keys.etag));
    let mut response = if fresh {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        let kind = HeaderValue::from_static("application/jwk-set+json");
        ([(header::CONTENT_TYPE, kind)], keys.jwks.clone()).into_response()
    };
    cacheable(&mut response, &desk, keys);
    Ok(response)
}

/// `GET /.well-known/oauth-authorization-server/z/{zone}` (RFC 8414 §3.1).
pub(super) async fn metadata(
    State(desk): State<Arc<Desk>>,
    Path(zone): Path<String>,
) -> Result<Response, Problem> {
    let issuing = issuing(&desk, &zone).await?;
    let mut response = axum::Json(Metadata::of(&issuing.keys().issuer)).into_response();
    let age = max_age(&desk);
    response.headers_mut().insert(header::CACHE_CONTROL, age);
    Ok(response)
}

async fn issuing(desk: &Desk, zone: &str) -> Result<Issuing, Problem> {
    let zone = ZoneId::parse(zone).map_err(|_| problem(Refusal::ZoneUnknown.into()))?;
    let keys = desk.mint.zone(zone).await.map_err(problem)?;
    keys.issuing().map_err(problem)
}

fn cacheable(response: &mut Response, desk: &Desk, keys: &ZoneKeys) {
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, max_age(desk));
    if let Ok(etag) = HeaderValue::from_str(&keys.etag) {
        headers.insert(header::ETAG, etag);
    }
}

fn max_age(desk: &Desk) -> HeaderValue {
    HeaderValue::from_str(&format!("public, max-age={}", desk.jwks_max_age.as_secs()))
        .unwrap_or(HeaderValue::from_static("no-cache"))
}

/// RFC 9110 §13.1.2: a list, or `*`; compared weakly.
fn matches_etag(known: &str, etag: &str) -> bool {
    known
        .split(',')
        .map(str::trim)
        .any(|one| one == "*" || one.trim_start_matches("W/") == etag)
}

fn problem(error: Error) -> Problem {
    let face = error.face();
    let grpc = if face.status == 404 { 5 } else { 14 };
    let mut problem = Problem::new(error.code(), face.status, grpc, error.describe());
    if let Some(wait) = face.retry_after {
        problem = problem.retry_after(wait);
    }
    if let Error::Unavailable(Unavailable::Dependency { source, .. }) = error {
        problem = problem.because(source);
    }
    problem
}

#[cfg(test)]
mod tests {
    use super::matches_etag;

    #[test]
    fn an_etag_matches_in_a_list_and_weakly() {
        for known in ["\"a\"", "W/\"a\"", "\"b\", \"a\"", "*"] {
            assert!(matches_etag(known, "\"a\""), "{known}");
        }
        assert!(!matches_etag("\"b\"", "\"a\"") && !matches_etag("a", "\"a\""));
    }
}
