//! The claims of a mandate, in their wire form.

use serde::{Deserialize, Deserializer, Serialize};
use uuid::Uuid;

use crate::Rejection;
use crate::id::{
    ApplicationId, DelegationId, Issuer, Label, MandateId, PolicyVersionId, RecordId, ResourceUri,
    ScopeSet, SessionId, Subject, ZoneId,
};

/// What a mandate is for. The classes are disjoint: a verifier accepts its own only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Use {
    /// To ask the issuer for more.
    Session,
    /// For one use at a gateway.
    Gateway,
    /// For resources.
    Resource,
}

impl Use {
    /// The longest lifetime, in seconds.
    pub const fn max_lifetime(self) -> i64 {
        match self {
            Self::Session => 3600,
            Self::Gateway => 300,
            Self::Resource => 900,
        }
    }

    /// The word in the `use` claim.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Session => "session",
            Self::Gateway => "gateway",
            Self::Resource => "resource",
        }
    }
}

/// What kind of party `sub` is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SubjectType {
    /// A person.
    User,
    /// An application, acting for itself.
    Application,
}

/// An actor (RFC 8693 §4.1): the current one outermost, earlier ones nested.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Actor {
    /// Who acts.
    pub sub: Subject,
    /// Its client, where that differs from the subject.
    #[serde(
        default,
        deserialize_with = "present",
        skip_serializing_if = "Option::is_none"
    )]
    pub client_id: Option<ApplicationId>,
    /// Who acted before.
    #[serde(
        default,
        deserialize_with = "present",
        skip_serializing_if = "Option::is_none"
    )]
    pub act: Option<Box<Actor>>,
}

/// One party of a delegation chain: whoever delegated, and last the one who received.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hop {
    /// The party's application.
    pub application_id: ApplicationId,
    /// Its session.
    #[serde(
        default,
        deserialize_with = "present",
        skip_serializing_if = "Option::is_none"
    )]
    pub agent_session_id: Option<SessionId>,
    /// The delegation it gave; the receiver has given none.
    #[serde(
        default,
        deserialize_with = "present",
        skip_serializing_if = "Option::is_none"
    )]
    pub delegation_edge_id: Option<DelegationId>,
}

/// A key the mandate is bound to (RFC 7800 §3). Members of other proofs are not kept, but bind all the same.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Confirmation {
    /// The thumbprint of a DPoP key (RFC 9449 §6.1).
    #[serde(
        default,
        deserialize_with = "present",
        skip_serializing_if = "Option::is_none"
    )]
    pub jkt: Option<String>,
    /// The digest of a client certificate (RFC 8705 §3.1).
    #[serde(
        default,
        rename = "x5t#S256",
        deserialize_with = "present",
        skip_serializing_if = "Option::is_none"
    )]
    pub x5t_s256: Option<String>,
}

/// All claims. Unknown ones are ignored (RFC 7519 §4); nothing is decided on them. A claim is there with a value
/// or not at all: `null` is neither.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claims {
    /// Issuer.
    pub iss: Issuer,
    /// Subject: the user acted for, else the application.
    pub sub: Subject,
    /// Audience. One value is written as a string (RFC 7519 §4.1.3).
    #[serde(with = "audience")]
    pub aud: Vec<String>,
    /// Expiry, seconds since the epoch.
    pub exp: i64,
    /// Not before.
    pub nbf: i64,
    /// Issued at.
    pub iat: i64,
    /// This mandate's id.
    pub jti: MandateId,
    /// The OAuth client.
    pub client_id: ApplicationId,
    /// Who acts, where that is not the subject.
    #[serde(
        default,
        deserialize_with = "present",
        skip_serializing_if = "Option::is_none"
    )]
    pub act: Option<Actor>,
    /// Granted scopes.
    pub scope: ScopeSet,
    /// Granted resources.
    pub target: Vec<ResourceUri>,
    /// Zone.
    pub zone_id: ZoneId,
    /// What it is for.
    #[serde(rename = "use")]
    pub usage: Use,
    /// What kind of party the subject is.
    pub sub_type: SubjectType,
    /// The authority record it was minted under.
    pub sid: RecordId,
    /// The top of that record's lineage.
    pub root_sid: RecordId,
    /// The governed run.
    #[serde(
        default,
        deserialize_with = "present",
        skip_serializing_if = "Option::is_none"
    )]
    pub agent_session_id: Option<SessionId>,
    /// The last delegation.
    #[serde(
        default,
        deserialize_with = "present",
        skip_serializing_if = "Option::is_none"
    )]
    pub delegation_edge_id: Option<DelegationId>,
    /// The delegations, first to last.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub delegation_path: Vec<DelegationId>,
    /// The parties along them: one that gave per delegation, then the one that received.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub delegation_chain: Vec<Hop>,
    /// How often it was delegated.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub hop_count: u8,
    /// Ids of every ancestor, root first: the anchors of revocation.
    pub anc: Vec<Uuid>,
    /// Labels from the control plane, sorted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub labels: Vec<Label>,
    /// The policy version it was minted under.
    #[serde(
        default,
        deserialize_with = "present",
        skip_serializing_if = "Option::is_none"
    )]
    pub policy_version: Option<PolicyVersionId>,
    /// The key it is bound to.
    #[serde(
        default,
        deserialize_with = "present",
        skip_serializing_if = "Option::is_none"
    )]
    pub cnf: Option<Confirmation>,
}

