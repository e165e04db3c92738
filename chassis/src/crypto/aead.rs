//! AES-256-GCM with associated data. Form 1: `0x01 ‖ nonce (12) ‖ ciphertext ‖ tag (16)`.

use std::fmt;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use zeroize::Zeroizing;

use super::CryptoError;
use crate::rng::Rng;
use crate::secrets::Key32;

const FORM: u8 = 1;

/// What came out of a seal.
pub type Sealed = Vec<u8>;

/// A key that seals and opens. With random nonces of 96 bits one key may seal 2^32 times; ours seal
/// a few times each.
pub struct SealingKey {
    inner: LessSafeKey,
}

impl SealingKey {
    /// From 32 bytes.
    pub fn new(key: &Key32) -> Result<Self, CryptoError> {
        let inner =
            UnboundKey::new(&AES_256_GCM, key.expose()).map_err(|_| CryptoError::NotAKey)?;
        Ok(Self {
            inner: LessSafeKey::new(inner),
        })
    }

    /// Seals `plain` so that it opens with the same `associated` bytes only.
    pub fn seal(&self, associated: &[u8], plain: &[u8], rng: &Rng) -> Result<Sealed, CryptoError> {
        let nonce: [u8; NONCE_LEN] = rng.bytes();
        let mut body = Zeroizing::new(Vec::with_capacity(plain.len().saturating_add(16)));
        body.extend_from_slice(plain);
        self.inner
            .seal_in_place_append_tag(
                Nonce::assume_unique_for_key(nonce),
                Aad::from(with_form(associated)),
                &mut *body,
            )
            .map_err(|_| CryptoError::Library)?;
        let mut sealed = Vec::with_capacity(body.len().saturating_add(1 + NONCE_LEN));
        sealed.push(FORM);
        sealed.extend_from_slice(&nonce);
        sealed.extend_from_slice(&body);
        Ok(sealed)
    }

    /// Opens what [`SealingKey::seal`] made.
    pub fn open(
        &self,
        associated: &[u8],
        sealed: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, CryptoError> {
        let (form, rest) = sealed.split_first().ok_or(CryptoError::UnknownForm)?;
        if *form != FORM {
            return Err(CryptoError::UnknownForm);
        }
        let (nonce, body) = rest
            .split_at_checked(NONCE_LEN)
            .ok_or(CryptoError::UnknownForm)?;
        let nonce =
            Nonce::try_assume_unique_for_key(nonce).map_err(|_| CryptoError::UnknownForm)?;
        let mut body = Zeroizing::new(body.to_vec());
        let length = self
            .inner
            .open_in_place(nonce, Aad::from(with_form(associated)), &mut body)
            .map_err(|_| CryptoError::DoesNotOpen)?
            .len();
        body.truncate(length);
        Ok(body)
    }
}

/// The form is part of what is authenticated: it cannot be exchanged for a weaker one.
fn with_form(associated: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(associated.len().saturating_add(1));
    bytes.push(FORM);
    bytes.extend_from_slice(associated);
    bytes
}

impl fmt::Debug for SealingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SealingKey([redacted])")
    }
}
