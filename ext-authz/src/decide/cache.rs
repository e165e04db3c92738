//! Mandates whose signature has been verified, so that it is verified once.
//!
//! Bounded per zone by number and bytes, in two generations: when the young one is full it becomes
//! the old one and what was in the old one is dropped. Only mandates are held, never refusals, and
//! never anything `admit` decides. The compact form is compared in full; a hash only finds the place.

use std::hash::{BuildHasher, Hash, Hasher};
use std::sync::{Arc, Mutex, PoisonError};

use hashbrown::{Equivalent, HashMap};
use mandate::Mandate;
use mandate::id::ZoneId;

/// Bytes that an entry takes besides its token, roughly.
const OVERHEAD: usize = 1_024;

/// How much the cache may hold of one zone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Mandates of one generation.
    pub mandates: usize,
    /// Bytes of one generation.
    pub bytes: usize,
}

/// The verified mandates of one zone, under one set of keys.
///
/// It is made anew when a key of the zone changes, so that nothing verified by a key outlives it.
#[derive(Debug)]
pub struct Verified {
    zone: ZoneId,
    bounds: Bounds,
    seed: foldhash::fast::RandomState,
    generations: Mutex<Generations>,
}

#[derive(Debug, Default)]
struct Generations {
    young: HashMap<Key, Mandate, Prehashed>,
    old: HashMap<Key, Mandate, Prehashed>,
    bytes: usize,
}

/// The zone is part of the key although each zone has a cache of its own: a mandate found is a
/// mandate of this zone whatever happens around it.
#[derive(Debug, PartialEq, Eq)]
struct Key {
    hash: u64,
    zone: ZoneId,
    token: Box<[u8]>,
}

struct Sought<'a> {
    hash: u64,
    zone: ZoneId,
    token: &'a [u8],
}

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.hash);
    }
}

impl Hash for Sought<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.hash);
    }
}

impl Equivalent<Key> for Sought<'_> {
    fn equivalent(&self, key: &Key) -> bool {
        self.hash == key.hash && self.zone == key.zone && *self.token == *key.token
    }
}

impl Verified {
    /// An empty cache of one zone.
    pub fn new(zone: ZoneId, bounds: Bounds) -> Self {
        Self {
            zone,
            bounds,
            seed: foldhash::fast::RandomState::default(),
            generations: Mutex::default(),
        }
    }

    /// An empty one of the same zone.
    pub fn renewed(&self) -> Arc<Self> {
        Arc::new(Self::new(self.zone, self.bounds))
    }

    /// The mandate of a token verified before.
    pub fn find(&self, token: &[u8]) -> Option<Mandate> {
        let sought = self.sought(token);
        let mut generations = self
            .generations
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(mandate) = generations.young.get(&sought) {
            return Some(mandate.clone());
        }
        // Used again: it moves on to the young generation.
        let (key, mandate) = generations.old.remove_entry(&sought)?;
        let found = mandate.clone();
        generations.insert(key, mandate, self.bounds);
        Some(found)
    }

    /// Holds a mandate that was verified from `token`.
    pub fn hold(&self, token: &[u8], mandate: Mandate) {
        let Sought { hash, zone, .. } = self.sought(token);
        let key = Key {
            hash,
            zone,
            token: token.into(),
        };
        let mut generations = self
            .generations
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        generations.insert(key, mandate, self.bounds);
    }

    /// How many mandates are held.
    pub fn len(&self) -> usize {
        let generations = self
            .generations
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        generations
            .young
            .len()
            .saturating_add(generations.old.len())
    }

    /// Whether none is held.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn sought<'a>(&self, token: &'a [u8]) -> Sought<'a> {
        Sought {
            hash: self.seed.hash_one(token),
            zone: self.zone,
            token,
        }
    }
}

impl Generations {
    fn insert(&mut self, key: Key, mandate: Mandate, bounds: Bounds) {
        let size = key.token.len().saturating_add(OVERHEAD);
        let full =
            self.young.len() >= bounds.mandates || self.bytes.saturating_add(size) > bounds.bytes;
        if full && !self.young.is_empty() {
            self.old = std::mem::take(&mut self.young);
            self.bytes = 0;
        }
        if size > bounds.bytes {
            return;
        }
        if self.young.insert(key, mandate).is_none() {
            self.bytes = self.bytes.saturating_add(size);
        }
    }
}

/// Passes on the hash that a key carries.
#[derive(Clone, Copy, Debug, Default)]
struct Prehashed;

#[derive(Clone, Copy, Debug, Default)]
struct Carried(u64);

impl BuildHasher for Prehashed {
    type Hasher = Carried;

    fn build_hasher(&self) -> Carried {
        Carried::default()
    }
}

impl Hasher for Carried {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}
