//! What is known of zones, and how old it is.

use std::collections::HashMap;
use std::time::Duration;

use jiff::Timestamp;
use mandate::id::ZoneId;
use mandate::{ObjectState, Revocations, StateAnchor};
use policy::Unavailable;
use policy::snapshot::{Change, Snapshot, What};
use wire::convert::{AuthorityChange, StateChange};
use wire::pb::caracal::authority::v1 as pb;

use crate::cache::Verified;

/// How old memory is: what ext-authz said of its own, and how long ago we asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Freshness {
    /// When we asked, on our monotonic clock: no earlier than what was said was true.
    pub asked: Duration,
    /// What was said.
    pub age: Duration,
}

impl Freshness {
    /// How old memory is at most.
    pub fn age_at(&self, now: Duration) -> Duration {
        self.age.saturating_add(now.saturating_sub(self.asked))
    }
}

/// Whether memory can be decided from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Nothing was ever loaded.
    Empty,
    /// Memory is of one history.
    Held,
    /// Memory is of another history than what was heard of.
    Resync,
}

/// What goes with a zone besides its rows.
#[derive(Debug)]
pub struct ZoneMemory {
    /// What is revoked, and which objects are not in force.
    pub revocations: Revocations,
    /// Mandates verified by the zone's keys.
    pub verified: Verified,
    states: HashMap<StateAnchor, u64>,
    broken: bool,
}

impl ZoneMemory {
    /// The memory of one zone `among` so many.
    fn new(zone: ZoneId, seed: u64, among: usize) -> Self {
        Self {
            revocations: Revocations::new(),
            verified: Verified::new(zone, seed, among),
            states: HashMap::new(),
            broken: false,
        }
    }
}

/// What is known of zones.
#[derive(Debug)]
pub struct Memory {
    seed: u64,
    phase: Phase,
    freshness: Option<Freshness>,
    snapshot: Snapshot,
    /// Few, so that looking through them is the fastest.
    zones: Vec<(ZoneId, ZoneMemory)>,
}

/// A snapshot that was not understood, not even in which zone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotUnderstood;

/// How far changes, or a snapshot, were understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Understood {
    /// All of it.
    Whole,
    /// Not what was said of some zone, of which nothing is decided until a snapshot is understood.
    ButForAZone,
    /// Something was not, and nobody knows of which zone it was.
    Nothing,
}

/// What came of changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Applied {
    /// Whether one of them can end what was admitted before: something died, was cut off or changed its state.
    pub ends: bool,
    /// How far they were understood.
    pub understood: Understood,
}

impl Memory {
    /// An empty memory of these zones; `seed` is random.
    pub fn new(mine: Vec<ZoneId>, seed: u64) -> Self {
        let among = mine.len();
        Self {
            zones: mine
                .into_iter()
                .map(|zone| (zone, ZoneMemory::new(zone, seed, among)))
                .collect(),
            seed,
            phase: Phase::Empty,
            freshness: None,
            snapshot: Snapshot::new(),
        }
    }

    /// Whether there is a memory to decide from at all.
    pub fn usable(&self) -> Result<(), Unavailable> {
        match self.phase {
            Phase::Empty => Err(Unavailable::NotReady),
            Phase::Resync => Err(Unavailable::Resync),
            Phase::Held => Ok(()),
        }
    }

    /// What is known of zones.
    pub fn snapshot(&self) -> &Snapshot {
        &self.snapshot
    }

    /// Whether it can be decided from.
    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// How old it is at most; none where that is not known.
    pub fn age(&self, now: Duration) -> Option<Duration> {
        self.freshness.map(|fresh| fresh.age_at(now))
    }

    /// The memory of a zone, if it is whole and no older than `bound`.
    pub fn zone(
        &mut self,
        zone: ZoneId,
        bound: Duration,
        now: Duration,
    ) -> Result<&mut ZoneMemory, Unavailable> {
        if self.age(now).is_none_or(|age| age > bound) {
            return Err(Unavailable::Stale);
        }
        match self.held(zone) {
            Some(memory) if !memory.broken => Ok(memory),
            // Something about this zone came that was not understood.
            Some(_) | None => Err(Unavailable::Resync),
        }
    }

    /// Whether every zone of it can be decided about as far as its age goes.
    pub fn is_fresh(&self, now: Duration) -> bool {
        let bounds = self.snapshot.zones().filter_map(|(_, zone)| zone.zone());
        let bound = bounds.map(|zone| zone.freshness_bound).min();
        let within = |age: Duration| bound.is_none_or(|bound| age <= bound);
        self.usable().is_ok() && self.age(now).is_some_and(within)
    }

    /// What is revoked in a zone, however old that is: it only refuses.
    pub fn revocations(&self, zone: ZoneId) -> Option<&Revocations> {
        let held = self.zones.iter().find(|(held, _)| *held == zone);
        held.map(|(_, memory)| &memory.revocations)
    }

    /// Its age was told.
    pub fn told(&mut self, freshness: Freshness) {
        if self.phase == Phase::Held {
            self.freshness = Some(freshness);
        }
    }

