//! Changes of authority: what a reader applies to its snapshot, and what to its revocations.

use std::sync::Arc;
use std::time::Duration;

use mandate::id::{Issuer, KeyId, PolicyVersionId, ZoneId};
use mandate::{Algorithm, VerifyingKey};
use policy::PolicyData;
use policy::snapshot::{ActivePolicy, Change, PolicyState, What, Zone, ZoneState};
use prost::Message;

use super::error::{ConvertError, Wrong, decode, fixed, malformed, needed};
use super::resource::{binding_of, binding_to_pb, resource_of, resource_to_pb};
use super::revocation::{CutOff, Dead, StateChange};
use crate::pb::caracal::authority::v1 as pb;

/// How old a zone may allow its readers' memory to be, in milliseconds.
const FRESHNESS_MS: std::ops::RangeInclusive<u32> = 1_000..=60_000;

/// A change of authority, by where it goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AuthorityChange {
    /// Into the snapshot, if its version is above the one held.
    Snapshot(Change),
    /// Into the revocations.
    Dead(Dead),
    /// Into the revocations.
    CutOff(CutOff),
    /// Into the object states, if its version is above the one held.
    State {
        /// The object's version.
        version: u64,
        /// The change.
        change: StateChange,
    },
}

impl AuthorityChange {
    /// The zone it concerns.
    pub fn zone(&self) -> ZoneId {
        match self {
            Self::Snapshot(change) => change.zone,
            Self::Dead(dead) => dead.zone,
            Self::CutOff(cut_off) => cut_off.zone,
            Self::State { change, .. } => change.zone,
        }
    }

    /// The zone that a message names, whether or not the rest of it is understood.
    pub fn zone_named(message: &pb::Change) -> Option<ZoneId> {
        let zone = match message.what.as_ref()? {
            pb::change::What::Zone(zone) => &zone.zone_id,
            pb::change::What::Key(key) => &key.zone_id,
            pb::change::What::Resource(resource) => &resource.zone_id,
            pb::change::What::Binding(binding) => &binding.zone_id,
            pb::change::What::Policy(policy) => &policy.zone_id,
            pb::change::What::State(state) => &state.zone_id,
            pb::change::What::Dead(dead) => &dead.zone_id,
            pb::change::What::CutOff(cut_off) => &cut_off.zone_id,
        };
        ZoneId::parse(zone).ok()
    }

    /// From an envelope's payload.
    pub fn from_payload(payload: &[u8]) -> Result<Self, ConvertError> {
        decode::<pb::Change>("change", payload)?.try_into()
    }

    /// As an envelope's payload.
    pub fn to_payload(self) -> Vec<u8> {
        pb::Change::from(self).encode_to_vec()
    }
}

impl TryFrom<pb::Change> for AuthorityChange {
    type Error = ConvertError;

    fn try_from(message: pb::Change) -> Result<Self, ConvertError> {
        let version = message.version;
        match &message.what {
            Some(pb::change::What::Policy(policy)) => {
                let (zone, what) = policy_of(policy)?;
                Ok(Self::Snapshot(Change {
                    zone,
                    version,
                    what,
                }))
            }
            Some(_) | None => Self::without_policy(message),
        }
    }
}

impl AuthorityChange {
    /// From a message of any kind but policy, for readers that have no use for it and should not hold the code either.
    pub fn without_policy(message: pb::Change) -> Result<Self, ConvertError> {
        let version = message.version;
        let snapshot = |(zone, what)| {
            Self::Snapshot(Change {
                zone,
                version,
                what,
            })
        };
        Ok(match needed("change.what", message.what)? {
            pb::change::What::Zone(zone) => snapshot(zone_of(&zone)?),
            pb::change::What::Key(key) => snapshot(key_of(&key)?),
            pb::change::What::Resource(resource) => snapshot(resource_of(resource)?),
            pb::change::What::Binding(binding) => snapshot(binding_of(binding)?),
            pb::change::What::Policy(_) => {
                return Err(ConvertError::new("change.what", Wrong::Unknown));
            }
            pb::change::What::State(state) => Self::State {
                version,
                change: state.try_into()?,
            },
            pb::change::What::Dead(dead) => Self::Dead(dead.try_into()?),
            pb::change::What::CutOff(cut_off) => Self::CutOff(cut_off.try_into()?),
        })
    }
}

impl From<AuthorityChange> for pb::Change {
    fn from(change: AuthorityChange) -> Self {
        let (version, what) = match change {
            AuthorityChange::Snapshot(change) => {
                let zone_id = change.zone.to_string();
                (change.version, snapshot_to_pb(zone_id, change.what))
            }
            // A union needs no version.
            AuthorityChange::Dead(dead) => (0, pb::change::What::Dead(dead.into())),
            AuthorityChange::CutOff(cut_off) => (0, pb::change::What::CutOff(cut_off.into())),
            AuthorityChange::State { version, change } => {
                (version, pb::change::What::State(change.into()))
            }
        };
        Self {
            version,
            what: Some(what),
        }
    }
}

