//! Ed25519 for what services say to one another: events and stream messages.

use std::fmt;

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use ledger::envelope::EventSigner;
use mandate::id::KeyId;

use super::CryptoError;
use super::mac::array;
use crate::secrets::Key32;

/// A key that signs events or stream messages under a key id.
pub struct EventKey {
    kid: KeyId,
    pair: Ed25519KeyPair,
}

impl EventKey {
    /// From a seed (RFC 8032 §5.1.5).
    pub fn new(kid: KeyId, seed: &Key32) -> Result<Self, CryptoError> {
        let pair =
            Ed25519KeyPair::from_seed_unchecked(seed.expose()).map_err(|_| CryptoError::NotAKey)?;
        Ok(Self { kid, pair })
    }

    /// The public key.
    pub fn public(&self) -> [u8; 32] {
        array(self.pair.public_key().as_ref())
    }
}

impl EventSigner for EventKey {
    fn kid(&self) -> &KeyId {
        &self.kid
    }

    fn sign(&self, bytes: &[u8]) -> [u8; 64] {
        array(self.pair.sign(bytes).as_ref())
    }
}

impl fmt::Debug for EventKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EventKey")
            .field("kid", &self.kid)
            .finish_non_exhaustive()
    }
}
