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
use super::rows::{Left, concerns};
use crate::feed::tracker::Position;

/// A message is closed at about this many bytes of changes.
const PART: usize = 256 * 1024;

/// Messages that may follow a snapshot before another is written.
const MOST_SINCE: usize = 512;

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

/// A snapshot of one attachment, and what came after it.
#[derive(Debug)]
pub(super) struct Prepared {
    parts: Arc<[Bytes]>,
    since: Vec<Bytes>,
}

impl Prepared {
    pub(super) fn new(rows: Vec<Change>, position: Position) -> Self {
        let mut parts = Vec::new();
        let mut changes = Vec::new();
        let mut size = 0_usize;
        for change in rows {
            if size >= PART {
                parts.push(part(position, false, std::mem::take(&mut changes)));
                size = 0;
            }
            size = size.saturating_add(change.encoded_len());
            changes.push(change);
        }
        parts.push(part(position, true, changes));
        Self {
            parts: parts.into(),
            since: Vec::new(),
        }
    }

    /// Adds what came after it; false when that is too much.
    pub(super) fn extend(&mut self, messages: &[Bytes]) -> bool {
        self.since.extend_from_slice(messages);
        self.since.len() <= MOST_SINCE
    }

    pub(super) fn bytes(&self) -> u64 {
        let parts = self.parts.iter().map(Bytes::len);
        u64::try_from(parts.fold(0, usize::saturating_add)).unwrap_or(u64::MAX)
    }

    pub(super) fn items(&self) -> impl Iterator<Item = Item> {
        let since = self.since.iter().cloned().map(Item::One);
        std::iter::once(Item::Parts(Arc::clone(&self.parts))).chain(since)
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
