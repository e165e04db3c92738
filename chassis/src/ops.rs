//! What operators ask a process: is it alive, is it ready, how does it do.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use secrecy::SecretString;
use tokio::net::TcpListener;

use crate::config::Ops;
use crate::failure::Failure;
use crate::lifecycle::Lifecycle;
use crate::metrics::Registry;
use crate::problem::Problem;
use crate::readiness::Readiness;
use crate::{http as serving, secrets};

#[derive(Clone)]
struct Desk {
    readiness: Readiness,
    metrics: Registry,
    token: Option<Arc<SecretString>>,
}

/// `/health` (the process runs), `/ready` (by dependency, with reasons) and `/metrics` (for holders
/// of the token, if there is one).
pub fn router(readiness: Readiness, metrics: Registry, token: Option<SecretString>) -> Router {
    let desk = Desk {
        readiness,
        metrics,
        token: token.map(Arc::new),
    };
    Router::new()
        .route("/health", get(async || "ok\n"))
        .route("/ready", get(ready))
        .route("/metrics", get(expose))
        .with_state(desk)
}

/// Serves [`router`] as the last task of the lifecycle: also while the process drains it is told
/// that it is alive and not ready.
pub async fn serve(
    ops: &Ops,
    lifecycle: &Lifecycle,
    readiness: &Readiness,
    metrics: &Registry,
) -> Result<(), Failure> {
    let listener: TcpListener = serving::bind(ops.listen).await?;
    let router = router(readiness.clone(), metrics.clone(), ops.token.clone());
    lifecycle.spawn_last("ops", async move { axum::serve(listener, router).await });
    Ok(())
}

async fn ready(State(desk): State<Desk>) -> Response {
    let report = desk.readiness.report();
    let status = if report.ready {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    let mut response = (status, axum::Json(report)).into_response();
    response
        .headers_mut()
        .insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

async fn expose(State(desk): State<Desk>, headers: HeaderMap) -> Response {
    if let Some(token) = &desk.token
        && !bearer(&headers).is_some_and(|presented| secrets::matches(token, presented))
    {
        let mut response =
            Problem::new("unauthenticated", 401, 16, "metrics want a bearer token").into_response();
        let challenge = HeaderValue::from_static("Bearer");
        response
            .headers_mut()
            .insert(header::WWW_AUTHENTICATE, challenge);
        return response;
    }
    match desk.metrics.expose() {
        Ok(text) => {
            let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
            ([(header::CONTENT_TYPE, kind)], text).into_response()
        }
        Err(error) => Problem::internal(error).into_response(),
    }
}

/// The one bearer token of the headers, if there is exactly one `Authorization` and it is one.
pub fn bearer(headers: &HeaderMap) -> Option<&[u8]> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let (Some(value), None) = (values.next(), values.next()) else {
        return None;
    };
    let (scheme, token) = value.as_bytes().split_at_checked(7)?;
    scheme
        .eq_ignore_ascii_case(b"bearer ")
        .then_some(token)
        .filter(|token| !token.is_empty())
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use http::Request;
    use tower::ServiceExt;

    use super::*;

    const TOKEN: &str = "v9XkP2mQz7LwR4tYbN8sJc3Dv9XkP2mQ";

    async fn status(router: &Router, path: &str, authorization: &[&str]) -> u16 {
        let mut request = Request::get(path);
        for value in authorization {
            request = request.header("authorization", *value);
        }
        let request = request.body(Body::empty()).unwrap();
        router
            .clone()
            .oneshot(request)
            .await
            .unwrap()
            .status()
            .as_u16()
    }

    #[tokio::test]
    async fn metrics_are_for_holders_of_the_token() {
        let token = Some(SecretString::from(TOKEN));
        let router = router(Readiness::new(), Registry::new("t"), token);
        let good = format!("Bearer {TOKEN}");
        assert_eq!(status(&router, "/metrics", &[&good]).await, 200);
        assert_eq!(status(&router, "/metrics", &[]).await, 401);
        assert_eq!(status(&router, "/metrics", &["Bearer nope"]).await, 401);
        assert_eq!(status(&router, "/metrics", &[&good, &good]).await, 401);
        assert_eq!(status(&router, "/health", &[]).await, 200);
    }

    #[tokio::test]
    async fn is_ready_when_dependencies_are_up() {
        let readiness = Readiness::new();
        let postgres = readiness.need("postgres");
        let router = router(readiness.clone(), Registry::new("t"), None);
        assert_eq!(status(&router, "/ready", &[]).await, 503);
        postgres.up();
        assert_eq!(status(&router, "/ready", &[]).await, 200);
        readiness.drain();
        assert_eq!(status(&router, "/ready", &[]).await, 503);
        assert_eq!(status(&router, "/health", &[]).await, 200);
    }
}
