//! Envelopes.

use ledger::envelope::{Envelope, Epoch, Seal, SignedEnvelope};
use mandate::id::{KeyId, ZoneId};
use prost::Message;

use super::error::{ConvertError, Wrong, decode, fixed, malformed, visible};
use crate::pb::caracal::envelope::v1 as pb;

const MOST_NAME: usize = 64;
const MOST_PRODUCER: usize = 128;
const MOST_PAYLOAD: usize = 4 * 1024 * 1024;

impl TryFrom<pb::Envelope> for SignedEnvelope {
    type Error = ConvertError;

    fn try_from(message: pb::Envelope) -> Result<Self, ConvertError> {
        let zone = match message.zone_id.as_str() {
            "" => None,
            text => Some(malformed("envelope.zone_id", ZoneId::parse(text))?),
        };
        if message.payload.len() > MOST_PAYLOAD {
            return Err(ConvertError::new("envelope.payload", Wrong::Length));
        }
        Ok(Self {
            envelope: Envelope {
                stream: visible("envelope.stream", message.stream, MOST_NAME)?,
                kind: visible("envelope.kind", message.kind, MOST_NAME)?,
                zone,
                epoch: Epoch(fixed("envelope.epoch", &message.epoch)?),
                pos: message.pos,
                producer: visible("envelope.producer", message.producer, MOST_PRODUCER)?,
                counter: message.counter,
                at: message.at_ns,
                payload: message.payload,
                kid: malformed("envelope.kid", KeyId::parse(&message.kid))?,
            },
            seal: Seal::from_bytes(&message.sig)
                .ok_or(ConvertError::new("envelope.sig", Wrong::Malformed))?,
        })
    }
}

impl From<SignedEnvelope> for pb::Envelope {
    fn from(signed: SignedEnvelope) -> Self {
        let SignedEnvelope { envelope, seal } = signed;
        Self {
            stream: envelope.stream,
            kind: envelope.kind,
            zone_id: envelope
                .zone
                .map(|zone| zone.to_string())
                .unwrap_or_default(),
            epoch: envelope.epoch.as_bytes().to_vec(),
            pos: envelope.pos,
            producer: envelope.producer,
            counter: envelope.counter,
            at_ns: envelope.at,
            payload: envelope.payload,
            kid: envelope.kid.as_str().to_owned(),
            sig: seal.to_bytes(),
        }
    }
}

/// A signed envelope from the bytes of field `e` of a stream entry.
pub fn envelope_from_bytes(bytes: &[u8]) -> Result<SignedEnvelope, ConvertError> {
    decode::<pb::Envelope>("envelope", bytes)?.try_into()
}

/// The bytes of field `e` of a stream entry.
pub fn envelope_to_bytes(signed: SignedEnvelope) -> Vec<u8> {
    pb::Envelope::from(signed).encode_to_vec()
}
