//! The one form of path and host that is decided on, which is the form forwarded: refuse rather than repair.

use crate::{Rejection, headers};

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

    /// Whether it ends in a slash that is not the first.
    pub(crate) fn ends_in_slash(&self) -> bool {
        self.path.len() > 1 && self.path.ends_with('/')
    }

    /// The segments between slashes. The root has none; a trailing slash gives a last, empty one.
    pub fn segments(&self) -> impl Iterator<Item = &'a str> {
        let rest = self.path.strip_prefix('/').unwrap_or(self.path);
        let root = rest.is_empty();
        rest.split('/').filter(move |_| !root)
    }
}

/// Takes `:path` as received.
///
/// Refused: what is not in origin form; bytes that RFC 3986 §3.3 has not in a path, and `;`; dot and empty segments;
/// escapes that are invalid, in lower case, of what can stand for itself everywhere, of what separates (slash,
/// backslash, `%`, `;`, `?`, `#`, controls), or that are no UTF-8 together.
pub fn path(raw: &[u8]) -> Result<CanonicalPath<'_>, Rejection> {
    let text = str::from_utf8(raw).map_err(|_| Rejection::PathRefused)?;
    if text.len() > MAX_PATH || !raw.iter().all(u8::is_ascii_graphic) {
        return Err(Rejection::PathRefused);
    }
    let (path, query) = match text.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (text, None),
    };
    let in_path = path
        .bytes()
        .all(|byte| byte == b'/' || byte == b'%' || stands(byte));
    let in_query = query.is_none_or(|query| !query.contains('#'));
    if !path.starts_with('/') || !in_path || !in_query || !escapes_needed(path) {
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

/// Whether a text is a prefix of whole segments that no other form of it passes by: `/`, or a canonical path without
/// query, without a slash at its end, and without what may be written both as it is and escaped, such as `:` or `@`.
pub fn is_prefix(text: &str) -> bool {
    let single = |byte: u8| byte == b'/' || unreserved(byte) || !stands(byte);
    let whole = !text.ends_with('/') && !text.contains('?') && path(text.as_bytes()).is_ok();
    text == "/" || (whole && decoded(text).all(single))
}

/// Whether a canonical text escapes only what cannot stand as it is.
pub(crate) fn escapes_least(text: &str) -> bool {
    let raw = text.bytes().filter(|byte| stands(*byte)).count();
    let escapes = text.bytes().filter(|byte| *byte == b'%').count();
    // Each escape holds two digits, which stand.
    let standing = decoded(text).filter(|byte| stands(*byte)).count();
    raw == standing.saturating_add(escapes.saturating_mul(2))
}

/// What never needs an escape (RFC 3986 §2.3).
const fn unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

/// Whether a byte may stand in a segment as it is: `pchar` of RFC 3986 §3.3 without `;`, which some servers cut at.
const fn stands(byte: u8) -> bool {
    unreserved(byte)
        || matches!(
            byte,
            b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+' | b',' | b'=' | b':' | b'@'
        )
}

/// Whether every escape may be there.
fn escapes_needed(path: &str) -> bool {
    if !path.contains('%') {
        return true;
    }
    let needed = |decoded: u8| {
        let separating = matches!(decoded, b'/' | b'\\' | b'%' | b';' | b'?' | b'#');
        !unreserved(decoded) && !separating && !decoded.is_ascii_control()
    };
    let mut bytes = path.bytes();
    let mut decoded = Vec::with_capacity(path.len());
    while let Some(byte) = bytes.next() {
        let byte = match byte {
            b'%' => match unescape(&mut bytes).filter(|byte| needed(*byte)) {
                Some(byte) => byte,
                None => return false,
            },
            other => other,
        };
        decoded.push(byte);
    }
    // An overlong form of a slash or a dot is no UTF-8, and some decoders take it all the same.
    str::from_utf8(&decoded).is_ok()
}

/// The two digits after a `%`.
fn unescape(bytes: &mut impl Iterator<Item = u8>) -> Option<u8> {
    let high = bytes.next().and_then(hex)?;
    let low = bytes.next().and_then(hex)?;
    high.checked_mul(16)?.checked_add(low)
}

/// The bytes that a canonical segment stands for.
pub(crate) fn decoded(segment: &str) -> impl Iterator<Item = u8> {
    let mut bytes = segment.bytes();
    std::iter::from_fn(move || match bytes.next()? {
        b'%' => unescape(&mut bytes),
        other => Some(other),
    })
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

/// Takes `:authority` or `host` as received.
///
/// Case is folded, since names differ in it for no one (RFC 9110 §4.2.3). A trailing dot and a default port are
/// refused: proxies and upstreams route on them, each in its own way. So are userinfo, an empty name, a second form of
/// an address, and bytes that no host has.
pub fn host(raw: &[u8]) -> Result<CanonicalHost, Rejection> {
    let text = str::from_utf8(raw).map_err(|_| Rejection::HostRefused)?;
    let (name, port) = split_port(text).ok_or(Rejection::HostRefused)?;
    let default = matches!(port, Some(80 | 443));
    if default || name.len() > MAX_HOST || !valid_name(name) {
        return Err(Rejection::HostRefused);
    }
    Ok(CanonicalHost(text.to_ascii_lowercase()))
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
        return literal
            .parse::<std::net::Ipv6Addr>()
            .is_ok_and(|address| address.to_string().eq_ignore_ascii_case(literal));
    }
    name.split('.').all(|label| {
        (1..=63).contains(&label.len())
            && label
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
    })
}

/// Refuses a header with which a client could change method or path after the decision.
pub fn refuse_override(name: &[u8]) -> Result<(), Rejection> {
    if headers::is_override(name) {
        Err(Rejection::OverrideHeader)
    } else {
        Ok(())
    }
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
mod tests;
