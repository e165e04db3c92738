//! From an entry of a stream to evidence that may be appended, or to the reason why it never will be.

use std::num::NonZeroU32;

use chassis::streams::{self, Entry};
use ledger::envelope::{Checker, EnvelopeError, Producers, SignedEnvelope};
use ledger::event::Event;
use ledger::leaf_hash;
use mandate::id::{JournalId, ZoneId};
use prometheus_client::encoding::EncodeLabelValue;

use crate::SYSTEM;
use crate::columns::Columns;

/// Who numbers what came by an outbox: it vouches for order only, the writer's own signature for the rest.
const OUTBOX: &str = "outbox";

/// Evidence whose producer is known and whose parts agree.
#[derive(Clone, Debug)]
pub(crate) struct Candidate {
    /// The ledger it belongs to.
    pub(crate) zone: ZoneId,
    pub(crate) journal: JournalId,
    pub(crate) counter: u64,
    pub(crate) leaf: Vec<u8>,
    pub(crate) hash: [u8; 32],
    pub(crate) columns: Columns,
}

/// Why an entry is no evidence. Trying again would not help.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
pub(crate) enum Poison {
    /// No envelope.
    Malformed,
    /// Signed by nobody we trust.
    KeyUnknown,
    /// Signed by somebody who may not say this.
    KindNotAllowed,
    /// In the name of somebody else.
    WrongProducer,
    /// Not what was signed.
    SignatureInvalid,
    /// No event of a version we know.
    EventMalformed,
    /// Envelope and event say different things.
    Contradiction,
    /// Not by its writer, or not allowed to be.
    OriginInvalid,
    /// Not on the stream it belongs to.
    WrongPartition,
    /// A zone that is ours.
    ZoneReserved,
    /// A value that no column holds.
    Unstorable,
}

impl Poison {
    /// The stable code.
    pub(crate) fn code(self) -> &'static str {
        match self {
            Self::Malformed => "envelope_malformed",
            Self::KeyUnknown => "envelope_key_unknown",
            Self::KindNotAllowed => "envelope_kind_not_allowed",
            Self::WrongProducer => "envelope_wrong_producer",
            Self::SignatureInvalid => "envelope_signature_invalid",
            Self::EventMalformed => "event_malformed",
            Self::Contradiction => "event_contradicts_envelope",
            Self::OriginInvalid => "event_origin_invalid",
            Self::WrongPartition => "event_wrong_partition",
            Self::ZoneReserved => "event_zone_reserved",
            Self::Unstorable => "event_unstorable",
        }
    }
}

impl From<EnvelopeError> for Poison {
    fn from(error: EnvelopeError) -> Self {
        match error {
            EnvelopeError::Malformed => Self::Malformed,
            EnvelopeError::UnknownKey => Self::KeyUnknown,
            EnvelopeError::KindNotAllowed => Self::KindNotAllowed,
            EnvelopeError::WrongProducer => Self::WrongProducer,
            EnvelopeError::BadSignature => Self::SignatureInvalid,
        }
    }
}

/// What is believed: producers, and which stream is read.
#[derive(Clone, Debug)]
pub(crate) struct Trust {
    pub(crate) producers: Producers,
    pub(crate) partitions: NonZeroU32,
}

impl Trust {
    /// Looks at a signature over many once.
    pub(crate) fn checker(&self) -> Checker<'_> {
        Checker::new(&self.producers)
    }

    /// Screens an entry of a partition's stream.
    pub(crate) fn screen(
        &self,
        checker: &mut Checker<'_>,
        entry: &Entry,
        partition: u32,
    ) -> Result<Candidate, Poison> {
        let signed = entry.envelope().map_err(|_| Poison::Malformed)?;
        let leaf = checker.leaf(&signed)?;
        let event = event_of(&signed)?;
        self.believe_writer(&signed, &event)?;
        let envelope = &signed.envelope;
        if envelope.stream != streams::audit_events(partition)
            || streams::partition_of(envelope.zone, self.partitions) != partition
        {
            return Err(Poison::WrongPartition);
        }
        Ok(Candidate {
            zone: envelope.zone.unwrap_or(SYSTEM),
            journal: event.journal_id,
            counter: event.counter,
            hash: leaf_hash(&leaf),
            leaf,
            columns: Columns::of(&event).map_err(|_| Poison::Unstorable)?,
        })
    }

    /// Whether the event's writer wrote it, where that is another than its producer.
    pub(crate) fn believe_writer(
        &self,
        signed: &SignedEnvelope,
        event: &Event,
    ) -> Result<(), Poison> {
        let outbox = signed
            .envelope
            .producer
            .split_once('@')
            .is_some_and(|(service, _)| service == OUTBOX);
        match &event.origin_kid {
            None if outbox => Err(Poison::OriginInvalid),
            None => Ok(()),
            Some(kid) => {
                let writer = self.producers.find(kid).ok_or(Poison::OriginInvalid)?;
                let may = writer.kinds.contains(event.kind.as_str());
                if may && event.origin_signed_by(writer) {
                    Ok(())
                } else {
                    Err(Poison::OriginInvalid)
                }
            }
        }
    }
}

/// The event of an envelope that says the same as it.
pub(crate) fn event_of(signed: &SignedEnvelope) -> Result<Event, Poison> {
    let envelope = &signed.envelope;
    let event = Event::decode(&envelope.payload).map_err(|_| Poison::EventMalformed)?;
    if envelope.zone == Some(SYSTEM) {
        return Err(Poison::ZoneReserved);
    }
    let journal = envelope
        .producer
        .split_once('@')
        .and_then(|(_, journal)| JournalId::parse(journal).ok());
    let agree = envelope.kind == event.kind.as_str()
        && envelope.zone == event.zone
        && envelope.counter == event.counter
        && envelope.at == event.at_ns
        && journal == Some(event.journal_id)
        && event.counter > 0;
    if agree {
        Ok(event)
    } else {
        Err(Poison::Contradiction)
    }
}
