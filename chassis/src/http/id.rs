//! The id of a request: the caller's own if it is fit, otherwise a new one.

use std::fmt;
use std::sync::Arc;

use http::{HeaderMap, HeaderName};

/// Where it comes in and goes out.
pub(super) const HEADER: HeaderName = HeaderName::from_static("x-request-id");

const MOST_CHARACTERS: usize = 128;

/// The id of a request: 1 to 128 visible ASCII characters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestId(Arc<str>);

impl RequestId {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// One of ours.
    pub(super) fn of(text: &str) -> Self {
        Self(Arc::from(text))
    }

    /// The caller's, if there is exactly one and it is fit.
    pub(super) fn of_headers(headers: &HeaderMap) -> Option<Self> {
        let mut values = headers.get_all(HEADER).iter();
        let (Some(value), None) = (values.next(), values.next()) else {
            return None;
        };
        let text = value.to_str().ok()?;
        let fit = (1..=MOST_CHARACTERS).contains(&text.len())
            && text.bytes().all(|byte| byte.is_ascii_graphic());
        fit.then(|| Self::of(text))
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

tokio::task_local! {
    pub(super) static CURRENT: RequestId;
}

/// The id of the request that this task is answering.
pub fn request_id() -> Option<RequestId> {
    CURRENT.try_with(Clone::clone).ok()
}
