//! The messages that go down, encoded once for all who are sent them.

use std::sync::Arc;
use std::time::Duration;

use mandate::id::{AttachmentName, ZoneId};
use prost::Message as _;
use tonic::codegen::Bytes;
use wire::convert::AuthorityChange;
use wire::pb::caracal::authority::v1::Change;
use wire::pb::caracal::filter::v1 as pb;

use super::outgoing::Item;
use super::rows::{Held, Left, concerns};
use crate::feed::tracker::Position;

/// A message is closed at about this many bytes of changes.
const PART: usize = 256 * 1024;

/// Messages that may follow a snapshot, and their bytes, before another is written.
const MOST_SINCE: usize = 4_096;
const MOST_SINCE_BYTES: usize = 8 * 1024 * 1024;

/// What memory took in at once.
#[derive(Debug, Default)]
pub(super) struct Said {
    anew: bool,
    changes: Vec<(u64, AuthorityChange, Option<Left>)>,
}

impl Said {
    /// A snapshot, which says everything.
    pub(super) fn anew() -> Self {
        Self {
            anew: true,
            changes: Vec::new(),
        }
    }

    pub(super) fn is_anew(&self) -> bool {
        self.anew
    }

    pub(super) fn push(&mut self, pos: u64, change: AuthorityChange, left: Option<Left>) {
        // A snapshot written after it holds it.
        if !self.anew {
            self.changes.push((pos, change, left));
        }
    }

    /// What an attachment is told of it: at least that the position moved.
    pub(super) fn deltas(
        &self,
        attachment: &AttachmentName,
        zones: &[ZoneId],
        position: Position,
    ) -> Vec<Bytes> {
        let told = self.changes.iter().filter_map(|(pos, change, left)| {
            let gone = left.as_ref().filter(|left| left.from == *attachment);
            let change = gone.map_or(change, |left| &left.change);
            concerns(change, attachment, zones).then(|| (*pos, Change::from(change.clone())))
        });
        let mut messages = Vec::new();
        let mut changes = Vec::new();
        let (mut size, mut at) = (0_usize, 0);
        for (pos, change) in told {
            if size >= PART && pos > at {
                messages.push(deltas(position, at, std::mem::take(&mut changes)));
                size = 0;
            }
            size = size.saturating_add(change.encoded_len());
            at = pos;
            changes.push(change);
        }
        messages.push(deltas(position, position.pos, changes));
        messages
    }
}

/// A snapshot of one attachment, written or being written, and what came after it.
#[derive(Debug)]
pub(super) struct Prepared {
    number: u64,
    parts: Option<Arc<[Bytes]>>,
    since: Vec<Bytes>,
    size: usize,
}

impl Prepared {
    pub(super) fn begun(number: u64) -> Self {
        Self {
            number,
            parts: None,
            since: Vec::new(),
            size: 0,
        }
    }

    /// Takes what was written, if it was written for this one.
    pub(super) fn take(&mut self, written: Written) {
        if written.number == self.number {
            self.parts = Some(written.parts);
        }
    }

    /// Adds what came after it; false when that is so much that another should be written.
    pub(super) fn extend(&mut self, messages: &[Bytes]) -> bool {
        self.since.extend_from_slice(messages);
        self.size = self.size.saturating_add(bytes(messages));
        self.since.len() <= MOST_SINCE && self.size <= MOST_SINCE_BYTES
    }

    /// All of it, once it is written, and its size.
    pub(super) fn items(&self) -> Option<([Item; 2], u64)> {
        let parts = self.parts.as_ref()?;
        let size = bytes(parts).saturating_add(self.size);
        let items = [
            Item::Parts(Arc::clone(parts)),
            Item::Parts(self.since.clone().into()),
        ];
        Some((items, u64::try_from(size).unwrap_or(u64::MAX)))
    }
}

fn bytes(messages: &[Bytes]) -> usize {
    messages
        .iter()
        .map(Bytes::len)
        .fold(0, usize::saturating_add)
}

/// A snapshot to be written.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) number: u64,
    pub(super) attachment: AttachmentName,
    pub(super) position: Position,
    pub(super) rows: Held,
}

/// A snapshot that is written.
#[derive(Debug)]
pub(super) struct Written {
    pub(super) attachment: AttachmentName,
    number: u64,
    parts: Arc<[Bytes]>,
}

impl Job {
    /// Writes it. Takes long where much is revoked, so nobody waits for it but those who are sent it.
    pub(super) fn write(self) -> Written {
        let mut parts = Vec::new();
        let mut changes = Vec::new();
        let mut size = 0_usize;
        for change in self.rows.told(&self.attachment) {
            if size >= PART {
                parts.push(part(self.position, false, std::mem::take(&mut changes)));
                size = 0;
            }
            size = size.saturating_add(change.encoded_len());
            changes.push(change);
        }
        parts.push(part(self.position, true, changes));
        Written {
            attachment: self.attachment,
            number: self.number,
            parts: parts.into(),
        }
    }
}

/// The answer to a ping.
pub(super) fn pong(
    echo_t_ns: i64,
    age_ms: u32,
    position: Option<Position>,
    bound: Duration,
) -> Bytes {
    down(pb::down::What::Pong(pb::Pong {
        echo_t_ns,
        age_ms,
        epoch: position.map_or_else(Vec::new, |position| position.epoch.0.to_vec()),
        pos: position.map_or(0, |position| position.pos),
        bound_ms: u32::try_from(bound.as_millis()).unwrap_or(u32::MAX),
    }))
}

/// The news that reports are in the journal.
pub(super) fn up_ack(through_seq: u64) -> Bytes {
    down(pb::down::What::UpAck(pb::UpAck { through_seq }))
}

fn part(position: Position, last: bool, changes: Vec<Change>) -> Bytes {
    down(pb::down::What::Snapshot(pb::Snapshot {
        epoch: position.epoch.0.to_vec(),
        pos: position.pos,
        last,
        changes,
    }))
}

fn deltas(position: Position, pos: u64, changes: Vec<Change>) -> Bytes {
    down(pb::down::What::Deltas(pb::Deltas {
        epoch: position.epoch.0.to_vec(),
        pos,
        changes,
    }))
}

fn down(what: pb::down::What) -> Bytes {
    pb::Down { what: Some(what) }.encode_to_vec().into()
}
