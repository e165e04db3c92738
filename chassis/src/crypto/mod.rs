//! Keys and what is done with them, on aws-lc. Keys are wiped after use, are not cloned and do not
//! print.
//!
//! Not here: which key may say what (`mandate::Trust`, `ledger::Producers`), when keys change
//! (`sts`).

mod aead;
mod ed25519;
mod envelope;
mod es256;
mod mac;
#[cfg(test)]
mod tests;

pub use aead::{Sealed, SealingKey};
pub use ed25519::EventKey;
pub use envelope::{Holder, Purpose, RootKek, SealContext, ZoneKek};
pub use es256::{AwsLc, Es256Key};
pub use mac::{MacKey, sha256};

/// Why a key could not do what was asked. Says nothing about the key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CryptoError {
    /// The bytes are not a key of this kind.
    #[error("not a key of this kind")]
    NotAKey,
    /// The sealed bytes are not of a form this build knows.
    #[error("sealed in a form that is not known here")]
    UnknownForm,
    /// It was sealed under another key or for another place, or was altered.
    #[error("does not open: another key, another place, or altered")]
    DoesNotOpen,
    /// The library failed.
    #[error("the cryptographic library failed")]
    Library,
}
