//! What lies on disk, how far the ledger has it, and who may use the space that is left. No I/O but reading a range.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;

use ledger::envelope::SignedEnvelope;
use mandate::id::{JournalId, ZoneId};

use super::segment::{self, FRAME, Front, HEADER};
use super::{JournalConfig, JournalError};

/// A journal's counters of one zone.
pub(crate) type Lane = (JournalId, Option<ZoneId>);

/// At most this much is read at once; a record always fits.
const MOST_READ: u64 = 512 * 1024;

/// How much of a journal is used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Bytes on disk.
    pub bytes: u64,
    /// The most bytes there may be.
    pub max_bytes: u64,
    /// Events that the ledger has not been heard to have.
    pub unacknowledged: u64,
    /// Files.
    pub segments: usize,
}

/// One zone's events in one segment: dense counters.
#[derive(Clone, Copy, Debug)]
pub(super) struct Span {
    first: u64,
    last: u64,
    bytes: u64,
    last_hash: [u8; 32],
}

/// One file.
#[derive(Debug)]
pub(super) struct Segment {
    pub(super) journal: JournalId,
    pub(super) path: PathBuf,
    /// What of it is durable.
    pub(super) length: u64,
    /// Nothing is added any more.
    pub(super) sealed: bool,
    spans: HashMap<Option<ZoneId>, Span>,
}

/// An event as it was written.
#[derive(Clone, Copy, Debug)]
pub(super) struct Noted {
    pub(super) zone: Option<ZoneId>,
    pub(super) counter: u64,
    pub(super) bytes: u64,
    pub(super) hash: [u8; 32],
}

impl Segment {
    pub(super) fn new(journal: JournalId, path: PathBuf, length: u64) -> Self {
        Self {
            journal,
            path,
            length,
            sealed: false,
            spans: HashMap::new(),
        }
    }

    pub(super) fn note(&mut self, noted: &Noted) {
        let span = self.spans.entry(noted.zone).or_insert(Span {
            first: noted.counter,
            last: noted.counter,
            bytes: 0,
            last_hash: noted.hash,
        });
        span.last = noted.counter;
        span.last_hash = noted.hash;
        span.bytes = span.bytes.saturating_add(noted.bytes);
    }
}

/// A place between records.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    segment: u64,
    offset: u64,
}

impl Place {
    /// The start of the next segment.
    pub(crate) fn next_segment(self) -> Self {
        Self {
            segment: self.segment.saturating_add(1),
            offset: 0,
        }
    }
}

/// A record, read back.
#[derive(Clone, Debug)]
pub(crate) struct Record {
    /// Its journal and zone.
    pub(crate) lane: Lane,
    /// Its number there.
    pub(crate) counter: u64,
    /// What was signed, and the signature.
    pub(crate) envelope: SignedEnvelope,
}

/// Everything on disk.
#[derive(Debug)]
pub(super) struct Catalog {
    segments: BTreeMap<u64, Segment>,
    next: u64,
    acknowledged: HashMap<Lane, u64>,
    bytes: u64,
    zone_bytes: HashMap<Option<ZoneId>, u64>,
    max_bytes: u64,
    reserve: u64,
    zone_share: u64,
}

impl Catalog {
    pub(super) fn new(config: &JournalConfig) -> Self {
        let share = u128::from(config.max_bytes)
            .saturating_mul(u128::from(config.zone_percent.clamp(1, 100)))
            / 100;
        Self {
            segments: BTreeMap::new(),
            next: 0,
            acknowledged: HashMap::new(),
            bytes: 0,
            zone_bytes: HashMap::new(),
            max_bytes: config.max_bytes,
            reserve: config.reserve,
            zone_share: u64::try_from(share).unwrap_or(u64::MAX),
        }
    }

    /// Adds a file with what is in it.
    pub(super) fn insert(&mut self, segment: Segment) -> u64 {
        self.bytes = self.bytes.saturating_add(segment.length);
        for (zone, span) in &segment.spans {
            let bytes = self.zone_bytes.entry(*zone).or_default();
            *bytes = bytes.saturating_add(span.bytes);
        }
        let number = self.next;
        self.next = self.next.saturating_add(1);
        self.segments.insert(number, segment);
        number
    }

