//! The signed form of every message: who says what, in which order, under which epoch.

use std::collections::{BTreeSet, HashMap};
use std::fmt;

use ed25519_dalek::{Signer as _, VerifyingKey};
use mandate::id::{KeyId, ZoneId};

use crate::bytes::{Broken, Reader, exact, push};
use crate::leaf_hash;

/// What the signed bytes start with.
const DOMAIN: &[u8] = b"caracal-envelope-v1\0";

/// 128 random bits: one uninterrupted history of positions.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Epoch(pub [u8; 16]);

impl Epoch {
    /// From bytes of the right length.
    pub fn from_slice(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }

    /// The bytes.
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0
            .iter()
            .try_for_each(|byte| write!(formatter, "{byte:02x}"))
    }
}

impl fmt::Debug for Epoch {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Epoch({self})")
    }
}

/// A message before it is signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Envelope {
    /// The stream it belongs to.
    pub stream: String,
    /// What kind of message it is.
    pub kind: String,
    /// The zone; none for the deployment.
    pub zone: Option<ZoneId>,
    /// The epoch of `pos`.
    pub epoch: Epoch,
    /// The dense position in the deployment; 0 where the stream has none.
    pub pos: u64,
    /// Who makes it: `service` or `service@journal`.
    pub producer: String,
    /// The producer's dense counter.
    pub counter: u64,
    /// When, in nanoseconds since the Unix epoch.
    pub at: i64,
    /// The message.
    pub payload: Vec<u8>,
    /// The key it is signed with.
    pub kid: KeyId,
}

/// A message with its signature, which may or may not be genuine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedEnvelope {
    /// What is signed.
    pub envelope: Envelope,
    /// Ed25519 (RFC 8032).
    pub signature: [u8; 64],
}

/// A message whose signature, producer and kind were checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified(SignedEnvelope);

/// Why a message is not believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EnvelopeError {
    /// The bytes are no envelope in canonical form.
    #[error("the bytes are no canonical envelope")]
    Malformed,
    /// Nobody with this key id is trusted.
    #[error("no trusted producer has this key id")]
    UnknownKey,
    /// The key's holder may not say this.
    #[error("the producer may not sign messages of this kind")]
    KindNotAllowed,
    /// The producer's name is not the key holder's.
    #[error("the producer's name is not the holder's of the key")]
    WrongProducer,
    /// The signature is not the key's.
    #[error("the signature is not the key's")]
    BadSignature,
}

impl EnvelopeError {
    /// The stable code.
    pub const fn code(self) -> &'static str {
        match self {
            Self::Malformed => "envelope_malformed",
            Self::UnknownKey => "envelope_key_unknown",
            Self::KindNotAllowed => "envelope_kind_not_allowed",
            Self::WrongProducer => "envelope_wrong_producer",
            Self::BadSignature => "envelope_signature_invalid",
        }
    }
}

impl From<Broken> for EnvelopeError {
    fn from(Broken: Broken) -> Self {
        Self::Malformed
    }
}

/// Who signs.
pub trait EventSigner: Send + Sync {
    /// The key's id.
    fn kid(&self) -> &KeyId;

    /// The Ed25519 signature over the bytes.
    fn sign(&self, bytes: &[u8]) -> [u8; 64];
}

/// A signer with the key in this process.
pub struct DalekSigner {
    kid: KeyId,
    key: ed25519_dalek::SigningKey,
}

impl DalekSigner {
    /// From a seed (RFC 8032 §5.1.5).
    pub fn new(kid: KeyId, seed: &[u8; 32]) -> Self {
        Self {
            kid,
            key: ed25519_dalek::SigningKey::from_bytes(seed),
        }
    }

    /// The public key.
    pub fn public(&self) -> [u8; 32] {
        self.key.verifying_key().to_bytes()
    }
}

impl EventSigner for DalekSigner {
    fn kid(&self) -> &KeyId {
        &self.kid
    }

    fn sign(&self, bytes: &[u8]) -> [u8; 64] {
        self.key.sign(bytes).to_bytes()
    }
}

impl fmt::Debug for DalekSigner {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("DalekSigner")
            .field("kid", &self.kid)
            .finish_non_exhaustive()
    }
}

impl Envelope {
    /// The bytes that are signed: the domain, then fields 1 to 10, each with its length; integers as eight bytes,
    /// no zone as none.
    pub fn signing_bytes(&self) -> Vec<u8> {
        let zone = self.zone.map(|zone| zone.to_string()).unwrap_or_default();
        let mut out = Vec::with_capacity(self.payload.len().saturating_add(256));
        out.extend_from_slice(DOMAIN);
        push(&mut out, self.stream.as_bytes());
        push(&mut out, self.kind.as_bytes());
        push(&mut out, zone.as_bytes());
        push(&mut out, &self.epoch.0);
        push(&mut out, &self.pos.to_be_bytes());
        push(&mut out, self.producer.as_bytes());
        push(&mut out, &self.counter.to_be_bytes());
        push(&mut out, &self.at.to_be_bytes());
        push(&mut out, &self.payload);
        push(&mut out, self.kid.as_str().as_bytes());
        out
    }

