//! The signed form of every message: who says what, in which order, under which epoch.

mod seal;
mod trust;

use std::fmt;

use ed25519_dalek::Signer as _;
use mandate::id::{KeyId, ZoneId};

use crate::bytes::{Broken, Reader, exact, push};
use crate::leaf_hash;

pub use seal::Seal;
pub use trust::{Checker, Producer, Producers};

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
    /// What proves whose it is.
    pub seal: Seal,
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
        let room = self.payload.len().saturating_add(512);
        let mut out = Vec::with_capacity(room);
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
        let seal = Seal::alone(&self.signing_bytes(), signer);
        SignedEnvelope {
            envelope: self,
            seal,
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
    /// What a ledger keeps: the signed bytes and the seal.
    pub fn leaf_bytes(&self) -> Vec<u8> {
        let mut out = self.envelope.signing_bytes();
        self.seal.write(&mut out);
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
        let seal = Seal::read(reader)?;
        Ok(Self { envelope, seal })
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
