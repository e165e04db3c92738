//! The layer around every router: request id, limits, panics, one wide line.

use std::any::Any;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::extract::{DefaultBodyLimit, MatchedPath, Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use futures::FutureExt;
use http::HeaderValue;
use http::header::{CONTENT_LENGTH, HeaderName};
use tokio::sync::Semaphore;
use tower_http::limit::RequestBodyLimitLayer;

use super::id::{CURRENT, HEADER, RequestId};
use crate::clock::Clock;
use crate::config::Http;
use crate::lifecycle::panic_message;
use crate::problem::Problem;
use crate::rng::Rng;

const NOSNIFF: HeaderName = HeaderName::from_static("x-content-type-options");

#[derive(Clone)]
struct Governor {
    slots: Arc<Semaphore>,
    timeout: Duration,
    max_body_bytes: usize,
    clock: Clock,
    rng: Rng,
}

/// What a handler says about a request for its wide line. Inserted into the request's extensions by
/// [`govern`].
#[derive(Clone, Debug, Default)]
pub struct Principal {
    said: Arc<Mutex<Said>>,
}

#[derive(Clone, Debug, Default)]
struct Said {
    principal: Option<String>,
    zone: Option<String>,
    decision: Option<String>,
}

impl Principal {
    /// Who asks. Never a credential.
    pub fn is(&self, principal: impl Into<String>) {
        self.with(|said| said.principal = Some(principal.into()));
    }

    /// In which zone.
    pub fn in_zone(&self, zone: &impl ToString) {
        self.with(|said| said.zone = Some(zone.to_string()));
    }

    /// What was decided, by its id.
    pub fn decided(&self, decision: &impl ToString) {
        self.with(|said| said.decision = Some(decision.to_string()));
    }

    fn with<T>(&self, act: impl FnOnce(&mut Said) -> T) -> T {
        act(&mut self.said.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Puts the request id, the limits of `http`, the catching of panics and the wide line around
/// `router`. More requests at a time than allowed are 429, slower ones 503, larger bodies 413.
pub fn govern(router: Router, http: &Http, clock: Clock, rng: Rng) -> Router {
    let governor = Governor {
        slots: Arc::new(Semaphore::new(http.max_in_flight)),
        timeout: http.timeout,
        max_body_bytes: http.max_body_bytes,
        clock,
        rng,
    };
    router
        .fallback(async || Problem::new("not_found", 404, 5, "no such path"))
        .method_not_allowed_fallback(async || {
            Problem::new("method_not_allowed", 405, 12, "not with this method")
        })
        // The inner limit is the one that extractors turn into their own refusal.
        .layer(DefaultBodyLimit::disable())
        .layer(RequestBodyLimitLayer::new(http.max_body_bytes))
        .layer(from_fn_with_state(governor, around))
}

async fn around(State(governor): State<Governor>, mut request: Request, next: Next) -> Response {
    let started = governor.clock.monotonic();
    let id = RequestId::of_headers(request.headers()).unwrap_or_else(|| {
        RequestId::of(
            &governor
                .rng
                .uuid_v7(governor.clock.now())
                .hyphenated()
                .to_string(),
        )
    });
    let principal = Principal::default();
    request.extensions_mut().insert(id.clone());
    request.extensions_mut().insert(principal.clone());
    let method = request.method().clone();
    // The template, never the path: a path may hold what a log must not.
    let route = request
        .extensions()
        .get::<MatchedPath>()
        .map_or_else(|| "(none)".to_owned(), |path| path.as_str().to_owned());

    let mut response = CURRENT
        .scope(id.clone(), answer(&governor, request, next))
        .await;

    if let Ok(value) = HeaderValue::from_str(id.as_str()) {
        response.headers_mut().insert(HEADER, value);
    }
    response
        .headers_mut()
        .insert(NOSNIFF, HeaderValue::from_static("nosniff"));
    let latency = governor.clock.monotonic().saturating_sub(started);
    line(
        &Line {
            id: &id,
            method: method.as_str(),
            route: &route,
            latency,
        },
        &principal,
        &response,
    );
    response
}

async fn answer(governor: &Governor, request: Request, next: Next) -> Response {
    let Ok(_slot) = governor.slots.try_acquire() else {
        return Problem::overloaded(Duration::from_secs(1)).into_response();
    };
    let length = request
        .headers()
        .get(CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok());
    if length
        .and_then(|text| text.parse::<u64>().ok())
        .is_some_and(|length| length > u64::try_from(governor.max_body_bytes).unwrap_or(u64::MAX))
    {
        return Problem::new("request_too_large", 413, 8, "the body is too large").into_response();
    }
    let caught = AssertUnwindSafe(next.run(request)).catch_unwind();
    match tokio::time::timeout(governor.timeout, caught).await {
        Ok(Ok(response)) => response,
        Ok(Err(panic)) => after_panic(panic.as_ref()).into_response(),
        Err(_) => Problem::new("deadline_exceeded", 503, 4, "this took too long")
            .retry_after(Duration::from_secs(1))
            .into_response(),
    }
}

fn after_panic(panic: &(dyn Any + Send)) -> Problem {
    Problem::internal(format!("a handler panicked: {}", panic_message(panic)))
}

struct Line<'a> {
    id: &'a RequestId,
    method: &'a str,
    route: &'a str,
    latency: Duration,
}

fn line(line: &Line<'_>, principal: &Principal, response: &Response) {
    let said = principal.with(|said| said.clone());
    let problem = response.extensions().get::<Problem>();
    let status = response.status().as_u16();
    let latency_us = u64::try_from(line.latency.as_micros()).unwrap_or(u64::MAX);
    let code = problem.map_or("ok", |problem| problem.code);
    let cause = problem.and_then(Problem::cause);
    macro_rules! wide {
        ($level:ident) => {
            tracing::$level!(
                request.id = line.id.as_str(),
                http.method = line.method,
                http.route = line.route,
                http.status = status,
                latency_us,
                code,
                principal = said.principal,
                zone = said.zone,
                decision.id = said.decision,
                cause,
                "request"
            )
        };
    }
    match status {
        500 => wide!(error),
        501..=599 => wide!(warn),
        _ => wide!(info),
    }
}
