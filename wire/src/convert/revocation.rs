//! Revocations and object states: what a reader adds to its [`Revocations`].

use jiff::Timestamp;
use mandate::id::{
    ApplicationId, DelegationId, KeyId, MandateId, RecordId, ResourceUri, SessionId, Subject,
    ZoneId,
};
use mandate::{CutOffAnchor, DeadId, ObjectState, Revocations, StateAnchor};

use super::error::{ConvertError, Wrong, malformed};
use super::stream::{nanoseconds, time};
use crate::pb::caracal::authority::v1 as pb;

/// What kind of object an id that is dead belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DeadKind {
    /// One mandate (`jti`).
    Mandate(MandateId),
    /// An authority record (`sid`).
    Record(RecordId),
    /// A session.
    Session(SessionId),
    /// A delegation.
    Delegation(DelegationId),
    /// A signing key.
    Key(KeyId),
}

/// An id that is dead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dead {
    /// In which zone.
    pub zone: ZoneId,
    /// Of what.
    pub kind: DeadKind,
    /// Until when something alive may carry it.
    pub until: Timestamp,
}

impl Dead {
    /// As verification looks it up.
    pub fn id(&self) -> DeadId {
        match &self.kind {
            DeadKind::Mandate(id) => DeadId::Id(id.as_uuid()),
            DeadKind::Record(id) => DeadId::Id(id.as_uuid()),
            DeadKind::Session(id) => DeadId::Id(id.as_uuid()),
            DeadKind::Delegation(id) => DeadId::Id(id.as_uuid()),
            DeadKind::Key(kid) => DeadId::Key(kid.clone()),
        }
    }

    /// Adds it to its zone's set.
    pub fn apply(&self, revocations: &mut Revocations) {
        revocations.kill(self.id(), self.until);
    }
}

impl TryFrom<pb::DeadId> for Dead {
    type Error = ConvertError;

    fn try_from(message: pb::DeadId) -> Result<Self, ConvertError> {
        const ID: &str = "dead.id";
        let id = message.id.as_str();
        let kind = match object_kind("dead.kind", message.kind)? {
            pb::ObjectKind::Mandate => DeadKind::Mandate(malformed(ID, MandateId::parse(id))?),
            pb::ObjectKind::Record => DeadKind::Record(malformed(ID, RecordId::parse(id))?),
            pb::ObjectKind::Session => DeadKind::Session(malformed(ID, SessionId::parse(id))?),
            pb::ObjectKind::Delegation => {
                DeadKind::Delegation(malformed(ID, DelegationId::parse(id))?)
            }
            pb::ObjectKind::Key => DeadKind::Key(malformed(ID, KeyId::parse(id))?),
            pb::ObjectKind::Unspecified
            | pb::ObjectKind::Zone
            | pb::ObjectKind::Application
            | pb::ObjectKind::Resource
            | pb::ObjectKind::Subject => {
                return Err(ConvertError::new("dead.kind", Wrong::Unknown));
            }
        };
        let zone = malformed("dead.zone_id", ZoneId::parse(&message.zone_id))?;
        Ok(Self {
            zone,
            kind,
            until: time("dead.until_ns", message.until_ns)?,
        })
    }
}

impl From<Dead> for pb::DeadId {
    fn from(dead: Dead) -> Self {
        let (kind, id) = match dead.kind {
            DeadKind::Mandate(id) => (pb::ObjectKind::Mandate, id.to_string()),
            DeadKind::Record(id) => (pb::ObjectKind::Record, id.to_string()),
            DeadKind::Session(id) => (pb::ObjectKind::Session, id.to_string()),
            DeadKind::Delegation(id) => (pb::ObjectKind::Delegation, id.to_string()),
            DeadKind::Key(kid) => (pb::ObjectKind::Key, kid.to_string()),
        };
        Self {
            zone_id: dead.zone.to_string(),
            kind: kind.into(),
            id,
            until_ns: nanoseconds(dead.until),
        }
    }
}

/// Everything issued for an anchor at or before a second is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CutOff {
    /// In which zone.
    pub zone: ZoneId,
    /// For what.
    pub anchor: CutOffAnchor,
    /// The last second that is refused.
    pub not_before_s: i64,
}

impl CutOff {
    /// Adds it to its zone's set.
    pub fn apply(&self, revocations: &mut Revocations) {
        revocations.cut_off(self.anchor.clone(), self.not_before_s);
    }
}

impl TryFrom<pb::CutOff> for CutOff {
    type Error = ConvertError;

    fn try_from(message: pb::CutOff) -> Result<Self, ConvertError> {
        const ID: &str = "cut_off.id";
        let zone = malformed("cut_off.zone_id", ZoneId::parse(&message.zone_id))?;
        let id = message.id.as_str();
        let anchor = match object_kind("cut_off.kind", message.kind)? {
            pb::ObjectKind::Zone => {
                same_zone(ID, zone, id)?;
                CutOffAnchor::Zone
            }
            pb::ObjectKind::Application => {
                CutOffAnchor::Application(malformed(ID, ApplicationId::parse(id))?)
            }
            pb::ObjectKind::Subject => CutOffAnchor::Subject(malformed(ID, Subject::parse(id))?),
            pb::ObjectKind::Resource => {
                CutOffAnchor::Resource(malformed(ID, ResourceUri::parse(id))?)
            }
            pb::ObjectKind::Unspecified
            | pb::ObjectKind::Session
            | pb::ObjectKind::Delegation
            | pb::ObjectKind::Record
            | pb::ObjectKind::Mandate
            | pb::ObjectKind::Key => {
                return Err(ConvertError::new("cut_off.kind", Wrong::Unknown));
            }
        };
        if message.not_before_s < 0 {
            return Err(ConvertError::new("cut_off.not_before_s", Wrong::Range));
        }
        Ok(Self {
            zone,
            anchor,
            not_before_s: message.not_before_s,
        })
    }
}

