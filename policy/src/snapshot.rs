//! Everything that is decided from: immutable, cheap to clone, changed by making a new one.
//!
//! Revocations and object states are not here: they are `mandate::Revocations`, which only ever refuses more.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use mandate::id::{
    AttachmentName, BindingId, Issuer, KeyId, PolicyVersionId, ResourceId, ResourceUri, ScopeSet,
    ZoneId,
};
use mandate::template::OperationSet;
use mandate::{KeySet, VerifyingKey};

use crate::binding::Attachment;
use crate::data::PolicyData;

/// Whether a zone takes requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ZoneState {
    /// Its first key is still to come.
    Provisioning,
    /// In force.
    Ready,
    /// Out of use: issuance and enforcement have stopped.
    Archived,
}

/// A zone's own row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Zone {
    /// Its id.
    pub id: ZoneId,
    /// The issuer of its mandates.
    pub issuer: Issuer,
    /// Whether it takes requests.
    pub state: ZoneState,
    /// How old memory may be when it decides.
    pub freshness_bound: Duration,
}

/// What is protected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resource {
    /// Its row.
    pub id: ResourceId,
    /// What authority names, compared byte for byte.
    pub identifier: ResourceUri,
    /// Every scope it knows.
    pub scopes: ScopeSet,
    /// Which request needs which of them.
    pub operations: OperationSet,
    /// Whether it is in force.
    pub active: bool,
}

/// How the decisions of a binding are evidenced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum EvidenceMode {
    /// One event a request, before it passes.
    PerRequest,
    /// One lease for a bounded number of requests, where the enforcement point grants leases.
    Lease,
}

/// What becomes of the mandate on its way to the upstream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Forward {
    /// It is removed.
    Strip,
    /// It is forwarded.
    Keep,
}

/// Where a resource is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Binding {
    /// Its id.
    pub id: BindingId,
    /// The attachment that it belongs to.
    pub attachment: AttachmentName,
    /// The resource.
    pub resource: ResourceUri,
    /// Canonical hosts.
    pub hosts: Vec<String>,
    /// A canonical path without a slash at its end; `/` is everything.
    pub path_prefix: String,
    /// The proxy's clusters that requests may go to.
    pub upstream_clusters: Vec<String>,
    /// How callers reach it.
    pub public_url: String,
    /// How its decisions are evidenced.
    pub evidence: EvidenceMode,
    /// The most delegations a mandate may have passed through.
    pub max_hops: u8,
    /// What becomes of the mandate.
    pub forward: Forward,
    /// Whether it is in force.
    pub active: bool,
}

/// The active policy version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ActivePolicy {
    /// Its id.
    pub version: PolicyVersionId,
    /// Its number in the zone.
    pub number: u32,
    /// The hash of its canonical data.
    pub content_sha256: [u8; 32],
    /// The data.
    pub data: Arc<PolicyData>,
}

/// What decides in a zone.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum PolicyState {
    /// Nothing was ever activated: everything is refused.
    #[default]
    Missing,
    /// This version.
    Active(ActivePolicy),
    /// A version that does not load: nothing can be decided. The one before it is not kept, since it may allow more.
    Broken(PolicyVersionId),
}

/// One object of one zone as it is from a version on. It applies if and only if that is above the version held.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The zone.
    pub zone: ZoneId,
    /// The object's version.
    pub version: u64,
    /// What it is now.
    pub what: What,
}

/// The object that changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    /// The zone's own row.
    Zone(Zone),
    /// A key that verifies, or no longer does.
    Key {
        /// Its id.
        kid: KeyId,
        /// The key; none when it no longer verifies.
        key: Option<VerifyingKey>,
    },
    /// A resource.
    Resource(Resource),
    /// A binding.
    Binding(Binding),
    /// The active policy.
    Policy(PolicyState),
}

/// Something held and its version. What is out of force is held too, so that nothing older brings it back.
#[derive(Debug, Clone)]
struct Held<T> {
    version: u64,
    value: T,
}

/// One zone.
#[derive(Debug, Clone, Default)]
pub struct ZoneView {
    zone: Option<Held<Zone>>,
    keys: HashMap<KeyId, Held<Option<VerifyingKey>>>,
    key_set: KeySet,
    resources: HashMap<ResourceId, Held<Arc<Resource>>>,
    identifiers: HashMap<ResourceUri, ResourceId>,
    bindings: HashMap<BindingId, Held<Arc<Binding>>>,
    policy_version: u64,
    policy: PolicyState,
}

impl ZoneView {
    /// The zone's row; none until it arrived.
    pub fn zone(&self) -> Option<&Zone> {
        self.zone.as_ref().map(|held| &held.value)
    }

    /// The keys that verify.
    pub fn keys(&self) -> &KeySet {
        &self.key_set
    }

