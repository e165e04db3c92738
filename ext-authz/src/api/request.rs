//! From Envoy's message to what is decided about.
//!
//! Envoy sends headers in one of two forms: `header_map` keeps duplicates and raw bytes, `headers`
//! joins duplicates by a comma and loses what is not UTF-8. Both are read; a request whose headers
//! come in both, or disagree with its attributes, is refused. `X-Forwarded-*`,
//! `X-Forwarded-Client-Cert` and `X-Envoy-*` are never read.

use std::net::IpAddr;

use envoy_types::ext_authz::v3::pb::CheckRequest;
use envoy_types::pb::envoy::config::core::v3::address::Address;
use envoy_types::pb::envoy::service::auth::v3::AttributeContext;
use envoy_types::pb::envoy::service::auth::v3::attribute_context::HttpRequest;
use mandate::{Rejection, headers};

use crate::decide::Inquiry;

/// The key of the context extensions that names the attachment.
pub const ATTACHMENT_KEY: &str = "caracal.bindings";

/// The key of the context extensions that says what becomes of the mandate, and its one value: a filter behind this
/// one checks it again and removes it then.
pub const MANDATE_KEY: &str = "caracal.mandate";
const KEEP: &str = "keep";

/// Request ids longer than this are not kept.
const MOST_REQUEST_ID: usize = 128;

/// Reads a Check. Never fails: what cannot be decided about carries a fault, which is a refusal.
pub fn read(request: &CheckRequest) -> Inquiry<'_> {
    let attributes = request.attributes.as_ref();
    let mut inquiry = Inquiry {
        attachment: attributes
            .and_then(|attributes| attributes.context_extensions.get(ATTACHMENT_KEY))
            .map(String::as_str),
        keep: attributes
            .and_then(|attributes| attributes.context_extensions.get(MANDATE_KEY))
            .is_some_and(|value| value == KEEP),
        peer: attributes.and_then(peer),
        ..Inquiry::default()
    };
    match attributes.and_then(|attributes| attributes.request.as_ref()?.http.as_ref()) {
        Some(http) => Reader {
            inquiry: &mut inquiry,
            http,
            hosts: 0,
        }
        .read(),
        // A network filter asks about a connection, which is nothing we govern.
        None => inquiry.fault(Rejection::MethodRefused),
    }
    inquiry
}

fn peer(attributes: &AttributeContext) -> Option<IpAddr> {
    match attributes
        .source
        .as_ref()?
        .address
        .as_ref()?
        .address
        .as_ref()?
    {
        Address::SocketAddress(socket) => socket.address.parse().ok(),
        Address::Pipe(_) | Address::EnvoyInternalAddress(_) => None,
    }
}

/// A request id that is fit to keep, or none.
pub(crate) fn request_id(value: &str) -> &str {
    let fit = value.len() <= MOST_REQUEST_ID && value.bytes().all(|byte| byte.is_ascii_graphic());
    if fit { value } else { "" }
}

struct Reader<'i, 'a> {
    inquiry: &'i mut Inquiry<'a>,
    http: &'a HttpRequest,
    hosts: usize,
}

impl<'a> Reader<'_, 'a> {
    fn read(mut self) {
        let http = self.http;
        self.inquiry.method = http.method.as_str();
        self.inquiry.host = http.host.as_bytes();
        self.inquiry.path = http.path.as_bytes();
        self.inquiry.request_id = request_id(&http.id);
        let raw = http
            .header_map
            .as_ref()
            .map_or(&[][..], |map| map.headers.as_slice());
        if !raw.is_empty() && !http.headers.is_empty() {
            self.inquiry.fault(Rejection::PathRefused);
        }
        for header in raw {
            // Envoy fills one of the two.
            let value = match header.raw_value.as_slice() {
                [] => header.value.as_bytes(),
                raw => raw,
            };
            self.header(&header.key, value);
        }
        for (name, value) in &http.headers {
            self.header(name, value.as_bytes());
        }
        if self.hosts > 1 {
            self.inquiry.fault(Rejection::HostRefused);
        }
    }

    fn header(&mut self, name: &'a str, value: &'a [u8]) {
        match name.as_bytes() {
            b":authority" => self.host(value),
            b":path" => self.agree(value, self.http.path.as_bytes(), Rejection::PathRefused),
            b":method" => self.agree(value, self.http.method.as_bytes(), Rejection::MethodRefused),
            b"content-type" => self.inquiry.grpc |= is_grpc(value),
            [b'x' | b'X' | b'h' | b'H' | b'a' | b'A', ..] => self.named(name, value),
            _ => {}
        }
    }

    /// Names that mean something to us, in whatever spelling.
    fn named(&mut self, name: &'a str, value: &'a [u8]) {
        if spells(name, "authorization") {
            self.inquiry.credentials.push(value);
        } else if spells(name, "x-caracal-resource") {
            self.inquiry.assertions.push(value);
        } else if spells(name, "host") {
            self.host(value);
        } else if headers::is_override(name.as_bytes()) {
            self.inquiry.fault(Rejection::OverrideHeader);
        } else if headers::is_owned(name.as_bytes()) && !mandate::OWNED_HEADERS.contains(&name) {
            self.inquiry.disguised.push(name);
        }
    }

    fn host(&mut self, value: &[u8]) {
        self.hosts = self.hosts.saturating_add(1);
        self.agree(value, self.http.host.as_bytes(), Rejection::HostRefused);
    }

    /// Two places that say the same thing must say the same.
    fn agree(&mut self, header: &[u8], attribute: &[u8], otherwise: Rejection) {
        if header != attribute {
            self.inquiry.fault(otherwise);
        }
    }
}

/// Whether a name is `known` to a server that ignores case and takes `_` for `-`.
fn spells(name: &str, known: &str) -> bool {
    name.len() == known.len()
        && name.bytes().zip(known.bytes()).all(|(byte, known)| {
            byte.to_ascii_lowercase() == known || (byte == b'_' && known == b'-')
        })
}

/// Whether Envoy will answer in gRPC's form: `application/grpc`, alone or with a subtype.
fn is_grpc(value: &[u8]) -> bool {
    let kind = b"application/grpc";
    value
        .split_at_checked(kind.len())
        .is_some_and(|(start, rest)| {
            start == kind && matches!(rest.first(), None | Some(b'+' | b';'))
        })
}