    /// Takes space for an event, or says that it may not have it.
    pub(super) fn admit(
        &mut self,
        zone: Option<ZoneId>,
        bytes: u64,
        authenticated: bool,
    ) -> Result<(), JournalError> {
        let total = self.bytes.saturating_add(bytes);
        let used = self
            .zone_bytes
            .get(&zone)
            .copied()
            .unwrap_or(0)
            .saturating_add(bytes);
        let (limit, share) = if authenticated {
            (self.max_bytes, self.zone_share)
        } else {
            // The reserve is kept within each zone's share too.
            let kept = self.max_bytes.saturating_sub(self.reserve);
            let part = u128::from(self.zone_share).saturating_mul(u128::from(kept))
                / u128::from(self.max_bytes.max(1));
            (kept, u64::try_from(part).unwrap_or(u64::MAX))
        };
        if total > limit {
            return Err(JournalError::Full);
        }
        // What has no zone is the deployment's own, or a stranger's: the reserve bounds it.
        if zone.is_some() && used > share {
            return Err(JournalError::ZoneFull);
        }
        self.take(zone, bytes);
        Ok(())
    }

    /// Takes space whatever the limits say: for what opens and closes journals.
    pub(super) fn take(&mut self, zone: Option<ZoneId>, bytes: u64) {
        self.bytes = self.bytes.saturating_add(bytes);
        let used = self.zone_bytes.entry(zone).or_default();
        *used = used.saturating_add(bytes);
    }

    /// Gives space back.
    pub(super) fn give_back(&mut self, zone: Option<ZoneId>, bytes: u64) {
        self.bytes = self.bytes.saturating_sub(bytes);
        if let Some(used) = self.zone_bytes.get_mut(&zone) {
            *used = used.saturating_sub(bytes);
            if *used == 0 {
                self.zone_bytes.remove(&zone);
            }
        }
    }

    /// What was written is durable. Its space was taken before.
    pub(super) fn note(&mut self, number: u64, length: u64, noted: &[Noted]) {
        if let Some(segment) = self.segments.get_mut(&number) {
            segment.length = length;
            for noted in noted {
                segment.note(noted);
            }
        }
    }

    pub(super) fn seal(&mut self, number: u64) {
        if let Some(segment) = self.segments.get_mut(&number) {
            segment.sealed = true;
        }
    }

    /// Whether the ledger has everything in a segment.
    pub(super) fn is_settled(&self, number: u64) -> bool {
        self.segments
            .get(&number)
            .is_some_and(|segment| self.has_whole(segment))
    }

    fn has_whole(&self, segment: &Segment) -> bool {
        segment.spans.iter().all(|(zone, span)| {
            let known = self.acknowledged.get(&(segment.journal, *zone));
            known.is_some_and(|counter| *counter >= span.last)
        })
    }

    pub(super) fn holds(&self, journal: JournalId) -> bool {
        self.segments
            .values()
            .any(|segment| segment.journal == journal)
    }

    pub(super) fn acknowledged(&self, lane: Lane) -> u64 {
        self.acknowledged.get(&lane).copied().unwrap_or(0)
    }

    /// Moves a lane's acknowledgement. Only up, only for a lane that is here, and not when the ledger has another event
    /// at the end of a segment than we wrote there.
    pub(super) fn acknowledge(
        &mut self,
        lane: Lane,
        counter: u64,
        hash: &[u8; 32],
    ) -> Result<bool, JournalError> {
        let (journal, zone) = lane;
        let spans = self
            .segments
            .values()
            .filter(|segment| segment.journal == journal)
            .filter_map(|segment| segment.spans.get(&zone));
        let mut here = false;
        for span in spans {
            if span.last == counter && span.last_hash != *hash {
                return Err(JournalError::Conflict { journal, counter });
            }
            here = true;
        }
        if !here {
            return Ok(false);
        }
        let known = self.acknowledged.entry(lane).or_default();
        let moved = counter > *known;
        *known = counter.max(*known);
        Ok(moved)
    }

