//! The form of a segment: a header, then records.
//!
//! Header: `caracal-journal1` ‖ journal id ‖ u32be index ‖ u32be CRC of what is before it. Record: u32be length ‖ u32be
//! CRC of length and leaf ‖ leaf.

use mandate::id::JournalId;
use uuid::Uuid;

const MAGIC: &[u8; 16] = b"caracal-journal1";
/// Bytes of a header.
pub(super) const HEADER: usize = 40;
/// Bytes of a record before its leaf.
pub(super) const FRAME: usize = 8;
/// A larger leaf is no event of ours.
pub(super) const MOST_LEAF: usize = 64 * 1024;

/// Whose segment it is, and which one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) journal: JournalId,
    pub(super) index: u32,
}

impl Header {
    /// The name of its file. Names sort by time and order.
    pub(super) fn file_name(self) -> String {
        format!("{}-{:08}.segment", self.journal, self.index)
    }

    pub(super) fn to_bytes(self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(HEADER);
        bytes.extend_from_slice(MAGIC);
        bytes.extend_from_slice(self.journal.as_uuid().as_bytes());
        bytes.extend_from_slice(&self.index.to_be_bytes());
        let crc = crc32fast::hash(&bytes);
        bytes.extend_from_slice(&crc.to_be_bytes());
        bytes
    }

    pub(super) fn parse(bytes: &[u8]) -> Option<Self> {
        let (body, crc) = bytes.get(..HEADER)?.split_last_chunk::<4>()?;
        let (magic, rest) = body.split_first_chunk::<16>()?;
        let (id, index) = rest.split_first_chunk::<16>()?;
        let genuine = magic == MAGIC && crc32fast::hash(body) == u32::from_be_bytes(*crc);
        genuine.then_some(Self {
            journal: JournalId::from_uuid(Uuid::from_bytes(*id)),
            index: u32::from_be_bytes(index.try_into().ok()?),
        })
    }
}

/// Appends a record. False when the leaf is too large for one.
pub(super) fn push(out: &mut Vec<u8>, leaf: &[u8]) -> bool {
    let Some(length) = u32::try_from(leaf.len())
        .ok()
        .filter(|_| leaf.len() <= MOST_LEAF)
    else {
        return false;
    };
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(&crc(length, leaf).to_be_bytes());
    out.extend_from_slice(leaf);
    true
}

fn crc(length: u32, leaf: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&length.to_be_bytes());
    hasher.update(leaf);
    hasher.finalize()
}

/// What stands at the front of bytes.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Front<'a> {
    /// A record, and what is behind it.
    Record(&'a [u8], &'a [u8]),
    /// The beginning of a record, or nothing.
    Part,
    /// No record.
    Damage,
}

pub(super) fn front(bytes: &[u8]) -> Front<'_> {
    let Some((length, rest)) = bytes.split_first_chunk::<4>() else {
        return Front::Part;
    };
    let length = u32::from_be_bytes(*length);
    let Some(size) = usize::try_from(length)
        .ok()
        .filter(|size| *size <= MOST_LEAF)
    else {
        return Front::Damage;
    };
    let Some((sum, rest)) = rest.split_first_chunk::<4>() else {
        return Front::Part;
    };
    let Some((leaf, rest)) = rest.split_at_checked(size) else {
        return Front::Part;
    };
    if crc(length, leaf) == u32::from_be_bytes(*sum) {
        Front::Record(leaf, rest)
    } else {
        Front::Damage
    }
}
