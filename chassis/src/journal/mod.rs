//! Evidence on this machine's disk until the ledger has it.
//!
//! [`Journal::append`] returns once the event is as durable as configured, so an answer given after it can be proved.
//! A journal that is full or cannot be written refuses, and so does whoever needed it. [`crate::evidence`] carries what
//! lies here to the ledger and frees what the ledger has.
//!
//! Files: segments of one journal each, records with length and CRC, appended by one thread that commits groups. Every
//! start opens a journal of its own, with its own id and counters from 1 in each zone: what a crash cut off can never
//! be confused with what came after it.

mod catalog;
mod open;
mod segment;
#[cfg(test)]
pub(crate) mod tests;
mod writer;

use std::fmt;
use std::fs::File;
use std::io;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ledger::envelope::EventSigner;
use ledger::event::{Event, EventKind};
use mandate::id::{JournalId, ZoneId};
use tokio::sync::{mpsc, oneshot, watch};

use crate::clock::Clock;
use crate::rng::Rng;

pub use catalog::Usage;
pub(crate) use catalog::{Lane, Place, Record};

use catalog::Catalog;
use writer::Request;

/// Events that wait for the writer.
const QUEUE: usize = 4096;

/// What an appended event survives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Durability {
    /// The end of this process: it is written.
    Process,
    /// The end of this machine: it is synced.
    #[default]
    Host,
}

/// How a journal is kept.
#[derive(Clone, Debug)]
pub struct JournalConfig {
    /// The folder; on a disk that outlives the process. Made if it is missing.
    pub dir: PathBuf,
    /// The service that writes it.
    pub service: &'static str,
    /// What an appended event survives.
    pub durability: Durability,
    /// The most bytes it may take.
    pub max_bytes: u64,
    /// How many of them only evidence about authenticated callers may use.
    pub reserve: u64,
    /// The share of the bytes that one zone may use, in percent: one zone's flood is not another's outage.
    pub zone_percent: u8,
    /// Partitions of the event streams.
    pub partitions: NonZeroU32,
}

impl JournalConfig {
    /// Half of the bytes for one zone, four partitions.
    pub fn new(
        dir: impl Into<PathBuf>,
        service: &'static str,
        durability: Durability,
        max_bytes: u64,
        reserve: u64,
    ) -> Self {
        Self {
            dir: dir.into(),
            service,
            durability,
            max_bytes,
            reserve,
            zone_percent: 50,
            partitions: NonZeroU32::MIN.saturating_add(3),
        }
    }

    /// A segment is closed at about this size.
    fn segment_bytes(&self) -> u64 {
        (self.max_bytes / 16).clamp(64 * 1024, 16 * 1024 * 1024)
    }
}

/// Why an event is not in the journal. Whoever needed it there refuses.
#[derive(Clone, Debug, thiserror::Error)]
pub enum JournalError {
    /// The space is used up.
    #[error("the journal is full")]
    Full,
    /// The zone's share of the space is used up.
    #[error("the zone's share of the journal is used up")]
    ZoneFull,
    /// An event that no journal takes.
    #[error("the event is too large for a journal")]
    TooLarge,
    /// The disk refuses.
    #[error("the journal cannot be written: {0}")]
    Unwritable(Arc<io::Error>),
    /// Another process has it.
    #[error("another process holds the journal in {0}")]
    Locked(PathBuf),
    /// A file is not what was written.
    #[error("{path} is damaged at byte {offset}")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Where.
        offset: u64,
    },
    /// The ledger has something else at this place.
    #[error("the ledger has another event than this journal at {journal} counter {counter}")]
    Conflict {
        /// The journal.
        journal: JournalId,
        /// The place.
        counter: u64,
    },
    /// It was closed, or its writer is gone.
    #[error("the journal is closed")]
    Closed,
}

impl JournalError {
    /// The stable code.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Full => "journal_full",
            Self::ZoneFull => "journal_zone_full",
            Self::TooLarge => "journal_event_too_large",
            Self::Unwritable(_) => "journal_unwritable",
            Self::Locked(_) => "journal_locked",
            Self::Damaged { .. } => "journal_damaged",
            Self::Conflict { .. } => "journal_conflict",
            Self::Closed => "journal_closed",
        }
    }
}

impl From<io::Error> for JournalError {
    fn from(error: io::Error) -> Self {
        Self::Unwritable(Arc::new(error))
    }
}

/// Where an event lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// The journal.
    pub journal: JournalId,
    /// The zone.
    pub zone: Option<ZoneId>,
    /// Its number in journal and zone.
    pub counter: u64,
    /// The hash of its leaf.
    pub hash: [u8; 32],
}

/// A journal. Clones are the same journal.
#[derive(Clone)]
pub struct Journal {
    shared: Arc<Shared>,
    queue: mpsc::Sender<Request>,
}

struct Shared {
    catalog: Mutex<Catalog>,
    news: watch::Sender<u64>,
    dir: PathBuf,
    /// Held for as long as anything of this journal lives.
    _lock: File,
}

