use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicI64, Ordering};

use jiff::Timestamp;
use ledger::envelope::{DalekSigner, Producer, Producers};
use ledger::event::Outcome;
use mandate::id::{ApplicationId, DecisionId, KeyId};
use tempfile::TempDir;
use uuid::Uuid;

use super::*;
use crate::clock::TestClock;

pub(crate) fn signer() -> Arc<DalekSigner> {
    Arc::new(DalekSigner::new(
        KeyId::parse("events-1").unwrap(),
        &[7; 32],
    ))
}

pub(crate) fn trusted(signer: &DalekSigner, service: &str, kinds: &[&str]) -> Producers {
    Producers::new([Producer {
        kid: signer.kid().clone(),
        public_key: signer.public(),
        service: service.to_owned(),
        kinds: kinds.iter().map(|kind| (*kind).to_owned()).collect(),
    }])
}

#[expect(clippy::unnecessary_wraps, reason = "as events have it")]
pub(crate) fn zone(number: u128) -> Option<ZoneId> {
    Some(ZoneId::from_uuid(Uuid::from_u128(number)))
}

pub(crate) fn decision(zone: Option<ZoneId>) -> Event {
    let mut event = Event::new(EventKind::Decision, 1_795_600_000_000_000_000);
    event.zone = zone;
    event.decision = Some(Outcome::Allow);
    event.decision_id = Some(DecisionId::from_uuid(Uuid::from_u128(3)));
    event.application = Some(ApplicationId::from_uuid(Uuid::from_u128(4)));
    event
}

fn refusals(zone: Option<ZoneId>) -> Event {
    let mut event = Event::new(EventKind::Refusals, 1);
    event.zone = zone;
    event.decision = Some(Outcome::Deny);
    event
}

pub(crate) fn config(dir: &Path) -> JournalConfig {
    JournalConfig::new(dir, "ext-authz", Durability::Process, 1 << 20, 1 << 18)
}

pub(crate) async fn open_with(config: JournalConfig) -> Result<Journal, JournalError> {
    // Journals of one folder order by when they were opened.
    static OPENED: AtomicI64 = AtomicI64::new(1_795_600_000);
    let at = OPENED.fetch_add(1, Ordering::Relaxed);
    let clock = TestClock::new(Timestamp::from_second(at).unwrap());
    let seed = Rng::from_system().unwrap().bytes();
    Journal::open(config, clock.into(), Rng::from_seed(seed), signer()).await
}

async fn open(dir: &TempDir) -> Journal {
    open_with(config(dir.path())).await.unwrap()
}

async fn everything(journal: &Journal) -> Vec<Record> {
    let mut all = Vec::new();
    let mut place = Place::default();
    while let Some((records, behind)) = journal.read(place).await.unwrap() {
        all.extend(records);
        place = behind;
    }
    all
}

/// How many events each lane has; fails unless their counters are dense from `1`.
fn dense(records: &[Record]) -> BTreeMap<Lane, u64> {
    let mut lanes = BTreeMap::new();
    for record in records {
        let last: &mut u64 = lanes.entry(record.lane).or_default();
        assert_eq!(record.counter, *last + 1, "in {:?}", record.lane);
        *last = record.counter;
    }
    lanes
}

fn segments(dir: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<PathBuf> = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "segment")
        })
        .collect();
    paths.sort();
    paths
}

#[tokio::test]
async fn counters_are_dense_in_each_zone_and_everything_is_signed() {
    let dir = TempDir::new().unwrap();
    let journal = open(&dir).await;
    for number in [1, 2, 1, 1, 2] {
        journal.append(decision(zone(number))).await.unwrap();
    }
    let receipt = journal.append(decision(None)).await.unwrap();
    assert_eq!(
        receipt.counter, 2,
        "the opening of the journal is the first without a zone"
    );
    let records = everything(&journal).await;
    let lanes = dense(&records);
    assert_eq!(lanes[&(receipt.journal, zone(1))], 3);
    assert_eq!(lanes[&(receipt.journal, zone(2))], 2);
    let trusted = trusted(&signer(), "ext-authz", &["decision", "journal_opened"]);
    for record in records {
        let event = Event::decode(&record.envelope.envelope.payload).unwrap();
        assert_eq!((event.journal_id, event.zone), record.lane);
        assert_eq!(event.counter, record.counter);
        record.envelope.check(&trusted).unwrap();
    }
}