    /// It is of another history, or something is missing in it. What is revoked stays.
    pub fn resync(&mut self) {
        if self.phase == Phase::Held {
            self.phase = Phase::Resync;
        }
        self.freshness = None;
    }

    /// Applies changes of the history held. One of a zone of ours that is not understood makes that zone, and no other,
    /// undecidable until a snapshot is understood.
    pub fn apply(&mut self, changes: Vec<pb::Change>) -> Applied {
        let mut applied = Applied {
            ends: false,
            understood: Understood::Whole,
        };
        for change in changes.into_iter().filter(concerns) {
            let zone = AuthorityChange::zone_named(&change);
            match AuthorityChange::without_policy(change) {
                Ok(change) if self.held(change.zone()).is_none() => {}
                Ok(AuthorityChange::Snapshot(change)) => self.row(&change),
                Ok(change) => {
                    applied.ends = true;
                    self.revoke(change);
                }
                Err(_) => {
                    let understood = self.miss(zone);
                    applied.understood = applied.understood.max(understood);
                }
            }
        }
        applied
    }

    /// Something was not understood, of this zone or of nobody knows which.
    fn miss(&mut self, zone: Option<ZoneId>) -> Understood {
        match zone {
            Some(zone) if self.held(zone).is_none() => Understood::Whole,
            Some(zone) => {
                self.give_up(zone);
                Understood::ButForAZone
            }
            None => Understood::Nothing,
        }
    }

    /// Starts anew from a snapshot. What is dead stays dead and no cut-off falls, whatever the snapshot says; states of
    /// objects are what it says, so that none is held for ever. Where it `continues` what is held, it is no older than that.
    pub fn load(
        &mut self,
        changes: Vec<pb::Change>,
        continues: bool,
    ) -> Result<Understood, NotUnderstood> {
        let mine: Vec<ZoneId> = self.zones.iter().map(|(zone, _)| *zone).collect();
        let mut next = Self::new(mine, self.seed);
        let mut rows = Vec::new();
        let mut lost = Vec::new();
        for change in changes.into_iter().filter(concerns) {
            let zone = AuthorityChange::zone_named(&change);
            match AuthorityChange::without_policy(change) {
                Ok(change) if next.held(change.zone()).is_none() => {}
                Ok(AuthorityChange::Snapshot(change)) => rows.push(change),
                Ok(change) => next.revoke(change),
                Err(_) => lost.push(zone.ok_or(NotUnderstood)?),
            }
        }
        next.snapshot = next.snapshot.apply(&rows);
        let mut understood = Understood::Whole;
        for zone in lost {
            understood = understood.max(next.miss(Some(zone)));
        }
        next.keep(std::mem::take(&mut self.zones));
        next.phase = Phase::Held;
        next.freshness = self.freshness.filter(|_| continues);
        *self = next;
        Ok(understood)
    }

    /// Forgets dead ids whose time is over.
    pub fn sweep(&mut self, now: Timestamp) {
        for (_, zone) in &mut self.zones {
            zone.revocations.sweep(now);
        }
    }

    fn row(&mut self, change: &Change) {
        self.snapshot = self.snapshot.apply([change]);
        // Trust in what was verified before rests on both.
        if matches!(change.what, What::Key { .. } | What::Zone(_))
            && let Some(memory) = self.held(change.zone)
        {
            memory.verified.clear();
        }
    }

    fn revoke(&mut self, change: AuthorityChange) {
        match change {
            AuthorityChange::Snapshot(_) => {}
            AuthorityChange::Dead(dead) => {
                if let Some(memory) = self.held(dead.zone) {
                    dead.apply(&mut memory.revocations);
                }
            }
            AuthorityChange::CutOff(cut_off) => {
                if let Some(memory) = self.held(cut_off.zone) {
                    cut_off.apply(&mut memory.revocations);
                }
            }
            AuthorityChange::State { version, change } => self.state(version, &change),
        }
    }

    fn state(&mut self, version: u64, change: &StateChange) {
        let Some(zone) = self.held(change.zone) else {
            return;
        };
        let held = zone.states.entry(change.anchor.clone()).or_default();
        if version > *held {
            *held = version;
            change.apply(&mut zone.revocations);
        }
    }

    /// The memory of a zone; none where it is not ours.
    fn held(&mut self, zone: ZoneId) -> Option<&mut ZoneMemory> {
        let mut zones = self.zones.iter_mut();
        zones
            .find(|(held, _)| *held == zone)
            .map(|(_, memory)| memory)
    }

    fn give_up(&mut self, zone: ZoneId) {
        if let Some(memory) = self.held(zone) {
            memory.broken = true;
        }
    }

    /// Takes over what was known to be dead or cut off before.
    fn keep(&mut self, before: Vec<(ZoneId, ZoneMemory)>) {
        for (zone, mut old) in before {
            for anchor in old.states.keys() {
                old.revocations
                    .set_state(anchor.clone(), ObjectState::Active);
            }
            if let Some(held) = self.held(zone) {
                old.revocations.merge(&held.revocations);
                held.revocations = old.revocations;
            }
        }
    }
}

/// Whether a filter has a use for it: policy is for ext-authz.
fn concerns(change: &pb::Change) -> bool {
    !matches!(change.what, Some(pb::change::What::Policy(_)))
}
