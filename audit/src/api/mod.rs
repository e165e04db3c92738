//! Search and verification over HTTP, for the holder of the service token.

mod access;
mod document;
mod events;
mod limit;
#[cfg(test)]
mod tests;
mod verify;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::middleware::from_fn_with_state;
use axum::routing::{get, post};
use chassis::clock::Clock;
use chassis::db::{OperatorStore, Store};
use secrecy::SecretString;
use tokio::sync::Mutex;

pub(crate) use self::limit::Limits;
use crate::sweep::Sweep;

/// What the handlers work with.
#[derive(Debug)]
pub(crate) struct Desk {
    pub(crate) token: SecretString,
    pub(crate) reader: Store,
    pub(crate) operator: OperatorStore,
    pub(crate) sweep: Sweep,
    /// One verification at a time.
    pub(crate) verifying: Mutex<()>,
    pub(crate) limits: Limits,
    pub(crate) clock: Clock,
    /// A search takes no longer than this.
    pub(crate) timeout: Duration,
}

/// The routes. `POST /v1/verify` may take long; whoever serves them bounds it.
pub(crate) fn router(desk: Arc<Desk>) -> Router {
    Router::new()
        .route("/v1/events", get(events::everywhere))
        .route("/v1/zones/{zone}/events", get(events::in_zone))
        .route("/v1/verify", post(verify::verify))
        .layer(from_fn_with_state(Arc::clone(&desk), access::admit))
        .with_state(desk)
}