fn zone_of(message: &pb::Zone) -> Result<(ZoneId, What), ConvertError> {
    let id = malformed("zone.zone_id", ZoneId::parse(&message.zone_id))?;
    let state = match pb::State::try_from(message.state) {
        Ok(pb::State::Active) => ZoneState::Ready,
        Ok(pb::State::Provisioning) => ZoneState::Provisioning,
        Ok(pb::State::Archived) => ZoneState::Archived,
        Ok(
            pb::State::Unspecified | pb::State::Suspended | pb::State::Disabled | pb::State::Ended,
        )
        | Err(_) => return Err(ConvertError::new("zone.state", Wrong::Unknown)),
    };
    if !FRESHNESS_MS.contains(&message.freshness_bound_ms) {
        return Err(ConvertError::new("zone.freshness_bound_ms", Wrong::Range));
    }
    let issuer = malformed("zone.issuer", Issuer::parse(&message.issuer))?;
    let freshness_bound = Duration::from_millis(u64::from(message.freshness_bound_ms));
    Ok((
        id,
        What::Zone(Zone {
            id,
            issuer,
            state,
            freshness_bound,
        }),
    ))
}

fn key_of(message: &pb::SigningKey) -> Result<(ZoneId, What), ConvertError> {
    let zone = malformed("key.zone_id", ZoneId::parse(&message.zone_id))?;
    let kid = malformed("key.kid", KeyId::parse(&message.kid))?;
    let key = match message.state.as_str() {
        "pending" | "active" | "retired" => {
            let algorithm = Algorithm::parse(&message.alg)
                .ok_or(ConvertError::new("key.alg", Wrong::Unknown))?;
            let key = VerifyingKey::new(kid.clone(), algorithm, &message.public_key);
            Some(malformed("key.public_key", key)?)
        }
        "removed" | "distrusted" => None,
        _ => return Err(ConvertError::new("key.state", Wrong::Unknown)),
    };
    Ok((zone, What::Key { kid, key }))
}

/// A version whose data does not load is not refused here: the reader has to know that it is the
/// active one, and then nothing can be decided.
fn policy_of(message: &pb::Policy) -> Result<(ZoneId, What), ConvertError> {
    let zone = malformed("policy.zone_id", ZoneId::parse(&message.zone_id))?;
    if message.version_id.is_empty() && message.data.is_empty() {
        return Ok((zone, What::Policy(PolicyState::Missing)));
    }
    let version = malformed(
        "policy.version_id",
        PolicyVersionId::parse(&message.version_id),
    )?;
    let loaded = PolicyData::parse(&message.data).ok().and_then(|data| {
        let content_sha256 = fixed("policy.content_sha256", &message.content_sha256).ok()?;
        (data.content_sha256() == content_sha256).then(|| ActivePolicy {
            version,
            number: message.number,
            content_sha256,
            data: Arc::new(data),
        })
    });
    let state = loaded.map_or(PolicyState::Broken(version), PolicyState::Active);
    Ok((zone, What::Policy(state)))
}

fn snapshot_to_pb(zone_id: String, what: What) -> pb::change::What {
    match what {
        What::Zone(zone) => pb::change::What::Zone(zone_to_pb(zone_id, &zone)),
        What::Key { kid, key } => pb::change::What::Key(key_to_pb(zone_id, &kid, key.as_ref())),
        What::Resource(resource) => pb::change::What::Resource(resource_to_pb(zone_id, &resource)),
        What::Binding(binding) => pb::change::What::Binding(binding_to_pb(zone_id, binding)),
        What::Policy(policy) => pb::change::What::Policy(policy_to_pb(&zone_id, policy)),
    }
}

fn zone_to_pb(zone_id: String, zone: &Zone) -> pb::Zone {
    let state = match zone.state {
        ZoneState::Provisioning => pb::State::Provisioning,
        ZoneState::Ready => pb::State::Active,
        ZoneState::Archived => pb::State::Archived,
    };
    pb::Zone {
        zone_id,
        // A name is for people: it decides nothing and is not held.
        name: String::new(),
        issuer: zone.issuer.as_str().to_owned(),
        state: state.into(),
        freshness_bound_ms: u32::try_from(zone.freshness_bound.as_millis()).unwrap_or(u32::MAX),
    }
}

fn key_to_pb(zone_id: String, kid: &KeyId, key: Option<&VerifyingKey>) -> pb::SigningKey {
    pb::SigningKey {
        zone_id,
        kid: kid.as_str().to_owned(),
        alg: key
            .map(|key| key.algorithm().name().to_owned())
            .unwrap_or_default(),
        public_key: key.map(|key| key.public().to_vec()).unwrap_or_default(),
        state: if key.is_some() { "active" } else { "removed" }.to_owned(),
    }
}

fn policy_to_pb(zone_id: &str, policy: PolicyState) -> pb::Policy {
    let bare = |version_id| pb::Policy {
        zone_id: zone_id.to_owned(),
        version_id,
        ..Default::default()
    };
    match policy {
        PolicyState::Missing => bare(String::new()),
        PolicyState::Broken(version) => bare(version.to_string()),
        PolicyState::Active(active) => pb::Policy {
            number: active.number,
            content_sha256: active.content_sha256.to_vec(),
            data: active.data.canonical(),
            ..bare(active.version.to_string())
        },
    }
}
