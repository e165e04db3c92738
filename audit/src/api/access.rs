//! Who may ask: the holder of the service token, and not too often. A wrong credential costs its own address only.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use axum::extract::{ConnectInfo, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use chassis::{ops, secrets};

use super::Desk;
use crate::error::Error;

/// Lets a request with the service token pass.
pub(crate) async fn admit(State(desk): State<Arc<Desk>>, request: Request, next: Next) -> Response {
    let peer = request
        .extensions()
        .get::<ConnectInfo<SocketAddr>>()
        .map(|ConnectInfo(peer)| peer.ip().to_canonical());
    match check(&desk, peer, &request) {
        Ok(()) => next.run(request).await,
        Err(error) => error.into_response(),
    }
}

fn check(desk: &Desk, peer: Option<IpAddr>, request: &Request) -> Result<(), Error> {
    let now = desk.clock.monotonic();
    desk.limits.may_try(peer, now).map_err(Error::RateLimited)?;
    let presented = ops::bearer(request.headers());
    if !presented.is_some_and(|presented| secrets::matches(&desk.token, presented)) {
        desk.limits.failed(peer, now);
        return Err(Error::Unauthenticated);
    }
    desk.limits.call(now).map_err(Error::RateLimited)
}
