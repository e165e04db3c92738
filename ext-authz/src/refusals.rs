//! Refusals before a valid signature, counted instead of written one by one.
//!
//! Anybody can cause them, so they must cost no more than a counter; still every one of them is in
//! the ledger, as part of a count. What was counted stays here until the journal has it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::{Mutex, PoisonError};

use hashbrown::HashMap;
use mandate::id::{BindingId, DecisionId, ZoneId};

/// Samples kept of one count.
pub const MOST_SAMPLES: usize = 8;

/// The network a refused caller came from: a /24 or a /64.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Peer {
    /// Its first 24 bits.
    V4([u8; 3]),
    /// Its first 64 bits.
    V6([u16; 4]),
    /// The proxy named none.
    Unknown,
    /// One of too many to tell apart.
    Other,
}

impl From<Option<IpAddr>> for Peer {
    fn from(address: Option<IpAddr>) -> Self {
        match address.map(|address| address.to_canonical()) {
            Some(IpAddr::V4(address)) => {
                let [a, b, c, _] = address.octets();
                Self::V4([a, b, c])
            }
            Some(IpAddr::V6(address)) => {
                let [a, b, c, d, ..] = address.segments();
                Self::V6([a, b, c, d])
            }
            None => Self::Unknown,
        }
    }
}

impl std::fmt::Display for Peer {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::V4([a, b, c]) => write!(formatter, "{}/24", Ipv4Addr::new(*a, *b, *c, 0)),
            Self::V6([a, b, c, d]) => {
                write!(
                    formatter,
                    "{}/64",
                    Ipv6Addr::new(*a, *b, *c, *d, 0, 0, 0, 0)
                )
            }
            Self::Unknown => formatter.write_str("unknown"),
            Self::Other => formatter.write_str("other"),
        }
    }
}

/// What is counted together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key {
    /// The zone of the binding; none where no binding was found.
    pub zone: Option<ZoneId>,
    /// The binding; none where none was found.
    pub binding: Option<BindingId>,
    /// Why it was refused.
    pub code: &'static str,
    /// Whether it was a refusal, or no decision at all.
    pub unavailable: bool,
    /// Where it came from.
    pub peer: Peer,
}

/// One of the refusals counted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sample {
    /// Its decision.
    pub decision: DecisionId,
    /// The request id the proxy gave; empty where it gave none that is fit to keep.
    pub request_id: String,
    /// When, in nanoseconds since the Unix epoch.
    pub at_ns: i64,
}

/// A count over one window.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Count {
    /// What was counted.
    pub key: Key,
    /// How many.
    pub count: u64,
    /// The first, in nanoseconds since the Unix epoch.
    pub first_ns: i64,
    /// The last.
    pub last_ns: i64,
    /// The first few.
    pub samples: Vec<Sample>,
}

/// Counts refusals.
#[derive(Debug)]
pub struct Refusals {
    most: usize,
    counts: Mutex<HashMap<Key, Count>>,
}

impl Refusals {
    /// Tells at most `most` kinds of refusal apart by network; further ones are counted under
    /// [`Peer::Other`].
    pub fn new(most: usize) -> Self {
        Self {
            most,
            counts: Mutex::new(HashMap::new()),
        }
    }

    /// Counts one.
    pub fn count(&self, key: Key, sample: impl FnOnce() -> Sample, at_ns: i64) {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let full = counts.len() >= self.most;
        let key = if full && !counts.contains_key(&key) {
            Key {
                peer: Peer::Other,
                ..key
            }
        } else {
            key
        };
        let entry = counts.entry(key).or_insert_with(|| Count {
            key,
            count: 0,
            first_ns: at_ns,
            last_ns: at_ns,
            samples: Vec::new(),
        });
        entry.count = entry.count.saturating_add(1);
        entry.last_ns = entry.last_ns.max(at_ns);
        if entry.samples.len() < MOST_SAMPLES {
            entry.samples.push(sample());
        }
    }

