//! The question to ext-authz about one request: what its own filter would ask, with every header as often as it occurs.

use mandate::id::AttachmentName;
use prost::Message as _;
use wire::envoy::{
    ATTACHMENT_KEY, Address, AttributeContext, CheckRequest, Extension, HeaderMap, HeaderValue,
    HttpRequest, Peer, Request, SocketAddress,
};

use crate::exchange::Asked;
use crate::report::address;

/// The method of the service.
pub const METHOD: &str = "Check";

/// Headers that go on as metadata of the call, so that the two can be found together.
const TRACE: [&str; 3] = ["x-request-id", "traceparent", "tracestate"];

/// A call that is to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// The message.
    pub message: Vec<u8>,
    /// The call's own headers.
    pub metadata: Vec<(&'static str, Vec<u8>)>,
}

impl Call {
    /// The question about a request.
    pub fn about(asked: &Asked<'_>, attachment: &AttachmentName) -> Self {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let header = |(name, value): &(Vec<u8>, Vec<u8>)| HeaderValue {
            key: text(name),
            value: String::new(),
            raw_value: value.clone(),
        };
        let http = HttpRequest {
            id: asked.request_id().to_owned(),
            method: text(asked.first(b":method")),
            path: text(asked.first(b":path")),
            host: text(asked.first(b":authority")),
            scheme: text(asked.first(b":scheme")),
            protocol: String::new(),
            header_map: Some(HeaderMap {
                headers: asked.headers.iter().map(header).collect(),
            }),
        };
        let attachment = Extension {
            key: ATTACHMENT_KEY.to_owned(),
            value: attachment.as_str().to_owned(),
        };
        let request = CheckRequest {
            attributes: Some(AttributeContext {
                source: peer(asked.source),
                request: Some(Request { http: Some(http) }),
                context_extensions: vec![attachment],
            }),
        };
        Self {
            message: request.encode_to_vec(),
            metadata: metadata(asked),
        }
    }
}

fn peer(of: &[u8]) -> Option<Peer> {
    let at = address(of)?;
    Some(Peer {
        address: Some(Address {
            socket_address: Some(SocketAddress {
                address: at.ip().to_string(),
                port_value: Some(u32::from(at.port())),
            }),
        }),
    })
}

/// One value each, visible ASCII only: anything else would make another message of the call.
fn metadata(asked: &Asked<'_>) -> Vec<(&'static str, Vec<u8>)> {
    let value = |name: &'static str| {
        let value = asked.first(name.as_bytes());
        let fit = (1..=512).contains(&value.len())
            && value.iter().all(|byte| matches!(byte, b' '..=b'~'));
        fit.then(|| (name, value.to_vec()))
    };
    TRACE.into_iter().filter_map(value).collect()
}
