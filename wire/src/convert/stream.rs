//! The payloads that say how far somebody has come.

use jiff::Timestamp;
use mandate::id::{JournalId, ZoneId};
use prost::Message;

use super::error::{ConvertError, Wrong, decode, fixed, malformed};
use crate::pb::caracal::audit::v1 as audit;
use crate::pb::caracal::authority::v1 as authority;

/// Everything committed before `as_of` by the database's clock is at or below `pos`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heartbeat {
    /// The position.
    pub pos: u64,
    /// The database's time.
    pub as_of: Timestamp,
}

impl TryFrom<authority::Heartbeat> for Heartbeat {
    type Error = ConvertError;

    fn try_from(message: authority::Heartbeat) -> Result<Self, ConvertError> {
        Ok(Self {
            pos: message.pos,
            as_of: time("heartbeat.as_of_ns", message.as_of_ns)?,
        })
    }
}

impl From<Heartbeat> for authority::Heartbeat {
    fn from(heartbeat: Heartbeat) -> Self {
        Self {
            pos: heartbeat.pos,
            as_of_ns: nanoseconds(heartbeat.as_of),
        }
    }
}

impl Heartbeat {
    /// From an envelope's payload.
    pub fn from_payload(payload: &[u8]) -> Result<Self, ConvertError> {
        decode::<authority::Heartbeat>("heartbeat", payload)?.try_into()
    }

    /// As an envelope's payload.
    pub fn to_payload(self) -> Vec<u8> {
        authority::Heartbeat::from(self).encode_to_vec()
    }
}

/// Everything of this journal and zone up to and including `counter` is committed evidence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cursor {
    /// The journal.
    pub journal: JournalId,
    /// The zone; none for the system ledger.
    pub zone: Option<ZoneId>,
    /// The last committed counter.
    pub counter: u64,
    /// The hash of the leaf at that counter.
    pub hash: [u8; 32],
}

impl TryFrom<audit::Cursor> for Cursor {
    type Error = ConvertError;

    fn try_from(message: audit::Cursor) -> Result<Self, ConvertError> {
        let zone = match message.zone_id.as_str() {
            "" => None,
            text => Some(malformed("cursor.zone_id", ZoneId::parse(text))?),
        };
        Ok(Self {
            journal: malformed("cursor.journal_id", JournalId::parse(&message.journal_id))?,
            zone,
            counter: message.counter,
            hash: fixed("cursor.hash", &message.hash)?,
        })
    }
}

impl From<Cursor> for audit::Cursor {
    fn from(cursor: Cursor) -> Self {
        Self {
            journal_id: cursor.journal.to_string(),
            zone_id: cursor.zone.map(|zone| zone.to_string()).unwrap_or_default(),
            counter: cursor.counter,
            hash: cursor.hash.to_vec(),
        }
    }
}

impl Cursor {
    /// From an envelope's payload.
    pub fn from_payload(payload: &[u8]) -> Result<Self, ConvertError> {
        decode::<audit::Cursor>("cursor", payload)?.try_into()
    }

    /// As an envelope's payload.
    pub fn to_payload(self) -> Vec<u8> {
        audit::Cursor::from(self).encode_to_vec()
    }
}

/// A time from nanoseconds since the Unix epoch; before 1970 nothing of ours happened.
pub(super) fn time(field: &'static str, nanoseconds: i64) -> Result<Timestamp, ConvertError> {
    let out_of_range = ConvertError::new(field, Wrong::Range);
    if nanoseconds < 0 {
        return Err(out_of_range);
    }
    Timestamp::from_nanosecond(i128::from(nanoseconds)).map_err(|_| out_of_range)
}

/// Nanoseconds since the Unix epoch. Times after 2262 saturate.
pub(super) fn nanoseconds(at: Timestamp) -> i64 {
    i64::try_from(at.as_nanosecond()).unwrap_or(i64::MAX)
}
