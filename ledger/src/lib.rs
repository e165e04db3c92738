//! Evidence as bytes: what is signed, what is hashed, what is chained.
//!
//! [`envelope`] is the signed form of every message of a stream, [`event`] the canonical form of what happened,
//! [`leaf_hash`], [`tree`] and [`chain`] make a ledger of them. Not here: where events are kept (`audit`), how they travel
//! (`chassis`), protobuf (`wire`): an envelope is no protobuf when it is signed, and what its payload is does not matter here.
#![forbid(unsafe_code)]
#![deny(clippy::arithmetic_side_effects, clippy::as_conversions)]

mod bytes;
pub mod chain;
pub mod envelope;
pub mod event;
pub mod tree;

use sha2::{Digest as _, Sha256};

/// The hash of a leaf (RFC 6962 §2.1): SHA-256 over a zero byte and the leaf.
pub fn leaf_hash(leaf: &[u8]) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update([0_u8]);
    hash.update(leaf);
    hash.finalize().into()
}