impl Shared {
    fn catalog(&self) -> MutexGuard<'_, Catalog> {
        // Each change of the catalog is whole before anything in it can panic.
        self.catalog.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says that there is something to ship, or that something moved.
    fn tell(&self) {
        self.news.send_modify(|news| *news = news.wrapping_add(1));
    }

    /// Removes the files of segments that the ledger has whole.
    fn free(&self) {
        let freed = self.catalog().collect();
        for path in freed {
            if let Err(error) = std::fs::remove_file(&path) {
                let (path, error) = (path.display().to_string(), error.to_string());
                tracing::warn!(
                    path,
                    error,
                    "a segment that the ledger has could not be removed"
                );
            }
        }
    }
}

impl Journal {
    /// Locks the folder, recovers what earlier processes left, and opens a new journal in it. When the disk refuses
    /// the new one, what is left is still shipped and appends refuse until it can be opened.
    pub async fn open(
        config: JournalConfig,
        clock: Clock,
        rng: Rng,
        signer: Arc<dyn EventSigner>,
    ) -> Result<Self, JournalError> {
        let opened = tokio::task::spawn_blocking(move || {
            let (queue, requests) = mpsc::channel(QUEUE);
            let shared = open::start(config, clock, rng, signer, requests)?;
            Ok(Self { shared, queue })
        });
        opened.await.map_err(|_| JournalError::Closed)?
    }

    /// Appends an event; journal and counter are set here. Returns once it is durable. Dropped before that, the event
    /// is in the journal either whole or not at all.
    pub async fn append(&self, event: Event) -> Result<Receipt, JournalError> {
        let (done, outcome) = oneshot::channel();
        let event = Box::new(event);
        let request = Request::Append { event, done };
        self.queue
            .send(request)
            .await
            .map_err(|_| JournalError::Closed)?;
        outcome.await.map_err(|_| JournalError::Closed)?
    }

    /// Ends the journal in order. Later appends refuse; what lies in it can still be shipped.
    pub async fn close(&self) -> Result<(), JournalError> {
        let (done, outcome) = oneshot::channel();
        let request = Request::Close { done };
        self.queue
            .send(request)
            .await
            .map_err(|_| JournalError::Closed)?;
        outcome.await.map_err(|_| JournalError::Closed)?
    }

    /// How much of it is used.
    pub fn usage(&self) -> Usage {
        self.shared.catalog().usage()
    }

    /// The folder.
    pub fn dir(&self) -> &std::path::Path {
        &self.shared.dir
    }

    /// The ledger has everything of this journal and zone up to `counter`. Frees what is no longer needed. True when
    /// this was news.
    pub(crate) fn acknowledge(
        &self,
        lane: Lane,
        counter: u64,
        hash: &[u8; 32],
    ) -> Result<bool, JournalError> {
        let moved = self.shared.catalog().acknowledge(lane, counter, hash)?;
        if moved {
            self.shared.free();
            self.shared.tell();
        }
        Ok(moved)
    }

    /// Whether anything of a journal lies here.
    pub(crate) fn holds(&self, journal: JournalId) -> bool {
        self.shared.catalog().holds(journal)
    }

    /// How far the ledger has come in a lane.
    pub(crate) fn acknowledged(&self, lane: Lane) -> u64 {
        self.shared.catalog().acknowledged(lane)
    }

    /// Changes whenever something was written or acknowledged.
    pub(crate) fn news(&self) -> watch::Receiver<u64> {
        self.shared.news.subscribe()
    }

    /// Records from a place on, and the place behind them. None when everything durable has been read.
    pub(crate) async fn read(
        &self,
        from: Place,
    ) -> Result<Option<(Vec<Record>, Place)>, JournalError> {
        let Some(range) = self.shared.catalog().range(from) else {
            return Ok(None);
        };
        let read = tokio::task::spawn_blocking(move || range.read());
        read.await.map_err(|_| JournalError::Closed)?.map(Some)
    }
}

impl fmt::Debug for Journal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Journal")
            .field("dir", &self.shared.dir)
            .field("usage", &self.usage())
            .finish_non_exhaustive()
    }
}

/// Whether an event is about a caller whose credential was genuine, or about ourselves. Only such may use the reserve.
fn is_authenticated(event: &Event) -> bool {
    match event.kind {
        EventKind::Refusals => false,
        EventKind::Decision | EventKind::MintRefused => {
            event.jti.is_some() || event.application.is_some()
        }
        EventKind::Mint
        | EventKind::SessionStarted
        | EventKind::SessionEnded
        | EventKind::Revoked
        | EventKind::CutOff
        | EventKind::StateChanged
        | EventKind::AdminChange
        | EventKind::PolicyActivated
        | EventKind::ZoneCreated
        | EventKind::KeyChanged
        | EventKind::JournalOpened
        | EventKind::JournalClosed
        | EventKind::LeaseGranted
        | EventKind::LeaseSettled
        | EventKind::LeaseUnsettled
        | EventKind::Outcome => true,
    }
}
