//! What ext-authz answered. The protocol takes an empty answer for an allow; here only an explicit one is.

use mandate::{Mandate, OWNED_HEADERS};
use policy::{CheckAllowed, Denial, Said};
use wire::envoy::{self, Outcome};

use crate::reply::{Reply, text};

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
        let Some(answer) = envoy::Answer::read(bytes) else {
            return Self::Malformed;
        };
        match (answer.status, &answer.outcome) {
            (Some(0), Some(Outcome::Ok(ok))) => {
                match CheckAllowed::of_answer(answer.status, &said(&answer), mandate) {
                    Some(allowed) => Self::Allowed(allowed, Box::new(Shown::of(ok))),
                    None => Self::Malformed,
                }
            }
            (Some(1..), Some(Outcome::Denied(denied))) => match Reply::relayed(denied, grpc) {
                Some(reply) => Self::Denied(reply, known(answer.text("code"))),
                None => Self::Malformed,
            },
            _ => Self::Malformed,
        }
    }
}

fn said<'a>(answer: &envoy::Answer<'a>) -> Said<'a> {
    Said {
        decision: answer.text("decision_id"),
        code: answer.text("code"),
        digest: answer.text("mandate_digest"),
        zone: answer.text("zone"),
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
    fn of(ok: &envoy::Allowed<'_>) -> Self {
        let value = |name: &str| {
            let mut named = ok.headers.iter().filter(|header| header.name == name);
            let header = named.next().filter(|_| named.next().is_none())?;
            text(header.value)
                .filter(|text| !text.is_empty())
                .map(str::to_owned)
        };
        let removed = |name: &str| ok.remove.contains(&name);
        Self {
            owned: OWNED_HEADERS.map(|name| (name, value(name).filter(|_| !removed(name)))),
            keeps_mandate: !removed("authorization"),
        }
    }
}
