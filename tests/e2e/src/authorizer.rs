use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// What an authorizer that is not ours answers to every Check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Says {
    /// This message, with the status OK of gRPC.
    Message(Vec<u8>),
    /// These bytes of a body, whatever they are, with the status OK.
    Body(Vec<u8>),
    /// A status of gRPC without a message.
    Status(u16),
    /// A status of HTTP.
    Http(u16),
    /// An allow of ours in every byte, and then no status at all: the stream is reset.
    ResetAfter(Vec<u8>),
    /// Nothing: the stream is reset.
    Reset,
    /// Nothing: the connection ends.
    Gone,
    /// Nothing at all, for ever.
    Silence,
}

/// An authorizer speaking gRPC by hand: Envoy's and the filter's view of one that is broken, or not ours.
#[derive(Debug)]
pub struct Authorizer {
    address: SocketAddr,
    asked: Arc<AtomicU64>,
    says: tokio::sync::watch::Sender<Says>,
    serving: JoinHandle<()>,
}

impl Authorizer {
    /// One that says this, on a port of its own.
    pub async fn new(says: Says) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let asked = Arc::new(AtomicU64::new(0));
        let (says, told) = tokio::sync::watch::channel(says);
        let count = Arc::clone(&asked);
        #[expect(clippy::disallowed_methods, reason = "a test has no task tracker")]
        let serving = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                #[expect(clippy::disallowed_methods, reason = "a test has no task tracker")]
                tokio::spawn(serve(stream, told.clone(), Arc::clone(&count)));
            }
        });
        Self {
            address,
            asked,
            says,
            serving,
        }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How often it was asked.
    pub fn asked(&self) -> u64 {
        self.asked.load(Ordering::Relaxed)
    }

    /// What it says from now on.
    pub fn say(&self, says: Says) {
        self.says.send_replace(says);
    }
}

impl Drop for Authorizer {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn serve(stream: TcpStream, told: tokio::sync::watch::Receiver<Says>, asked: Arc<AtomicU64>) {
    let Ok(mut connection) = h2::server::handshake(stream).await else {
        return;
    };
    // Streams that are never answered have to be held, or they would be reset.
    let mut held = Vec::new();
    while let Some(Ok((request, mut respond))) = connection.accept().await {
        asked.fetch_add(1, Ordering::Relaxed);
        let says = told.borrow().clone();
        match says {
            Says::Gone => return,
            Says::Reset => respond.send_reset(h2::Reason::INTERNAL_ERROR),
            Says::Silence => held.push((request, respond)),
            Says::Http(status) => {
                let response = Response::builder().status(status).body(()).expect("one");
                let _ = respond.send_response(response, true);
            }
            Says::Status(status) => {
                let mut response = grpc();
                response
                    .headers_mut()
                    .insert("grpc-status", HeaderValue::from(status));
                let _ = respond.send_response(response, true);
            }
            Says::Message(message) => answer(&request, &mut respond, framed(&message), true),
            Says::Body(body) => answer(&request, &mut respond, body, true),
            Says::ResetAfter(message) => answer(&request, &mut respond, framed(&message), false),
        }
    }
}

fn answer(
    _request: &Request<h2::RecvStream>,
    respond: &mut h2::server::SendResponse<Bytes>,
    body: Vec<u8>,
    whole: bool,
) {
    let Ok(mut stream) = respond.send_response(grpc(), false) else {
        return;
    };
    let _ = stream.send_data(Bytes::from(body), false);
    if whole {
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", HeaderValue::from_static("0"));
        let _ = stream.send_trailers(trailers);
    } else {
        stream.send_reset(h2::Reason::INTERNAL_ERROR);
    }
}

fn grpc() -> Response<()> {
    Response::builder()
        .header("content-type", "application/grpc")
        .body(())
        .expect("a response")
}

/// One message as gRPC frames it.
fn framed(message: &[u8]) -> Vec<u8> {
    let mut framed = vec![0];
    let length = u32::try_from(message.len()).expect("a message");
    framed.extend(length.to_be_bytes());
    framed.extend_from_slice(message);
    framed
}
