//! The question of the authorization service, written from what is at hand. A proxy asks it with every request, so
//! nothing is copied but into the message.

use std::net::SocketAddr;

use prost::encoding::{WireType, encode_key, encode_varint, encoded_len_varint};

use super::ATTACHMENT_KEY;

/// What is asked about one request: the fields of `envoy.service.auth.v3.CheckRequest` that are filled.
#[derive(Debug, Clone, Copy)]
pub struct Question<'a> {
    /// `attributes.source.address`, where it is one of the internet.
    pub source: Option<SocketAddr>,
    /// The proxy's id of the request.
    pub id: &'a str,
    /// The method.
    pub method: &'a [u8],
    /// `:path` as received, with the query.
    pub path: &'a [u8],
    /// `:authority`.
    pub host: &'a [u8],
    /// `:scheme`.
    pub scheme: &'a [u8],
    /// Every header, as often as it occurs; values may be anything.
    pub headers: &'a [(&'a [u8], &'a [u8])],
    /// The attachment, as the proxy's configuration names it.
    pub attachment: &'a str,
}

impl Question<'_> {
    /// The message. What protobuf wants to be text and is none is made text, so that it can be refused for what it is.
    pub fn encode(&self) -> Vec<u8> {
        let http = self.http();
        let mut attributes = Vec::with_capacity(http.len().saturating_add(160));
        if let Some(source) = self.source {
            message(&mut attributes, 1, &nested(&nested(&address(source), 1), 1));
        }
        message(&mut attributes, 4, &nested(&http, 2));
        let mut extension = Vec::with_capacity(96);
        field(&mut extension, 1, ATTACHMENT_KEY.as_bytes());
        field(&mut extension, 2, self.attachment.as_bytes());
        message(&mut attributes, 10, &extension);
        nested(&attributes, 1)
    }

    /// `attributes.request.http`.
    fn http(&self) -> Vec<u8> {
        let mut headers = Vec::with_capacity(2048);
        for (name, value) in self.headers {
            let name = String::from_utf8_lossy(name);
            encode_key(1, WireType::LengthDelimited, &mut headers);
            let length = room(name.len()).saturating_add(room(value.len()));
            varint(&mut headers, length);
            field(&mut headers, 1, name.as_bytes());
            field(&mut headers, 3, value);
        }
        let mut http = Vec::with_capacity(headers.len().saturating_add(512));
        field(&mut http, 1, self.id.as_bytes());
        for (tag, text) in [
            (2, self.method),
            (4, self.path),
            (5, self.host),
            (6, self.scheme),
        ] {
            field(&mut http, tag, String::from_utf8_lossy(text).as_bytes());
        }
        message(&mut http, 13, &headers);
        http
    }
}

/// `envoy.config.core.v3.SocketAddress`.
fn address(of: SocketAddr) -> Vec<u8> {
    let mut out = Vec::with_capacity(64);
    field(&mut out, 2, of.ip().to_string().as_bytes());
    encode_key(3, WireType::Varint, &mut out);
    encode_varint(u64::from(of.port()), &mut out);
    out
}

/// A message of one message.
fn nested(inner: &[u8], tag: u32) -> Vec<u8> {
    let mut out = Vec::with_capacity(inner.len().saturating_add(8));
    message(&mut out, tag, inner);
    out
}

/// A text or bytes; what is empty is left out.
fn field(out: &mut Vec<u8>, tag: u32, bytes: &[u8]) {
    if !bytes.is_empty() {
        message(out, tag, bytes);
    }
}

/// A message, empty or not.
fn message(out: &mut Vec<u8>, tag: u32, bytes: &[u8]) {
    encode_key(tag, WireType::LengthDelimited, out);
    varint(out, bytes.len());
    out.extend_from_slice(bytes);
}

fn varint(out: &mut Vec<u8>, length: usize) {
    encode_varint(u64::try_from(length).unwrap_or(u64::MAX), out);
}

/// The bytes of a field of a tag below 16.
fn room(length: usize) -> usize {
    if length == 0 {
        return 0;
    }
    let prefix = encoded_len_varint(u64::try_from(length).unwrap_or(u64::MAX));
    length.saturating_add(prefix).saturating_add(1)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use prost::Message as _;

    use super::super::messages::{
        Address, AttributeContext, CheckRequest, Extension, HeaderMap, HeaderValue, HttpRequest,
        Peer, Request, SocketAddress,
    };
    use super::*;

    /// The same question as messages.
    fn message(question: &Question<'_>) -> CheckRequest {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let header = |(name, value): &(&[u8], &[u8])| HeaderValue {
            key: text(name),
            value: String::new(),
            raw_value: value.to_vec(),
        };
        let socket_address = question.source.map(|source| SocketAddress {
            address: source.ip().to_string(),
            port_value: Some(u32::from(source.port())),
        });
        let http = HttpRequest {
            id: question.id.to_owned(),
            method: text(question.method),
            path: text(question.path),
            host: text(question.host),
            scheme: text(question.scheme),
            protocol: String::new(),
            header_map: Some(HeaderMap {
                headers: question.headers.iter().map(header).collect(),
            }),
        };
        let attachment = Extension {
            key: ATTACHMENT_KEY.to_owned(),
            value: question.attachment.to_owned(),
        };
        CheckRequest {
            attributes: Some(AttributeContext {
                source: socket_address.map(|socket_address| Peer {
                    address: Some(Address {
                        socket_address: Some(socket_address),
                    }),
                }),
                request: Some(Request { http: Some(http) }),
                context_extensions: vec![attachment],
            }),
        }
    }

    fn bytes() -> impl Strategy<Value = Vec<u8>> {
        prop_oneof![
            proptest::collection::vec(any::<u8>(), 0..40),
            "[ -~]{0,40}".prop_map(String::into_bytes),
            (100_usize..20_000).prop_map(|length| vec![b'a'; length]),
        ]
    }

    proptest! {
        #[test]
        fn a_question_is_the_message_that_prost_writes(
            source in prop::option::of(any::<SocketAddr>()),
            texts in [bytes(), bytes(), bytes(), bytes()],
            headers in proptest::collection::vec((bytes(), bytes()), 0..12),
            id in "[!-~]{0,64}",
            attachment in "[a-z]{1,200}",
        ) {
            let headers: Vec<(&[u8], &[u8])> = headers
                .iter()
                .map(|(name, value)| (name.as_slice(), value.as_slice()))
                .collect();
            let [method, path, host, scheme] = &texts;
            let question = Question {
                source,
                id: &id,
                method,
                path,
                host,
                scheme,
                headers: &headers,
                attachment: &attachment,
            };
            prop_assert_eq!(question.encode(), message(&question).encode_to_vec());
        }
    }
}
