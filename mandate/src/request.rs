//! What a request says about itself. Every enforcement point reads it by these rules and believes none of it.

use crate::canonical::{self, CanonicalHost, CanonicalPath};
use crate::{OWNED_HEADERS, Rejection, baggage, headers};

/// Request ids longer than this are not kept.
const MOST_REQUEST_ID: usize = 128;

/// The proxy's id of a request, if it is fit to keep: an attribute for people, believed in nothing.
pub fn request_id(value: &[u8]) -> &str {
    let value = str::from_utf8(value).unwrap_or_default();
    let fit = value.len() <= MOST_REQUEST_ID && value.bytes().all(|byte| byte.is_ascii_graphic());
    if fit { value } else { "" }
}

/// One request, before anything is known about who sent it.
#[derive(Debug, Clone, Default)]
pub struct Form<'a> {
    method: &'a [u8],
    host: &'a [u8],
    path: &'a [u8],
    hosts: usize,
    /// Every value of `authorization`.
    pub credentials: Vec<&'a [u8]>,
    /// Every value of `x-caracal-resource`.
    pub assertions: Vec<&'a [u8]>,
    disguised: Vec<&'a [u8]>,
    baggage: Vec<&'a [u8]>,
    /// The first thing that forbids deciding about it.
    pub fault: Option<Rejection>,
    /// Whether the caller wants its answer in gRPC's form.
    pub grpc: bool,
}

/// What of a request's own headers reads like ours, and must not reach the upstream. Whatever lets a request pass removes
/// it, and sets or removes each of [`OWNED_HEADERS`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Forged {
    /// Names that read like ours to a server that takes `_` for `-`: to be removed.
    pub names: Vec<Vec<u8>>,
    /// What `baggage` is to be instead; to be removed where this is empty. None where it may stay.
    pub baggage: Option<String>,
}

/// A request in the one form that is decided on.
#[derive(Debug, Clone)]
pub struct Canonical<'a> {
    /// The method.
    pub method: &'a str,
    /// The host.
    pub host: CanonicalHost,
    /// The path.
    pub path: CanonicalPath<'a>,
}

impl<'a> Form<'a> {
    /// A request whose headers are still to be read.
    pub fn new(method: &'a [u8], host: &'a [u8], path: &'a [u8]) -> Self {
        Self {
            method,
            host,
            path,
            ..Self::default()
        }
    }

    /// Records a fault; the first one counts.
    pub fn fault(&mut self, fault: Rejection) {
        self.fault.get_or_insert(fault);
    }

    /// Reads one header. All of them must be read, each as often as it occurs.
    pub fn header(&mut self, name: &'a [u8], value: &'a [u8]) {
        match name {
            b":authority" => self.at_host(value),
            b":path" => self.agree(value, self.path, Rejection::PathRefused),
            b":method" => self.agree(value, self.method, Rejection::MethodRefused),
            b"content-type" => self.grpc |= is_grpc(value),
            [
                b'a' | b'A' | b'b' | b'B' | b'h' | b'H' | b'u' | b'U' | b'x' | b'X',
                ..,
            ] => self.named(name, value),
            _ => {}
        }
    }

    /// The one form, or the first thing that forbids it. Call it when all headers were read.
    pub fn canonical(&self) -> Result<Canonical<'a>, Rejection> {
        if let Some(fault) = self.fault {
            return Err(fault);
        }
        if self.hosts > 1 {
            return Err(Rejection::HostRefused);
        }
        let method = canonical::method(self.method)?;
        let host = canonical::host(self.host)?;
        let path = canonical::path(self.path)?;
        Ok(Canonical { method, host, path })
    }

    /// What the upstream must not see as it came.
    pub fn forged(&self) -> Forged {
        Forged {
            names: self.disguised.iter().map(|name| name.to_vec()).collect(),
            baggage: baggage::without_ours(&self.baggage),
        }
    }

    /// Names that mean something to us, in whatever spelling.
    fn named(&mut self, name: &'a [u8], value: &'a [u8]) {
        if spells(name, b"authorization") {
            self.credentials.push(value);
        } else if spells(name, b"x-caracal-resource") {
            self.assertions.push(value);
        } else if spells(name, b"baggage") {
            self.baggage.push(value);
        } else if spells(name, b"host") {
            self.at_host(value);
        } else if spells(name, b"upgrade") {
            // What follows an upgrade is no request, and nobody would decide about it.
            self.fault(Rejection::MethodRefused);
        } else if headers::is_override(name) {
            self.fault(Rejection::OverrideHeader);
        } else if headers::is_owned(name)
            && !OWNED_HEADERS.iter().any(|owned| owned.as_bytes() == name)
        {
            self.disguised.push(name);
        }
    }

    fn at_host(&mut self, value: &[u8]) {
        self.hosts = self.hosts.saturating_add(1);
        self.agree(value, self.host, Rejection::HostRefused);
    }

    /// Two places that say the same thing must say the same.
    fn agree(&mut self, header: &[u8], attribute: &[u8], otherwise: Rejection) {
        if header != attribute {
            self.fault(otherwise);
        }
    }
}

