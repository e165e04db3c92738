//! What filters are told, as it came: never policy.

use std::sync::Arc;
use std::time::Duration;

use hashbrown::HashMap;
use jiff::Timestamp;
use mandate::id::{AttachmentName, BindingId, KeyId, ResourceId, ZoneId};
use mandate::{CutOffAnchor, DeadId, StateAnchor};
use policy::snapshot::{Change, What};
use wire::convert::{AuthorityChange, CutOff, Dead};
use wire::pb::caracal::authority::v1 as pb;

/// A row's place in its zone.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Place {
    Zone,
    Key(KeyId),
    Resource(ResourceId),
    Binding(BindingId),
    State(StateAnchor),
}

#[derive(Clone, Debug, Default)]
struct ZoneRows {
    rows: HashMap<Place, (u64, AuthorityChange)>,
    dead: HashMap<DeadId, Dead>,
    cut_offs: HashMap<CutOffAnchor, i64>,
}

/// The rows of all zones that we decide about.
#[derive(Debug, Default)]
pub(super) struct Rows {
    zones: HashMap<ZoneId, Arc<ZoneRows>>,
}

/// The rows of some zones as they were at a moment. What changes afterwards leaves them alone.
#[derive(Clone, Debug)]
pub(super) struct Held {
    zones: Vec<(ZoneId, Arc<ZoneRows>)>,
}

/// A binding left an attachment: what those who enforce that one are told.
#[derive(Clone, Debug)]
pub(super) struct Left {
    pub(super) from: AttachmentName,
    pub(super) change: AuthorityChange,
}

impl Rows {
    /// Applies a change by the rules of every reader: rows by version, what is dead as a union.
    pub(super) fn apply(&mut self, change: &AuthorityChange) -> Option<Left> {
        let zone = Arc::make_mut(self.zones.entry(change.zone()).or_default());
        match change {
            AuthorityChange::Dead(dead) => zone.kill(dead),
            AuthorityChange::CutOff(cut_off) => zone.cut_off(&cut_off.anchor, cut_off.not_before_s),
            AuthorityChange::Snapshot(of) => {
                if let Some(place) = place(&of.what) {
                    return zone.put(place, of.version, change);
                }
            }
            AuthorityChange::State {
                version,
                change: of,
            } => {
                return zone.put(Place::State(of.anchor.clone()), *version, change);
            }
        }
        None
    }

    /// Starts anew. What is dead stays dead, and no cut-off falls.
    pub(super) fn load(&mut self, changes: &[AuthorityChange]) {
        let mut next = Self::default();
        for change in changes {
            next.apply(change);
        }
        for (zone, held) in &self.zones {
            let zone = Arc::make_mut(next.zones.entry(*zone).or_default());
            held.dead.values().for_each(|dead| zone.kill(dead));
            for (anchor, not_before) in &held.cut_offs {
                zone.cut_off(anchor, *not_before);
            }
        }
        *self = next;
    }

    /// Forgets dead ids whose time is over.
    pub(super) fn sweep(&mut self, now: Timestamp) {
        for zone in self.zones.values_mut() {
            if zone.dead.values().any(|dead| dead.until <= now) {
                Arc::make_mut(zone).dead.retain(|_, dead| dead.until > now);
            }
        }
    }

    /// The rows of zones, as they are now.
    pub(super) fn hold(&self, zones: &[ZoneId]) -> Held {
        let held = zones
            .iter()
            .filter_map(|zone| Some((*zone, Arc::clone(self.zones.get(zone)?))));
        Held {
            zones: held.collect(),
        }
    }

    /// The bounds of zones, as far as they are known.
    pub(super) fn bounds(&self, zones: &[ZoneId]) -> impl Iterator<Item = Duration> {
        let held = zones.iter().filter_map(|zone| self.zones.get(zone));
        held.filter_map(|zone| match zone.rows.get(&Place::Zone) {
            Some((
                _,
                AuthorityChange::Snapshot(Change {
                    what: What::Zone(zone),
                    ..
                }),
            )) => Some(zone.freshness_bound),
            _ => None,
        })
    }
}

impl Held {
    /// Everything that an attachment is told.
    pub(super) fn told<'a>(
        &'a self,
        attachment: &'a AttachmentName,
    ) -> impl Iterator<Item = pb::Change> + 'a {
        let changes = self.zones.iter().flat_map(move |(zone, held)| {
            let rows = held.rows.values().map(|(_, change)| change);
            let rows = rows.filter(move |change| concerns(change, attachment, &[*zone]));
            let dead = held.dead.values().cloned().map(AuthorityChange::Dead);
            let cut_offs = held.cut_offs.iter().map(|(anchor, not_before_s)| {
                AuthorityChange::CutOff(CutOff {
                    zone: *zone,
                    anchor: anchor.clone(),
                    not_before_s: *not_before_s,
                })
            });
            rows.cloned().chain(dead).chain(cut_offs)
        });
        changes.map(pb::Change::from)
    }
}

impl ZoneRows {
    fn kill(&mut self, dead: &Dead) {
        let held = self.dead.entry(dead.id()).or_insert_with(|| dead.clone());
        held.until = held.until.max(dead.until);
    }

    fn cut_off(&mut self, anchor: &CutOffAnchor, not_before: i64) {
        let held = self.cut_offs.entry(anchor.clone()).or_insert(not_before);
        *held = (*held).max(not_before);
    }

    fn put(&mut self, place: Place, version: u64, change: &AuthorityChange) -> Option<Left> {
        let held = self.rows.get(&place);
        if held.is_some_and(|(held, _)| version <= *held) {
            return None;
        }
        let left = held.and_then(|(_, before)| left(before, change));
        self.rows.insert(place, (version, change.clone()));
        left
    }
}

fn place(what: &What) -> Option<Place> {
    match what {
        What::Zone(_) => Some(Place::Zone),
        What::Key { kid, .. } => Some(Place::Key(kid.clone())),
        What::Resource(resource) => Some(Place::Resource(resource.id)),
        What::Binding(binding) => Some(Place::Binding(binding.id)),
        What::Policy(_) => None,
    }
}

/// Those whom a binding left would otherwise enforce it for ever.
fn left(before: &AuthorityChange, after: &AuthorityChange) -> Option<Left> {
    let (AuthorityChange::Snapshot(before), AuthorityChange::Snapshot(after)) = (before, after)
    else {
        return None;
    };
    let (What::Binding(old), What::Binding(new)) = (&before.what, &after.what) else {
        return None;
    };
    if old.attachment == new.attachment {
        return None;
    }
    let mut gone = old.clone();
    gone.active = false;
    Some(Left {
        from: old.attachment.clone(),
        change: AuthorityChange::Snapshot(Change {
            zone: after.zone,
            version: after.version,
            what: What::Binding(gone),
        }),
    })
}

/// Whether an attachment of these zones is told of a change.
pub(super) fn concerns(
    change: &AuthorityChange,
    attachment: &AttachmentName,
    zones: &[ZoneId],
) -> bool {
    let told = match change {
        AuthorityChange::Snapshot(change) => match &change.what {
            What::Binding(binding) => binding.attachment == *attachment,
            What::Policy(_) => false,
            What::Zone(_) | What::Key { .. } | What::Resource(_) => true,
        },
        AuthorityChange::Dead(_) | AuthorityChange::CutOff(_) | AuthorityChange::State { .. } => {
            true
        }
    };
    told && zones.contains(&change.zone())
}
