//! What becomes known of a request as it is looked at: who, for what. It is all a refusal's
//! evidence may say.

use mandate::id::{
    ApplicationId, DecisionId, MandateId, PolicyVersionId, RecordId, ResourceUri, ScopeSet,
    SessionId, ZoneId,
};

use crate::limit::Source;

/// One request's account.
#[derive(Clone, Debug)]
pub(crate) struct Account {
    /// The decision.
    pub decision: DecisionId,
    /// The request's id.
    pub request: String,
    /// Where it came from.
    pub source: Source,
    /// When, in nanoseconds since the epoch.
    pub at_ns: i64,
    /// The zone, once it is known to exist.
    pub zone: Option<ZoneId>,
    /// Its issuer.
    pub issuer: Option<String>,
    /// The application, once it has authenticated.
    pub application: Option<ApplicationId>,
    /// The session, once it is known to be the application's.
    pub session: Option<SessionId>,
    /// What the subject token was minted from.
    pub subject_record: Option<RecordId>,
    /// The resource, where there is one.
    pub resource: Option<ResourceUri>,
    /// The scopes: asked for, then granted.
    pub scopes: ScopeSet,
    /// The policy version it was decided under.
    pub policy: Option<PolicyVersionId>,
    /// The mandate, once it is decided.
    pub jti: Option<MandateId>,
}

impl Account {
    /// Nothing known yet.
    pub(crate) fn open(decision: DecisionId, request: String, source: Source, at_ns: i64) -> Self {
        Self {
            decision,
            request,
            source,
            at_ns,
            zone: None,
            issuer: None,
            application: None,
            session: None,
            subject_record: None,
            resource: None,
            scopes: ScopeSet::default(),
            policy: None,
            jti: None,
        }
    }
}
