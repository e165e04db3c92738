//! What a refusal looks like, over HTTP and over gRPC. The filter and the services render the same value.
//!
//! Nothing of the request is ever in it: Envoy writes a newline in a local reply's header as it is.

use std::fmt::Write as _;

use mandate::Challenge;
use mandate::id::{DecisionId, ScopeSet};
use serde::Serialize;

use crate::denial::Denial;

/// The header that names the decision.
pub const DECISION_HEADER: &str = "x-caracal-decision";

/// What a refusal may say beyond its denial. From configuration and the authority, never from the request.
#[derive(Debug, Clone, Copy, Default)]
pub struct Context<'a> {
    /// Where the resource's metadata is (RFC 9728 §5.1).
    pub resource_metadata: Option<&'a str>,
    /// The scopes that the operation requires (RFC 6750 §3).
    pub scopes: Option<&'a ScopeSet>,
}

/// A refusal, ready to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    denial: Denial,
    headers: Vec<(&'static str, String)>,
    body: Vec<u8>,
    message: String,
}

#[derive(Serialize)]
struct Problem<'a> {
    r#type: String,
    title: &'a str,
    status: u16,
    detail: &'a str,
    code: &'a str,
    error: &'a str,
    decision_id: DecisionId,
}

impl Refusal {
    /// Renders a denial.
    pub fn new(denial: &Denial, decision: DecisionId, context: &Context<'_>) -> Self {
        let mut headers = vec![
            ("content-type", "application/problem+json".to_owned()),
            ("cache-control", "no-store".to_owned()),
            (DECISION_HEADER, decision.to_string()),
        ];
        if let Some(challenge) = challenge(*denial, context) {
            headers.push(("www-authenticate", challenge));
        }
        if let Some(seconds) = denial.retry_after() {
            headers.push(("retry-after", seconds.to_string()));
        }
        Self {
            denial: *denial,
            headers,
            body: body(*denial, decision),
            message: message(*denial),
        }
    }

    /// The denial.
    pub fn denial(&self) -> Denial {
        self.denial
    }

    /// The stable code.
    pub fn code(&self) -> &'static str {
        self.denial.code()
    }

    /// The HTTP status.
    pub fn status(&self) -> u16 {
        self.denial.http()
    }

    /// The headers of the HTTP answer, in lower case.
    pub fn headers(&self) -> &[(&'static str, String)] {
        &self.headers
    }

    /// A problem document (RFC 9457).
    pub fn body(&self) -> &[u8] {
        &self.body
    }

    /// The gRPC status code.
    pub fn grpc(&self) -> u8 {
        self.denial.grpc()
    }

    /// The message of the gRPC status: the code and one sentence, percent-encoded where it must be.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The gRPC answer: status 200, headers and trailers in one, no body.
    pub fn trailers_only(&self) -> Vec<(&'static str, String)> {
        let kept = self
            .headers
            .iter()
            .filter(|(name, _)| *name != "content-type")
            .cloned();
        let grpc = [
            ("content-type", "application/grpc".to_owned()),
            ("grpc-status", self.grpc().to_string()),
            ("grpc-message", self.message.clone()),
        ];
        grpc.into_iter().chain(kept).collect()
    }
}

fn body(denial: Denial, decision: DecisionId) -> Vec<u8> {
    let code = denial.code();
    let status = denial.http();
    let problem = Problem {
        r#type: format!("urn:caracal:problem:{code}"),
        title: title(status),
        status,
        detail: denial.meaning(),
        code,
        error: code,
        decision_id: decision,
    };
    // A struct of texts and numbers; serde_json refuses nothing of it.
    serde_json::to_vec(&problem).unwrap_or_default()
}

fn message(denial: Denial) -> String {
    let mut message = String::new();
    for byte in denial
        .code()
        .bytes()
        .chain(*b": ")
        .chain(denial.meaning().bytes())
    {
        if byte != b'%' && matches!(byte, b' '..=b'~') {
            message.push(char::from(byte));
        } else {
            // Writing to a string does not fail.
            let _ = write!(message, "%{byte:02X}");
        }
    }
    message
}

/// The value of `WWW-Authenticate` (RFC 6750 §3), where a credential would help.
fn challenge(denial: Denial, context: &Context<'_>) -> Option<String> {
    let challenge = denial.challenge();
    if challenge == Challenge::None {
        return None;
    }
    let mut value = String::from("Bearer realm=\"caracal\"");
    let mut parameter = |name: &str, text: &str| {
        // A quoted string (RFC 9110 §5.6.4) that needs no escape, or nothing.
        if text
            .bytes()
            .all(|byte| matches!(byte, b' '..=b'~') && byte != b'"' && byte != b'\\')
        {
            // Writing to a string does not fail.
            let _ = write!(value, ", {name}=\"{text}\"");
        }
    };
    if let Some(error) = challenge.error() {
        parameter("error", error);
        parameter("error_description", denial.meaning());
    }
    if let Some(scopes) = context.scopes.filter(|scopes| !scopes.is_empty())
        && challenge == Challenge::InsufficientScope
    {
        parameter("scope", &scopes.to_string());
    }
    if let Some(url) = context.resource_metadata {
        parameter("resource_metadata", url);
    }
    Some(value)
}

const fn title(status: u16) -> &'static str {
    match status {
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        503 => "Service Unavailable",
        _ => "Error",
    }
}

#[cfg(test)]
mod tests;
