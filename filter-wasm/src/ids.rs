//! Decision ids of the filter's own refusals: `UUIDv7` from the moment and a seed that the host drew.

use jiff::Timestamp;
use mandate::id::DecisionId;
use uuid::Uuid;

/// Steps of the two sequences (odd, with bits spread over the word).
const STEPS: [u64; 2] = [0x9e37_79b9_7f4a_7c15, 0xd1b5_4a32_d192_ed03];

/// Makes ids that no other VM makes.
#[derive(Debug, Clone)]
pub struct Ids {
    state: [u64; 2],
}

impl Ids {
    /// From 128 random bits.
    pub fn new(seed: [u8; 16]) -> Self {
        let word = |half: &[u8]| {
            half.iter()
                .fold(0_u64, |word, byte| word << 8 | u64::from(*byte))
        };
        let (high, low) = seed.split_at_checked(8).unwrap_or_default();
        Self {
            state: [word(high), word(low)],
        }
    }

    /// The next id.
    pub fn decision(&mut self, now: Timestamp) -> DecisionId {
        let [high, low] = &mut self.state;
        let [first, second] = STEPS;
        *high = high.wrapping_add(first);
        *low = low.wrapping_add(second);
        let millis = u64::try_from(now.as_millisecond()).unwrap_or(0);
        let top = millis << 16 | 0x7000 | (mix(*high) & 0x0fff);
        let bottom = 0x8000_0000_0000_0000 | (mix(*low ^ high.rotate_left(32)) >> 2);
        DecisionId::from_uuid(Uuid::from_u64_pair(top, bottom))
    }
}

/// Spreads every bit of a word over all of it.
const fn mix(word: u64) -> u64 {
    let word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn ids_are_of_version_7_and_never_the_same() {
        let now = Timestamp::from_millisecond(1_800_000_000_123).unwrap();
        let (mut one, mut other) = (Ids::new([1; 16]), Ids::new([2; 16]));
        let mut seen = HashSet::new();
        for _ in 0..10_000 {
            for ids in [&mut one, &mut other] {
                let id = ids.decision(now);
                assert_eq!(id.as_uuid().get_version_num(), 7);
                assert_eq!(id.as_uuid().as_u64_pair().0 >> 16, 1_800_000_000_123);
                assert!(id.to_string().as_bytes()[19].is_ascii_hexdigit());
                assert!(seen.insert(id));
            }
        }
    }
}
