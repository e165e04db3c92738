//! The one form of path and host that is decided on, which is the form forwarded: refuse rather than repair.

use crate::Rejection;

/// The longest path with query, in bytes.
const MAX_PATH: usize = 8 * 1024;
/// The longest host (RFC 1035 §2.3.4).
const MAX_HOST: usize = 253;

/// A path that needs no repair, and its query, which is never matched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CanonicalPath<'a> {
    path: &'a str,
    query: Option<&'a str>,
}

impl<'a> CanonicalPath<'a> {
    /// The path, starting with `/`.
    pub const fn path(&self) -> &'a str {
        self.path
    }

    /// What follows the first `?`.
    pub const fn query(&self) -> Option<&'a str> {
        self.query
    }

    /// The segments between slashes. The root has none; a trailing slash gives a last, empty one.
    pub fn segments(&self) -> impl Iterator<Item = &'a str> {
        let rest = self.path.strip_prefix('/').unwrap_or(self.path);
        let root = rest.is_empty();
        rest.split('/').filter(move |_| !root)
    }
}

/// Takes `:path` as received. Refused: what is not origin form, `;` `#` `\` NUL control or non-ASCII bytes, dot and
/// empty segments, invalid escapes, escapes of what needs none, encoded slashes, backslashes and percent signs.
pub fn path(raw: &[u8]) -> Result<CanonicalPath<'_>, Rejection> {
    let text = str::from_utf8(raw).map_err(|_| Rejection::PathRefused)?;
    if text.len() > MAX_PATH || !raw.iter().all(u8::is_ascii_graphic) {
        return Err(Rejection::PathRefused);
    }
    let (path, query) = match text.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (text, None),
    };
    let forbidden = path.contains([';', '#', '\\', '"', '<', '>', '^', '`', '{', '|', '}']);
    let in_query = query.is_some_and(|query| query.contains('#'));
    if !path.starts_with('/') || forbidden || in_query || !escapes_needed(path.as_bytes()) {
        return Err(Rejection::PathRefused);
    }
    let mut segments = path.split('/').skip(1).peekable();
    while let Some(segment) = segments.next() {
        let last = segments.peek().is_none();
        if segment == "." || segment == ".." || (segment.is_empty() && !last) {
            return Err(Rejection::PathRefused);
        }
    }
    Ok(CanonicalPath { path, query })
}

/// Whether each `%` starts an upper-case escape of a byte that cannot stand for itself.
fn escapes_needed(path: &[u8]) -> bool {
    let mut bytes = path.iter().copied();
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            continue;
        }
        let (Some(high), Some(low)) = (bytes.next().and_then(hex), bytes.next().and_then(hex))
        else {
            return false;
        };
        let decoded = high.saturating_mul(16).saturating_add(low);
        let unreserved =
            decoded.is_ascii_alphanumeric() || matches!(decoded, b'-' | b'.' | b'_' | b'~');
        let structural = matches!(decoded, b'/' | b'\\' | b'%' | b';' | b'?' | b'#')
            || decoded.is_ascii_control();
        if unreserved || structural {
            return false;
        }
    }
    true
}

/// A hex digit, upper case alone: `%2a` and `%2A` would be two forms of one path.
fn hex(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => byte.checked_sub(b'0'),
        b'A'..=b'F' => byte
            .checked_sub(b'A')
            .and_then(|digit| digit.checked_add(10)),
        _ => None,
    }
}

/// A host in its one form: lower case, no trailing dot, no default port.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct CanonicalHost(String);

