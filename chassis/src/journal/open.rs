//! From a folder to a journal: lock, recover, begin.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use fs4::fs_std::FileExt as _;
use ledger::envelope::EventSigner;
use ledger::event::EventKind;
use ledger::leaf_hash;
use mandate::id::JournalId;
use tokio::sync::{mpsc, watch};

use super::catalog::{Catalog, Noted, Segment, framed, record};
use super::segment::{self, Front, HEADER, Header};
use super::writer::{Previous, Request, Writer};
use super::{JournalConfig, JournalError, Shared};
use crate::clock::Clock;
use crate::rng::Rng;

/// Locks, recovers, starts the writer.
pub(super) fn start(
    config: JournalConfig,
    clock: Clock,
    rng: Rng,
    signer: Arc<dyn EventSigner>,
    requests: mpsc::Receiver<Request>,
) -> Result<Arc<Shared>, JournalError> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&config.dir)?;
    let lock = lock(&config.dir)?;
    let mut catalog = Catalog::new(&config);
    let previous = recover(&config.dir, &mut catalog)?;
    let shared = Arc::new(Shared {
        catalog: Mutex::new(catalog),
        news: watch::Sender::new(0),
        dir: config.dir.clone(),
        _lock: lock,
    });
    let mut writer = Writer {
        config,
        clock,
        rng,
        signer,
        shared: Arc::clone(&shared),
        previous,
        current: None,
        closed: false,
    };
    if let Err(error) = writer.open_journal() {
        tracing::error!(
            error = error.to_string(),
            "no journal can be opened; nothing is appended until it can"
        );
    }
    std::thread::Builder::new()
        .name("journal".to_owned())
        .spawn(move || writer.run(requests))?;
    Ok(shared)
}

fn lock(dir: &Path) -> Result<File, JournalError> {
    let path = dir.join("lock");
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&path)?;
    // A process that is ending may still hold it for a moment.
    for _ in 0..40 {
        if file.try_lock_exclusive()? {
            return Ok(file);
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    Err(JournalError::Locked(dir.to_owned()))
}

/// Takes in what earlier processes left. Gives the newest journal among it.
fn recover(dir: &Path, catalog: &mut Catalog) -> Result<Option<Previous>, JournalError> {
    let mut found: BTreeMap<(JournalId, u32), PathBuf> = BTreeMap::new();
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if path
            .extension()
            .is_some_and(|extension| extension == "segment")
            && let Some(header) = header_of(&path)?
        {
            found.insert((header.journal, header.index), path);
        }
    }
    let mut previous: Option<Previous> = None;
    let ends: Vec<bool> = {
        let next = found
            .keys()
            .skip(1)
            .map(|(journal, _)| Some(*journal))
            .chain([None]);
        found
            .keys()
            .zip(next)
            .map(|((journal, _), next)| next != Some(*journal))
            .collect()
    };
    for (((journal, index), path), is_last) in found.into_iter().zip(ends) {
        let scan = scan(journal, &path, is_last)?;
        let before = match previous.filter(|previous| previous.journal == journal) {
            Some(previous) => previous.events,
            // What was in segments that are freed is not known any more.
            None => (index == 0).then_some(0),
        };
        previous = Some(Previous {
            journal,
            events: before.map(|events| events.saturating_add(scan.events)),
            closed: scan.closed,
        });
        catalog.insert(scan.segment);
    }
    Ok(previous)
}

/// The header of a file. One that was cut off while it was made holds nothing and is removed.
fn header_of(path: &Path) -> Result<Option<Header>, JournalError> {
    let bytes = fs::read(path)?;
    let header = Header::parse(&bytes);
    if header.is_none() {
        if bytes.len() > HEADER {
            return Err(JournalError::Damaged {
                path: path.to_owned(),
                offset: 0,
            });
        }
        fs::remove_file(path)?;
    }
    Ok(header)
}

struct Scan {
    segment: Segment,
    events: u64,
    closed: bool,
}

/// Reads a segment. Only the last of a journal may end within a record: that is where a process or a machine died, and
/// nothing behind it was ever promised. What stood there is kept beside the segment.
fn scan(journal: JournalId, path: &Path, is_last: bool) -> Result<Scan, JournalError> {
    let bytes = fs::read(path)?;
    let mut rest = bytes.get(HEADER..).unwrap_or_default();
    let mut offset = u64::try_from(HEADER).unwrap_or(0);
    let mut segment = Segment::new(journal, path.to_owned(), offset);
    let (mut events, mut closed) = (0_u64, false);
    let damaged = |offset| JournalError::Damaged {
        path: path.to_owned(),
        offset,
    };
    loop {
        match segment::front(rest) {
            Front::Record(leaf, behind) => {
                let record = record(leaf)
                    .filter(|record| record.lane.0 == journal)
                    .ok_or_else(|| damaged(offset))?;
                segment.note(&Noted {
                    zone: record.lane.1,
                    counter: record.counter,
                    bytes: framed(leaf.len()),
                    hash: leaf_hash(leaf),
                });
                closed = record.envelope.envelope.kind == EventKind::JournalClosed.as_str();
                events = events.saturating_add(1);
                offset = offset.saturating_add(framed(leaf.len()));
                rest = behind;
            }
            Front::Part if rest.is_empty() => break,
            Front::Part | Front::Damage if is_last => {
                set_aside(path, offset, rest)?;
                break;
            }
            Front::Part | Front::Damage => return Err(damaged(offset)),
        }
    }
    segment.length = offset;
    segment.sealed = true;
    Ok(Scan {
        segment,
        events,
        closed,
    })
}

/// Cuts a torn tail off and keeps it for whoever wants to look.
fn set_aside(path: &Path, offset: u64, tail: &[u8]) -> io::Result<()> {
    tracing::warn!(
        path = path.display().to_string(),
        offset,
        bytes = tail.len(),
        "a segment ends within a record; the rest is set aside"
    );
    let aside = path.with_extension("torn");
    let mut file = OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o600)
        .open(aside)?;
    file.write_all(tail)?;
    file.sync_all()?;
    let segment = OpenOptions::new().write(true).open(path)?;
    segment.set_len(offset)?;
    segment.sync_all()
}
