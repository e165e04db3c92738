//! How a service lives: process, configuration, secrets, clock, randomness, telemetry, metrics,
//! HTTP, Postgres, Redis, keys. Everything that reads the outside world reads it here; a service
//! gets it as a value.
//!
//! Not here: what is decided (`mandate`, `policy`, `ledger`), what goes over the wire (`wire`), SQL
//! of an aggregate (the service's own `store/`).
#![forbid(unsafe_code)]

pub mod clock;
pub mod config;
pub mod crypto;
pub mod db;
pub mod evidence;
mod failure;
pub mod grpc;
pub mod http;
pub mod journal;
mod lifecycle;
mod main_of;
pub mod metrics;
pub mod ops;
pub mod outbox;
pub mod preflight;
pub mod problem;
mod readiness;
pub mod redis;
pub mod rng;
pub mod secrets;
pub mod streams;
pub mod telemetry;

pub use clock::Clock;
pub use failure::{BoxError, Failure};
pub use lifecycle::{Lifecycle, Outcome};
pub use main_of::{App, ServeArgs, main_of};
pub use problem::Problem;
pub use readiness::{Dependency, Readiness};
pub use rng::Rng;
