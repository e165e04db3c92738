//! The identity that the upstream sees: the headers that are ours, each set or removed in every answer.

use mandate::OWNED_HEADERS;

use crate::permit::Permit;

/// The longest value.
pub const MAX_VALUE: usize = 1024;

/// Every owned header with its value, or none where it must be removed, in the order of
/// [`OWNED_HEADERS`](mandate::OWNED_HEADERS). The scopes are those decided on, not all that the mandate carries.
pub fn headers(permit: &Permit) -> [(&'static str, Option<String>); 7] {
    let claims = permit.admitted().mandate().claims();
    let [zone, subject, actor, client, session, scope, decision] = OWNED_HEADERS;
    [
        (zone, value(&permit.zone())),
        (subject, value(&claims.sub)),
        (
            actor,
            claims.act.as_ref().and_then(|actor| value(&actor.sub)),
        ),
        (client, value(&claims.client_id)),
        (session, claims.agent_session_id.as_ref().and_then(value)),
        (scope, value(permit.admitted().scopes())),
        (decision, value(&permit.decision())),
    ]
}

/// Every owned header, removed: for a request that goes forward without a decision of ours.
pub fn removed() -> [(&'static str, Option<String>); 7] {
    OWNED_HEADERS.map(|name| (name, None))
}

/// A value fit for a header. One that is not is left out, which says less than is true, never more.
fn value(of: &impl ToString) -> Option<String> {
    let text = of.to_string();
    let fit = (1..=MAX_VALUE).contains(&text.len())
        && text.bytes().all(|byte| matches!(byte, b' '..=b'~'));
    fit.then_some(text)
}
