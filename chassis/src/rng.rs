//! The only source of randomness, and of what is made of it: identifiers and tokens.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use rand::rngs::{ChaCha20Rng, SysRng};
use rand::{Rng as _, SeedableRng, TryRng};
use uuid::Uuid;

/// A cryptographic generator: `ChaCha20`, seeded by the operating system or, in tests, by hand.
/// Clones draw from the same stream.
#[derive(Clone)]
pub struct Rng {
    shared: Arc<Mutex<ChaCha20Rng>>,
}

/// The operating system gave no randomness.
#[derive(Debug, thiserror::Error)]
#[error("the operating system gave no randomness: {0}")]
pub struct NoRandomness(String);

impl Rng {
    /// Seeded by the operating system.
    pub fn from_system() -> Result<Self, NoRandomness> {
        let mut seed = [0; 32];
        SysRng
            .try_fill_bytes(&mut seed)
            .map_err(|error| NoRandomness(error.to_string()))?;
        Ok(Self::from_seed(seed))
    }

    /// Seeded by hand: the same seed gives the same stream.
    pub fn from_seed(seed: [u8; 32]) -> Self {
        Self {
            shared: Arc::new(Mutex::new(ChaCha20Rng::from_seed(seed))),
        }
    }

    /// Seeded by a number, for tests.
    pub fn seeded(seed: u64) -> Self {
        Self {
            shared: Arc::new(Mutex::new(ChaCha20Rng::seed_from_u64(seed))),
        }
    }

    /// Fills `bytes`.
    pub fn fill(&self, bytes: &mut [u8]) {
        // A generator has no state that a panic elsewhere could leave half written.
        self.shared
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .fill_bytes(bytes);
    }

    /// `N` random bytes.
    pub fn bytes<const N: usize>(&self) -> [u8; N] {
        let mut bytes = [0; N];
        self.fill(&mut bytes);
        bytes
    }

    /// A `UUIDv7` (RFC 9562 §5.7) of the given time.
    pub fn uuid_v7(&self, now: Timestamp) -> Uuid {
        let millis = u64::try_from(now.as_millisecond()).unwrap_or(0);
        uuid::Builder::from_unix_timestamp_millis(millis, &self.bytes()).into_uuid()
    }

    /// 256 random bits as 43 characters of base64url.
    pub fn token(&self) -> String {
        URL_SAFE_NO_PAD.encode(self.bytes::<32>())
    }

    /// A random fraction in `0.0..1.0`, for jitter.
    pub fn fraction(&self) -> f64 {
        f64::from(u32::from_le_bytes(self.bytes())) / (f64::from(u32::MAX) + 1.0)
    }
}

impl fmt::Debug for Rng {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rng").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_stream_and_clones_share_it() {
        let (one, other) = (Rng::seeded(7), Rng::seeded(7));
        let clone = one.clone();
        assert_eq!(one.bytes::<8>(), other.bytes::<8>());
        assert_eq!(clone.bytes::<8>(), other.bytes::<8>());
    }

    #[test]
    fn identifiers_are_version_seven_and_sort_by_time() {
        let rng = Rng::seeded(1);
        let early = rng.uuid_v7(Timestamp::from_second(1_000).unwrap());
        let late = rng.uuid_v7(Timestamp::from_second(1_001).unwrap());
        assert_eq!(early.get_version_num(), 7);
        assert!(early < late);
    }

    #[test]
    fn tokens_carry_256_bits_and_differ() {
        let rng = Rng::from_system().unwrap();
        assert_eq!(rng.token().len(), 43);
        assert_ne!(rng.token(), rng.token());
    }

    #[test]
    fn fractions_stay_below_one() {
        let rng = Rng::seeded(3);
        assert!(
            (0..1000)
                .map(|_| rng.fraction())
                .all(|f| (0.0..1.0).contains(&f))
        );
    }
}