impl Claims {
    /// The most ancestors.
    pub const MAX_ANCESTORS: usize = 32;
    /// The most labels.
    pub const MAX_LABELS: usize = 32;
    /// The most resources.
    pub const MAX_TARGETS: usize = 16;
    /// The most actors, and the most parties of a delegation chain.
    pub const MAX_PARTIES: usize = 16;

    /// Bounds and order that the types alone do not give. Step 9 of verification.
    pub fn validate(&self) -> Result<(), Rejection> {
        let bounded = (1..=Self::MAX_ANCESTORS).contains(&self.anc.len())
            && self.labels.len() <= Self::MAX_LABELS
            && self.target.len() <= Self::MAX_TARGETS
            && self.delegation_chain.len() <= Self::MAX_PARTIES
            && self
                .actors()
                .take(Self::MAX_PARTIES.saturating_add(1))
                .count()
                <= Self::MAX_PARTIES;
        let sorted = self.labels.is_sorted_by(|a, b| a < b);
        let rooted = self.anc.first() == Some(&self.root_sid.as_uuid())
            && self.anc.contains(&self.sid.as_uuid());
        let for_something = self.usage == Use::Session || !self.target.is_empty();
        if bounded && sorted && rooted && for_something && self.names_its_subject() {
            Ok(())
        } else {
            Err(Rejection::ClaimsMalformed)
        }
    }

    /// The actors, the current one first.
    pub fn actors(&self) -> impl Iterator<Item = &Actor> {
        std::iter::successors(self.act.as_ref(), |actor| actor.act.as_deref())
    }

    /// An application that is the subject is named by its id, and acts itself unless the mandate says who does.
    fn names_its_subject(&self) -> bool {
        match self.sub_type {
            SubjectType::User => true,
            SubjectType::Application => {
                ApplicationId::parse(self.sub.as_str()).is_ok_and(|subject| {
                    subject == self.client_id || self.act.is_some() || self.hop_count > 0
                })
            }
        }
    }
}

/// A claim that is there has a value.
fn present<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde passes a reference"
)]
const fn is_zero(count: &u8) -> bool {
    *count == 0
}

/// A string, or an array of strings.
mod audience {
    use serde::de::{Deserialize, Deserializer, Error};
    use serde::ser::Serializer;

    #[derive(serde::Deserialize)]
    #[serde(untagged)]
    enum Form {
        One(String),
        Many(Vec<String>),
    }

    pub(super) fn serialize<S: Serializer>(
        values: &[String],
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        match values {
            [one] => serializer.serialize_str(one),
            many => serializer.collect_seq(many),
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Vec<String>, D::Error> {
        let values = match Form::deserialize(deserializer)? {
            Form::One(one) => vec![one],
            Form::Many(many) => many,
        };
        let bounded = (1..=16).contains(&values.len())
            && values.iter().all(|value| (1..=512).contains(&value.len()));
        if bounded {
            Ok(values)
        } else {
            Err(D::Error::custom("aud is empty or too long"))
        }
    }
}