impl CanonicalHost {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Takes `:authority` or `host` as received. Case, a trailing dot and a default port are not what a proxy routes on;
/// userinfo, an empty name, and bytes that no host has are refused.
pub fn host(raw: &[u8]) -> Result<CanonicalHost, Rejection> {
    let text = str::from_utf8(raw).map_err(|_| Rejection::HostRefused)?;
    let (name, port) = split_port(text).ok_or(Rejection::HostRefused)?;
    let name = name.strip_suffix('.').unwrap_or(name);
    if name.is_empty() || name.len() > MAX_HOST || !valid_name(name) {
        return Err(Rejection::HostRefused);
    }
    let mut canonical = name.to_ascii_lowercase();
    if let Some(port) = port.filter(|port| !matches!(*port, 80 | 443)) {
        canonical.push(':');
        canonical.push_str(&port.to_string());
    }
    Ok(CanonicalHost(canonical))
}

fn split_port(text: &str) -> Option<(&str, Option<u16>)> {
    let (name, port) = if text.starts_with('[') {
        let end = text.find(']')?.checked_add(1)?;
        let (name, rest) = text.split_at_checked(end)?;
        (
            name,
            if rest.is_empty() {
                None
            } else {
                Some(rest.strip_prefix(':')?)
            },
        )
    } else {
        match text.split_once(':') {
            Some((name, port)) => (name, Some(port)),
            None => (text, None),
        }
    };
    let Some(port) = port else {
        return Some((name, None));
    };
    let digits = port.bytes().all(|byte| byte.is_ascii_digit()) && !port.starts_with('0');
    if digits {
        port.parse().ok().map(|port| (name, Some(port)))
    } else {
        None
    }
}

fn valid_name(name: &str) -> bool {
    if let Some(literal) = name
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
    {
        return literal.parse::<std::net::Ipv6Addr>().is_ok();
    }
    name.split('.').all(|label| {
        (1..=63).contains(&label.len())
            && label
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
    })
}

/// A method that can be governed: a token (RFC 9110 §9.1), neither `CONNECT`, which has no path, nor `TRACE`, which
/// would show the credential.
pub fn method(raw: &[u8]) -> Result<&str, Rejection> {
    let text = str::from_utf8(raw).map_err(|_| Rejection::MethodRefused)?;
    let upper = (1..=32).contains(&text.len())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_uppercase() || byte == b'-');
    if !upper || matches!(text, "CONNECT" | "TRACE") {
        Err(Rejection::MethodRefused)
    } else {
        Ok(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_canonical_path_passes_unchanged() {
        for (raw, expected, query) in [
            ("/", "/", None),
            ("/v1/invoices/42", "/v1/invoices/42", None),
            ("/v1/invoices/", "/v1/invoices/", None),
            ("/a?x=/../;%2f", "/a", Some("x=/../;%2f")),
            ("/a?", "/a", Some("")),
            ("/a%20b", "/a%20b", None),
            ("/a:b@c,d=e!$&'()*+", "/a:b@c,d=e!$&'()*+", None),
            ("/caf%C3%A9", "/caf%C3%A9", None),
            ("/...", "/...", None),
        ] {
            let path = path(raw.as_bytes()).unwrap_or_else(|_| panic!("{raw}"));
            assert_eq!((path.path(), path.query()), (expected, query), "{raw}");
        }
    }

    #[test]
    fn a_path_that_needs_repair_is_refused() {
        for raw in [
            "",
            "*",
            "a",
            "http://h/a",
            "//",
            "//a",
            "/a//b",
            "/a//",
            "/.",
            "/..",
            "/a/../b",
            "/a/./b",
            "/a/..",
            "/a/.",
            "/%2e",
            "/%2E%2E/a",
            "/a%2fb",
            "/a%2Fb",
            "/a%5Cb",
            "/a\\b",
            "/a;b",
            "/a#b",
            "/a?b#c",
            "/%41",
            "/%7E",
            "/%",
            "/%2",
            "/%zz",
            "/%c3",
            "/%00",
            "/%25",
            "/%3B",
            "/%3F",
            "/%23",
            "/%0A",
            "/%7F",
            "/a b",
            "/a\tb",
            "/a\0",
            "/é",
            "/a|b",
            "/{a}",
            "/a^",
            "/\"",
            "/<",
        ] {
            assert_eq!(path(raw.as_bytes()), Err(Rejection::PathRefused), "{raw:?}");
        }
        assert_eq!(path(b"/\xff"), Err(Rejection::PathRefused));
        assert_eq!(
            path(&[b"/".as_slice(), &[b'a'; MAX_PATH]].concat()),
            Err(Rejection::PathRefused)
        );
    }

    #[test]
    fn hosts_have_one_form() {
        for (raw, expected) in [
            ("API.Example.test", "api.example.test"),
            ("api.example.test.", "api.example.test"),
            ("api.example.test:443", "api.example.test"),
            ("api.example.test:80", "api.example.test"),
            ("api.example.test:8443", "api.example.test:8443"),
            ("localhost", "localhost"),
            ("127.0.0.1:8080", "127.0.0.1:8080"),
            ("[::1]:8080", "[::1]:8080"),
            ("[::1]", "[::1]"),
        ] {
            assert_eq!(host(raw.as_bytes()).unwrap().as_str(), expected, "{raw}");
        }
        for raw in [
            "", ".", "..", "a..b", "u@a", "a b", "a:", "a:x", "a:0", "a:080", "a:99999", "a:1:2",
            "[::1", "[x]", "[::1]x", "é", "a/b", "a,b", "a\0", ":80", "a.b..",
        ] {
            assert_eq!(host(raw.as_bytes()), Err(Rejection::HostRefused), "{raw:?}");
        }
    }

    #[test]
    fn connect_and_trace_cannot_be_governed() {
        assert_eq!(method(b"GET"), Ok("GET"));
        for raw in [
            b"".as_slice(),
            b"CONNECT",
            b"TRACE",
            b"get",
            b"G ET",
            b"G\xff",
        ] {
            assert_eq!(method(raw), Err(Rejection::MethodRefused), "{raw:?}");
        }
    }

    proptest::proptest! {
        #[test]
        fn nothing_panics_and_what_passes_is_a_fixed_point(raw in proptest::collection::vec(proptest::num::u8::ANY, 0..40)) {
            if let Ok(path_) = path(&raw) {
                proptest::prop_assert_eq!(path(path_.path().as_bytes()).unwrap().path(), path_.path());
            }
            if let Ok(host_) = host(&raw) {
                proptest::prop_assert_eq!(host(host_.as_str().as_bytes()).unwrap(), host_);
            }
        }
    }
}