    /// A resource in force.
    pub fn resource(&self, identifier: &ResourceUri) -> Option<&Arc<Resource>> {
        let id = self.identifiers.get(identifier)?;
        self.resources.get(id).map(|held| &held.value)
    }

    /// A binding in force.
    pub fn binding(&self, id: BindingId) -> Option<&Arc<Binding>> {
        self.bindings
            .get(&id)
            .map(|held| &held.value)
            .filter(|binding| binding.active)
    }

    /// The bindings in force, in no order.
    pub fn bindings(&self) -> impl Iterator<Item = &Arc<Binding>> {
        self.bindings
            .values()
            .map(|held| &held.value)
            .filter(|binding| binding.active)
    }

    /// What decides.
    pub fn policy(&self) -> &PolicyState {
        &self.policy
    }

    fn put_zone(&mut self, version: u64, zone: &Zone) {
        if self.zone.as_ref().is_none_or(|held| version > held.version) {
            self.zone = Some(Held {
                version,
                value: zone.clone(),
            });
        }
    }

    fn put_key(&mut self, version: u64, kid: &KeyId, key: Option<&VerifyingKey>) {
        if newer(&self.keys, kid, version) {
            self.keys.insert(
                kid.clone(),
                Held {
                    version,
                    value: key.cloned(),
                },
            );
            self.key_set = KeySet::new(self.keys.values().filter_map(|held| held.value.clone()));
        }
    }

    fn put_resource(&mut self, version: u64, resource: &Resource) {
        if !newer(&self.resources, &resource.id, version) {
            return;
        }
        let held = Held {
            version,
            value: Arc::new(resource.clone()),
        };
        let before = self.resources.insert(resource.id, held);
        if let Some(before) = before
            && self.identifiers.get(&before.value.identifier) == Some(&resource.id)
        {
            self.identifiers.remove(&before.value.identifier);
        }
        if resource.active {
            self.identifiers
                .insert(resource.identifier.clone(), resource.id);
        }
    }

    fn put_policy(&mut self, version: u64, policy: &PolicyState) {
        if version > self.policy_version {
            self.policy_version = version;
            self.policy = policy.clone();
        }
    }
}

fn newer<K: Eq + std::hash::Hash, V>(held: &HashMap<K, Held<V>>, key: &K, version: u64) -> bool {
    held.get(key).is_none_or(|held| version > held.version)
}

/// All zones. Clones share.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    zones: HashMap<ZoneId, Arc<ZoneView>>,
    attachments: HashMap<AttachmentName, Arc<Attachment>>,
}

impl Snapshot {
    /// Knows nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// One zone.
    pub fn zone(&self, id: ZoneId) -> Option<&Arc<ZoneView>> {
        self.zones.get(&id)
    }

    /// All zones, in no order.
    pub fn zones(&self) -> impl Iterator<Item = (&ZoneId, &Arc<ZoneView>)> {
        self.zones.iter()
    }

    /// The snapshot after these changes; those that are not newer than what is held do nothing.
    #[must_use]
    pub fn apply<'a>(&self, changes: impl IntoIterator<Item = &'a Change>) -> Self {
        let mut next = self.clone();
        for change in changes {
            next.put(change);
        }
        next
    }

    pub(crate) fn attachment(&self, name: &AttachmentName) -> Option<&Attachment> {
        self.attachments.get(name).map(Arc::as_ref)
    }

    fn put(&mut self, change: &Change) {
        let Change {
            zone: id,
            version,
            what,
        } = change;
        let view = Arc::make_mut(self.zones.entry(*id).or_default());
        match what {
            What::Zone(zone) => view.put_zone(*version, zone),
            What::Key { kid, key } => view.put_key(*version, kid, key.as_ref()),
            What::Resource(resource) => view.put_resource(*version, resource),
            What::Policy(policy) => view.put_policy(*version, policy),
            What::Binding(binding) => {
                if newer(&view.bindings, &binding.id, *version) {
                    let held = Held {
                        version: *version,
                        value: Arc::new(binding.clone()),
                    };
                    let before = view.bindings.insert(binding.id, held);
                    self.reattach(*id, before.map(|held| held.value).as_deref(), binding);
                }
            }
        }
    }

    /// Moves a binding's places from where it was to where it is.
    fn reattach(&mut self, zone: ZoneId, before: Option<&Binding>, after: &Binding) {
        if let Some(binding) = before.filter(|binding| binding.active) {
            let emptied = self
                .attachments
                .get_mut(&binding.attachment)
                .is_some_and(|attachment| {
                    let attachment = Arc::make_mut(attachment);
                    attachment.remove(zone, binding);
                    attachment.is_empty()
                });
            if emptied {
                self.attachments.remove(&binding.attachment);
            }
        }
        if after.active {
            let attachment = self
                .attachments
                .entry(after.attachment.clone())
                .or_default();
            Arc::make_mut(attachment).insert(zone, after);
        }
    }
}
