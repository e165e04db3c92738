//! What the ledger is told of a change.

use jiff::Timestamp;
use ledger::event::{Event, EventKind};
use mandate::id::{
    ApplicationId, Label, PolicyVersionId, ResourceUri, ScopeSet, SessionId, ZoneId,
};

use crate::api::principal::Caller;
use crate::delta::nanoseconds;

/// One change, for the ledger.
#[derive(Clone, Debug)]
pub(crate) struct Evidence<'a> {
    kind: EventKind,
    code: &'static str,
    object_kind: &'a str,
    object_id: &'a str,
    application: Option<ApplicationId>,
    session: Option<SessionId>,
    resource: Option<ResourceUri>,
    policy_version: Option<PolicyVersionId>,
    labels: Vec<Label>,
    scopes: Option<ScopeSet>,
    not_before: Option<i64>,
    exp: Option<i64>,
    detail: Option<String>,
}

impl<'a> Evidence<'a> {
    /// Of a change to an object.
    pub(crate) fn of(
        kind: EventKind,
        code: &'static str,
        object_kind: &'a str,
        object_id: &'a str,
    ) -> Self {
        Self {
            kind,
            code,
            object_kind,
            object_id,
            application: None,
            session: None,
            resource: None,
            policy_version: None,
            labels: Vec::new(),
            scopes: None,
            not_before: None,
            exp: None,
            detail: None,
        }
    }

    /// Whose session it is.
    pub(crate) fn application(mut self, id: uuid::Uuid) -> Self {
        self.application = Some(ApplicationId::from_uuid(id));
        self
    }

    /// The session.
    pub(crate) fn session(mut self, id: uuid::Uuid) -> Self {
        self.session = Some(SessionId::from_uuid(id));
        self
    }

    /// The resource.
    pub(crate) fn resource(mut self, identifier: &str) -> Self {
        self.resource = ResourceUri::parse(identifier).ok();
        self
    }

    /// The policy version.
    pub(crate) fn policy(mut self, id: uuid::Uuid) -> Self {
        self.policy_version = Some(PolicyVersionId::from_uuid(id));
        self
    }

    /// The labels and scopes that bound a session.
    pub(crate) fn bounds(mut self, labels: &[String], ceiling: Option<&[String]>) -> Self {
        self.labels = labels
            .iter()
            .filter_map(|label| Label::parse(label).ok())
            .collect();
        self.scopes = ceiling.and_then(|scopes| ScopeSet::parse(&scopes.join(" ")).ok());
        self
    }

    /// A time it sets.
    pub(crate) fn not_before(mut self, seconds: Option<i64>) -> Self {
        self.not_before = seconds;
        self
    }

    /// When it ends.
    pub(crate) fn until(mut self, seconds: i64) -> Self {
        self.exp = Some(seconds);
        self
    }

    /// More, for people: at most 256 bytes of it.
    pub(crate) fn detail(mut self, text: &str) -> Self {
        let mut end = text.len().min(256);
        while !text.is_char_boundary(end) {
            end = end.saturating_sub(1);
        }
        self.detail = text
            .get(..end)
            .filter(|text| !text.is_empty())
            .map(ToOwned::to_owned);
        self
    }
}

/// The event of a change.
pub(crate) fn event(
    zone: ZoneId,
    now: Timestamp,
    caller: &Caller,
    evidence: Evidence<'_>,
) -> Event {
    let mut event = Event::new(evidence.kind, nanoseconds(now));
    event.zone = Some(zone);
    event.code = Some(evidence.code.to_owned());
    event.request_id = Some(caller.request_id.clone()).filter(|id| !id.is_empty());
    event.actor = Some(caller.name.clone());
    event.object_kind = Some(evidence.object_kind.to_owned());
    event.object_id = Some(evidence.object_id.to_owned());
    event.application = evidence.application;
    event.session = evidence.session;
    event.resource = evidence.resource;
    event.policy_version = evidence.policy_version;
    event.labels = Some(evidence.labels).filter(|labels| !labels.is_empty());
    event.scopes = evidence.scopes;
    event.not_before = evidence.not_before;
    event.exp = evidence.exp;
    event.detail = evidence.detail;
    event
}

#[cfg(test)]
mod tests {
    use super::*;

    fn caller() -> Caller {
        Caller {
            name: "operator:bootstrap".to_owned(),
            request_id: String::new(),
            idempotency_key: None,
            if_match: None,
        }
    }

    #[test]
    fn events_are_canonical_and_long_reasons_are_cut_at_a_character() {
        let reason = "é".repeat(200);
        let evidence = Evidence::of(EventKind::Revoked, "revoked", "session", "x")
            .detail(&reason)
            .bounds(
                &["b".to_owned(), "a".to_owned()],
                Some(&["s:read".to_owned()]),
            )
            .session(uuid::Uuid::from_u128(7));
        let zone = ZoneId::from_uuid(uuid::Uuid::from_u128(1));
        let event = event(zone, Timestamp::UNIX_EPOCH, &caller(), evidence);
        assert_eq!(event.detail.as_deref().map(str::len), Some(256));
        assert_eq!(event.request_id, None);
        assert_eq!(Event::decode(&event.encode()).unwrap(), event);
    }
}
