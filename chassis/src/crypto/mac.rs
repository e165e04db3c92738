//! HMAC-SHA-256 and SHA-256.

use std::fmt;

use aws_lc_rs::{constant_time, digest, hmac};

use crate::secrets::Key32;

/// A key for HMAC-SHA-256.
pub struct MacKey {
    inner: hmac::Key,
}

impl MacKey {
    /// From 32 bytes.
    pub fn new(key: &Key32) -> Self {
        Self {
            inner: hmac::Key::new(hmac::HMAC_SHA256, key.expose()),
        }
    }

    /// The tag over the parts, one after the other. Parts of variable length are to be delimited by
    /// the caller.
    pub fn tag(&self, parts: &[&[u8]]) -> [u8; 32] {
        let mut context = hmac::Context::with_key(&self.inner);
        for part in parts {
            context.update(part);
        }
        array(context.sign().as_ref())
    }

    /// Whether `tag` is the tag over the parts, in time that does not tell where they differ.
    pub fn verify(&self, parts: &[&[u8]], tag: &[u8]) -> bool {
        constant_time::verify_slices_are_equal(&self.tag(parts), tag).is_ok()
    }
}

impl fmt::Debug for MacKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MacKey([redacted])")
    }
}

/// SHA-256.
pub fn sha256(bytes: &[u8]) -> [u8; 32] {
    array(digest::digest(&digest::SHA256, bytes).as_ref())
}

/// A slice of the length that the algorithm fixes, as an array.
pub(super) fn array<const N: usize>(bytes: &[u8]) -> [u8; N] {
    let mut array = [0; N];
    for (to, from) in array.iter_mut().zip(bytes) {
        *to = *from;
    }
    array
}
