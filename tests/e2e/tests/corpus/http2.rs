//! The same listener over HTTP/2 (RFC 9113), with headers that its rules forbid.

use e2e::attack::{Attack, Expected, HOST, PATH, Shot};
use e2e::frames::Frames;

use Expected::{Closed, Envoy, Ours, Passes};

type Fields<'a> = Vec<(&'a str, &'a [u8])>;

/// What is changed in a request that would pass.
enum Change<'a> {
    /// These fields come after all.
    More(&'a [(&'a str, &'a [u8])]),
    /// This field is left out.
    Less(&'a str),
    /// This field has another value.
    Other(&'a str, &'a [u8]),
    /// These fields come first.
    First(&'a [(&'a str, &'a [u8])]),
}

fn fields<'a>(credential: &'a [u8], change: &Change<'a>) -> Fields<'a> {
    let mut fields: Fields<'a> = vec![
        (":method", b"GET"),
        (":scheme", b"http"),
        (":authority", HOST.as_bytes()),
        (":path", PATH.as_bytes()),
        ("authorization", credential),
    ];
    match change {
        Change::More(more) => fields.extend_from_slice(more),
        Change::Less(name) => fields.retain(|(known, _)| known != name),
        Change::Other(name, value) => {
            for field in fields.iter_mut().filter(|(known, _)| known == name) {
                field.1 = value;
            }
        }
        Change::First(first) => {
            fields.splice(0..0, first.iter().copied());
        }
    }
    fields
}

pub(crate) fn attacks(mandate: &str) -> Vec<Attack> {
    let credential = format!("Bearer {mandate}").into_bytes();
    let same = [("host", HOST.as_bytes())];
    let cases: Vec<(&str, Change<'_>, Expected)> = vec![
        ("nothing odd", Change::More(&[]), Passes(PATH)),
        ("no path", Change::Less(":path"), Closed),
        ("an empty path", Change::Other(":path", b""), Closed),
        (
            "a path without a slash",
            Change::Other(":path", b"v1/invoices/42"),
            Closed,
        ),
        ("the path *", Change::Other(":path", b"*"), Closed),
        (
            "the form of a proxy in the path",
            Change::Other(":path", b"http://invoices.example.test/v1/invoices/42"),
            Closed,
        ),
        (
            "a path with a space",
            Change::Other(":path", b"/v1/invoices/42 HTTP/1.1"),
            Closed,
        ),
        (
            "a path with a line end",
            Change::Other(":path", b"/v1/invoices/42\r\nx-caracal-subject: root"),
            Closed,
        ),
        (
            "a path with a NUL",
            Change::Other(":path", b"/v1/invoices/42\0"),
            Closed,
        ),
        (
            "a path with a fragment",
            Change::Other(":path", b"/v1/invoices/42#x"),
            Envoy(400),
        ),
        (
            "a path that is no UTF-8",
            Change::Other(":path", b"/v1/invoices/\xff"),
            Ours(400, "path_refused"),
        ),
        (
            "dot segments",
            Change::Other(":path", b"/v1/invoices/../invoices/42"),
            Ours(400, "path_refused"),
        ),
        (
            "two slashes",
            Change::Other(":path", b"//v1/invoices/42"),
            Ours(400, "path_refused"),
        ),
        (
            "two paths",
            Change::First(&[(":path", b"/v1/reports/2026")]),
            Closed,
        ),
        (
            "two authorities",
            Change::First(&[(":authority", b"wiki.example.test")]),
            Closed,
        ),
        (
            "two methods",
            Change::First(&[(":method", b"POST")]),
            Closed,
        ),
        ("no method", Change::Less(":method"), Closed),
        ("no scheme", Change::Less(":scheme"), Closed),
        // Envoy goes by what the connection is.
        (
            "another scheme",
            Change::Other(":scheme", b"https"),
            Passes(PATH),
        ),
        (
            "a scheme that is none",
            Change::Other(":scheme", b"http://x/"),
            Closed,
        ),
        ("no authority", Change::Less(":authority"), Closed),
        (
            "an empty authority",
            Change::Other(":authority", b""),
            Closed,
        ),
        (
            "an authority with userinfo",
            Change::Other(":authority", b"user@invoices.example.test"),
            Closed,
        ),
        (
            "an authority in capitals",
            Change::Other(":authority", b"INVOICES.example.test"),
            Passes(PATH),
        ),
        (
            "an authority with a trailing dot",
            Change::Other(":authority", b"invoices.example.test."),
            Ours(400, "host_refused"),
        ),
        ("the same host twice", Change::More(&same), Passes(PATH)),
        (
            "another host",
            Change::More(&[("host", b"wiki.example.test")]),
            Passes(PATH),
        ),
        (
            "a pseudo-header that nobody knows",
            Change::First(&[(":caracal", b"x")]),
            Closed,
        ),
        (
            "a pseudo-header of answers",
            Change::First(&[(":status", b"200")]),
            Closed,
        ),
        (
            "a protocol without CONNECT",
            Change::First(&[(":protocol", b"websocket")]),
            Closed,
        ),
        (
            "a pseudo-header after the others",
            Change::More(&[(":path", b"/v1/reports/2026")]),
            Closed,
        ),
        ("CONNECT", Change::Other(":method", b"CONNECT"), Closed),
        (
            "TRACE",
            Change::Other(":method", b"TRACE"),
            Ours(400, "method_refused"),
        ),
        (
            "a method in small letters",
            Change::Other(":method", b"get"),
            Ours(400, "method_refused"),
        ),
        (
            "a method with a space",
            Change::Other(":method", b"GET /"),
            Closed,
        ),
        (
            "a name in capitals",
            Change::More(&[("X-Caracal-Subject", b"root")]),
            Closed,
        ),
        (
            "a name with a space",
            Change::More(&[("x-caracal-subject ", b"root")]),
            Closed,
        ),
        (
            "a name with a colon",
            Change::More(&[("x-caracal:subject", b"root")]),
            Closed,
        ),
        (
            "a name with a line end",
            Change::More(&[("x-a\r\nx-caracal-subject", b"root")]),
            Closed,
        ),
        (
            "a name that is empty",
            Change::More(&[("", b"root")]),
            Closed,
        ),
        (
            "a value with a line end",
            Change::More(&[("x-a", b"b\r\nx-caracal-subject: root")]),
            Closed,
        ),
        (
            "a value with a line feed",
            Change::More(&[("x-a", b"b\nx-caracal-subject: root")]),
            Closed,
        ),
        (
            "a value with a NUL",
            Change::More(&[("x-a", b"b\0c")]),
            Closed,
        ),
        (
            "an underscore",
            Change::More(&[("x_caracal_subject", b"root")]),
            Closed,
        ),
        (
            "headers of ours",
            Change::More(&[
                ("x-caracal-subject", b"root"),
                ("x-caracal-zone", b"root"),
                ("x-caracal-actor", b"root"),
            ]),
            Passes(PATH),
        ),
        (
            "an override",
            Change::More(&[("x-original-url", b"/v1/reports/2026")]),
            Ours(400, "override_header"),
        ),
        (
            "two credentials",
            Change::More(&[("authorization", b"Bearer x")]),
            Ours(401, "credential_duplicate"),
        ),
        (
            "no credential",
            Change::Less("authorization"),
            Ours(401, "credential_missing"),
        ),
        (
            "a header of the connection",
            Change::More(&[("connection", b"authorization")]),
            Closed,
        ),
        (
            "an upgrade",
            Change::More(&[("upgrade", b"websocket")]),
            Closed,
        ),
        (
            "a coding of HTTP/1.1",
            Change::More(&[("transfer-encoding", b"chunked")]),
            Closed,
        ),
        (
            "TE beyond trailers",
            Change::More(&[("te", b"gzip")]),
            Closed,
        ),
        (
            "a length that is not kept",
            Change::More(&[("content-length", b"5")]),
            Closed,
        ),
        (
            "two lengths",
            Change::More(&[("content-length", b"0"), ("content-length", b"5")]),
            Closed,
        ),
        (
            "another resource asserted",
            Change::More(&[("x-caracal-resource", b"https://wiki.example.test/api")]),
            Ours(403, "resource_assertion"),
        ),
    ];
    let mut attacks: Vec<Attack> = cases
        .into_iter()
        .map(|(name, change, expected)| Attack {
            name: format!("h2: {name}"),
            shot: Shot::Frames(Frames::default().headers(&fields(&credential, &change), true)),
            expected,
        })
        .collect();
    attacks.extend(streams(&credential));
    attacks
}

/// What is odd about the stream, and not about one field.
fn streams(credential: &[u8]) -> Vec<Attack> {
    let good = fields(credential, &Change::More(&[]));
    let post: Fields<'_> = fields(credential, &Change::Other(":method", b"POST"));
    let post: Fields<'_> = post
        .into_iter()
        .map(|(name, value)| {
            if name == ":path" {
                (name, b"/v1/invoices".as_slice())
            } else {
                (name, value)
            }
        })
        .collect();
    let trailers: [(&str, &[u8]); 2] = [
        ("x-caracal-subject", b"root"),
        ("authorization", b"Bearer x"),
    ];
    let pseudo: [(&str, &[u8]); 1] = [(":path", b"/v1/reports/2026")];
    let scope = Ours(403, "scope_missing");
    let frames = [
        (
            "headers in many pieces",
            Frames::default().in_pieces(&good, 16),
            Passes(PATH),
        ),
        (
            "trailers of ours",
            Frames::default()
                .headers(&good, false)
                .data(b"x", false)
                .headers(&trailers, true),
            Passes(PATH),
        ),
        (
            "CONNECT as it should be",
            Frames::default().headers(
                &[
                    (":method", b"CONNECT"),
                    (":authority", b"invoices.example.test:443"),
                    ("authorization", credential),
                ],
                false,
            ),
            Envoy(404),
        ),
        (
            "trailers of ours, without the right",
            Frames::default()
                .headers(&post, false)
                .data(b"x", false)
                .headers(&trailers, true),
            scope,
        ),
    ];
    let closed = [(
        "a pseudo-header in the trailers",
        Frames::default()
            .headers(&good, false)
            .headers(&pseudo, true),
    )];
    frames
        .into_iter()
        .chain(
            closed
                .into_iter()
                .map(|(name, frames)| (name, frames, Closed)),
        )
        .map(|(name, frames, expected)| Attack {
            name: format!("h2: {name}"),
            shot: Shot::Frames(frames),
            expected,
        })
        .collect()
}
