//! What a zone has revoked, as an enforcement point holds it. It only grows, until ids can no longer occur.

use std::collections::HashMap;

use jiff::Timestamp;
use uuid::Uuid;

use crate::id::{ApplicationId, DelegationId, KeyId, ResourceUri, SessionId, Subject};
use crate::{Claims, Mandate, Rejection, SubjectType};

/// An id that is dead: of a mandate, a record, a session, a delegation, or a key.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum DeadId {
    /// `jti`, `sid`, a session or a delegation.
    Id(Uuid),
    /// A signing key.
    Key(KeyId),
}

/// What a cut-off applies to: everything issued for it at or before a time.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum CutOffAnchor {
    /// The zone.
    Zone,
    /// An application.
    Application(ApplicationId),
    /// A subject.
    Subject(Subject),
    /// A resource.
    Resource(ResourceUri),
}

/// What can be suspended, disabled or archived, and come back.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum StateAnchor {
    /// The zone.
    Zone,
    /// An application.
    Application(ApplicationId),
    /// A subject.
    Subject(Subject),
    /// A resource.
    Resource(ResourceUri),
    /// A session.
    Session(SessionId),
}

/// The state of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ObjectState {
    /// In force.
    Active,
    /// Held back for a while.
    Suspended,
    /// Switched off by an operator.
    Disabled,
    /// Out of use.
    Archived,
}

/// One zone's revocations and object states.
#[derive(Debug, Clone, Default)]
pub struct Revocations {
    ids: HashMap<Uuid, Timestamp>,
    keys: HashMap<KeyId, Timestamp>,
    cut_offs: HashMap<CutOffAnchor, i64>,
    states: HashMap<StateAnchor, ObjectState>,
}

impl Revocations {
    /// Nothing revoked.
    pub fn new() -> Self {
        Self::default()
    }

    /// Marks an id dead until nothing that carries it can be alive. A later `until` wins.
    pub fn kill(&mut self, id: DeadId, until: Timestamp) {
        let held = match id {
            DeadId::Id(id) => self.ids.entry(id).or_insert(until),
            DeadId::Key(kid) => self.keys.entry(kid).or_insert(until),
        };
        *held = (*held).max(until);
    }

    /// Refuses what was issued at or before `not_before` (seconds since the epoch). It only rises.
    pub fn cut_off(&mut self, anchor: CutOffAnchor, not_before: i64) {
        let held = self.cut_offs.entry(anchor).or_insert(not_before);
        *held = (*held).max(not_before);
    }

    /// Sets an object's state; `Active` forgets it.
    pub fn set_state(&mut self, anchor: StateAnchor, state: ObjectState) {
        if state == ObjectState::Active {
            self.states.remove(&anchor);
        } else {
            self.states.insert(anchor, state);
        }
    }

    /// Forgets dead ids whose time is over.
    pub fn sweep(&mut self, now: Timestamp) {
        self.ids.retain(|_, until| *until > now);
        self.keys.retain(|_, until| *until > now);
    }

    /// Adds what another set holds: union of ids, the higher of two cut-offs, the other's states. Nothing that
    /// is dead comes back.
    pub fn merge(&mut self, other: &Self) {
        for (id, until) in &other.ids {
            self.kill(DeadId::Id(*id), *until);
        }
        for (kid, until) in &other.keys {
            self.kill(DeadId::Key(kid.clone()), *until);
        }
        for (anchor, not_before) in &other.cut_offs {
            self.cut_off(anchor.clone(), *not_before);
        }
        for (anchor, state) in &other.states {
            self.set_state(anchor.clone(), *state);
        }
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        [
            self.ids.len(),
            self.keys.len(),
            self.cut_offs.len(),
            self.states.len(),
        ]
        .into_iter()
        .fold(0, usize::saturating_add)
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Step 14: no anchor dead, no cut-off at or after `iat`, every object in force. The cost does not depend on
    /// how much is revoked.
    pub(crate) fn check(
        &self,
        mandate: &Mandate,
        resource: Option<&ResourceUri>,
        now: Timestamp,
    ) -> Result<(), Rejection> {
        let claims = mandate.claims();
        let dead = |until: Option<&Timestamp>| until.is_some_and(|until| *until > now);
        let anchors = [
            claims.jti.as_uuid(),
            claims.sid.as_uuid(),
            claims.root_sid.as_uuid(),
        ];
        let session = claims.agent_session_id.map(SessionId::as_uuid);
        let edge = claims.delegation_edge_id.map(DelegationId::as_uuid);
        if dead(self.keys.get(mandate.kid())) {
            return Err(Rejection::Revoked);
        }
        let mut ids = anchors
            .iter()
            .chain(&claims.anc)
            .chain(&session)
            .chain(&edge);
        if !self.ids.is_empty() && ids.any(|id| dead(self.ids.get(id))) {
            return Err(Rejection::Revoked);
        }
        self.check_cut_offs(claims, resource)?;
        self.check_states(claims, resource)
    }

    fn check_cut_offs(
        &self,
        claims: &Claims,
        resource: Option<&ResourceUri>,
    ) -> Result<(), Rejection> {
        if self.cut_offs.is_empty() {
            return Ok(());
        }
        let cut = |anchor: &CutOffAnchor| {
            self.cut_offs
                .get(anchor)
                .is_some_and(|not_before| claims.iat <= *not_before)
        };
        let refused = cut(&CutOffAnchor::Zone)
            || applications(claims).any(|id| cut(&CutOffAnchor::Application(id)))
            || cut(&CutOffAnchor::Subject(claims.sub.clone()))
            || resource.is_some_and(|resource| cut(&CutOffAnchor::Resource(resource.clone())));
        if refused {
            Err(Rejection::Revoked)
        } else {
            Ok(())
        }
    }

    fn check_states(
        &self,
        claims: &Claims,
        resource: Option<&ResourceUri>,
    ) -> Result<(), Rejection> {
        if self.states.is_empty() {
            return Ok(());
        }
        let fixed = [
            Some(StateAnchor::Zone),
            Some(StateAnchor::Subject(claims.sub.clone())),
            resource.map(|resource| StateAnchor::Resource(resource.clone())),
            claims.agent_session_id.map(StateAnchor::Session),
        ];
        let ancestors = claims
            .anc
            .iter()
            .map(|id| StateAnchor::Session(SessionId::from_uuid(*id)));
        let applications = applications(claims).map(StateAnchor::Application);
        for anchor in fixed
            .into_iter()
            .flatten()
            .chain(applications)
            .chain(ancestors)
        {
            match self.states.get(&anchor) {
                None | Some(ObjectState::Active) => {}
                Some(ObjectState::Suspended) => return Err(Rejection::Suspended),
                Some(ObjectState::Disabled) => return Err(Rejection::Disabled),
                Some(ObjectState::Archived) => return Err(Rejection::Archived),
            }
        }
        Ok(())
    }
}

/// Every application whose authority the mandate carries: the client, the subject, the actors' clients, and who
/// delegated.
fn applications(claims: &Claims) -> impl Iterator<Item = ApplicationId> {
    let actors = claims.actors().filter_map(|actor| actor.client_id);
    let parties = claims.delegation_chain.iter().map(|hop| hop.application_id);
    let subject = match claims.sub_type {
        SubjectType::Application => ApplicationId::parse(claims.sub.as_str()).ok(),
        SubjectType::User => None,
    };
    std::iter::once(claims.client_id)
        .chain(subject)
        .chain(actors)
        .chain(parties)
}
