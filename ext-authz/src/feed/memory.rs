//! Memory as it is kept: what a snapshot or a change does to it.

use std::sync::Arc;

use hashbrown::{HashMap, HashSet};
use jiff::Timestamp;
use ledger::envelope::Envelope;
use mandate::id::ZoneId;
use mandate::{ObjectState, Revocations, StateAnchor};
use policy::rego::Evaluator;
use policy::snapshot::{Change, PolicyState, Snapshot, What, ZoneView};
use wire::convert::{AuthorityChange, StateChange};
use wire::pb::caracal::authority::v1 as pb;

use crate::decide::{Bounds, Ready, Verified, ZoneMemory};

/// What is known of the zones that we may decide about.
#[derive(Debug)]
pub struct Memory {
    mine: HashSet<ZoneId>,
    bounds: Bounds,
    evaluator: Evaluator,
    snapshot: Snapshot,
    zones: HashMap<ZoneId, Arc<ZoneMemory>>,
    states: HashMap<(ZoneId, StateAnchor), u64>,
    /// Something of a zone of ours was not understood.
    lost: bool,
}

/// A change that was not understood and names no zone: the whole of what it came in cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a change was not understood")]
pub struct NotUnderstood;

impl Memory {
    /// An empty memory of these zones.
    pub fn new(
        zones: impl IntoIterator<Item = ZoneId>,
        bounds: Bounds,
        evaluator: Evaluator,
    ) -> Self {
        Self {
            mine: zones.into_iter().collect(),
            bounds,
            evaluator,
            snapshot: Snapshot::new(),
            zones: HashMap::new(),
            states: HashMap::new(),
            lost: false,
        }
    }

    /// What is known of zones.
    pub fn snapshot(&self) -> &Snapshot {
        &self.snapshot
    }

    /// What goes with them.
    pub fn zones(&self) -> &HashMap<ZoneId, Arc<ZoneMemory>> {
        &self.zones
    }

    /// Applies one change. A change of a zone of ours that is not understood makes that zone, and no
    /// other, undecidable until a snapshot is understood. What it was, if it is of a zone of ours.
    pub fn apply(&mut self, envelope: &Envelope) -> Result<Option<AuthorityChange>, NotUnderstood> {
        match AuthorityChange::from_payload(&envelope.payload) {
            Ok(change) if !says(envelope, &change) => {
                Err(self.not_understood(envelope, "its kind or zone is another"))
            }
            Ok(change) if self.mine.contains(&change.zone()) => {
                self.change(change.clone());
                Ok(Some(change))
            }
            Ok(_) => Ok(None),
            Err(_) if envelope.zone.is_some_and(|zone| !self.mine.contains(&zone)) => Ok(None),
            Err(error) => Err(self.not_understood(envelope, &error.to_string())),
        }
    }

    /// Whether nothing of our zones is missing.
    pub fn is_whole(&self) -> bool {
        !self.lost
    }

    fn not_understood(&mut self, envelope: &Envelope, why: &str) -> NotUnderstood {
        tracing::error!(
            why,
            kind = envelope.kind,
            pos = envelope.pos,
            "a change was not understood"
        );
        if let Some(zone) = envelope.zone {
            self.give_up(zone);
        }
        NotUnderstood
    }

    /// Starts anew from a snapshot. What is dead stays dead and no cut-off falls, whatever the snapshot
    /// says; states of objects are what it says, so that none is held for ever. What was understood of it.
    pub fn load(
        &mut self,
        changes: Vec<pb::Change>,
    ) -> Result<Vec<AuthorityChange>, NotUnderstood> {
        let mut next = Self::new(
            self.mine.iter().copied(),
            self.bounds,
            self.evaluator.clone(),
        );
        let mut lost = Vec::new();
        let mut rows = Vec::new();
        let mut understood = Vec::new();
        for change in changes {
            let zone = AuthorityChange::zone_named(&change);
            match AuthorityChange::try_from(change) {
                Ok(change) if !next.mine.contains(&change.zone()) => {}
                Ok(AuthorityChange::Snapshot(change)) => {
                    understood.push(AuthorityChange::Snapshot(change.clone()));
                    rows.push(change);
                }
                Ok(change) => {
                    understood.push(change.clone());
                    next.change(change);
                }
                Err(error) => {
                    let error = error.to_string();
                    tracing::error!(error, "a part of the snapshot was not understood");
                    lost.push(zone.ok_or(NotUnderstood)?);
                }
            }
        }
        next.snapshot = next.snapshot.apply(&rows);
        next.settle();
        for zone in lost {
            next.give_up(zone);
        }
        next.keep_dead(self);
        *self = next;
        Ok(understood)
    }