#[tokio::test]
async fn events_that_wait_together_are_signed_together_and_each_stands_alone() {
    let dir = TempDir::new().unwrap();
    let journal = open(&dir).await;
    let appends = (0..400).map(|number| journal.append(decision(zone(number % 3))));
    for receipt in futures::future::join_all(appends).await {
        receipt.unwrap();
    }
    let records = everything(&journal).await;
    assert_eq!(records.len(), 401);
    dense(&records);
    let trusted = trusted(&signer(), "ext-authz", &["decision", "journal_opened"]);
    let mut signatures = std::collections::BTreeSet::new();
    for record in &records {
        record.envelope.check(&trusted).unwrap();
        signatures.insert(record.envelope.seal.signature);
    }
    assert!(signatures.len() < records.len(), "{}", signatures.len());
    // What was taken and not needed was given back: a file holds what is counted.
    let held: u64 = segments(dir.path())
        .iter()
        .map(|path| fs::metadata(path).unwrap().len())
        .sum();
    assert_eq!(journal.usage().bytes, held);
}

#[tokio::test]
async fn every_start_opens_a_journal_that_names_the_one_before() {
    let dir = TempDir::new().unwrap();
    let first = open(&dir).await;
    let id = first.append(decision(zone(1))).await.unwrap().journal;
    drop(first);
    let second = open(&dir).await;
    second.close().await.unwrap();
    drop(second);
    let third = open(&dir).await;
    let opened: Vec<Event> = everything(&third)
        .await
        .iter()
        .map(|record| Event::decode(&record.envelope.envelope.payload).unwrap())
        .filter(|event| event.kind == EventKind::JournalOpened)
        .collect();
    assert_eq!(opened.len(), 3);
    assert_eq!(opened[0].object_id, None);
    assert_eq!(opened[1].object_id, Some(id.to_string()));
    assert_eq!(opened[1].count, Some(2));
    assert_eq!(
        opened[1].detail.as_deref(),
        Some("the previous journal was not closed")
    );
    assert_eq!(opened[2].object_id, Some(opened[1].journal_id.to_string()));
    assert_eq!(
        opened[2].detail.as_deref(),
        Some("the previous journal was closed")
    );
}

#[tokio::test]
async fn after_closing_appends_refuse_and_everything_can_still_be_read() {
    let dir = TempDir::new().unwrap();
    let journal = open(&dir).await;
    journal.append(decision(zone(1))).await.unwrap();
    journal.close().await.unwrap();
    let refused = journal.append(decision(zone(1))).await.unwrap_err();
    assert_eq!(refused.code(), "journal_closed");
    assert_eq!(everything(&journal).await.len(), 3);
}

#[tokio::test]
async fn a_torn_tail_is_set_aside_wherever_it_was_torn() {
    let dir = TempDir::new().unwrap();
    let journal = open(&dir).await;
    for _ in 0..3 {
        journal.append(decision(zone(1))).await.unwrap();
    }
    let before = everything(&journal).await;
    drop(journal);
    let path = segments(dir.path()).remove(0);
    let whole = fs::read(&path).unwrap();
    let last = usize::try_from(catalog::framed(before[3].envelope.leaf_bytes().len())).unwrap();
    let start = whole.len() - last;
    for torn in (start + 1..whole.len()).step_by(29) {
        for flipped in [false, true] {
            let dir = TempDir::new().unwrap();
            let mut bytes = whole[..torn].to_vec();
            if flipped {
                bytes = whole.clone();
                bytes[torn] ^= 0x10;
            }
            let copy = dir.path().join(path.file_name().unwrap());
            fs::write(&copy, &bytes).unwrap();
            let journal = open(&dir).await;
            journal.append(decision(zone(1))).await.unwrap();
            let records = everything(&journal).await;
            let lanes = dense(&records);
            assert_eq!(lanes[&before[0].lane], 1);
            assert_eq!(lanes[&before[1].lane], 2, "the third was torn");
            assert_eq!(records.len(), 5);
            assert_eq!(
                fs::read(copy.with_extension("torn")).unwrap(),
                bytes[start..]
            );
        }
    }
}

#[tokio::test]
async fn damage_before_the_end_refuses_to_open() {
    let dir = TempDir::new().unwrap();
    let journal = open(&dir).await;
    while segments(dir.path()).len() < 2 {
        journal.append(decision(zone(1))).await.unwrap();
    }
    drop(journal);
    let path = segments(dir.path()).remove(0);
    let mut bytes = fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&path, bytes).unwrap();
    let refused = open_with(config(dir.path())).await.unwrap_err();
    assert_eq!(refused.code(), "journal_damaged");
}

#[tokio::test]
async fn strangers_cannot_use_up_the_reserve() {
    let dir = TempDir::new().unwrap();
    let journal = open(&dir).await;
    let mut refused = 0;
    let error = loop {
        // Without a zone: no share bounds it but the reserve.
        match journal.append(refusals(None)).await {
            Ok(_) => refused += 1,
            Err(error) => break error,
        }
    };
    assert_eq!(error.code(), "journal_full");
    assert!(refused > 100, "{refused}");
    assert!(journal.usage().bytes <= (1 << 20) - (1 << 18));
    for _ in 0..100 {
        journal.append(decision(zone(1))).await.unwrap();
    }
}

