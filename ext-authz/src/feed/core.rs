//! What messages do to memory: believed or not, applied or not, and what has to be asked for next.
//! Nothing here waits or reads a clock.

use std::time::Duration;

use jiff::Timestamp;
use ledger::envelope::{Envelope, Epoch, Producers, SignedEnvelope};
use prost::Message as _;
use wire::convert::{AuthorityChange, Heartbeat};
use wire::pb::caracal::authority::v1 as pb;

use super::age::{ClockMap, RoundTrip};
use super::memory::{Memory, NotUnderstood};
use super::tracker::{Phase, Position, Tracker, Verdict};
use crate::decide::View;

/// The stream that all of it belongs to.
const STREAM: &str = chassis::streams::AUTHORITY;

/// The kinds that are no changes.
const HEARTBEAT: &str = "heartbeat";
const SNAPSHOT: &str = "snapshot";

/// What has to be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wants {
    /// Nothing.
    Nothing,
    /// What came after this position.
    Since(Position),
    /// A snapshot.
    Snapshot,
}

/// Why a snapshot was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SnapshotError {
    /// A chunk is not believed.
    #[error("a chunk of the snapshot is not believed")]
    NotBelieved,
    /// Chunks are missing, doubled or of different positions.
    #[error("the snapshot is not whole")]
    NotWhole,
    /// A part was not understood.
    #[error("the snapshot was not understood")]
    NotUnderstood,
    /// It is older than what is held.
    #[error("the snapshot is older than what is held")]
    Older,
}

/// How a message was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// It is not of a producer that may say this.
    Disbelieved,
    /// It said nothing new.
    Known,
    /// It moved memory.
    Applied,
    /// It cannot be used before something else is there.
    Postponed,
}

/// What memory took in.
#[derive(Clone, Debug)]
pub enum News {
    /// A change.
    Changed {
        /// Its position.
        pos: u64,
        /// What it is.
        change: AuthorityChange,
    },
    /// A snapshot, which replaced everything but what was dead or cut off.
    Loaded(Vec<AuthorityChange>),
}

/// Memory, and where it stands.
#[derive(Debug)]
pub struct Core {
    producers: Producers,
    tracker: Tracker,
    clock: ClockMap,
    memory: Memory,
    /// A newer position than ours was heard of.
    behind: bool,
    /// Something was not understood: only a snapshot helps.
    reload: bool,
    /// The last position up to which all was understood.
    understood: Option<Position>,
    /// What was taken in and not handed on yet.
    news: Vec<News>,
}

impl Core {
    /// Knows nothing yet.
    pub fn new(producers: Producers, memory: Memory) -> Self {
        Self {
            producers,
            tracker: Tracker::default(),
            clock: ClockMap::default(),
            memory,
            behind: false,
            reload: false,
            understood: None,
            news: Vec::new(),
        }
    }

    /// What has to be asked for; `silent` when the stream has said nothing for too long.
    pub fn wants(&self, silent: bool) -> Wants {
        match (self.tracker.phase(), self.tracker.held()) {
            (Phase::Held, Some(held)) if !self.reload => {
                if self.behind || silent {
                    Wants::Since(held)
                } else {
                    Wants::Nothing
                }
            }
            _ => Wants::Snapshot,
        }
    }

    /// Where memory stands, if it can be decided from.
    pub fn position(&self) -> Option<Position> {
        self.tracker
            .held()
            .filter(|_| self.tracker.phase() == Phase::Held)
    }

    /// How far all that came was understood: who waits for a change to be everywhere must not be told that it is here
    /// because something came at its position.
    pub fn understood(&self) -> Option<Position> {
        self.understood.filter(|_| self.position().is_some())
    }

    /// Moves on where nothing is missing.
    fn settle(&mut self) {
        if !self.reload && self.memory.is_whole() {
            self.understood = self.position().or(self.understood);
        }
    }

    /// Whether a message can be passed over unseen. Saves the cost of its signature; what it claims is
    /// only ever believed to be old.
    pub fn is_past(&self, message: &SignedEnvelope) -> bool {
        let envelope = &message.envelope;
        let as_of = (envelope.kind == HEARTBEAT).then_some(envelope.at);
        self.tracker.is_past(envelope.epoch, envelope.pos, as_of)
    }

    /// Takes a message of the stream or of an answer.
    pub fn take(&mut self, message: SignedEnvelope) -> Taken {
        let Ok(verified) = message.verify(&self.producers) else {
            return Taken::Disbelieved;
        };
        let envelope = verified.into_envelope();
        if envelope.stream != STREAM || envelope.kind == SNAPSHOT {
            return Taken::Disbelieved;
        }
        if envelope.kind == HEARTBEAT {
            self.heartbeat(&envelope)
        } else {
            self.change(&envelope)
        }
    }