    /// Forgets dead ids whose time is over.
    pub fn sweep(&self, now: Timestamp) {
        for zone in self.zones.values() {
            zone.revoke(|revocations| revocations.sweep(now));
        }
    }

    fn change(&mut self, change: AuthorityChange) {
        match change {
            AuthorityChange::Snapshot(change) => self.row(&change),
            AuthorityChange::Dead(dead) => self.zone(dead.zone).revoke(|set| dead.apply(set)),
            AuthorityChange::CutOff(cut_off) => {
                self.zone(cut_off.zone).revoke(|set| cut_off.apply(set));
            }
            AuthorityChange::State { version, change } => self.state(version, &change),
        }
    }

    fn row(&mut self, change: &Change) {
        let before = self.snapshot.zone(change.zone).cloned();
        self.snapshot = self.snapshot.apply([change]);
        let Some(after) = self.snapshot.zone(change.zone).cloned() else {
            return;
        };
        let memory = self.zone(change.zone);
        let next = match change.what {
            // Trust in what was verified before rests on both.
            What::Key { .. } | What::Zone(_) => memory.with_new_keys(),
            What::Policy(_) if !same_policy(before.as_deref(), &after) => {
                memory.with_policy(self.ready(&after))
            }
            What::Policy(_) | What::Resource(_) | What::Binding(_) => return,
        };
        self.zones.insert(change.zone, Arc::new(next));
    }

    fn state(&mut self, version: u64, change: &StateChange) {
        let held = self
            .states
            .entry((change.zone, change.anchor.clone()))
            .or_default();
        if version > *held {
            *held = version;
            self.zone(change.zone).revoke(|set| change.apply(set));
        }
    }

    /// The memory of a zone, made when it is first spoken of.
    fn zone(&mut self, zone: ZoneId) -> Arc<ZoneMemory> {
        let bounds = self.bounds;
        let memory = self
            .zones
            .entry(zone)
            .or_insert_with(|| Arc::new(ZoneMemory::new(Arc::new(Verified::new(zone, bounds)))));
        Arc::clone(memory)
    }

    fn give_up(&mut self, zone: ZoneId) {
        if self.mine.contains(&zone) {
            self.lost = true;
            let broken = self.zone(zone).broken();
            self.zones.insert(zone, Arc::new(broken));
        }
    }

    /// After all rows of a snapshot are in: makes each zone's policy ready.
    fn settle(&mut self) {
        let views: Vec<(ZoneId, Arc<ZoneView>)> = self
            .snapshot
            .zones()
            .map(|(zone, view)| (*zone, Arc::clone(view)))
            .collect();
        for (zone, view) in views {
            let ready = self.zone(zone).with_policy(self.ready(&view));
            self.zones.insert(zone, Arc::new(ready));
        }
    }

    /// The active version, ready to be asked. One that cannot be made ready is not replaced by the one
    /// before it: nothing is decided then.
    fn ready(&self, view: &ZoneView) -> Option<Arc<Ready>> {
        let PolicyState::Active(active) = view.policy() else {
            return None;
        };
        match self.evaluator.prepare(&active.data) {
            Ok(prepared) => Some(Arc::new(Ready::new(active.version, prepared))),
            Err(error) => {
                let error = error.to_string();
                tracing::error!(error, policy.version = %active.version, "the policy cannot be asked");
                None
            }
        }
    }

    /// Takes over what `held` knows to be dead or cut off.
    fn keep_dead(&mut self, held: &Self) {
        for (zone, memory) in &held.zones {
            let mut union = memory.revocations().clone();
            for (of, anchor) in held.states.keys() {
                if of == zone {
                    union.set_state(anchor.clone(), ObjectState::Active);
                }
            }
            let next = self.zone(*zone);
            let loaded: Revocations = next.revocations().clone();
            union.merge(&loaded);
            self.zones
                .insert(*zone, Arc::new(next.with_revocations(union)));
        }
    }
}

/// Whether an envelope is what carries such a change: a producer is trusted by kind, so a kind must not
/// carry another's change.
fn says(envelope: &Envelope, change: &AuthorityChange) -> bool {
    let kind = match change {
        AuthorityChange::Snapshot(change) => match change.what {
            What::Zone(_) => "zone",
            What::Key { .. } => "key",
            What::Resource(_) => "resource",
            What::Binding(_) => "binding",
            What::Policy(_) => "policy",
        },
        AuthorityChange::Dead(_) => "revocation",
        AuthorityChange::CutOff(_) => "cutoff",
        AuthorityChange::State { .. } => "state",
    };
    envelope.kind == kind && envelope.zone == Some(change.zone())
}

fn same_policy(before: Option<&ZoneView>, after: &ZoneView) -> bool {
    before.is_some_and(|before| before.policy() == after.policy())
}
