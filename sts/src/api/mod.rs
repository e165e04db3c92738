//! The HTTP face: the token endpoint, key sets and metadata, each of one zone.

mod keys;
mod metadata;
mod reply;
mod source;
mod token;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::routing::{any, get};

use crate::mint::Mint;
use crate::mint::evidence::Evidence;

/// What the handlers work with.
#[derive(Debug)]
pub(crate) struct Desk {
    /// The issuer.
    pub mint: Mint,
    /// Where refusals are written.
    pub evidence: Evidence,
    /// Proxies whose word on the source counts.
    pub trusted_proxies: Vec<IpAddr>,
    /// How long a key set may be kept.
    pub jwks_max_age: Duration,
    /// The most bytes of a token request.
    pub max_body: usize,
}

/// Every route.
pub(crate) fn router(desk: Arc<Desk>) -> Router {
    Router::new()
        .route("/z/{zone}/token", any(token::token))
        .route("/z/{zone}/jwks.json", get(keys::jwks))
        .route(
            "/.well-known/oauth-authorization-server/z/{zone}",
            get(keys::metadata),
        )
        .with_state(desk)
}
