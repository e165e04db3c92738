//! Request bodies: JSON of exactly the documented shape, within the route's size.

use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{FromRequest, Request};
use http::{HeaderMap, Method, Uri, header};
use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};

use crate::error::Error;

/// What a body may be at most, unless its type says otherwise.
pub(crate) const DEFAULT_LIMIT: usize = 32 * 1024;

/// The documented shape of a body. Derived types refuse unknown and doubled keys.
pub(crate) trait Shape: DeserializeOwned {
    /// The most bytes.
    const LIMIT: usize = DEFAULT_LIMIT;
}

/// A parsed body, and what an idempotency key is bound to.
#[derive(Debug)]
pub(crate) struct Body<T> {
    pub(crate) value: T,
    pub(crate) fingerprint: Fingerprint,
}

/// SHA-256 of method, path and body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Fingerprint(pub(crate) [u8; 32]);

impl Fingerprint {
    /// Of a request with these parts.
    pub(crate) fn of(method: &Method, uri: &Uri, body: &[u8]) -> Self {
        let mut hash = Sha256::new();
        for part in [method.as_str().as_bytes(), uri.path().as_bytes(), body] {
            hash.update(u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
            hash.update(part);
        }
        Self(hash.finalize().into())
    }
}

impl<S, T> FromRequest<S> for Body<T>
where
    S: Send + Sync,
    T: Shape,
{
    type Rejection = Error;

    async fn from_request(request: Request, state: &S) -> Result<Self, Error> {
        let (method, uri) = (request.method().clone(), request.uri().clone());
        let json = is_json(request.headers());
        let bytes = Bytes::from_request(request, state)
            .await
            .map_err(|rejection| too_large(&rejection))?;
        if bytes.len() > T::LIMIT {
            return Err(Error::TooLarge);
        }
        if !json {
            return Err(Error::MediaType);
        }
        let fingerprint = Fingerprint::of(&method, &uri, &bytes);
        Ok(Self {
            value: parse(&bytes)?,
            fingerprint,
        })
    }
}

/// The fingerprint of a request whose body, if it has one, is an empty object.
impl<S: Send + Sync> FromRequest<S> for Fingerprint {
    type Rejection = Error;

    async fn from_request(request: Request, state: &S) -> Result<Self, Error> {
        let (method, uri) = (request.method().clone(), request.uri().clone());
        let bytes = Bytes::from_request(request, state)
            .await
            .map_err(|rejection| too_large(&rejection))?;
        let empty = bytes.trim_ascii();
        if empty.is_empty() || empty == b"{}" {
            Ok(Self::of(&method, &uri, b""))
        } else {
            Err(Error::Malformed("this call takes no body".to_owned()))
        }
    }
}

fn too_large(rejection: &BytesRejection) -> Error {
    if rejection.status() == http::StatusCode::PAYLOAD_TOO_LARGE {
        Error::TooLarge
    } else {
        Error::Malformed("the body could not be read".to_owned())
    }
}

fn is_json(headers: &HeaderMap) -> bool {
    let mut values = headers.get_all(header::CONTENT_TYPE).iter();
    let (Some(value), None) = (values.next(), values.next()) else {
        return false;
    };
    let Ok(value) = value.to_str() else {
        return false;
    };
    let essence = value.split(';').next().unwrap_or_default().trim();
    essence.eq_ignore_ascii_case("application/json")
}

/// Parses a body.
pub(crate) fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Error> {
    if bytes.trim_ascii().is_empty() {
        return Err(Error::Malformed("the body is empty".to_owned()));
    }
    if std::str::from_utf8(bytes).is_err() {
        return Err(Error::Malformed("the body is not UTF-8".to_owned()));
    }
    serde_json::from_slice(bytes).map_err(|error| Error::Malformed(error.to_string()))
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Probe {
        #[serde(rename = "name")]
        _name: String,
    }

    fn code(body: &[u8]) -> &'static str {
        parse::<Probe>(body).map_or_else(|error| error.code(), |_| "ok")
    }

    #[test]
    fn takes_the_shape_and_nothing_else() {
        assert_eq!(code(br#"{"name":"a"}"#), "ok");
        for body in [
            &b""[..],
            b" ",
            b"null",
            b"[]",
            b"{",
            br#"{"name":"a","name":"b"}"#,
            br#"{"name":"a","other":1}"#,
            br#"{"name":1}"#,
            br#"{"name":"a"} {}"#,
            b"{\"name\":\"\xff\"}",
        ] {
            assert_eq!(
                code(body),
                "malformed_request",
                "{}",
                String::from_utf8_lossy(body)
            );
        }
    }

    #[test]
    fn a_fingerprint_tells_method_path_and_body_apart() {
        let uri: Uri = "/v1/zones".parse().unwrap();
        let one = Fingerprint::of(&Method::POST, &uri, b"{}");
        assert_eq!(one, Fingerprint::of(&Method::POST, &uri, b"{}"));
        assert_ne!(one, Fingerprint::of(&Method::PUT, &uri, b"{}"));
        assert_ne!(one, Fingerprint::of(&Method::POST, &uri, b"{ }"));
        assert_ne!(
            one,
            Fingerprint::of(&Method::POST, &"/v1/zone".parse().unwrap(), b"s{}")
        );
    }
}
