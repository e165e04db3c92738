//! What ext-authz answered. The protocol takes an empty answer for an allow; here only an explicit one is.

use mandate::{Mandate, OWNED_HEADERS};
use policy::{CheckAllowed, Denial, Said};
use prost::Message as _;
use wire::envoy::{CheckResponse, HttpResponse, OkHttpResponse, Struct};

use crate::reply::Reply;

/// The longest value of a header that the upstream gets.
const MOST_VALUE: usize = 1_024;

/// What ext-authz answered.
#[derive(Debug)]
pub enum Answer {
    /// The request may pass.
    Allowed(CheckAllowed, Box<Shown>),
    /// It may not: what the client gets, and the code.
    Denied(Reply, &'static str),
    /// It is not of a form that decides.
    Malformed,
}

/// What the upstream is shown of the decision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shown {
    /// Every owned header with its value, or none where it is removed.
    pub owned: [(&'static str, Option<String>); 7],
    /// Whether the upstream gets the mandate.
    pub keeps_mandate: bool,
}

impl Answer {
    /// Reads an answer about a request with this mandate.
    pub fn read(bytes: &[u8], grpc: bool, mandate: &Mandate) -> Self {
        let Ok(answer) = CheckResponse::decode(bytes) else {
            return Self::Malformed;
        };
        let metadata = answer.dynamic_metadata.unwrap_or_default();
        let status = answer.status.map(|status| status.code);
        match (status, answer.http_response) {
            (Some(0), Some(HttpResponse::Ok(ok))) => {
                match CheckAllowed::of_answer(status, &said(&metadata), mandate) {
                    Some(allowed) => Self::Allowed(allowed, Box::new(Shown::of(&ok))),
                    None => Self::Malformed,
                }
            }
            (Some(1..), Some(HttpResponse::Denied(denied))) => {
                match Reply::relayed(&denied, grpc) {
                    Some(reply) => Self::Denied(reply, known(metadata.text("code"))),
                    None => Self::Malformed,
                }
            }
            _ => Self::Malformed,
        }
    }
}

fn said(metadata: &Struct) -> Said<'_> {
    Said {
        decision: metadata.text("decision_id"),
        code: metadata.text("code"),
        digest: metadata.text("mandate_digest"),
        zone: metadata.text("zone"),
    }
}

/// The code of a denial; codes are a closed list, so that nothing grows with what is answered.
pub fn known(code: Option<&str>) -> &'static str {
    Denial::all()
        .map(Denial::code)
        .find(|known| Some(*known) == code)
        .unwrap_or("other")
}

impl Shown {
    /// What an allow says of headers that are ours; whatever else it says is not done.
    fn of(ok: &OkHttpResponse) -> Self {
        let value = |name: &str| {
            let mut values = ok
                .headers
                .iter()
                .filter_map(|option| option.header.as_ref())
                .filter(|header| header.key == name);
            let header = values.next()?;
            let value = if header.raw_value.is_empty() {
                header.value.as_str()
            } else {
                str::from_utf8(&header.raw_value).ok()?
            };
            let fit = (1..=MOST_VALUE).contains(&value.len())
                && value.bytes().all(|byte| matches!(byte, b' '..=b'~'));
            (fit && values.next().is_none()).then(|| value.to_owned())
        };
        let removed = |name: &str| ok.headers_to_remove.iter().any(|removed| removed == name);
        Self {
            owned: OWNED_HEADERS.map(|name| (name, value(name).filter(|_| !removed(name)))),
            keeps_mandate: !removed("authorization"),
        }
    }
}