    fn heartbeat(&mut self, envelope: &Envelope) -> Taken {
        let Ok(heartbeat) = Heartbeat::from_payload(&envelope.payload) else {
            return Taken::Disbelieved;
        };
        let as_of = nanoseconds(heartbeat.as_of);
        let verdict = self.tracker.heartbeat(envelope.epoch, heartbeat.pos, as_of);
        self.follow(verdict)
    }

    fn change(&mut self, envelope: &Envelope) -> Taken {
        let verdict = self.tracker.change(envelope.epoch, envelope.pos);
        if verdict == Verdict::Apply {
            let pos = envelope.pos;
            match self.memory.apply(envelope) {
                Ok(change) => self
                    .news
                    .extend(change.map(|change| News::Changed { pos, change })),
                Err(NotUnderstood) => self.reload = true,
            }
        }
        self.settle();
        self.follow(verdict)
    }

    fn follow(&mut self, verdict: Verdict) -> Taken {
        match verdict {
            Verdict::Ignore => Taken::Known,
            Verdict::Apply => Taken::Applied,
            Verdict::CatchUp => {
                self.behind = true;
                Taken::Postponed
            }
            Verdict::Reload => Taken::Postponed,
        }
    }

    /// Everything that was asked for came: what is still missing will be heard of again.
    pub fn caught_up(&mut self) {
        self.behind = false;
    }

    /// The coordinator cannot tell what came after our position.
    pub fn too_far_behind(&mut self) {
        self.reload = true;
    }

    /// Starts memory anew from all chunks of a snapshot.
    pub fn load(&mut self, chunks: Vec<SignedEnvelope>) -> Result<(), SnapshotError> {
        let mut at: Option<(Epoch, u64)> = None;
        let mut as_of_ns = i64::MAX;
        let mut changes = Vec::new();
        let mut last = false;
        for (index, chunk) in chunks.into_iter().enumerate() {
            let verified = chunk
                .verify(&self.producers)
                .map_err(|_| SnapshotError::NotBelieved)?;
            let envelope = verified.into_envelope();
            if envelope.kind != SNAPSHOT || envelope.stream != STREAM {
                return Err(SnapshotError::NotBelieved);
            }
            let part = pb::SnapshotPart::decode(envelope.payload.as_slice())
                .map_err(|_| SnapshotError::NotUnderstood)?;
            let here = (envelope.epoch, envelope.pos);
            let in_order = usize::try_from(part.index) == Ok(index) && !last;
            if !in_order || *at.get_or_insert(here) != here {
                return Err(SnapshotError::NotWhole);
            }
            last = part.last;
            as_of_ns = as_of_ns.min(part.as_of_ns);
            changes.extend(part.changes);
        }
        let (Some((epoch, pos)), true) = (at, last) else {
            return Err(SnapshotError::NotWhole);
        };
        self.replace(epoch, pos, as_of_ns, changes)
    }

    fn replace(
        &mut self,
        epoch: Epoch,
        pos: u64,
        as_of_ns: i64,
        changes: Vec<pb::Change>,
    ) -> Result<(), SnapshotError> {
        let before = self.tracker.clone();
        if !self.tracker.loaded(epoch, pos, as_of_ns) {
            return Err(SnapshotError::Older);
        }
        let Ok(understood) = self.memory.load(changes) else {
            self.tracker = before;
            return Err(SnapshotError::NotUnderstood);
        };
        self.news.clear();
        self.news.push(News::Loaded(understood));
        self.reload = false;
        self.behind = false;
        self.settle();
        Ok(())
    }

    /// What was taken in since this was last asked, in order.
    pub fn news(&mut self) -> Vec<News> {
        std::mem::take(&mut self.news)
    }

    /// Takes a reading of the database's clock.
    pub fn read_clock(&mut self, trip: RoundTrip) {
        self.clock.observe(trip);
    }

    /// Whether the readings contradict what heartbeats say: the clock is another one now.
    pub fn clock_contradicted(&mut self, now: Duration) -> bool {
        let contradicted = self.clock.read_at().is_some()
            && self
                .tracker
                .complete_ns()
                .is_some_and(|as_of| self.clock.date(as_of, now).is_none());
        if contradicted {
            self.clock.forget();
        }
        contradicted
    }

    /// Forgets dead ids whose time is over.
    pub fn sweep(&self, now: Timestamp) {
        self.memory.sweep(now);
    }

    /// Memory as decisions see it.
    pub fn view(&self, now: Duration) -> View {
        View {
            phase: self.tracker.phase(),
            position: self.tracker.held(),
            freshness: self
                .tracker
                .complete_ns()
                .and_then(|as_of| self.clock.date(as_of, now)),
            snapshot: self.memory.snapshot().clone(),
            zones: self.memory.zones().clone(),
        }
    }
}

fn nanoseconds(at: Timestamp) -> i64 {
    i64::try_from(at.as_nanosecond()).unwrap_or(i64::MAX)
}
