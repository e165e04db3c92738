use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::Json;
use axum::routing::{get, post};
use http::Request;
use tower::ServiceExt;

use super::*;
use crate::clock::Clock;
use crate::config::Http;
use crate::problem::Problem;
use crate::rng::Rng;

fn limits() -> Http {
    Http {
        listen: "127.0.0.1:0".parse().unwrap(),
        max_body_bytes: 64,
        timeout: Duration::from_millis(50),
        max_in_flight: 1,
    }
}

fn router() -> Router {
    let router = Router::new()
        .route("/fine", get(async || request_id().unwrap().to_string()))
        .route("/slow", get(async || std::future::pending::<()>().await))
        .route("/boom", get(async || -> &'static str { panic!("hunter2") }))
        .route(
            "/no",
            get(async || Problem::unavailable("postgres", "hunter2")),
        )
        .route("/json", post(async |Json(_): Json<serde_json::Value>| "ok"));
    govern(router, &limits(), Clock::system(), Rng::seeded(1))
}

struct Answer {
    status: u16,
    id: String,
    body: String,
}

async fn ask(router: Router, request: Request<Body>) -> Answer {
    let response = router.oneshot(request).await.unwrap();
    let status = response.status().as_u16();
    let id = response.headers()["x-request-id"]
        .to_str()
        .unwrap()
        .to_owned();
    let body = to_bytes(response.into_body(), 1 << 20).await.unwrap();
    Answer {
        status,
        id,
        body: String::from_utf8(body.to_vec()).unwrap(),
    }
}

async fn fetch(path: &str) -> Answer {
    ask(router(), Request::get(path).body(Body::empty()).unwrap()).await
}

#[tokio::test]
async fn a_fit_request_id_is_kept_and_another_is_replaced() {
    let with = |id: &str| {
        Request::get("/fine")
            .header("x-request-id", id)
            .body(Body::empty())
            .unwrap()
    };
    let kept = ask(router(), with("abc-1")).await;
    assert_eq!((kept.id.as_str(), kept.body.as_str()), ("abc-1", "abc-1"));
    for unfit in ["", "two words", &"x".repeat(129)] {
        let replaced = ask(router(), with(unfit)).await;
        assert_ne!(replaced.id, unfit);
        assert_eq!(replaced.id, replaced.body);
    }
}

#[tokio::test]
async fn a_panic_is_a_500_that_does_not_tell_what_happened() {
    let answer = fetch("/boom").await;
    assert_eq!(answer.status, 500);
    assert!(!answer.body.contains("hunter2"));
    assert!(answer.body.contains(&answer.id));
}

#[tokio::test]
async fn what_takes_too_long_is_503() {
    let answer = fetch("/slow").await;
    assert_eq!(answer.status, 503);
    assert!(answer.body.contains("deadline_exceeded"));
}

#[tokio::test]
async fn more_at_a_time_than_allowed_is_429_and_not_a_decision() {
    let router = router();
    let (lifecycle, _watch) = crate::Lifecycle::new();
    let first = lifecycle.tracker().spawn(ask(
        router.clone(),
        Request::get("/slow").body(Body::empty()).unwrap(),
    ));
    tokio::task::yield_now().await;
    let second = ask(router, Request::get("/fine").body(Body::empty()).unwrap()).await;
    assert_eq!(second.status, 429);
    assert!(second.body.contains("rate_limited"));
    assert_eq!(first.await.unwrap().status, 503);
}

#[tokio::test]
async fn a_larger_body_is_413() {
    let large = format!("\"{}\"", "x".repeat(100));
    let post = |body: Body| {
        Request::post("/json")
            .header("content-type", "application/json")
            .body(body)
            .unwrap()
    };
    let mut declared = post(Body::from(large.clone()));
    declared
        .headers_mut()
        .insert("content-length", http::HeaderValue::from(large.len()));
    assert_eq!(ask(router(), declared).await.status, 413);
    assert_eq!(ask(router(), post(Body::from(large))).await.status, 413);
    assert_eq!(ask(router(), post(Body::from("\"x\""))).await.status, 200);
}

#[tokio::test]
async fn unknown_paths_and_methods_are_problems() {
    let missing = fetch("/nowhere").await;
    assert_eq!(missing.status, 404);
    assert!(missing.body.contains("not_found"));
    let wrong = ask(
        router(),
        Request::post("/fine").body(Body::empty()).unwrap(),
    )
    .await;
    assert_eq!(wrong.status, 405);
    assert!(wrong.body.contains("method_not_allowed"));
}

#[tokio::test]
async fn a_problem_carries_the_request_id_and_when_to_come_back() {
    let response = router()
        .oneshot(
            Request::get("/no")
                .header("x-request-id", "r1")
                .body(Body::empty())
                .unwrap(),
        )
        .await
        .unwrap();
    assert_eq!(response.headers()["retry-after"], "1");
    let body = to_bytes(response.into_body(), 1 << 20).await.unwrap();
    let document: serde_json::Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(document["request_id"], "r1");
    assert_eq!(document["error"], "unavailable");
}

#[tokio::test]
async fn requests_are_counted_by_template_and_how_they_ended() {
    let metrics = crate::metrics::Registry::new("sample");
    let things = Router::new().route("/things/{id}", get(async || "ok"));
    let governed = govern(things, &limits(), Clock::system(), Rng::seeded(1));
    let router = measure(governed, &metrics, Clock::system());
    for path in ["/things/1", "/things/2", "/nowhere"] {
        ask(
            router.clone(),
            Request::get(path).body(Body::empty()).unwrap(),
        )
        .await;
    }
    let text = metrics.expose().unwrap();
    let expected = [
        r#"sample_http_requests_total{route="/things/{id}",status="Success"} 2"#,
        r#"sample_http_requests_total{route="(none)",status="Refused"} 1"#,
        r#"sample_http_request_duration_seconds_count{route="/things/{id}"} 2"#,
    ];
    for line in expected {
        assert!(text.contains(line), "{line} is not in\n{text}");
    }
}
