//! Mandates whose signature has been verified, so that it is verified once.
//!
//! Two generations, each bounded by number and bytes: when the young one is full it becomes the old one and what was in
//! the old one is dropped. Refusals are not held. The compact form is compared in full; a hash only finds the place.

use std::hash::{Hash, Hasher};

use foldhash::fast::FixedState;
use hashbrown::{Equivalent, HashMap};
use mandate::Mandate;
use mandate::id::ZoneId;

/// Bytes that an entry takes besides its token, roughly.
const OVERHEAD: usize = 1_024;
/// Mandates of one generation.
const MANDATES: usize = 10_000;
/// Bytes of one generation.
const BYTES: usize = 16 * 1_024 * 1_024;

/// The verified mandates of one zone under one set of keys. It is made anew when a key of the zone changes.
#[derive(Debug)]
pub struct Verified {
    zone: ZoneId,
    mandates: usize,
    bytes: usize,
    young: HashMap<Key, Mandate, FixedState>,
    old: HashMap<Key, Mandate, FixedState>,
    used: usize,
}

/// The zone is part of the key although each zone has a cache of its own: a mandate found is a mandate of this zone
/// whatever happens around it.
#[derive(Debug, PartialEq, Eq)]
struct Key {
    zone: ZoneId,
    token: Box<[u8]>,
}

#[derive(Clone, Copy)]
struct Sought<'a> {
    zone: ZoneId,
    token: &'a [u8],
}

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write(&self.token);
    }
}

impl Hash for Sought<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write(self.token);
    }
}

impl Equivalent<Key> for Sought<'_> {
    fn equivalent(&self, key: &Key) -> bool {
        self.zone == key.zone && *self.token == *key.token
    }
}

impl Verified {
    /// An empty cache of one zone; `seed` is random.
    pub fn new(zone: ZoneId, seed: u64) -> Self {
        Self::bounded(zone, seed, MANDATES, BYTES)
    }

    fn bounded(zone: ZoneId, seed: u64, mandates: usize, bytes: usize) -> Self {
        let state = FixedState::with_seed(seed);
        Self {
            zone,
            mandates,
            bytes,
            young: HashMap::with_hasher(state.clone()),
            old: HashMap::with_hasher(state),
            used: 0,
        }
    }

    /// The mandate of a token verified before.
    pub fn find(&mut self, token: &[u8]) -> Option<Mandate> {
        let sought = Sought {
            zone: self.zone,
            token,
        };
        if let Some(mandate) = self.young.get(&sought) {
            return Some(mandate.clone());
        }
        // Used again: it moves on to the young generation.
        let (key, mandate) = self.old.remove_entry(&sought)?;
        let found = mandate.clone();
        self.insert(key, mandate);
        Some(found)
    }

    /// Holds a mandate that was verified from `token`.
    pub fn hold(&mut self, token: &[u8], mandate: Mandate) {
        let key = Key {
            zone: self.zone,
            token: token.into(),
        };
        self.insert(key, mandate);
    }

    /// Forgets all of them: a key changed.
    pub fn clear(&mut self) {
        self.young.clear();
        self.old.clear();
        self.used = 0;
    }

    /// How many mandates are held.
    pub fn len(&self) -> usize {
        self.young.len().saturating_add(self.old.len())
    }

    /// Whether none is held.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn insert(&mut self, key: Key, mandate: Mandate) {
        let size = key.token.len().saturating_add(OVERHEAD);
        let full = self.young.len() >= self.mandates || self.used.saturating_add(size) > self.bytes;
        if full && !self.young.is_empty() {
            // The space of the old generation is used again, so that memory does not grow by turning over.
            std::mem::swap(&mut self.old, &mut self.young);
            self.young.clear();
            self.used = 0;
        }
        if size <= self.bytes && self.young.insert(key, mandate).is_none() {
            self.used = self.used.saturating_add(size);
        }
    }
}
