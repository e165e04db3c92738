//! What proves whose a message is: a signature over it alone, or over the root of a batch that it is in.
//!
//! A signature costs more than the rest of an event together, and whoever writes many at once would pay it for each.
//! A batch has one; every message of it carries its way to the root, and is proven without the others.

use ed25519_dalek::VerifyingKey;

use super::EventSigner;
use crate::bytes::{Broken, Reader};
use crate::leaf_hash;
use crate::tree::{self, Hash, Inclusion};

/// What the signed bytes of a batch start with; the size as four bytes and the root follow.
const DOMAIN: &[u8] = b"caracal-batch-v1\0";

/// A producer's Ed25519 signature (RFC 8032), and what it is over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seal {
    /// The signature.
    pub signature: [u8; 64],
    /// The message's place in the batch that is signed; none when the signature is over the message alone.
    pub place: Option<Inclusion>,
}

/// What a signature over a batch is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Batch {
    size: u32,
    root: Hash,
}

impl Batch {
    fn bytes(&self) -> Vec<u8> {
        [DOMAIN, &self.size.to_be_bytes(), &self.root].concat()
    }
}

impl Seal {
    /// The most messages of a batch.
    pub const BATCH: usize = 16;
    /// The most bytes of a seal.
    pub const MOST: usize = 64 + 8 + 4 * 32;

    /// Signs one message.
    pub(super) fn alone(message: &[u8], signer: &(impl EventSigner + ?Sized)) -> Self {
        Self {
            signature: signer.sign(message),
            place: None,
        }
    }

    /// Signs messages, a batch at a time; a seal for each, in their order. One message alone is signed as such.
    pub fn all(messages: &[Vec<u8>], signer: &(impl EventSigner + ?Sized)) -> Vec<Self> {
        let mut seals = Vec::with_capacity(messages.len());
        for messages in messages.chunks(Self::BATCH) {
            if let [message] = messages {
                seals.push(Self::alone(message, signer));
                continue;
            }
            let Some((root, places)) = tree::include(messages.iter().map(Vec::as_slice)) else {
                continue;
            };
            let size = u32::try_from(messages.len()).unwrap_or(u32::MAX);
            let signature = signer.sign(&Batch { size, root }.bytes());
            seals.extend(places.into_iter().map(|place| Self {
                signature,
                place: Some(place),
            }));
        }
        seals
    }

    /// Appends the bytes: the signature; in a batch the place and the size, as four bytes each, and the hashes.
    pub fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.signature);
        if let Some(place) = &self.place {
            out.extend_from_slice(&place.index().to_be_bytes());
            out.extend_from_slice(&place.size().to_be_bytes());
            place
                .path()
                .iter()
                .for_each(|hash| out.extend_from_slice(hash));
        }
    }

    /// The bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(Self::MOST);
        self.write(&mut out);
        out
    }

    /// Reads bytes; nothing but what `write` gives is accepted.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        Self::read(Reader::new(bytes)).ok()
    }

    /// Reads the rest.
    pub(super) fn read(mut rest: Reader<'_>) -> Result<Self, Broken> {
        let signature = rest.array()?;
        if rest.is_empty() {
            return Ok(Self {
                signature,
                place: None,
            });
        }
        let index = u32::from_be_bytes(rest.array()?);
        let size = u32::from_be_bytes(rest.array()?);
        let most = u32::try_from(Self::BATCH).unwrap_or(u32::MAX);
        if !(2..=most).contains(&size) {
            return Err(Broken);
        }
        let mut path = Vec::new();
        while !rest.is_empty() {
            path.push(rest.array()?);
        }
        let place = Some(Inclusion::new(index, size, path).ok_or(Broken)?);
        Ok(Self { signature, place })
    }

    /// The batch that this seal puts a message into; none when it is over the message alone.
    pub(super) fn batch(&self, message: &[u8]) -> Option<Batch> {
        self.place.as_ref().map(|place| Batch {
            size: place.size(),
            root: place.root(&leaf_hash(message)),
        })
    }

    /// Whether the signature is the key's, over the message or over the batch it is in.
    pub(super) fn signed(&self, key: &VerifyingKey, message: &[u8], batch: Option<&Batch>) -> bool {
        match batch {
            None => signed_by(key, message, &self.signature),
            Some(batch) => signed_by(key, &batch.bytes(), &self.signature),
        }
    }
}

/// Strict: no second form of a signature is accepted.
pub(super) fn signed_by(key: &VerifyingKey, bytes: &[u8], signature: &[u8; 64]) -> bool {
    let signature = ed25519_dalek::Signature::from_bytes(signature);
    key.verify_strict(bytes, &signature).is_ok()
}
