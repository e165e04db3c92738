//! The one thread that writes. It takes what waits, gives each event its number, signs the group, writes and syncs it,
//! and only then answers.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::sync::Arc;

use ledger::envelope::{Envelope, Epoch, EventSigner, Seal};
use ledger::event::{Event, EventKind};
use ledger::leaf_hash;
use mandate::id::{JournalId, KeyId, ZoneId};
use tokio::sync::{mpsc, oneshot};

use super::catalog::{Noted, Segment, framed};
use super::segment::{self, HEADER, Header};
use super::{Durability, JournalConfig, JournalError, Receipt, Shared, is_authenticated};
use crate::clock::Clock;
use crate::rng::Rng;
use crate::streams;

/// Events of one group.
const GROUP: usize = 512;

/// What the writer is asked for.
#[derive(Debug)]
pub(super) enum Request {
    /// To write an event.
    Append { event: Box<Event>, done: Done },
    /// To end the journal.
    Close {
        done: oneshot::Sender<Result<(), JournalError>>,
    },
}

/// The journal before this one, as far as it is known.
#[derive(Clone, Copy, Debug)]
pub(super) struct Previous {
    pub(super) journal: JournalId,
    /// How many events it has, where its beginning is still here.
    pub(super) events: Option<u64>,
    pub(super) closed: bool,
}

pub(super) struct Writer {
    pub(super) config: JournalConfig,
    pub(super) clock: Clock,
    pub(super) rng: Rng,
    pub(super) signer: Arc<dyn EventSigner>,
    pub(super) shared: Arc<Shared>,
    pub(super) previous: Option<Previous>,
    pub(super) current: Option<Current>,
    pub(super) closed: bool,
}

/// The journal that is written, and its open segment.
pub(super) struct Current {
    journal: JournalId,
    producer: String,
    counters: HashMap<Option<ZoneId>, u64>,
    events: u64,
    index: u32,
    number: u64,
    file: File,
    length: u64,
}

/// Whoever waits for an event.
type Done = oneshot::Sender<Result<Receipt, JournalError>>;

/// A group on its way to the disk: events that have their numbers.
#[derive(Default)]
struct Group {
    /// What is signed of each.
    messages: Vec<Vec<u8>>,
    staged: Vec<Staged>,
}

/// The other parts of an event of a group.
struct Staged {
    zone: Option<ZoneId>,
    counter: u64,
    /// What was taken of the space: the most it can need.
    taken: u64,
    done: Option<Done>,
}

/// A group as it is written.
struct Sealed {
    bytes: Vec<u8>,
    noted: Vec<Noted>,
}

impl Writer {
    /// Writes until nobody can ask any more.
    pub(super) fn run(mut self, mut requests: mpsc::Receiver<Request>) {
        let mut waiting = Vec::with_capacity(GROUP);
        while requests.blocking_recv_many(&mut waiting, GROUP) > 0 {
            let mut group = Group::default();
            for request in waiting.drain(..) {
                match request {
                    Request::Append { event, done } => self.take(&mut group, *event, done),
                    Request::Close { done } => {
                        self.commit(std::mem::take(&mut group));
                        answer(done, self.close());
                    }
                }
            }
            self.commit(group);
        }
    }

    fn take(&mut self, group: &mut Group, event: Event, done: Done) {
        if group.staged.is_empty()
            && let Err(error) = self.prepare()
        {
            return answer(done, Err(error));
        }
        match self.stage(group, event, false) {
            Ok(staged) => staged.done = Some(done),
            Err(error) => answer(done, Err(error)),
        }
    }

    /// Makes sure that there is an open segment with room.
    fn prepare(&mut self) -> Result<(), JournalError> {
        if self.closed {
            return Err(JournalError::Closed);
        }
        let Some(current) = &self.current else {
            return self.open_journal();
        };
        let most = self.config.segment_bytes();
        let settled = current.length > most / 4 && self.shared.catalog().is_settled(current.number);
        if current.length >= most || settled {
            return self.next_segment();
        }
        Ok(())
    }