impl From<CutOff> for pb::CutOff {
    fn from(cut_off: CutOff) -> Self {
        let (kind, id) = match cut_off.anchor {
            CutOffAnchor::Zone => (pb::ObjectKind::Zone, cut_off.zone.to_string()),
            CutOffAnchor::Application(id) => (pb::ObjectKind::Application, id.to_string()),
            CutOffAnchor::Subject(id) => (pb::ObjectKind::Subject, id.to_string()),
            CutOffAnchor::Resource(id) => (pb::ObjectKind::Resource, id.to_string()),
        };
        Self {
            zone_id: cut_off.zone.to_string(),
            kind: kind.into(),
            id,
            not_before_s: cut_off.not_before_s,
        }
    }
}

/// An object's state changed. Applies if and only if its version is above the one held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StateChange {
    /// In which zone.
    pub zone: ZoneId,
    /// Of what.
    pub anchor: StateAnchor,
    /// To what.
    pub state: ObjectState,
}

impl StateChange {
    /// Sets it in its zone's set.
    pub fn apply(&self, revocations: &mut Revocations) {
        revocations.set_state(self.anchor.clone(), self.state);
    }
}

impl TryFrom<pb::ObjectState> for StateChange {
    type Error = ConvertError;

    fn try_from(message: pb::ObjectState) -> Result<Self, ConvertError> {
        const ID: &str = "state.id";
        let zone = malformed("state.zone_id", ZoneId::parse(&message.zone_id))?;
        let id = message.id.as_str();
        let anchor = match object_kind("state.kind", message.kind)? {
            pb::ObjectKind::Zone => {
                same_zone(ID, zone, id)?;
                StateAnchor::Zone
            }
            pb::ObjectKind::Application => {
                StateAnchor::Application(malformed(ID, ApplicationId::parse(id))?)
            }
            pb::ObjectKind::Subject => StateAnchor::Subject(malformed(ID, Subject::parse(id))?),
            pb::ObjectKind::Resource => {
                StateAnchor::Resource(malformed(ID, ResourceUri::parse(id))?)
            }
            pb::ObjectKind::Session => StateAnchor::Session(malformed(ID, SessionId::parse(id))?),
            pb::ObjectKind::Unspecified
            | pb::ObjectKind::Delegation
            | pb::ObjectKind::Record
            | pb::ObjectKind::Mandate
            | pb::ObjectKind::Key => {
                return Err(ConvertError::new("state.kind", Wrong::Unknown));
            }
        };
        let state = match pb::State::try_from(message.state) {
            Ok(pb::State::Active) => ObjectState::Active,
            Ok(pb::State::Suspended) => ObjectState::Suspended,
            Ok(pb::State::Disabled) => ObjectState::Disabled,
            Ok(pb::State::Archived) => ObjectState::Archived,
            Ok(pb::State::Unspecified | pb::State::Provisioning | pb::State::Ended) | Err(_) => {
                return Err(ConvertError::new("state.state", Wrong::Unknown));
            }
        };
        Ok(Self {
            zone,
            anchor,
            state,
        })
    }
}

impl From<StateChange> for pb::ObjectState {
    fn from(change: StateChange) -> Self {
        let (kind, id) = match change.anchor {
            StateAnchor::Zone => (pb::ObjectKind::Zone, change.zone.to_string()),
            StateAnchor::Application(id) => (pb::ObjectKind::Application, id.to_string()),
            StateAnchor::Subject(id) => (pb::ObjectKind::Subject, id.to_string()),
            StateAnchor::Resource(id) => (pb::ObjectKind::Resource, id.to_string()),
            StateAnchor::Session(id) => (pb::ObjectKind::Session, id.to_string()),
        };
        let state = match change.state {
            ObjectState::Active => pb::State::Active,
            ObjectState::Suspended => pb::State::Suspended,
            ObjectState::Disabled => pb::State::Disabled,
            ObjectState::Archived => pb::State::Archived,
        };
        Self {
            zone_id: change.zone.to_string(),
            kind: kind.into(),
            id,
            state: state.into(),
        }
    }
}

fn object_kind(field: &'static str, value: i32) -> Result<pb::ObjectKind, ConvertError> {
    pb::ObjectKind::try_from(value).map_err(|_| ConvertError::new(field, Wrong::Unknown))
}

/// A zone's own id stands beside its zone: both must say the same.
fn same_zone(field: &'static str, zone: ZoneId, id: &str) -> Result<(), ConvertError> {
    if malformed(field, ZoneId::parse(id))? == zone {
        Ok(())
    } else {
        Err(ConvertError::new(field, Wrong::Contradiction))
    }
}
