//! A zone's policy as typed data: six roots, values only.
//!
//! Everything that could be misread is refused with its place: a member that is unknown, missing or there twice, a
//! value of another shape, a name that nothing declares. Malformed data is never read as "no restriction".

mod read;
mod tree;

use std::collections::BTreeMap;
use std::fmt;

use mandate::id::{ApplicationId, Label, ResourceUri, Scope, ScopeSet};
use serde::{Serialize, Serializer};
use sha2::{Digest as _, Sha256};

/// The longest document, in bytes.
pub const MAX_BYTES: usize = 1024 * 1024;

/// One thing that is wrong with a policy.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Finding {
    /// Where, as a JSON Pointer (RFC 6901); empty for the document.
    pub path: String,
    /// What, as the end of a sentence.
    pub what: String,
}

impl Finding {
    /// A finding.
    pub fn new(path: impl Into<String>, what: impl Into<String>) -> Self {
        Self {
            path: path.into(),
            what: what.into(),
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = if self.path.is_empty() {
            "the policy"
        } else {
            &self.path
        };
        write!(formatter, "{place} {}", self.what)
    }
}

/// What roles an application has at one resource, by the label that gives them.
pub type Roles = BTreeMap<Label, ScopeSet>;

/// A zone's policy.
///
/// ```json
/// {
///   "app_ids": {"billing": "018f0000-0000-7000-8000-000000000001"},
///   "grants": {"https://invoices.example/api": {"billing": {"roles": {"agent": ["invoices:read"]}}}},
///   "confinement": {"untrusted": {"scopes": ["invoices:read"]}},
///   "restrict": {"zone": false, "resources": {}, "applications": {}},
///   "risk": {"invoices:pay": "high"},
///   "approval_tiers": {"high": {"approver": "operator", "ttl_seconds": 600}}
/// }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyData {
    pub(crate) app_ids: BTreeMap<Label, ApplicationId>,
    pub(crate) grants: BTreeMap<ResourceUri, BTreeMap<Label, Roles>>,
    pub(crate) confinement: BTreeMap<Label, ScopeSet>,
    pub(crate) restrict: Restrict,
    pub(crate) risk: BTreeMap<Scope, Label>,
    pub(crate) approval_tiers: BTreeMap<Label, ApprovalTier>,
    /// The key of each application; made of `app_ids`.
    keys: BTreeMap<ApplicationId, Label>,
}

/// What is held back, with the reason for people.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Restrict {
    /// Applications, by their key.
    pub applications: BTreeMap<Label, String>,
    /// Resources.
    pub resources: BTreeMap<ResourceUri, String>,
    /// The whole zone.
    pub zone: bool,
}

/// What an approval takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct ApprovalTier {
    /// Who approves.
    pub approver: Approver,
    /// How long an approval may be waited for.
    pub ttl_seconds: u32,
}

/// Who approves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Approver {
    /// An operator of the zone.
    Operator,
    /// The user acted for.
    Subject,
}

impl PolicyData {
    /// The most scopes that all roles of one application at one resource have together.
    pub const MAX_ROLE_SCOPES: usize = ScopeSet::MAX;

    /// Parses a policy, or gives everything that is wrong with it.
    pub fn parse(json: &[u8]) -> Result<Self, Vec<Finding>> {
        read::policy(json)
    }

    /// The roles of an application at a resource.
    pub fn roles(&self, resource: &ResourceUri, application: ApplicationId) -> Option<&Roles> {
        self.grants.get(resource)?.get(self.key(application)?)
    }

    /// The key under which the policy knows an application.
    pub fn key(&self, application: ApplicationId) -> Option<&Label> {
        self.keys.get(&application)
    }

    /// The resources at which anything is granted, ascending.
    pub fn resources(&self) -> impl Iterator<Item = &ResourceUri> {
        self.grants.keys()
    }

    /// What each label confines a session to.
    pub fn confinement(&self) -> &BTreeMap<Label, ScopeSet> {
        &self.confinement
    }

    /// What is held back.
    pub fn restrict(&self) -> &Restrict {
        &self.restrict
    }

    /// Scopes that need an approval, with what it takes.
    pub fn approvals(&self) -> impl Iterator<Item = (&Scope, &ApprovalTier)> {
        self.risk
            .iter()
            .filter_map(|(scope, tier)| Some((scope, self.approval_tiers.get(tier)?)))
    }

    /// What it names that the zone does not have: resources, and scopes that a resource does not know. A misspelt
    /// identifier in `restrict` would hold nothing back.
    pub fn unknown<'a>(
        &self,
        known: impl Fn(&ResourceUri) -> Option<&'a ScopeSet>,
    ) -> Vec<Finding> {
        let mut findings = Vec::new();
        for (resource, applications) in &self.grants {
            let at = tree::below("/grants", resource.as_str());
            let Some(scopes) = known(resource) else {
                findings.push(Finding::new(at, "is no resource of this zone"));
                continue;
            };
            for (key, roles) in applications {
                let at = tree::below(&tree::below(&at, key.as_str()), "roles");
                for (label, granted) in roles {
                    let at = tree::below(&at, label.as_str());
                    let strange = granted.iter().filter(|scope| !scopes.contains(scope));
                    findings.extend(strange.map(|scope| {
                        Finding::new(&at, format!("has `{scope}`, no scope of the resource"))
                    }));
                }
            }
        }
        let restricted = self
            .restrict
            .resources
            .keys()
            .filter(|resource| known(resource).is_none());
        findings.extend(restricted.map(|resource| {
            Finding::new(
                tree::below("/restrict/resources", resource.as_str()),
                "is no resource of this zone",
            )
        }));
        findings
    }

    /// Its one form: JSON without white space, members in ascending order (RFC 8785 for what occurs here).
    pub fn canonical(&self) -> Vec<u8> {
        // Every map has string keys, the one thing that serde_json refuses.
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// SHA-256 of the canonical form.
    pub fn content_sha256(&self) -> [u8; 32] {
        Sha256::digest(self.canonical()).into()
    }
}

impl Serialize for PolicyData {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Scopes<'a> {
            scopes: Vec<&'a Scope>,
        }
        #[derive(Serialize)]
        struct Grant<'a> {
            roles: BTreeMap<&'a Label, Vec<&'a Scope>>,
        }
        #[derive(Serialize)]
        struct Document<'a> {
            app_ids: &'a BTreeMap<Label, ApplicationId>,
            approval_tiers: &'a BTreeMap<Label, ApprovalTier>,
            confinement: BTreeMap<&'a Label, Scopes<'a>>,
            grants: BTreeMap<&'a ResourceUri, BTreeMap<&'a Label, Grant<'a>>>,
            restrict: &'a Restrict,
            risk: &'a BTreeMap<Scope, Label>,
        }
        let confinement = self.confinement.iter().map(|(label, scopes)| {
            (
                label,
                Scopes {
                    scopes: scopes.iter().collect(),
                },
            )
        });
        let grants = self.grants.iter().map(|(resource, applications)| {
            let applications = applications.iter().map(|(key, roles)| {
                let roles = roles
                    .iter()
                    .map(|(label, scopes)| (label, scopes.iter().collect()));
                (
                    key,
                    Grant {
                        roles: roles.collect(),
                    },
                )
            });
            (resource, applications.collect())
        });
        let document = Document {
            app_ids: &self.app_ids,
            approval_tiers: &self.approval_tiers,
            confinement: confinement.collect(),
            grants: grants.collect(),
            restrict: &self.restrict,
            risk: &self.risk,
        };
        document.serialize(serializer)
    }
}

#[cfg(test)]
mod tests;