    /// Opens a journal of its own: new id, counters from 1.
    pub(super) fn open_journal(&mut self) -> Result<(), JournalError> {
        let journal = JournalId::from_uuid(self.rng.uuid_v7(self.clock.now()));
        let header = Header { journal, index: 0 };
        let (file, number) = self.create(header)?;
        self.current = Some(Current {
            journal,
            producer: format!("{}@{journal}", self.config.service),
            counters: HashMap::new(),
            events: 0,
            index: 0,
            number,
            file,
            length: length(HEADER),
        });
        let mut event = Event::new(EventKind::JournalOpened, self.now());
        event.actor = Some(self.config.service.to_owned());
        if let Some(previous) = self.previous {
            event.object_kind = Some("journal".to_owned());
            event.object_id = Some(previous.journal.to_string());
            event.count = previous.events;
            let end = if previous.closed {
                "the previous journal was closed"
            } else {
                "the previous journal was not closed"
            };
            event.detail = Some(end.to_owned());
        }
        let mut group = Group::default();
        self.stage(&mut group, event, true)?;
        let sealed = self.seal(&mut group);
        if let Err(error) = self.write(&sealed) {
            self.undo(&sealed);
            return Err(error);
        }
        self.done(&sealed);
        Ok(())
    }

    fn next_segment(&mut self) -> Result<(), JournalError> {
        let Some(current) = &self.current else {
            return Err(JournalError::Closed);
        };
        let header = Header {
            journal: current.journal,
            index: current.index.saturating_add(1),
        };
        let before = current.number;
        let (file, number) = self.create(header)?;
        if let Some(current) = &mut self.current {
            current.index = header.index;
            current.number = number;
            current.file = file;
            current.length = length(HEADER);
        }
        self.shared.catalog().seal(before);
        self.shared.free();
        Ok(())
    }