#[tokio::test]
async fn one_zone_cannot_use_up_the_space_of_another() {
    let dir = TempDir::new().unwrap();
    let journal = open(&dir).await;
    let error = loop {
        if let Err(error) = journal.append(decision(zone(1))).await {
            break error;
        }
    };
    assert_eq!(error.code(), "journal_zone_full");
    for _ in 0..100 {
        journal.append(decision(zone(2))).await.unwrap();
    }
    let refused = journal.append(refusals(zone(1))).await.unwrap_err();
    assert_eq!(refused.code(), "journal_zone_full");
}

#[tokio::test]
async fn a_full_journal_takes_events_again_once_the_ledger_has_the_old_ones() {
    let dir = TempDir::new().unwrap();
    let journal = open(&dir).await;
    let mut last = None;
    while let Ok(receipt) = journal.append(decision(zone(1))).await {
        last = Some(receipt);
    }
    let last = last.unwrap();
    let many = segments(dir.path()).len();
    assert!(many > 5);
    let lane = (last.journal, None);
    let opened = everything(&journal).await.remove(0).envelope.leaf_hash();
    assert!(journal.acknowledge(lane, 1, &opened).unwrap());
    assert!(
        journal
            .acknowledge((last.journal, zone(1)), last.counter, &last.hash)
            .unwrap()
    );
    assert!(
        !journal
            .acknowledge((last.journal, zone(1)), 1, &last.hash)
            .unwrap()
    );
    assert_eq!(segments(dir.path()).len(), 1);
    assert_eq!(journal.usage().unacknowledged, 0);
    for _ in 0..100 {
        journal.append(decision(zone(1))).await.unwrap();
    }
    assert_eq!(journal.usage().unacknowledged, 100);
}

#[tokio::test]
async fn nothing_is_freed_when_the_ledger_has_another_event() {
    let dir = TempDir::new().unwrap();
    let journal = open(&dir).await;
    let receipt = journal.append(decision(zone(1))).await.unwrap();
    let lane = (receipt.journal, receipt.zone);
    let error = journal.acknowledge(lane, 1, &[0; 32]).unwrap_err();
    assert_eq!(error.code(), "journal_conflict");
    assert_eq!(journal.acknowledged(lane), 0);
}

#[tokio::test]
async fn two_processes_cannot_have_one_journal() {
    let dir = TempDir::new().unwrap();
    let _held = open(&dir).await;
    let refused = open_with(config(dir.path())).await.unwrap_err();
    assert_eq!(refused.code(), "journal_locked");
}

#[tokio::test]
async fn refuses_while_the_disk_does_and_goes_on_in_a_new_journal() {
    let dir = TempDir::new().unwrap();
    let inner = dir.path().join("journal");
    let journal = open_with(config(&inner)).await.unwrap();
    let first = journal.append(decision(zone(1))).await.unwrap();
    let aside = dir.path().join("aside");
    fs::rename(&inner, &aside).unwrap();
    // The open file still takes events; the next one cannot be made.
    let error = loop {
        if let Err(error) = journal.append(decision(zone(1))).await {
            break error;
        }
    };
    assert_eq!(error.code(), "journal_unwritable");
    fs::rename(&aside, &inner).unwrap();
    let later = journal.append(decision(zone(1))).await.unwrap();
    assert_eq!(later.journal, first.journal);
    let lanes = dense(&everything(&journal).await);
    assert_eq!(lanes[&(first.journal, zone(1))], later.counter);
}

#[tokio::test]
async fn a_dropped_append_leaves_the_event_whole_or_not_at_all() {
    let dir = TempDir::new().unwrap();
    let journal = open(&dir).await;
    for round in 0..200 {
        let append = journal.append(decision(zone(1)));
        let patience = std::time::Duration::from_micros(round * 2);
        let _cut = tokio::time::timeout(patience, append).await;
    }
    let last = journal.append(decision(zone(1))).await.unwrap();
    let lanes = dense(&everything(&journal).await);
    assert_eq!(lanes[&(last.journal, zone(1))], last.counter);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_writers_at_once_get_numbers_of_their_own() {
    let dir = TempDir::new().unwrap();
    let mut config = config(dir.path());
    config.max_bytes = 64 << 20;
    config.durability = Durability::Host;
    let journal = open_with(config).await.unwrap();
    let (lifecycle, _watch) = crate::Lifecycle::new();
    let tasks: Vec<_> = (0..32)
        .map(|number| {
            let journal = journal.clone();
            lifecycle.tracker().spawn(async move {
                for _ in 0..50 {
                    journal.append(decision(zone(number % 4))).await.unwrap();
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    let lanes = dense(&everything(&journal).await);
    assert_eq!(lanes.values().sum::<u64>(), 32 * 50 + 1);
    assert_eq!(lanes.len(), 5);
}
