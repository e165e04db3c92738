//! What the client gets instead of the resource. Nothing of the request is ever in it.

use policy::Refusal;
use wire::envoy::Denied;

/// The longest value of a header that is relayed.
const MOST_VALUE: usize = 1_024;
/// The most headers that are relayed.
const MOST_HEADERS: usize = 32;
/// The longest body that is relayed.
const MOST_BODY: usize = 16 * 1_024;

/// An answer that the proxy gives by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// The HTTP status, never below 400.
    pub status: u32,
    /// Headers, in lower case.
    pub headers: Vec<(String, String)>,
    /// The body; of gRPC the message of the status.
    pub body: Vec<u8>,
    /// The gRPC status; none where the caller spoke plain HTTP.
    pub grpc: Option<u8>,
}

impl Reply {
    /// A refusal of ours.
    ///
    /// To a gRPC caller the proxy itself makes one message of headers and trailers, with the body as the status' message
    /// and a content type of its own.
    pub fn refusal(refusal: &Refusal, grpc: bool) -> Self {
        let headers = refusal
            .headers()
            .iter()
            .filter(|(name, _)| !grpc || *name != "content-type")
            .map(|(name, value)| ((*name).to_owned(), value.clone()))
            .collect();
        let body = if grpc {
            refusal.message().as_bytes().to_vec()
        } else {
            refusal.body().to_vec()
        };
        Self {
            status: u32::from(refusal.status()),
            headers,
            body,
            grpc: grpc.then(|| refusal.grpc()),
        }
    }

    /// A refusal of ext-authz as it stands; none where it is not of a form that refuses.
    pub fn relayed(denied: &Denied<'_>, grpc: bool) -> Option<Self> {
        let status = u32::try_from(denied.status?).ok()?;
        if !(400..=599).contains(&status) || denied.body.len() > MOST_BODY {
            return None;
        }
        let mut headers = Vec::new();
        let mut code = None;
        for header in denied.headers.iter().take(MOST_HEADERS) {
            let value = text(header.value)?;
            if !is_name(header.name) {
                return None;
            }
            match header.name {
                // The proxy writes both by itself.
                "grpc-status" => code = value.parse().ok().filter(|code| (1..=16).contains(code)),
                "grpc-message" | "content-length" => {}
                "content-type" if grpc => {}
                _ => headers.push((header.name.to_owned(), value.to_owned())),
            }
        }
        Some(Self {
            status,
            headers,
            body: denied.body.as_bytes().to_vec(),
            grpc: grpc.then(|| code.unwrap_or(if status == 503 { 14 } else { 7 })),
        })
    }
}

/// A value of visible ASCII and spaces: the proxy writes a newline in a local reply as it is.
pub(crate) fn text(value: &[u8]) -> Option<&str> {
    let fit = value.len() <= MOST_VALUE && value.iter().all(|byte| matches!(byte, b' '..=b'~'));
    str::from_utf8(value).ok().filter(|_| fit)
}

/// A header's name in lower case, and no pseudo-header.
fn is_name(name: &str) -> bool {
    let word =
        |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_.".contains(&byte);
    (1..=64).contains(&name.len()) && name.bytes().all(word)
}
