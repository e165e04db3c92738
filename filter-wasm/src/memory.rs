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

/// What is known of zones.
#[derive(Debug)]
pub struct Memory {
    mine: Vec<ZoneId>,
    seed: u64,
    phase: Phase,
    freshness: Option<Freshness>,
    snapshot: Snapshot,
    zones: HashMap<ZoneId, ZoneMemory>,
}

/// A change that was not understood: only a snapshot helps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotUnderstood;

impl Memory {
    /// An empty memory of these zones; `seed` is random.
    pub fn new(mine: Vec<ZoneId>, seed: u64) -> Self {
        Self {
            mine,
            seed,
            phase: Phase::Empty,
            freshness: None,
            snapshot: Snapshot::new(),
            zones: HashMap::new(),
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
        match self.zones.get_mut(&zone) {
            Some(memory) if !memory.broken => Ok(memory),
            // Something about this zone came that was not understood.
            Some(_) | None => Err(Unavailable::Resync),
        }
    }

    /// What is revoked in a zone, however old that is: it only refuses.
    pub fn revocations(&self, zone: ZoneId) -> Option<&Revocations> {
        self.zones.get(&zone).map(|memory| &memory.revocations)
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
    pub fn apply(&mut self, changes: Vec<pb::Change>) -> Result<(), NotUnderstood> {
        let mut understood = Ok(());
        for change in changes {
            let zone = AuthorityChange::zone_named(&change);
            match AuthorityChange::try_from(change) {
                Ok(change) if !self.mine.contains(&change.zone()) => {}
                Ok(AuthorityChange::Snapshot(change)) => self.row(&change),
                Ok(change) => self.revoke(change),
                Err(_) => {
                    understood = Err(NotUnderstood);
                    match zone {
                        Some(zone) => self.give_up(zone),
                        None => self.resync(),
                    }
                }
            }
        }
        understood
    }

    /// Starts anew from a snapshot. What is dead stays dead and no cut-off falls, whatever the snapshot says; states of
    /// objects are what it says, so that none is held for ever.
    pub fn load(&mut self, changes: Vec<pb::Change>) -> Result<(), NotUnderstood> {
        let mut next = Self::new(self.mine.clone(), self.seed);
        let mut rows = Vec::new();
        let mut lost = Vec::new();
        for change in changes {
            let zone = AuthorityChange::zone_named(&change);
            match AuthorityChange::try_from(change) {
                Ok(change) if !next.mine.contains(&change.zone()) => {}
                Ok(AuthorityChange::Snapshot(change)) => rows.push(change),
                Ok(change) => next.revoke(change),
                Err(_) => lost.push(zone.ok_or(NotUnderstood)?),
            }
        }
        rows.retain(|change| !matches!(change.what, What::Policy(_)));
        next.snapshot = next.snapshot.apply(&rows);
        for zone in next.mine.clone() {
            next.held(zone);
        }
        for zone in lost {
            next.give_up(zone);
        }
        next.keep(std::mem::take(&mut self.zones));
        next.phase = Phase::Held;
        *self = next;
        Ok(())
    }

    /// Forgets dead ids whose time is over.
    pub fn sweep(&mut self, now: Timestamp) {
        for zone in self.zones.values_mut() {
            zone.revocations.sweep(now);
        }
    }

    fn row(&mut self, change: &Change) {
        if matches!(change.what, What::Policy(_)) {
            return;
        }
        self.snapshot = self.snapshot.apply([change]);
        // Trust in what was verified before rests on both.
        if matches!(change.what, What::Key { .. } | What::Zone(_)) {
            self.held(change.zone).verified.clear();
        }
    }

    fn revoke(&mut self, change: AuthorityChange) {
        match change {
            AuthorityChange::Snapshot(_) => {}
            AuthorityChange::Dead(dead) => dead.apply(&mut self.held(dead.zone).revocations),
            AuthorityChange::CutOff(cut_off) => {
                cut_off.apply(&mut self.held(cut_off.zone).revocations);
            }
            AuthorityChange::State { version, change } => self.state(version, &change),
        }
    }

    fn state(&mut self, version: u64, change: &StateChange) {
        let zone = self.held(change.zone);
        let held = zone.states.entry(change.anchor.clone()).or_default();
        if version > *held {
            *held = version;
            change.apply(&mut zone.revocations);
        }
    }

    /// The memory of a zone, made when it is first spoken of.
    fn held(&mut self, zone: ZoneId) -> &mut ZoneMemory {
        let seed = self.seed;
        self.zones.entry(zone).or_insert_with(|| ZoneMemory {
            revocations: Revocations::new(),
            verified: Verified::new(zone, seed),
            states: HashMap::new(),
            broken: false,
        })
    }

    fn give_up(&mut self, zone: ZoneId) {
        if self.mine.contains(&zone) {
            self.held(zone).broken = true;
        }
    }

    /// Takes over what was known to be dead or cut off before.
    fn keep(&mut self, before: HashMap<ZoneId, ZoneMemory>) {
        for (zone, mut old) in before {
            for anchor in old.states.keys() {
                old.revocations
                    .set_state(anchor.clone(), ObjectState::Active);
            }
            let held = self.held(zone);
            old.revocations.merge(&held.revocations);
            held.revocations = old.revocations;
        }
    }
}
