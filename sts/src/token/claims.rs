//! From a grant to claims. Pure: the only place where a mandate's content is put together.

use mandate::id::{
    ApplicationId, Issuer, Label, MandateId, PolicyVersionId, RecordId, ResourceUri, ScopeSet,
    SessionId, Subject, ZoneId,
};
use mandate::{Claims, SubjectType, Use};
use uuid::Uuid;

/// Everything a mandate says, decided.
#[derive(Debug)]
pub(crate) struct Draft {
    /// Zone.
    pub zone: ZoneId,
    /// Issuer.
    pub issuer: Issuer,
    /// What it is for.
    pub usage: Use,
    /// Who it is about.
    pub subject: Subject,
    /// What kind of party that is.
    pub subject_type: SubjectType,
    /// Who asked.
    pub application: ApplicationId,
    /// The mandate's id.
    pub jti: MandateId,
    /// Its own record.
    pub record: RecordId,
    /// The records it descends from, root first.
    pub records: Vec<RecordId>,
    /// The sessions it is for, root first, its own last.
    pub sessions: Vec<SessionId>,
    /// Granted scopes.
    pub scopes: ScopeSet,
    /// Granted resources.
    pub targets: Vec<ResourceUri>,
    /// Labels.
    pub labels: Vec<Label>,
    /// The policy version it was decided under.
    pub policy: PolicyVersionId,
    /// Expiry, seconds since the epoch.
    pub exp: i64,
}

impl Draft {
    /// The top of the lineage.
    pub(crate) fn root(&self) -> RecordId {
        self.records.first().copied().unwrap_or(self.record)
    }

    /// Every ancestor and itself, root first: what can be revoked.
    pub(crate) fn anchors(&self) -> Vec<Uuid> {
        self.records
            .iter()
            .map(|record| record.as_uuid())
            .chain(self.sessions.iter().map(|session| session.as_uuid()))
            .chain([self.record.as_uuid()])
            .collect()
    }

    /// The claims of a mandate dated `iat`.
    pub(crate) fn claims(self, iat: i64) -> Claims {
        let anc = self.anchors();
        let root_sid = self.root();
        let aud = match self.usage {
            Use::Session | Use::Gateway => vec![self.issuer.as_str().to_owned()],
            Use::Resource => self
                .targets
                .iter()
                .map(|uri| uri.as_str().to_owned())
                .collect(),
        };
        let mut labels = self.labels;
        labels.sort();
        labels.dedup();
        Claims {
            iss: self.issuer,
            sub: self.subject,
            aud,
            exp: self.exp,
            nbf: iat,
            iat,
            jti: self.jti,
            client_id: self.application,
            act: None,
            scope: self.scopes,
            target: self.targets,
            zone_id: self.zone,
            usage: self.usage,
            sub_type: self.subject_type,
            sid: self.record,
            root_sid,
            agent_session_id: self.sessions.last().copied(),
            delegation_edge_id: None,
            delegation_path: Vec::new(),
            delegation_chain: Vec::new(),
            hop_count: 0,
            anc,
            labels,
            policy_version: Some(self.policy),
            cnf: None,
        }
    }
}