    /// Forgets segments that the ledger has whole, and gives their files.
    pub(super) fn collect(&mut self) -> Vec<PathBuf> {
        let done: Vec<u64> = self
            .segments
            .iter()
            .filter(|(_, segment)| segment.sealed && self.has_whole(segment))
            .map(|(number, _)| *number)
            .collect();
        let gone: Vec<Segment> = done
            .iter()
            .filter_map(|number| self.segments.remove(number))
            .collect();
        for segment in &gone {
            let records: u64 = segment.spans.values().map(|span| span.bytes).sum();
            self.bytes = self
                .bytes
                .saturating_sub(segment.length.saturating_sub(records));
            for (zone, span) in &segment.spans {
                self.give_back(*zone, span.bytes);
            }
        }
        gone.into_iter().map(|segment| segment.path).collect()
    }

    pub(super) fn usage(&self) -> Usage {
        let open = self.segments.values().flat_map(|segment| {
            segment.spans.iter().map(|(zone, span)| {
                let known = self.acknowledged((segment.journal, *zone));
                span.last
                    .saturating_sub(known.max(span.first.saturating_sub(1)))
            })
        });
        Usage {
            bytes: self.bytes,
            max_bytes: self.max_bytes,
            unacknowledged: open.sum(),
            segments: self.segments.len(),
        }
    }

    /// What is durable from a place on; nothing when all of it has been read.
    pub(super) fn range(&self, from: Place) -> Option<Range> {
        let header = u64::try_from(HEADER).unwrap_or(0);
        let start = |number: u64| {
            if number == from.segment {
                from.offset.max(header)
            } else {
                header
            }
        };
        let (number, segment) = self
            .segments
            .range(from.segment..)
            .find(|(number, segment)| start(**number) < segment.length)?;
        let offset = start(*number);
        let length = segment.length.saturating_sub(offset).min(MOST_READ);
        Some(Range {
            segment: *number,
            path: segment.path.clone(),
            offset,
            length,
        })
    }
}

/// A part of a file.
#[derive(Debug)]
pub(super) struct Range {
    segment: u64,
    path: PathBuf,
    offset: u64,
    length: u64,
}

impl Range {
    /// The records in it, and the place behind them. A file that was freed meanwhile has none.
    pub(super) fn read(self) -> Result<(Vec<Record>, Place), JournalError> {
        let file = match File::open(&self.path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let here = Place {
                    segment: self.segment,
                    offset: self.offset,
                };
                return Ok((Vec::new(), here.next_segment()));
            }
            Err(error) => return Err(error.into()),
        };
        let mut bytes = vec![0; usize::try_from(self.length).unwrap_or(0)];
        file.read_exact_at(&mut bytes, self.offset)?;
        let mut rest = bytes.as_slice();
        let mut offset = self.offset;
        let mut records = Vec::new();
        loop {
            match segment::front(rest) {
                Front::Record(leaf, behind) => {
                    records.push(record(leaf).ok_or_else(|| self.damaged(offset))?);
                    offset = offset.saturating_add(framed(leaf.len()));
                    rest = behind;
                }
                Front::Part if !records.is_empty() => break,
                Front::Part | Front::Damage => return Err(self.damaged(offset)),
            }
        }
        Ok((
            records,
            Place {
                segment: self.segment,
                offset,
            },
        ))
    }

    fn damaged(&self, offset: u64) -> JournalError {
        JournalError::Damaged {
            path: self.path.clone(),
            offset,
        }
    }
}

/// The bytes of the record of a leaf of this length.
pub(super) fn framed(leaf: usize) -> u64 {
    u64::try_from(leaf.saturating_add(FRAME)).unwrap_or(u64::MAX)
}

/// The record of a leaf.
pub(super) fn record(leaf: &[u8]) -> Option<Record> {
    let envelope = SignedEnvelope::from_leaf_bytes(leaf).ok()?;
    let (_, journal) = envelope.envelope.producer.split_once('@')?;
    Some(Record {
        lane: (JournalId::parse(journal).ok()?, envelope.envelope.zone),
        counter: envelope.envelope.counter,
        envelope,
    })
}
