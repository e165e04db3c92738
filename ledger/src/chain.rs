//! The per-zone HMAC chain: each link covers the one before it.

use hmac::digest::Key;
use hmac::{Hmac, KeyInit as _, Mac as _};
use mandate::id::ZoneId;
use sha2::Sha256;
use zeroize::Zeroize as _;

const DOMAIN: &[u8] = b"caracal-chain-v1";

/// The link before the first.
pub const GENESIS: [u8; 32] = [0; 32];

/// The name of a zone's log, which its links cover; no zone is the deployment's own log.
pub fn origin(zone: Option<ZoneId>, log: u32) -> String {
    let name = zone.map_or_else(|| "system".to_owned(), |zone| zone.to_string());
    format!("caracal/{name}/{log}")
}

/// A chain key of one zone and key epoch.
pub struct ChainKey([u8; 32]);

impl ChainKey {
    /// Takes 32 random bytes.
    pub const fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }
}

impl Drop for ChainKey {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl std::fmt::Debug for ChainKey {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("ChainKey(..)")
    }
}

/// HMAC-SHA-256 over the domain, origin, key epoch, sequence number, previous link and leaf hash. Every part but the
/// origin has a fixed length, so no two inputs are the same bytes.
pub fn link(
    key: &ChainKey,
    origin: &str,
    key_epoch: u32,
    seq: u64,
    previous: &[u8; 32],
    leaf: &[u8; 32],
) -> [u8; 32] {
    // RFC 2104 §2: a key shorter than a block is padded with zeros, so this is the key itself.
    let mut block = Key::<Hmac<Sha256>>::default();
    for (to, from) in block.iter_mut().zip(&key.0) {
        *to = *from;
    }
    let mut mac = Hmac::<Sha256>::new(&block);
    block.zeroize();
    mac.update(DOMAIN);
    mac.update(origin.as_bytes());
    mac.update(&key_epoch.to_be_bytes());
    mac.update(&seq.to_be_bytes());
    mac.update(previous);
    mac.update(leaf);
    mac.finalize().into_bytes().into()
}

/// Compares two links in constant time.
pub fn same(a: &[u8; 32], b: &[u8; 32]) -> bool {
    use subtle::ConstantTimeEq as _;
    a.ct_eq(b).into()
}