    /// Signs with the signer's key, under its id.
    pub fn sign(mut self, signer: &(impl EventSigner + ?Sized)) -> SignedEnvelope {
        self.kid = signer.kid().clone();
        let signature = signer.sign(&self.signing_bytes());
        SignedEnvelope {
            envelope: self,
            signature,
        }
    }

    fn from_signing_bytes(reader: &mut Reader<'_>) -> Result<Self, EnvelopeError> {
        if reader.take(DOMAIN.len())? != DOMAIN {
            return Err(EnvelopeError::Malformed);
        }
        let text = |bytes: &[u8]| {
            std::str::from_utf8(bytes)
                .map(str::to_owned)
                .map_err(|_| EnvelopeError::Malformed)
        };
        let stream = text(reader.field()?)?;
        let what = text(reader.field()?)?;
        let zone = text(reader.field()?)?;
        let zone = match zone.as_str() {
            "" => None,
            zone => Some(ZoneId::parse(zone).map_err(|_| EnvelopeError::Malformed)?),
        };
        let epoch = Epoch(exact(reader.field()?)?);
        let position = u64::from_be_bytes(exact(reader.field()?)?);
        let producer = text(reader.field()?)?;
        let counter = u64::from_be_bytes(exact(reader.field()?)?);
        let at = i64::from_be_bytes(exact(reader.field()?)?);
        let payload = reader.field()?.to_vec();
        let kid = KeyId::parse(&text(reader.field()?)?).map_err(|_| EnvelopeError::Malformed)?;
        Ok(Self {
            stream,
            kind: what,
            zone,
            epoch,
            pos: position,
            producer,
            counter,
            at,
            payload,
            kid,
        })
    }
}

impl SignedEnvelope {
    /// What a ledger keeps: the signed bytes and the signature.
    pub fn leaf_bytes(&self) -> Vec<u8> {
        let mut out = self.envelope.signing_bytes();
        out.extend_from_slice(&self.signature);
        out
    }

    /// The hash of that leaf.
    pub fn leaf_hash(&self) -> [u8; 32] {
        leaf_hash(&self.leaf_bytes())
    }

    /// Reads a leaf back; nothing but what `leaf_bytes` gives is accepted.
    pub fn from_leaf_bytes(leaf: &[u8]) -> Result<Self, EnvelopeError> {
        let mut reader = Reader::new(leaf);
        let envelope = Envelope::from_signing_bytes(&mut reader)?;
        let signature = reader.array()?;
        reader.end()?;
        Ok(Self {
            envelope,
            signature,
        })
    }

    /// Believes the message, or says why not.
    pub fn verify(self, producers: &Producers) -> Result<Verified, EnvelopeError> {
        self.check(producers)?;
        Ok(Verified(self))
    }

    /// Whether the message is to be believed.
    pub fn check(&self, producers: &Producers) -> Result<(), EnvelopeError> {
        let Envelope {
            kid,
            kind,
            producer,
            ..
        } = &self.envelope;
        let (known, key) = producers.0.get(kid).ok_or(EnvelopeError::UnknownKey)?;
        if !known.kinds.contains(kind) {
            return Err(EnvelopeError::KindNotAllowed);
        }
        let service = producer
            .split_once('@')
            .map_or(producer.as_str(), |(service, _)| service);
        if service != known.service {
            return Err(EnvelopeError::WrongProducer);
        }
        let signed = key
            .as_ref()
            .is_some_and(|key| signed_by(key, &self.envelope.signing_bytes(), &self.signature));
        if signed {
            Ok(())
        } else {
            Err(EnvelopeError::BadSignature)
        }
    }
}

impl Verified {
    /// The message.
    pub fn envelope(&self) -> &Envelope {
        &self.0.envelope
    }

    /// The message with its signature.
    pub fn signed(&self) -> &SignedEnvelope {
        &self.0
    }

    /// Gives up the check for the message.
    pub fn into_envelope(self) -> Envelope {
        self.0.envelope
    }
}

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
}

fn signed_by(key: &VerifyingKey, bytes: &[u8], signature: &[u8; 64]) -> bool {
    let signature = ed25519_dalek::Signature::from_bytes(signature);
    key.verify_strict(bytes, &signature).is_ok()
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
