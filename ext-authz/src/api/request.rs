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
use mandate::Rejection;
use mandate::request::{Form, request_id};
use wire::envoy::ATTACHMENT_KEY;

use crate::decide::Inquiry;

/// The key of the context extensions that says what becomes of the mandate, and its one value: a filter behind this
/// one checks it again and removes it then.
pub const MANDATE_KEY: &str = "caracal.mandate";
const KEEP: &str = "keep";

/// Reads a Check. Never fails: what cannot be decided about carries a fault, which is a refusal.
pub fn read(request: &CheckRequest) -> Inquiry<'_> {
    let attributes = request.attributes.as_ref();
    let extension = |key| attributes.and_then(|attributes| attributes.context_extensions.get(key));
    let http = attributes.and_then(|attributes| attributes.request.as_ref()?.http.as_ref());
    Inquiry {
        attachment: extension(ATTACHMENT_KEY).map(String::as_str),
        form: http.map_or_else(connection, form),
        keep: extension(MANDATE_KEY).is_some_and(|value| value == KEEP),
        request_id: http.map_or("", |http| request_id(http.id.as_bytes())),
        peer: attributes.and_then(peer),
    }
}

/// A network filter asks about a connection, which is nothing we govern.
fn connection<'a>() -> Form<'a> {
    let mut form = Form::default();
    form.fault(Rejection::MethodRefused);
    form
}

fn form(http: &HttpRequest) -> Form<'_> {
    let (method, host, path) = (&http.method, &http.host, &http.path);
    let mut form = Form::new(method.as_bytes(), host.as_bytes(), path.as_bytes());
    let raw = http
        .header_map
        .as_ref()
        .map_or(&[][..], |map| map.headers.as_slice());
    if !raw.is_empty() && !http.headers.is_empty() {
        form.fault(Rejection::PathRefused);
    }
    for header in raw {
        // Envoy fills one of the two.
        let value = match header.raw_value.as_slice() {
            [] => header.value.as_bytes(),
            raw => raw,
        };
        form.header(header.key.as_bytes(), value);
    }
    for (name, value) in &http.headers {
        form.header(name.as_bytes(), value.as_bytes());
    }
    form
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
