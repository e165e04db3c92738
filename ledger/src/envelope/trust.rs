//! Who is believed, and what they may say.

use std::collections::{BTreeSet, HashMap};

use ed25519_dalek::VerifyingKey;
use mandate::id::KeyId;

use super::seal::{Batch, signed_by};
use super::{Envelope, EnvelopeError, SignedEnvelope, Verified};

/// A trusted key: whose it is, and what it may say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Producer {
    /// The key's id.
    pub kid: KeyId,
    /// Its Ed25519 public key.
    pub public_key: [u8; 32],
    /// The service that holds it.
    pub service: String,
    /// The kinds of message it may sign.
    pub kinds: BTreeSet<String>,
}

impl Producer {
    /// Whether the signature over the bytes is this key's.
    pub fn signed(&self, bytes: &[u8], signature: &[u8; 64]) -> bool {
        self.key()
            .is_some_and(|key| signed_by(&key, bytes, signature))
    }

    fn key(&self) -> Option<VerifyingKey> {
        VerifyingKey::from_bytes(&self.public_key).ok()
    }

    /// Whether it may say this in this name.
    fn may_say(&self, message: &Envelope) -> Result<(), EnvelopeError> {
        if !self.kinds.contains(&message.kind) {
            return Err(EnvelopeError::KindNotAllowed);
        }
        let name = message.producer.as_str();
        let service = name.split_once('@').map_or(name, |(service, _)| service);
        if service != self.service {
            return Err(EnvelopeError::WrongProducer);
        }
        Ok(())
    }
}

/// The trusted keys, from configuration. A public key is decompressed once, here; under one that is none nothing
/// verifies.
#[derive(Debug, Clone, Default)]
pub struct Producers(HashMap<KeyId, (Producer, Option<VerifyingKey>)>);

impl Producers {
    /// Trusts these; of two with one id the later counts.
    pub fn new(producers: impl IntoIterator<Item = Producer>) -> Self {
        Self(
            producers
                .into_iter()
                .map(|producer| {
                    let key = producer.key();
                    (producer.kid.clone(), (producer, key))
                })
                .collect(),
        )
    }

    /// The producer of a key id.
    pub fn find(&self, kid: &KeyId) -> Option<&Producer> {
        self.0.get(kid).map(|(producer, _)| producer)
    }
}

/// Believes messages or says why not, and looks once at a signature that is over many of them.
#[derive(Debug)]
pub struct Checker<'a> {
    producers: &'a Producers,
    /// By key, the batch whose signature was genuine last.
    genuine: HashMap<&'a KeyId, (Batch, [u8; 64])>,
}

impl<'a> Checker<'a> {
    /// Believes these producers.
    pub fn new(producers: &'a Producers) -> Self {
        Self {
            producers,
            genuine: HashMap::new(),
        }
    }

    /// The leaf of a message that is to be believed.
    pub fn leaf(&mut self, signed: &SignedEnvelope) -> Result<Vec<u8>, EnvelopeError> {
        let SignedEnvelope { envelope, seal } = signed;
        let known = self.producers.0.get_key_value(&envelope.kid);
        let (kid, (producer, key)) = known.ok_or(EnvelopeError::UnknownKey)?;
        producer.may_say(envelope)?;
        let mut bytes = envelope.signing_bytes();
        let batch = seal.batch(&bytes);
        let seen = batch.map(|batch| (batch, seal.signature));
        if seen.is_none() || self.genuine.get(kid) != seen.as_ref() {
            let key = key.as_ref().ok_or(EnvelopeError::BadSignature)?;
            if !seal.signed(key, &bytes, batch.as_ref()) {
                return Err(EnvelopeError::BadSignature);
            }
            if let Some(seen) = seen {
                self.genuine.insert(kid, seen);
            }
        }
        seal.write(&mut bytes);
        Ok(bytes)
    }
}

impl SignedEnvelope {
    /// Believes the message, or says why not.
    pub fn verify(self, producers: &Producers) -> Result<Verified, EnvelopeError> {
        self.check(producers)?;
        Ok(Verified(self))
    }

    /// Whether the message is to be believed.
    pub fn check(&self, producers: &Producers) -> Result<(), EnvelopeError> {
        Checker::new(producers).leaf(self).map(drop)
    }
}