    /// A new file with its header.
    fn create(&self, header: Header) -> Result<(File, u64), JournalError> {
        let path = self.shared.dir.join(header.file_name());
        let made = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path);
        let file = made?;
        let written =
            file.write_all_at(&header.to_bytes(), 0)
                .and_then(|()| match self.config.durability {
                    Durability::Process => Ok(()),
                    Durability::Host => file.sync_all().and_then(|()| sync_dir(&self.shared.dir)),
                });
        if let Err(error) = written {
            // A file without a header is passed over when it is found.
            let _removed = std::fs::remove_file(&path);
            return Err(error.into());
        }
        let segment = Segment::new(header.journal, path, length(HEADER));
        Ok((file, self.shared.catalog().insert(segment)))
    }

    /// Gives an event its number, its bytes and its space, and puts it into the group.
    fn stage<'a>(
        &mut self,
        group: &'a mut Group,
        event: Event,
        free: bool,
    ) -> Result<&'a mut Staged, JournalError> {
        let Some(current) = &mut self.current else {
            return Err(JournalError::Closed);
        };
        let mut event = event.fitted();
        let zone = event.zone;
        let counter = current
            .counters
            .get(&zone)
            .copied()
            .unwrap_or(0)
            .saturating_add(1);
        event.journal_id = current.journal;
        event.counter = counter;
        let message = Envelope {
            stream: streams::audit_events(streams::partition_of(zone, self.config.partitions)),
            kind: event.kind.as_str().to_owned(),
            zone,
            epoch: event.epoch.unwrap_or(Epoch([0; 16])),
            pos: 0,
            producer: current.producer.clone(),
            counter,
            at: event.at_ns,
            payload: event.encode(),
            kid: KeyId::clone(self.signer.kid()),
        }
        .signing_bytes();
        let most = message.len().saturating_add(Seal::MOST);
        if most > segment::MOST_LEAF {
            return Err(JournalError::TooLarge);
        }
        let taken = framed(most);
        let mut catalog = self.shared.catalog();
        if free {
            catalog.take(zone, taken);
        } else {
            catalog.admit(zone, taken, is_authenticated(&event))?;
        }
        drop(catalog);
        current.counters.insert(zone, counter);
        current.events = current.events.saturating_add(1);
        group.messages.push(message);
        Ok(group.staged.push_mut(Staged {
            zone,
            counter,
            taken,
            done: None,
        }))
    }

    /// Signs a group and gives back the space that it does not need.
    fn seal(&self, group: &mut Group) -> Sealed {
        let messages = std::mem::take(&mut group.messages);
        let seals = Seal::all(&messages, &*self.signer);
        let mut bytes = Vec::new();
        let mut noted = Vec::with_capacity(messages.len());
        for ((mut leaf, seal), staged) in messages.into_iter().zip(seals).zip(&group.staged) {
            seal.write(&mut leaf);
            segment::push(&mut bytes, &leaf);
            noted.push(Noted {
                zone: staged.zone,
                counter: staged.counter,
                bytes: framed(leaf.len()),
                hash: leaf_hash(&leaf),
            });
        }
        let mut catalog = self.shared.catalog();
        for (staged, noted) in group.staged.iter().zip(&noted) {
            catalog.give_back(noted.zone, staged.taken.saturating_sub(noted.bytes));
        }
        Sealed { bytes, noted }
    }

    /// Writes a group and answers those who wait for it.
    fn commit(&mut self, mut group: Group) {
        let Some(journal) = self.current.as_ref().map(|current| current.journal) else {
            return;
        };
        if group.staged.is_empty() {
            return;
        }
        let sealed = self.seal(&mut group);
        let written = self.write(&sealed);
        match &written {
            Ok(()) => self.done(&sealed),
            Err(error) => {
                tracing::error!(error = error.to_string(), "the journal cannot be written");
                self.undo(&sealed);
            }
        }
        for (staged, noted) in group.staged.into_iter().zip(&sealed.noted) {
            let Some(done) = staged.done else { continue };
            let receipt = Receipt {
                journal,
                zone: noted.zone,
                counter: noted.counter,
                hash: noted.hash,
            };
            answer(done, written.clone().map(|()| receipt));
        }
    }

    fn write(&self, group: &Sealed) -> Result<(), JournalError> {
        let current = self.current.as_ref().ok_or(JournalError::Closed)?;
        current.file.write_all_at(&group.bytes, current.length)?;
        if self.config.durability == Durability::Host {
            current.file.sync_data()?;
        }
        Ok(())
    }

    fn done(&mut self, group: &Sealed) {
        if let Some(current) = &mut self.current {
            current.length = current.length.saturating_add(length(group.bytes.len()));
            self.shared
                .catalog()
                .note(current.number, current.length, &group.noted);
            self.shared.tell();
        }
    }

    /// After a write that failed, this much may or may not be on disk. Nobody was told that it is. Its numbers are not
    /// used again: the next event opens another journal.
    fn undo(&mut self, group: &Sealed) {
        let mut catalog = self.shared.catalog();
        for noted in &group.noted {
            catalog.give_back(noted.zone, noted.bytes);
        }
        drop(catalog);
        let lost = length(group.noted.len());
        if let Some(current) = &mut self.current {
            current.events = current.events.saturating_sub(lost);
            // If this fails too, recovery reads what there is.
            let _cut = current.file.set_len(current.length);
        }
        self.abandon();
    }

    fn abandon(&mut self) {
        let Some(current) = self.current.take() else {
            return;
        };
        self.shared.catalog().seal(current.number);
        if current.events > 0 {
            let events = Some(current.events);
            self.previous = Some(Previous {
                journal: current.journal,
                events,
                closed: false,
            });
        }
        self.shared.free();
    }

    fn close(&mut self) -> Result<(), JournalError> {
        if self.closed {
            return Ok(());
        }
        if let Some(current) = &self.current {
            let mut event = Event::new(EventKind::JournalClosed, self.now());
            event.actor = Some(self.config.service.to_owned());
            event.count = Some(current.events);
            let mut group = Group::default();
            self.stage(&mut group, event, true)?;
            let sealed = self.seal(&mut group);
            self.write(&sealed)?;
            self.done(&sealed);
        }
        if let Some(current) = self.current.take() {
            self.shared.catalog().seal(current.number);
        }
        self.closed = true;
        self.shared.tell();
        Ok(())
    }

    fn now(&self) -> i64 {
        i64::try_from(self.clock.now().as_nanosecond()).unwrap_or(i64::MAX)
    }
}

/// Whoever asked may be gone; the event stays.
fn answer<T>(done: oneshot::Sender<T>, outcome: T) {
    let _gone = done.send(outcome);
}

fn length(size: usize) -> u64 {
    u64::try_from(size).unwrap_or(u64::MAX)
}

/// Makes the names in a folder durable.
pub(super) fn sync_dir(dir: &Path) -> std::io::Result<()> {
    File::open(dir)?.sync_all()
}
