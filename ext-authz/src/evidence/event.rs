//! Decisions and counts as events of the ledger.

use ledger::event::{Event, EventKind, Outcome, Sample};
use mandate::Mandate;
use policy::Decision;

use crate::api::answer::ALLOWED;
use crate::decide::{Decided, Trace};
use crate::refusals::Count;

/// What the second event of a decision says about the first.
pub const TAKES_BACK: &str = "takes back an allow that was not answered";

/// The same where the request had gone forward before its authority ended.
pub const ENDED: &str = "refused the answer to a request that had gone forward";

/// What became of an allow whose authority ended while it was being answered.
pub const CUT: &str = "cut off an answer that had begun";

/// The event of one decision.
pub fn of_decision(decided: &Decided, request_id: &str) -> Event {
    let mut event = Event::new(EventKind::Decision, nanoseconds(decided));
    let (outcome, code) = outcome(&decided.decision);
    event.decision = Some(outcome);
    event.code = Some(code.to_owned());
    event.decision_id = Some(decided.id);
    event.request_id = Some(request_id)
        .filter(|id| !id.is_empty())
        .map(str::to_owned);
    place(&mut event, &decided.trace);
    if let Some(mandate) = &decided.trace.mandate {
        bearer(&mut event, mandate);
    }
    event
}

/// The event that takes an allow back which was not answered.
pub fn of_withdrawal(allowed: &Decided, request_id: &str, code: &'static str) -> Event {
    let mut event = of_decision(allowed, request_id);
    event.decision = Some(Outcome::Unavailable);
    event.code = Some(code.to_owned());
    event.detail = Some(TAKES_BACK.to_owned());
    event
}

/// The event of a count of refusals.
pub fn of_count(count: &Count) -> Event {
    let mut event = Event::new(EventKind::Refusals, count.last_ns);
    let outcome = if count.key.unavailable {
        Outcome::Unavailable
    } else {
        Outcome::Deny
    };
    event.zone = count.key.zone;
    event.decision = Some(outcome);
    event.code = Some(count.key.code.to_owned());
    event.binding = count.key.binding;
    event.count = Some(count.count);
    event.window_ns = u64::try_from(count.last_ns.saturating_sub(count.first_ns)).ok();
    event.peer = Some(count.key.peer.to_string());
    let samples = count.samples.iter().map(|sample| Sample {
        decision_id: sample.decision,
        request_id: sample.request_id.clone(),
        at_ns: sample.at_ns,
    });
    event.samples = Some(samples.collect());
    event
}

/// How a decision is counted and written down.
pub fn outcome(decision: &Decision) -> (Outcome, &'static str) {
    let code = match decision {
        Decision::Allow(_) => ALLOWED,
        Decision::Deny(denial) => denial.code(),
    };
    let outcome = match decision.outcome() {
        policy::Outcome::Allow => Outcome::Allow,
        policy::Outcome::Deny => Outcome::Deny,
        policy::Outcome::Unavailable => Outcome::Unavailable,
    };
    (outcome, code)
}

fn place(event: &mut Event, trace: &Trace) {
    event.zone = trace.zone;
    event.binding = trace.binding;
    event.resource.clone_from(&trace.resource);
    if let Some(operation) = &trace.operation {
        event.operation = Some(operation.template.as_str().to_owned());
        event.method = Some(operation.method.clone());
    }
    event.policy_version = trace.policy_version;
    event.epoch = trace.position.map(|position| position.epoch);
    event.pos = trace.position.map(|position| position.pos);
}

fn bearer(event: &mut Event, mandate: &Mandate) {
    let claims = mandate.claims();
    event.application = Some(claims.client_id);
    event.session = claims.agent_session_id;
    event.jti = Some(claims.jti);
    event.sid = Some(claims.sid);
    event.root_sid = Some(claims.root_sid);
    event.usage = Some(claims.usage.name().to_owned());
    event.exp = Some(claims.exp);
    event.scopes = Some(claims.scope.clone());
    event.labels = Some(claims.labels.clone()).filter(|labels| !labels.is_empty());
}

fn nanoseconds(decided: &Decided) -> i64 {
    i64::try_from(decided.at.as_nanosecond()).unwrap_or(i64::MAX)
}
