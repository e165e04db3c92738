//! Mandates whose signature has been verified, so that it is verified once.
//!
//! Two generations, each bounded by number and bytes: when the young one is full it becomes the old one and what was in
//! the old one is dropped. Refusals are not held. The compact form is compared in full; a hash only finds the place.

use std::collections::HashMap;

use foldhash::fast::FixedState;
use mandate::Mandate;
use mandate::id::ZoneId;

/// Bytes that an entry takes besides its token, roughly.
const OVERHEAD: usize = 1_024;
/// Mandates of one generation, of all zones together.
const MANDATES: usize = 10_000;
/// Bytes of one generation, of all zones together.
const BYTES: usize = 16 * 1_024 * 1_024;

/// The verified mandates of one zone under one set of keys. It is made anew when a key of the zone changes.
#[derive(Debug)]
pub struct Verified {
    zone: ZoneId,
    mandates: usize,
    bytes: usize,
    young: HashMap<Box<[u8]>, Mandate, FixedState>,
    old: HashMap<Box<[u8]>, Mandate, FixedState>,
    used: usize,
}

impl Verified {
    /// An empty cache of one zone `among` so many, each with its share of what a VM holds; `seed` is random.
    pub fn new(zone: ZoneId, seed: u64, among: usize) -> Self {
        let share = |of: usize| of.checked_div(among).unwrap_or(of);
        Self::bounded(zone, seed, share(MANDATES), share(BYTES))
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

    /// The mandate of a token verified before. It is one of this zone whatever happens around it.
    pub fn find(&mut self, token: &[u8]) -> Option<Mandate> {
        let of_zone = |mandate: &Mandate| mandate.claims().zone_id == self.zone;
        if let Some(mandate) = self.young.get(token) {
            return Some(mandate.clone()).filter(of_zone);
        }
        // Used again: it moves on to the young generation.
        let (token, mandate) = self.old.remove_entry(token)?;
        let found = Some(mandate.clone()).filter(of_zone);
        self.insert(token, mandate);
        found
    }

    /// Holds a mandate that was verified from `token`.
    pub fn hold(&mut self, token: &[u8], mandate: Mandate) {
        self.insert(token.into(), mandate);
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

    fn insert(&mut self, token: Box<[u8]>, mandate: Mandate) {
        let size = token.len().saturating_add(OVERHEAD);
        let full = self.young.len() >= self.mandates || self.used.saturating_add(size) > self.bytes;
        if full && !self.young.is_empty() {
            // The space of the old generation is used again, so that memory does not grow by turning over.
            std::mem::swap(&mut self.old, &mut self.young);
            self.young.clear();
            self.used = 0;
        }
        if size <= self.bytes && self.young.insert(token, mandate).is_none() {
            self.used = self.used.saturating_add(size);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;

    fn verified(number: u64) -> (String, Mandate) {
        use mandate::{Algorithm, KeySet, RustCrypto, Trust, UnverifiedMandate, Use, VerifyingKey};
        let token = fixture::mandate(|claims| claims["jti"] = fixture::id(number).into());
        let Some(wire::pb::caracal::authority::v1::change::What::Key(key)) =
            fixture::signing_key(1, "active").what
        else {
            panic!("no key")
        };
        let kid = mandate::id::KeyId::parse(&key.kid).unwrap();
        let keys = KeySet::new(VerifyingKey::new(kid, Algorithm::EdDsa, &key.public_key));
        let trust = Trust {
            zone: ZoneId::parse(fixture::ZONE).unwrap(),
            issuer: mandate::id::Issuer::parse(fixture::ISSUER).unwrap(),
            usage: Use::Resource,
        };
        let now = jiff::Timestamp::from_second(fixture::START.saturating_add(1)).unwrap();
        let mandate = UnverifiedMandate::parse(token.as_bytes())
            .unwrap()
            .authenticate(&trust, &keys, &RustCrypto, now);
        (token.clone(), mandate.unwrap())
    }

    fn cache(mandates: usize, bytes: usize) -> Verified {
        Verified::bounded(ZoneId::parse(fixture::ZONE).unwrap(), 7, mandates, bytes)
    }

    #[test]
    fn what_is_used_stays_and_what_is_not_goes() {
        let mut cache = cache(4, usize::MAX);
        let (used, mandate) = verified(1);
        cache.hold(used.as_bytes(), mandate);
        for number in 2..40 {
            let (token, mandate) = verified(number);
            cache.hold(token.as_bytes(), mandate);
            assert!(cache.find(used.as_bytes()).is_some(), "{number}");
            assert!(cache.len() <= 9, "{}", cache.len());
        }
        assert!(cache.find(verified(2).0.as_bytes()).is_none());
        cache.clear();
        assert!(cache.is_empty() && cache.find(used.as_bytes()).is_none());
    }

    #[test]
    fn bytes_bound_it_as_well_as_numbers() {
        let mut cache = cache(usize::MAX, 10_000);
        for number in 0..50 {
            let (token, mandate) = verified(number);
            cache.hold(token.as_bytes(), mandate);
        }
        assert!(cache.used <= 10_000 && cache.len() <= 12, "{}", cache.len());
    }

    #[test]
    fn a_mandate_of_another_zone_is_never_found() {
        let other = ZoneId::parse(&fixture::id(3)).unwrap();
        let mut cache = Verified::bounded(other, 7, 4, usize::MAX);
        let (token, mandate) = verified(1);
        cache.hold(token.as_bytes(), mandate);
        assert!(cache.find(token.as_bytes()).is_none());
    }
}
