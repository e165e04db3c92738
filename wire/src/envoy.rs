//! The few messages of Envoy's that the filter speaks: the fields that it writes or reads, with Envoy's numbers
//! (`envoy.service.auth.v3`, `envoy.config.core.v3`). Unknown fields are passed over, as everywhere in protobuf.
//!
//! Not here: the authorization service itself, which ext-authz serves with the full messages.

mod answer;
pub mod messages;
mod question;

use prost::Message;

pub use answer::{Allowed, Answer, Denied, Header, Outcome};
pub use question::Question;

/// The service that decides.
pub const AUTHORIZATION: &str = "envoy.service.auth.v3.Authorization";

/// The key of the context extensions that names the attachment.
pub const ATTACHMENT_KEY: &str = "caracal.bindings";

/// `envoy.config.core.v3.GrpcService`: a cluster of the proxy's, and what it is called as.
#[derive(Clone, PartialEq, Message)]
pub struct GrpcService {
    /// The cluster.
    #[prost(message, optional, tag = "1")]
    pub envoy_grpc: Option<EnvoyGrpc>,
}

/// `GrpcService.EnvoyGrpc`.
#[derive(Clone, PartialEq, Message)]
pub struct EnvoyGrpc {
    /// The cluster's name.
    #[prost(string, tag = "1")]
    pub cluster_name: String,
    /// `:authority` of the calls.
    #[prost(string, tag = "2")]
    pub authority: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_read_past_what_is_unknown() {
        // status{0, "allowed"}, ok_response{header a: b, append: false; remove c}, dynamic_metadata{decision_id: "x"}, an
        // unknown field.
        let bytes = [
            b"\x0a\x09\x12\x07allowed".as_slice(),
            b"\x1a\x0f\x12\x0a\x0a\x06\x0a\x01a\x12\x01b\x12\x00\x2a\x01c",
            b"\x22\x14\x0a\x12\x0a\x0bdecision_id\x12\x03\x1a\x01x",
            b"\xfa\x01\x01z",
        ]
        .concat();
        let mut answer = Answer::read(&bytes).unwrap();
        assert_eq!(answer.status, Some(0));
        assert_eq!(answer.text("decision_id"), Some("x"));
        answer.metadata.push(("decision_id", Some("x")));
        assert_eq!(answer.text("decision_id"), None, "it is there twice");
        let header = Header {
            name: "a",
            value: b"b",
        };
        let allowed = Allowed {
            headers: vec![header],
            remove: vec!["c"],
        };
        assert_eq!(answer.outcome, Some(Outcome::Ok(allowed)));
    }

    #[test]
    fn the_envelope_of_a_cluster_is_what_a_proxy_parses_first() {
        let service = GrpcService {
            envoy_grpc: Some(EnvoyGrpc {
                cluster_name: "authority".to_owned(),
                authority: "ext-authz".to_owned(),
            }),
        };
        assert_eq!(
            service.encode_to_vec(),
            b"\x0a\x16\x0a\x09authority\x12\x09ext-authz"
        );
    }
}
