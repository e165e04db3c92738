//! ES256 (RFC 7518 §3.4): ECDSA on P-256 with SHA-256, signatures as `r ‖ s`.

use std::fmt;

use aws_lc_rs::encoding::{AsBigEndian, EcPrivateKeyBin};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair,
    ParsedPublicKey,
};
use mandate::{BackendError, SignatureBackend, uncompressed};
use zeroize::Zeroizing;

use super::CryptoError;
use super::mac::array;
use crate::rng::Rng;
use crate::secrets::Key32;

/// Verifies ES256 with aws-lc.
#[derive(Clone, Copy, Debug, Default)]
pub struct AwsLc;

impl SignatureBackend for AwsLc {
    fn es256(
        &self,
        public_sec1: &[u8],
        message: &[u8],
        signature_rs: &[u8; 64],
    ) -> Result<bool, BackendError> {
        let key = ParsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, uncompressed(public_sec1)?)
            .map_err(|_| BackendError)?;
        Ok(key.verify_sig(message, signature_rs).is_ok())
    }
}

/// A key that signs mandates.
pub struct Es256Key {
    pair: EcdsaKeyPair,
    public: [u8; 65],
}

/// RFC 5915 §3 around a scalar of P-256, without the public key: that is computed from the scalar.
const BEFORE: [u8; 7] = [0x30, 0x31, 0x02, 0x01, 0x01, 0x04, 0x20];
const AFTER: [u8; 12] = [
    0xa0, 0x0a, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07,
];

impl Es256Key {
    /// A new key.
    pub fn generate(rng: &Rng) -> Result<Self, CryptoError> {
        // A random scalar is out of range once in 2^32 draws.
        for _ in 0..4 {
            if let Ok(key) = Self::of_scalar(&Key32::new(rng.bytes())) {
                return Ok(key);
            }
        }
        Err(CryptoError::Library)
    }

    /// From its private scalar.
    pub fn of_scalar(scalar: &Key32) -> Result<Self, CryptoError> {
        let mut der = Zeroizing::new(Vec::with_capacity(51));
        der.extend_from_slice(&BEFORE);
        der.extend_from_slice(scalar.expose());
        der.extend_from_slice(&AFTER);
        let pair = EcdsaKeyPair::from_private_key_der(&ECDSA_P256_SHA256_FIXED_SIGNING, &der)
            .map_err(|_| CryptoError::NotAKey)?;
        let public = array(pair.public_key().as_ref());
        Ok(Self { pair, public })
    }

    /// Its private scalar, to be sealed.
    pub fn scalar(&self) -> Result<Key32, CryptoError> {
        let scalar: EcPrivateKeyBin<'_> = self
            .pair
            .private_key()
            .as_be_bytes()
            .map_err(|_| CryptoError::Library)?;
        Ok(Key32::new(array(scalar.as_ref())))
    }

    /// Its public key, SEC 1 uncompressed.
    pub fn public_sec1(&self) -> [u8; 65] {
        self.public
    }

    /// Signs `message`: `r ‖ s`.
    pub fn sign(&self, message: &[u8]) -> Result<[u8; 64], CryptoError> {
        let signature = self
            .pair
            .sign(&SystemRandom::new(), message)
            .map_err(|_| CryptoError::Library)?;
        <[u8; 64]>::try_from(signature.as_ref()).map_err(|_| CryptoError::Library)
    }
}

impl fmt::Debug for Es256Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Es256Key([redacted])")
    }
}
