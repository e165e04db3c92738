//! The columns of an event, all of them made of its leaf: written when it is appended, compared when it is verified.

use jiff::Timestamp;
use ledger::event::Event;
use mandate::id::{
    ApplicationId, DecisionId, MandateId, PolicyVersionId, RecordId, ResourceUri, SessionId,
};
use uuid::Uuid;

/// What search looks at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Columns {
    pub(crate) journal_id: Uuid,
    pub(crate) counter: i64,
    pub(crate) kind: String,
    pub(crate) at: Timestamp,
    pub(crate) decision: Option<String>,
    pub(crate) code: Option<String>,
    pub(crate) decision_id: Option<Uuid>,
    pub(crate) request_id: Option<String>,
    pub(crate) application_id: Option<Uuid>,
    pub(crate) session_id: Option<Uuid>,
    pub(crate) resource: Option<String>,
    pub(crate) operation: Option<String>,
    pub(crate) jti: Option<Uuid>,
    pub(crate) sid: Option<Uuid>,
    pub(crate) policy_version: Option<Uuid>,
    pub(crate) count: Option<i64>,
    pub(crate) sample_ids: Option<Vec<Uuid>>,
}

/// An event whose values no column can hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a value of the event has no place in a column")]
pub(crate) struct Unstorable;

impl Columns {
    pub(crate) fn of(event: &Event) -> Result<Self, Unstorable> {
        let columns = Self {
            journal_id: event.journal_id.as_uuid(),
            counter: number(event.counter)?,
            kind: event.kind.as_str().to_owned(),
            at: microseconds(event.at_ns)?,
            decision: event.decision.map(|decision| decision.as_str().to_owned()),
            code: event.code.clone(),
            decision_id: event.decision_id.map(DecisionId::as_uuid),
            request_id: event.request_id.clone(),
            application_id: event.application.map(ApplicationId::as_uuid),
            session_id: event.session.map(SessionId::as_uuid),
            resource: event.resource.as_ref().map(ResourceUri::to_string),
            operation: event.operation.clone(),
            jti: event.jti.map(MandateId::as_uuid),
            sid: event.sid.map(RecordId::as_uuid),
            policy_version: event.policy_version.map(PolicyVersionId::as_uuid),
            count: event.count.map(number).transpose()?,
            sample_ids: event.samples.as_ref().map(|samples| {
                samples
                    .iter()
                    .map(|sample| sample.decision_id.as_uuid())
                    .collect()
            }),
        };
        // PostgreSQL has no NUL in text (manual §8.3); a producer must not be able to stop a batch with one.
        let texts = [&columns.code, &columns.request_id, &columns.operation];
        if texts.into_iter().flatten().any(|text| text.contains('\0')) {
            return Err(Unstorable);
        }
        Ok(columns)
    }

    /// The first column in which `stored` differs.
    pub(crate) fn difference(&self, stored: &Self) -> Option<&'static str> {
        let same = [
            ("journal_id", self.journal_id == stored.journal_id),
            ("counter", self.counter == stored.counter),
            ("kind", self.kind == stored.kind),
            ("at", self.at == stored.at),
            ("decision", self.decision == stored.decision),
            ("code", self.code == stored.code),
            ("decision_id", self.decision_id == stored.decision_id),
            ("request_id", self.request_id == stored.request_id),
            (
                "application_id",
                self.application_id == stored.application_id,
            ),
            ("session_id", self.session_id == stored.session_id),
            ("resource", self.resource == stored.resource),
            ("operation", self.operation == stored.operation),
            ("jti", self.jti == stored.jti),
            ("sid", self.sid == stored.sid),
            (
                "policy_version",
                self.policy_version == stored.policy_version,
            ),
            ("count", self.count == stored.count),
            ("sample_ids", self.sample_ids == stored.sample_ids),
        ];
        same.into_iter()
            .find(|(_, same)| !same)
            .map(|(name, _)| name)
    }
}

fn number(value: u64) -> Result<i64, Unstorable> {
    i64::try_from(value).map_err(|_| Unstorable)
}

/// PostgreSQL keeps microseconds; what is below is cut, here and when it is compared.
fn microseconds(nanoseconds: i64) -> Result<Timestamp, Unstorable> {
    Timestamp::from_microsecond(nanoseconds.div_euclid(1_000)).map_err(|_| Unstorable)
}

/// Times of our own have no more than a column keeps.
pub(crate) fn storable(at: Timestamp) -> Timestamp {
    Timestamp::from_microsecond(at.as_microsecond()).unwrap_or(at)
}