    /// Takes everything counted so far, in a stable order.
    pub fn take(&self) -> Vec<Count> {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let mut taken: Vec<Count> = counts.drain().map(|(_, count)| count).collect();
        drop(counts);
        taken.sort_by_key(|count| count.key);
        taken
    }

    /// Puts a count back that could not be written.
    pub fn put_back(&self, count: Count) {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        match counts.entry(count.key) {
            hashbrown::hash_map::Entry::Vacant(place) => {
                place.insert(count);
            }
            hashbrown::hash_map::Entry::Occupied(mut held) => {
                let held = held.get_mut();
                held.count = held.count.saturating_add(count.count);
                held.first_ns = held.first_ns.min(count.first_ns);
                held.last_ns = held.last_ns.max(count.last_ns);
                let mut samples = count.samples;
                samples.append(&mut held.samples);
                samples.truncate(MOST_SAMPLES);
                held.samples = samples;
            }
        }
    }

    /// How many kinds are held.
    pub fn len(&self) -> usize {
        self.counts
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .len()
    }

    /// Whether nothing is held.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use uuid::Uuid;

    use super::*;

    fn key(code: &'static str, address: [u8; 4]) -> Key {
        Key {
            zone: None,
            binding: None,
            code,
            unavailable: false,
            peer: Peer::from(Some(IpAddr::from(address))),
        }
    }

    fn sample(n: u64) -> Sample {
        Sample {
            decision: DecisionId::from_uuid(Uuid::from_u64_pair(0, n)),
            request_id: String::new(),
            at_ns: 0,
        }
    }

    #[test]
    fn callers_of_one_network_are_counted_together() {
        let refusals = Refusals::new(16);
        for last in 0..20 {
            refusals.count(
                key("expired", [10, 0, 0, last]),
                || sample(1),
                i64::from(last),
            );
        }
        refusals.count(key("expired", [10, 0, 1, 1]), || sample(2), 7);
        let counts = refusals.take();
        assert_eq!(
            counts.iter().map(|count| count.count).collect::<Vec<_>>(),
            [20, 1]
        );
        assert_eq!(counts[0].samples.len(), MOST_SAMPLES);
        assert_eq!((counts[0].first_ns, counts[0].last_ns), (0, 19));
        assert_eq!(counts[0].key.peer.to_string(), "10.0.0.0/24");
        assert!(refusals.is_empty());
    }

    #[test]
    fn a_mapped_address_is_its_ipv4_network_and_ipv6_is_cut_at_64_bits() {
        let mapped: IpAddr = "::ffff:192.0.2.7".parse().unwrap();
        assert_eq!(Peer::from(Some(mapped)).to_string(), "192.0.2.0/24");
        let six: IpAddr = "2001:db8:1:2:3::4".parse().unwrap();
        assert_eq!(Peer::from(Some(six)).to_string(), "2001:db8:1:2::/64");
        assert_eq!(Peer::from(None).to_string(), "unknown");
    }

    proptest! {
        /// A stranger's flood makes neither the memory grow nor a count disappear.
        #[test]
        fn every_refusal_is_in_a_count_and_the_kinds_are_bounded(
            addresses in proptest::collection::vec(any::<[u8; 4]>(), 0..200),
            most in 1_usize..8,
            put_back in any::<bool>(),
        ) {
            let refusals = Refusals::new(most);
            for address in &addresses {
                refusals.count(key("malformed", *address), || sample(1), 1);
            }
            prop_assert!(refusals.len() <= most + 1);
            let mut counts = refusals.take();
            if put_back {
                for count in counts.drain(..) {
                    refusals.put_back(count);
                }
                counts = refusals.take();
            }
            let total: u64 = counts.iter().map(|count| count.count).sum();
            prop_assert_eq!(total, addresses.len() as u64);
            prop_assert!(counts.iter().all(|count| count.samples.len() <= MOST_SAMPLES));
        }
    }
}
