//! Which binding a request is decided under: attachment, host and longest path prefix select exactly one, or none.

use std::collections::HashMap;
use std::sync::Arc;

use mandate::canonical::{CanonicalHost, CanonicalPath};
use mandate::id::{AttachmentName, BindingId, ZoneId};
use mandate::template::Operation;

use crate::denial::{Denial, Refused};
use crate::snapshot::{Binding, Resource, Snapshot, ZoneView};

/// What a request is about.
#[derive(Debug, Clone)]
pub struct Selected {
    /// The zone.
    pub zone_id: ZoneId,
    /// What is known of it.
    pub zone: Arc<ZoneView>,
    /// The binding.
    pub binding: Arc<Binding>,
    /// Its resource.
    pub resource: Arc<Resource>,
}

impl Selected {
    /// The operation of a method and path. Templates match the whole path, the binding's prefix included.
    pub fn operation(
        &self,
        method: &str,
        path: &CanonicalPath<'_>,
    ) -> Result<&Arc<Operation>, Denial> {
        self.resource
            .operations
            .find(method, path)
            .ok_or(Denial::Refused(Refused::NoRule))
    }

    /// Checks every value of `x-caracal-resource`: at most one, and then the resource itself. It asserts and never
    /// selects.
    pub fn assert_resource(&self, values: &[&[u8]]) -> Result<(), Denial> {
        match values {
            [] => Ok(()),
            [value] if *value == self.resource.identifier.as_str().as_bytes() => Ok(()),
            _ => Err(Denial::Refused(Refused::ResourceAssertion)),
        }
    }
}

/// Finds the one binding of a request within an attachment that the proxy's own configuration names, among the zones
/// that the attachment may reach.
///
/// Places of two zones that cover one request disagree, whichever is longer: a zone that binds below another zone's
/// prefix must not take over what goes to the same host.
pub fn select(
    snapshot: &Snapshot,
    attachment: &AttachmentName,
    reachable: impl Fn(ZoneId) -> bool,
    host: &CanonicalHost,
    path: &CanonicalPath<'_>,
) -> Result<Selected, Denial> {
    let found = || {
        let place = snapshot
            .attachment(attachment)?
            .find(reachable, host, path)?;
        let zone = snapshot.zone(place.zone)?;
        let binding = zone.binding(place.binding)?;
        let resource = zone.resource(&binding.resource)?;
        Some(Selected {
            zone_id: place.zone,
            zone: Arc::clone(zone),
            binding: Arc::clone(binding),
            resource: Arc::clone(resource),
        })
    };
    found().ok_or(Denial::Refused(Refused::NoBinding))
}

/// Whether a prefix covers a path, on a segment's boundary: `/v1` covers `/v1` and `/v1/x`, not `/v10`.
pub fn covers(prefix: &str, path: &str) -> bool {
    let below = |rest: &str| rest.is_empty() || rest.starts_with('/');
    prefix == "/" || (!prefix.is_empty() && path.strip_prefix(prefix).is_some_and(below))
}

/// The places of one attachment.
#[derive(Debug, Clone, Default)]
pub(crate) struct Attachment {
    /// By host, the longest prefix first.
    hosts: HashMap<Box<str>, Vec<Place>>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Place {
    prefix: Box<str>,
    zone: ZoneId,
    binding: BindingId,
}

impl Attachment {
    pub(crate) fn insert(&mut self, zone: ZoneId, binding: &Binding) {
        for host in &binding.hosts {
            let places = self.hosts.entry(host.as_str().into()).or_default();
            let place = Place {
                prefix: binding.path_prefix.as_str().into(),
                zone,
                binding: binding.id,
            };
            let after = places.partition_point(|other| other.prefix.len() >= place.prefix.len());
            places.insert(after, place);
        }
    }

    pub(crate) fn remove(&mut self, zone: ZoneId, binding: &Binding) {
        for host in &binding.hosts {
            if let Some(places) = self.hosts.get_mut(host.as_str()) {
                places.retain(|place| place.zone != zone || place.binding != binding.id);
                if places.is_empty() {
                    self.hosts.remove(host.as_str());
                }
            }
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.hosts.is_empty()
    }

    fn find(
        &self,
        reachable: impl Fn(ZoneId) -> bool,
        host: &CanonicalHost,
        path: &CanonicalPath<'_>,
    ) -> Option<&Place> {
        let mut covering = self
            .hosts
            .get(host.as_str())?
            .iter()
            .filter(|place| reachable(place.zone) && covers(&place.prefix, path.path()));
        let longest = covering.next()?;
        let agreed = covering
            .all(|other| other.zone == longest.zone && other.prefix.len() < longest.prefix.len());
        agreed.then_some(longest)
    }
}

#[cfg(test)]
mod tests;
