//! Who calls: an operator by a token, or an application by its session mandate.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{ConnectInfo, FromRequestParts};
use chassis::http::{Principal, RequestId};
use chassis::secrets;
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, header};
use mandate::id::ZoneId;
use mandate::{Rejection, credential};

use crate::api::path;
use crate::app::App;
use crate::error::Error;

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// A caller that may do everything an operator may.
#[derive(Clone, Debug)]
pub(crate) struct Operator(pub(crate) Caller);

/// What one request is known by.
#[derive(Clone, Debug)]
pub(crate) struct Caller {
    /// As evidence and the log name it.
    pub(crate) name: String,
    /// The id of the request.
    pub(crate) request_id: String,
    /// The caller's idempotency key.
    pub(crate) idempotency_key: Option<String>,
    /// The version the caller read.
    pub(crate) if_match: Option<IfMatch>,
}

/// `If-Match`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum IfMatch {
    /// `*`: whatever it is now.
    Any,
    /// This version.
    Version(i64),
}

/// Either kind of caller of the session calls, before the zone's keys were looked at.
#[derive(Clone, Debug)]
pub(crate) enum Starter {
    /// An operator.
    Operator(Caller),
    /// Somebody with a token that may be a session mandate.
    Bearer {
        /// The token as presented.
        token: Vec<u8>,
        /// The request.
        caller: Caller,
        /// Where it came from.
        source: IpAddr,
        /// Where the request's line learns who it was.
        line: Principal,
    },
}

impl Caller {
    /// The version to change, which a change of a versioned object must name.
    pub(crate) fn expected(&self, current: i64) -> Result<i64, Error> {
        match self.if_match {
            None => Err(Error::PreconditionRequired),
            Some(IfMatch::Any) => Ok(current),
            Some(IfMatch::Version(version)) if version == current => Ok(current),
            Some(IfMatch::Version(_)) => Err(Error::PreconditionFailed),
        }
    }

    /// Takes a call out of the caller's bucket.
    pub(crate) fn spend(&self, app: &App) -> Result<(), Error> {
        app.callers
            .take(self.name.clone(), app.clock.monotonic())
            .map_err(Error::RateLimited)
    }
}

impl FromRequestParts<Arc<App>> for Operator {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Error> {
        match identify(parts, app)? {
            Starter::Operator(caller) => Ok(Self(caller)),
            Starter::Bearer { source, .. } => {
                failed(app, source)?;
                Err(Error::Unauthenticated("the token is not one of ours"))
            }
        }
    }
}

impl FromRequestParts<Arc<App>> for Starter {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Error> {
        identify(parts, app)
    }
}

/// Counts a failed authentication of a source; too many and it has to wait.
pub(crate) fn failed(app: &App, source: IpAddr) -> Result<(), Error> {
    app.failures
        .take(source, app.clock.monotonic())
        .map_err(Error::RateLimited)
}

fn identify(parts: &Parts, app: &App) -> Result<Starter, Error> {
    let source = parts
        .extensions
        .get::<ConnectInfo<SocketAddr>>()
        .map_or(IpAddr::from([127, 0, 0, 1]), |ConnectInfo(address)| {
            address.ip()
        });
    if !app.failures.peek(&source, app.clock.monotonic()) {
        return Err(Error::RateLimited(Duration::from_secs(1)));
    }
    let values: Vec<&[u8]> = parts
        .headers
        .get_all(header::AUTHORIZATION)
        .iter()
        .map(HeaderValue::as_bytes)
        .collect();
    let token = match credential::bearer(&values) {
        Ok(token) => token,
        Err(rejection) => {
            failed(app, source)?;
            return Err(Error::Unauthenticated(unreadable(rejection)));
        }
    };
    let mut caller = Caller {
        name: String::new(),
        request_id: parts
            .extensions
            .get::<RequestId>()
            .map(|id| id.as_str().to_owned())
            .unwrap_or_default(),
        idempotency_key: idempotency_key(&parts.headers)?,
        if_match: if_match(&parts.headers)?,
    };
    let line = parts
        .extensions
        .get::<Principal>()
        .cloned()
        .unwrap_or_default();
    if secrets::matches(&app.bootstrap_token, token) {
        "operator:bootstrap".clone_into(&mut caller.name);
        line.is(caller.name.clone());
        caller.spend(app)?;
        return Ok(Starter::Operator(caller));
    }
    Ok(Starter::Bearer {
        token: token.to_vec(),
        caller,
        source,
        line,
    })
}