/// Whether a name is `known` to a server that ignores case and takes `_` for `-`.
fn spells(name: &[u8], known: &[u8]) -> bool {
    name.len() == known.len()
        && name.iter().zip(known).all(|(byte, known)| {
            byte.to_ascii_lowercase() == *known || (*byte == b'_' && *known == b'-')
        })
}

/// Whether a proxy answers in gRPC's form: `application/grpc`, alone or with a subtype.
fn is_grpc(value: &[u8]) -> bool {
    value
        .strip_prefix(b"application/grpc")
        .is_some_and(|rest| matches!(rest.first(), None | Some(b'+' | b';')))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read<'a>(headers: &[(&'a str, &'a str)]) -> Form<'a> {
        let mut form = Form::new(b"GET", b"payments.test", b"/v1/invoices");
        for (name, value) in headers {
            form.header(name.as_bytes(), value.as_bytes());
        }
        form
    }

    #[test]
    fn what_contradicts_itself_is_refused_by_the_first_thing_wrong() {
        let check = |headers: &[(&'static str, &'static str)], expected| {
            assert_eq!(read(headers).canonical().err(), expected, "{headers:?}");
        };
        check(&[], None);
        check(
            &[
                (":authority", "payments.test"),
                (":path", "/v1/invoices"),
                (":method", "GET"),
            ],
            None,
        );
        check(
            &[(":authority", "payments.test"), ("host", "payments.test")],
            Some(Rejection::HostRefused),
        );
        check(&[("Host", "wiki.test")], Some(Rejection::HostRefused));
        check(&[(":path", "/v1/other")], Some(Rejection::PathRefused));
        check(&[(":method", "PUT")], Some(Rejection::MethodRefused));
        check(
            &[("X_HTTP-Method-Override", "PUT")],
            Some(Rejection::OverrideHeader),
        );
        check(&[("upgrade", "websocket")], Some(Rejection::MethodRefused));
        check(
            &[("upgrade", "x"), ("x-original-url", "/")],
            Some(Rejection::MethodRefused),
        );
    }

    #[test]
    fn a_request_id_is_kept_where_it_is_fit_to() {
        assert_eq!(request_id(b"5e9c-7"), "5e9c-7");
        let long = [b'a'; 129];
        for unfit in [&b"a b"[..], b"a\nb", b"\xff", b"", &long] {
            assert_eq!(request_id(unfit), "");
        }
    }

    #[test]
    fn baggage_of_ours_is_taken_out_of_all_of_it() {
        let form = read(&[("baggage", "a=1"), ("Baggage", "caracal.zone=z,b=2")]);
        assert_eq!(form.forged().baggage.as_deref(), Some("a=1,b=2"));
        assert_eq!(read(&[("baggage", "a=1")]).forged(), Forged::default());
    }

    #[test]
    fn every_value_is_kept_in_whatever_spelling() {
        let form = read(&[
            ("authorization", "Bearer a"),
            ("Authorization", "Bearer b"),
            ("x_caracal-resource", "urn:a"),
            ("x-caracal-zone", "z"),
            ("x_caracal_zone", "z"),
            ("content-type", "application/grpc+proto"),
        ]);
        assert_eq!(form.credentials, [b"Bearer a", b"Bearer b"]);
        assert_eq!(form.assertions, [b"urn:a"]);
        let forged = Forged {
            names: vec![b"x_caracal_zone".to_vec()],
            baggage: None,
        };
        assert_eq!(form.forged(), forged);
        assert!(form.grpc);
        assert!(!read(&[("content-type", "application/grpcx")]).grpc);
    }
}
