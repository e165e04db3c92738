//! The listener: loopback or a Unix socket, health, and an end in order.

use std::fs::Permissions;
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::path::Path;
use std::time::Duration;

use chassis::{Failure, Lifecycle, Readiness};
use envoy_types::ext_authz::v3::pb::AuthorizationServer;
use tokio::net::{TcpListener, UnixListener};
use tokio_stream::wrappers::UnixListenerStream;
use tonic::transport::Server;
use tonic::transport::server::{Router, TcpIncoming};

use super::check::Check;
use super::health;
use crate::config::{self, Listen};
use crate::filter::FilterServer;

/// A request may be this large; Envoy sends headers, and no body unless told to.
const MOST_MESSAGE: usize = 4 * 1024 * 1024;

/// A listener that is bound.
#[derive(Debug)]
pub enum Bound {
    /// A port.
    Tcp(TcpListener),
    /// A socket.
    Unix(UnixListener),
}

/// Binds.
pub async fn bind(listen: &Listen) -> Result<Bound, Failure> {
    let failed = |error| Failure::internal(format!("binding {listen:?}: {error}"));
    match listen {
        Listen::Loopback(address) => TcpListener::bind(address)
            .await
            .map(Bound::Tcp)
            .map_err(failed),
        Listen::Unix(path) => {
            remove_stale(path).map_err(failed)?;
            let listener = UnixListener::bind(path).map_err(failed)?;
            // Whoever can open it may ask: its owner and its group.
            std::fs::set_permissions(path, Permissions::from_mode(0o660)).map_err(failed)?;
            Ok(Bound::Unix(listener))
        }
    }
}

/// A socket that an earlier process left is in the way; anything else is not ours to remove.
fn remove_stale(path: &Path) -> std::io::Result<()> {
    match std::fs::symlink_metadata(path) {
        Ok(found) if found.file_type().is_socket() => std::fs::remove_file(path),
        Ok(_) | Err(_) => Ok(()),
    }
}

/// Serves until the soft token, tells that it is over, waits for the proxies to look elsewhere, and
/// lets what has begun finish.
pub fn serve(
    bound: Bound,
    check: Check,
    filters: FilterServer,
    config: &config::Check,
    readiness: Readiness,
    lifecycle: &Lifecycle,
) {
    let (reporter, health_service) = tonic_health::server::health_reporter();
    let telling = health::tell(reporter, readiness, lifecycle.clone());
    lifecycle.spawn("check_health", telling);
    let router = Server::builder()
        .max_concurrent_streams(Some(config.max_concurrent_streams))
        .http2_keepalive_interval(Some(Duration::from_secs(30)))
        .http2_keepalive_timeout(Some(Duration::from_secs(5)))
        .add_service(health_service)
        .add_service(AuthorizationServer::new(check).max_decoding_message_size(MOST_MESSAGE))
        .add_service(filters);
    lifecycle.spawn(
        "check",
        run(bound, router, config.lame_duck, lifecycle.clone()),
    );
}

async fn run(
    bound: Bound,
    router: Router,
    lame_duck: Duration,
    lifecycle: Lifecycle,
) -> Result<(), tonic::transport::Error> {
    let over = async move {
        lifecycle.soft().cancelled().await;
        tokio::time::sleep(lame_duck).await;
    };
    match bound {
        Bound::Tcp(listener) => {
            let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
            router.serve_with_incoming_shutdown(incoming, over).await
        }
        Bound::Unix(listener) => {
            let incoming = UnixListenerStream::new(listener);
            router.serve_with_incoming_shutdown(incoming, over).await
        }
    }
}
