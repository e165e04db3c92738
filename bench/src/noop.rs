//! The yardstick: a tonic Check that allows everything and does nothing else. It answers nothing but that, or as much as
//! ours has to: what Envoy does with an answer is part of what a Check costs.

use envoy_types::ext_authz::v3::pb::{
    Authorization, AuthorizationServer, CheckRequest, CheckResponse,
};
use envoy_types::ext_authz::v3::{CheckResponseExt as _, OkHttpResponseBuilder};
use envoy_types::pb::envoy::config::core::v3::header_value_option::HeaderAppendAction::OverwriteIfExistsOrAdd;
use envoy_types::pb::google::protobuf::{Struct, Value, value};
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status};

/// The headers that an answer of ours sets, those that it removes, and what it tells the proxy's log.
const SET: [&str; 6] = [
    "x-caracal-zone",
    "x-caracal-subject",
    "x-caracal-client",
    "x-caracal-session",
    "x-caracal-scope",
    "x-caracal-decision",
];
const REMOVED: [&str; 3] = ["x-caracal-actor", "authorization", "x-caracal-resource"];
const TOLD: [&str; 5] = ["decision_id", "code", "pos", "zone", "mandate_digest"];
/// A value of the usual length.
const VALUE: &str = "018f0000-0000-7000-8000-00000000000a";

#[derive(Debug)]
struct Noop {
    whole: bool,
}

#[tonic::async_trait]
impl Authorization for Noop {
    async fn check(&self, _: Request<CheckRequest>) -> Result<Response<CheckResponse>, Status> {
        let mut response = CheckResponse::with_status(Status::ok(""));
        let mut ok = OkHttpResponseBuilder::new();
        if self.whole {
            for name in SET {
                ok.add_header(name, VALUE, Some(OverwriteIfExistsOrAdd), false);
            }
            for name in REMOVED {
                ok.remove_header(name);
            }
            let told = TOLD.map(|name| {
                let kind = Some(value::Kind::StringValue(VALUE.to_owned()));
                (name.to_owned(), Value { kind })
            });
            response.dynamic_metadata = Some(Struct {
                fields: told.into(),
            });
        }
        response.set_http_response(ok);
        Ok(Response::new(response))
    }
}

/// Serves on loopback until the process ends: run as a child, so that its CPU time is its own.
pub(crate) async fn serve(port: u16, whole: bool) -> anyhow::Result<()> {
    let listener = TcpListener::bind(("127.0.0.1", port)).await?;
    tonic::transport::Server::builder()
        .add_service(AuthorizationServer::new(Noop { whole }))
        .serve_with_incoming(TcpListenerStream::new(listener))
        .await?;
    Ok(())
}
