//! Who computes a signature. Three real implementations: here, in `chassis`, in the filter.

use p256::ecdsa::signature::Verifier as _;

/// The signature could not be checked, which is not the same as a wrong one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the signature could not be checked")]
pub struct BackendError;

/// Checks ES256 signatures (RFC 7518 §3.4). EdDSA is always checked by this crate, since libraries differ on
/// edge cases and all enforcement points must agree.
pub trait SignatureBackend {
    /// Whether `signature` (`r‖s`) is the key's over `message`. `public` is the uncompressed SEC1 point, 65 bytes:
    /// libraries differ on which other forms they read, so none is a key.
    fn es256(
        &self,
        public: &[u8],
        message: &[u8],
        signature: &[u8; 64],
    ) -> Result<bool, BackendError>;
}

/// The one form in which a point of P-256 is a key: uncompressed (SEC 1 §2.3.3). Every backend asks first.
pub fn uncompressed(public: &[u8]) -> Result<&[u8; 65], BackendError> {
    match <&[u8; 65]>::try_from(public) {
        Ok(point @ [4, ..]) => Ok(point),
        Ok(_) | Err(_) => Err(BackendError),
    }
}

/// The portable implementation.
#[derive(Debug, Clone, Copy, Default)]
pub struct RustCrypto;

impl SignatureBackend for RustCrypto {
    fn es256(
        &self,
        public: &[u8],
        message: &[u8],
        signature: &[u8; 64],
    ) -> Result<bool, BackendError> {
        let key = p256::ecdsa::VerifyingKey::from_sec1_bytes(uncompressed(public)?);
        let key = key.map_err(|_| BackendError)?;
        let Ok(signature) = p256::ecdsa::Signature::from_slice(signature) else {
            return Ok(false);
        };
        Ok(key.verify(message, &signature).is_ok())
    }
}

/// EdDSA over Ed25519 (RFC 8037), refusing small-order keys and non-canonical encodings.
pub(crate) fn eddsa(
    public: &[u8],
    message: &[u8],
    signature: &[u8; 64],
) -> Result<bool, BackendError> {
    let public: &[u8; 32] = public.try_into().map_err(|_| BackendError)?;
    let key = ed25519_dalek::VerifyingKey::from_bytes(public).map_err(|_| BackendError)?;
    let signature = ed25519_dalek::Signature::from_bytes(signature);
    Ok(key.verify_strict(message, &signature).is_ok())
}
