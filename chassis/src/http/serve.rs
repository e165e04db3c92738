//! From a listener to a task of the lifecycle, with bounds on what a peer can hold.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{ConnectInfo, Request};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tower::{ServiceExt, service_fn};

use crate::failure::{BoxError, Failure};
use crate::lifecycle::Lifecycle;

/// What peers can hold at most.
#[derive(Clone, Copy, Debug)]
struct Bounds {
    /// Connections at a time; more wait to be accepted.
    connections: usize,
    /// How long the head of a request may take, and so how long a connection may idle.
    head: Duration,
}

const BOUNDS: Bounds = Bounds {
    connections: 4_096,
    head: Duration::from_secs(30),
};

/// Binds `listen`; the port may be 0.
pub async fn bind(listen: SocketAddr) -> Result<TcpListener, Failure> {
    TcpListener::bind(listen)
        .await
        .map_err(|error| Failure::internal(format!("binding {listen}: {error}")))
}

/// Serves `router` until the soft token, then lets requests finish until the hard one. Handlers can
/// extract `ConnectInfo<SocketAddr>`.
pub fn serve(lifecycle: &Lifecycle, name: &'static str, listener: TcpListener, router: Router) {
    let acceptor = Acceptor {
        lifecycle: lifecycle.clone(),
        router,
        bounds: BOUNDS,
    };
    lifecycle.spawn(name, acceptor.run(listener));
}

struct Acceptor {
    lifecycle: Lifecycle,
    router: Router,
    bounds: Bounds,
}

impl Acceptor {
    async fn run(self, listener: TcpListener) -> Result<(), BoxError> {
        let slots = Arc::new(Semaphore::new(self.bounds.connections));
        let soft = self.lifecycle.soft();
        loop {
            let next = async {
                let slot = Arc::clone(&slots).acquire_owned().await?;
                Ok::<_, BoxError>((slot, listener.accept().await))
            };
            let (slot, accepted) = tokio::select! {
                biased;
                () = soft.cancelled() => return Ok(()),
                next = next => next?,
            };
            match accepted {
                Ok((stream, peer)) => self.hold(slot, stream, peer),
                Err(error) => {
                    // The peer is gone already, or this process has too many files open.
                    let error = error.to_string();
                    tracing::warn!(error, "a connection could not be accepted");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            }
        }
    }

    fn hold(&self, slot: OwnedSemaphorePermit, stream: TcpStream, peer: SocketAddr) {
        let (router, head) = (self.router.clone(), self.bounds.head);
        let (soft, hard) = (self.lifecycle.soft().clone(), self.lifecycle.hard().clone());
        self.lifecycle.tracker().spawn(async move {
            tokio::select! {
                () = answer(stream, peer, router, head, soft) => {}
                () = hard.cancelled() => {}
            }
            drop(slot);
        });
    }
}

/// Answers the requests of one connection; after the soft token only the one that has begun.
async fn answer(
    stream: TcpStream,
    peer: SocketAddr,
    router: Router,
    head: Duration,
    soft: CancellationToken,
) {
    // Without it answers of two small writes wait for the peer's delayed acknowledgement.
    let _best_effort = stream.set_nodelay(true);
    let service = service_fn(move |request: Request<_>| {
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(ConnectInfo(peer));
        let answer = router.clone().oneshot(request);
        async move { Ok::<_, Infallible>(answer.await.unwrap_or_else(|never| match never {})) }
    });
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(head);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(head)
        .keep_alive_timeout(head)
        .max_concurrent_streams(256);
    let service = TowerToHyperService::new(service);
    let mut connection = std::pin::pin!(builder.serve_connection(TokioIo::new(stream), service));
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = soft.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(error, "a connection broke");
    }
}

#[cfg(test)]
mod tests {
    use axum::routing::get;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    const GET: &[u8] = b"GET / HTTP/1.1\r\nhost: x\r\n\r\n";

    async fn start(bounds: Bounds) -> (Lifecycle, SocketAddr) {
        let (lifecycle, _watch) = Lifecycle::new();
        let listener = bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let address = listener.local_addr().unwrap();
        let peer = async |ConnectInfo(peer): ConnectInfo<SocketAddr>| peer.ip().to_string();
        let router = Router::new().route("/", get(peer));
        let acceptor = Acceptor {
            lifecycle: lifecycle.clone(),
            router,
            bounds,
        };
        lifecycle.spawn("http", acceptor.run(listener));
        (lifecycle, address)
    }

    async fn read(stream: &mut TcpStream) -> String {
        let mut buffer = [0; 1024];
        let length = stream.read(&mut buffer).await.unwrap();
        String::from_utf8_lossy(&buffer[..length]).into_owned()
    }

    #[tokio::test]
    async fn tells_handlers_who_asks() {
        let (_lifecycle, address) = start(BOUNDS).await;
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(GET).await.unwrap();
        assert!(read(&mut stream).await.ends_with("127.0.0.1"));
    }

    #[tokio::test]
    async fn a_head_that_does_not_end_is_cut_off() {
        let bounds = Bounds {
            head: Duration::from_millis(100),
            ..BOUNDS
        };
        let (_lifecycle, address) = start(bounds).await;
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(b"GET / HTTP/1.1\r\nhost:").await.unwrap();
        let ended = tokio::time::timeout(Duration::from_secs(5), read(&mut stream)).await;
        assert!(!ended.expect("held open").contains("200"));
    }

    #[tokio::test]
    async fn more_connections_than_allowed_wait() {
        let (_lifecycle, address) = start(Bounds {
            connections: 1,
            ..BOUNDS
        })
        .await;
        let mut first = TcpStream::connect(address).await.unwrap();
        first.write_all(GET).await.unwrap();
        assert!(read(&mut first).await.contains("200"));
        let mut second = TcpStream::connect(address).await.unwrap();
        second.write_all(GET).await.unwrap();
        let early = tokio::time::timeout(Duration::from_millis(100), read(&mut second)).await;
        assert!(early.is_err(), "was answered beside the first");
        drop(first);
        let late = tokio::time::timeout(Duration::from_secs(5), read(&mut second)).await;
        assert!(late.unwrap().contains("200"));
    }

    #[tokio::test]
    async fn idle_connections_do_not_hold_up_the_end() {
        let (lifecycle, address) = start(BOUNDS).await;
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(GET).await.unwrap();
        assert!(read(&mut stream).await.contains("200"));
        assert!(lifecycle.drain(Duration::from_secs(5)).await);
    }
}
