//! The question to ext-authz about one request: what its own filter would ask, with every header as often as it occurs.

use mandate::id::AttachmentName;
use wire::envoy::Question;

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
        let question = Question {
            source: address(asked.source),
            id: asked.request_id(),
            method: asked.first(b":method"),
            path: asked.first(b":path"),
            host: asked.first(b":authority"),
            scheme: asked.first(b":scheme"),
            headers: asked.headers,
            attachment: attachment.as_str(),
        };
        Self {
            message: question.encode(),
            metadata: metadata(asked),
        }
    }
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
