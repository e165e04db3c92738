//! How many requests, how they ended, how long they took.

use axum::Router;
use axum::extract::{MatchedPath, Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;
use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;

use crate::clock::Clock;
use crate::metrics::Registry;

/// The bounds of the histogram, in seconds.
const BUCKETS: [f64; 12] = [
    0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0,
];

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Ended {
    /// The template: a router has only so many.
    route: String,
    status: Class,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Took {
    route: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
enum Class {
    Success,
    Refused,
    Overload,
    Failed,
}

impl Class {
    fn of(status: u16) -> Self {
        match status {
            429 => Self::Overload,
            400..=499 => Self::Refused,
            500.. => Self::Failed,
            _ => Self::Success,
        }
    }
}

#[derive(Clone)]
struct Meter {
    requests: Family<Ended, Counter>,
    seconds: Family<Took, Histogram, fn() -> Histogram>,
    clock: Clock,
}

/// Counts and times the requests of `router`. Goes around [`super::govern`], so that what is shed
/// or panics is counted too.
pub fn measure(router: Router, metrics: &Registry, clock: Clock) -> Router {
    let histogram: fn() -> Histogram = || Histogram::new(BUCKETS);
    let meter = Meter {
        requests: Family::default(),
        seconds: Family::new_with_constructor(histogram),
        clock,
    };
    metrics.register(|registry| {
        let http = registry.sub_registry_with_prefix("http");
        let text = "Requests by route and how they ended";
        http.register("requests", text, meter.requests.clone());
        let text = "How long requests took";
        http.register("request_duration_seconds", text, meter.seconds.clone());
    });
    router.layer(from_fn_with_state(meter, around))
}

async fn around(State(meter): State<Meter>, request: Request, next: Next) -> Response {
    let started = meter.clock.monotonic();
    let route = request
        .extensions()
        .get::<MatchedPath>()
        .map_or_else(|| "(none)".to_owned(), |path| path.as_str().to_owned());
    let response = next.run(request).await;
    let took = meter.clock.monotonic().saturating_sub(started);
    let status = Class::of(response.status().as_u16());
    meter
        .seconds
        .get_or_create(&Took {
            route: route.clone(),
        })
        .observe(took.as_secs_f64());
    meter.requests.get_or_create(&Ended { route, status }).inc();
    response
}