fn unreadable(rejection: Rejection) -> &'static str {
    if rejection == Rejection::CredentialMissing {
        "a bearer token is wanted"
    } else {
        "exactly one bearer token is wanted"
    }
}

fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>, Error> {
    let mut values = headers.get_all(IDEMPOTENCY_KEY).iter();
    let (Some(value), more) = (values.next(), values.next()) else {
        return Ok(None);
    };
    let key = value.to_str().unwrap_or_default();
    let fit = (1..=255).contains(&key.len()) && key.bytes().all(|byte| byte.is_ascii_graphic());
    if more.is_none() && fit {
        Ok(Some(key.to_owned()))
    } else {
        Err(Error::invalid(
            "Idempotency-Key",
            "must be one value of 1 to 255 visible characters",
        ))
    }
}

fn if_match(headers: &HeaderMap) -> Result<Option<IfMatch>, Error> {
    let mut values = headers.get_all(header::IF_MATCH).iter();
    let (Some(value), more) = (values.next(), values.next()) else {
        return Ok(None);
    };
    let text = value.to_str().unwrap_or_default().trim();
    if more.is_some() {
        return Err(Error::invalid("If-Match", "must be one ETag of ours"));
    }
    if text == "*" {
        return Ok(Some(IfMatch::Any));
    }
    text.strip_prefix('"')
        .and_then(|text| text.strip_suffix('"'))
        .and_then(|text| text.parse::<i64>().ok())
        .map(|version| Some(IfMatch::Version(version)))
        .ok_or_else(|| Error::invalid("If-Match", "must be one ETag of ours"))
}

/// The zone of the path.
#[derive(Clone, Copy, Debug)]
pub(crate) struct InZone(pub(crate) ZoneId);

impl FromRequestParts<Arc<App>> for InZone {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Error> {
        let zone = path::parameter(parts, app, "zone").await?;
        let zone = ZoneId::parse(&zone).map_err(|_| Error::NotFound("zone"))?;
        if let Some(principal) = parts.extensions.get::<Principal>() {
            principal.in_zone(&zone);
        }
        Ok(Self(zone))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(name: &HeaderName, values: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(name.clone(), HeaderValue::from_str(value).unwrap());
        }
        headers
    }

    #[test]
    fn reads_one_etag_of_ours() {
        let read = |values: &[&str]| if_match(&headers(&header::IF_MATCH, values));
        assert_eq!(read(&[]).unwrap(), None);
        assert_eq!(read(&["*"]).unwrap(), Some(IfMatch::Any));
        assert_eq!(read(&["\"7\""]).unwrap(), Some(IfMatch::Version(7)));
        for values in [
            &["7"][..],
            &["W/\"7\""],
            &["\"7\"", "\"8\""],
            &["\"7\", \"8\""],
            &["\"x\""],
        ] {
            assert_eq!(
                read(values).unwrap_err().code(),
                "invalid_request",
                "{values:?}"
            );
        }
    }

    #[test]
    fn reads_one_idempotency_key_of_visible_characters() {
        let read = |values: &[&str]| idempotency_key(&headers(&IDEMPOTENCY_KEY, values));
        assert_eq!(read(&[]).unwrap(), None);
        assert_eq!(read(&["a-1"]).unwrap().as_deref(), Some("a-1"));
        let long = "k".repeat(256);
        for values in [&[""][..], &["a b"], &["a", "b"], &[long.as_str()]] {
            assert_eq!(
                read(values).unwrap_err().code(),
                "invalid_request",
                "{values:?}"
            );
        }
    }
}
