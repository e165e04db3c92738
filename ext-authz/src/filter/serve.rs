//! The gRPC service. Generated code would encode every message for every stream; here each is encoded once and sent
//! to all as the same bytes.

use std::convert::Infallible;
use std::io;
use std::sync::Arc;

use bytes::BufMut as _;
use prost::Message as _;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::codegen::{Body, BoxFuture, Bytes, Context, Poll, Service, StdError, http};
use tonic::server::{Grpc, NamedService, StreamingService};
use tonic::{Request, Response, Status, Streaming};
use wire::pb::caracal::filter::v1 as pb;
use wire::pb::caracal::filter::v1::filter_server::SERVICE_NAME;

use super::outgoing::Outgoing;
use super::session::Sessions;

/// Its one method.
const SESSION: &str = "/caracal.filter.v1.Filter/Session";

/// `caracal.filter.v1.Filter`.
#[derive(Clone, Debug)]
pub struct FilterServer {
    sessions: Arc<Sessions>,
    most_message: usize,
}

impl FilterServer {
    /// Serves messages up to a size.
    pub fn new(sessions: Sessions, most_message: usize) -> Self {
        Self {
            sessions: Arc::new(sessions),
            most_message,
        }
    }
}

impl NamedService for FilterServer {
    const NAME: &'static str = SERVICE_NAME;
}

impl<B> Service<http::Request<B>> for FilterServer
where
    B: Body + Send + 'static,
    B::Error: Into<StdError> + Send + 'static,
{
    type Response = http::Response<tonic::body::Body>;
    type Error = Infallible;
    type Future = BoxFuture<Self::Response, Self::Error>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<B>) -> Self::Future {
        if request.uri().path() != SESSION {
            let unknown = Status::unimplemented("there is no such method");
            return Box::pin(async move { Ok(unknown.into_http()) });
        }
        let method = Session(Arc::clone(&self.sessions));
        let most = self.most_message;
        Box::pin(async move {
            let grpc = Grpc::new(Encoded).apply_max_message_size_config(Some(most), None);
            let mut grpc = grpc;
            Ok(grpc.streaming(method, request).await)
        })
    }
}

struct Session(Arc<Sessions>);

impl StreamingService<pb::Up> for Session {
    type Response = Bytes;
    type ResponseStream = Outgoing;
    type Future = BoxFuture<Response<Outgoing>, Status>;

    fn call(&mut self, request: Request<Streaming<pb::Up>>) -> Self::Future {
        let sessions = Arc::clone(&self.0);
        Box::pin(async move { sessions.begin(request).await.map(Response::new) })
    }
}

/// Messages down are bytes already.
#[derive(Clone, Copy, Debug)]
struct Encoded;

impl Codec for Encoded {
    type Encode = Bytes;
    type Decode = pb::Up;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Encoded {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, item: Bytes, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.put_slice(&item);
        Ok(())
    }
}

impl Decoder for Encoded {
    type Item = pb::Up;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<pb::Up>, Status> {
        let up = pb::Up::decode(buffer);
        up.map(Some)
            .map_err(|error| Status::from(io::Error::other(error)))
    }
}
