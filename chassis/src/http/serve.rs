//! From a listener to a task of the lifecycle.

use std::net::SocketAddr;

use axum::Router;
use tokio::net::TcpListener;

use crate::failure::Failure;
use crate::lifecycle::Lifecycle;

/// Binds `listen`; the port may be 0.
pub async fn bind(listen: SocketAddr) -> Result<TcpListener, Failure> {
    TcpListener::bind(listen)
        .await
        .map_err(|error| Failure::internal(format!("binding {listen}: {error}")))
}

/// Serves `router` until the soft token, then lets requests finish until the hard one. Handlers can
/// extract `ConnectInfo<SocketAddr>`.
pub fn serve(lifecycle: &Lifecycle, name: &'static str, listener: TcpListener, router: Router) {
    let soft = lifecycle.soft().clone();
    lifecycle.spawn(name, async move {
        let service = router.into_make_service_with_connect_info::<SocketAddr>();
        axum::serve(listener, service)
            .with_graceful_shutdown(async move { soft.cancelled().await })
            .await
    });
}
