//! The way through a real Valkey.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use chassis::Rng;
use chassis::clock::Clock;
use chassis::crypto::EventKey;
use chassis::evidence::{CURSOR, Shipper};
use chassis::journal::{Durability, Journal, JournalConfig};
use chassis::redis::Client;
use chassis::secrets::Key32;
use chassis::streams::{self, AUDIT_CURSORS, EntryId, Reader, Trim};
use ledger::envelope::{Producer, Producers, SignedEnvelope};
use mandate::id::{KeyId, ZoneId};
use tokio::task::AbortHandle;
use tokio_util::sync::CancellationToken;
use wire::convert::Cursor;

use super::stand::{Source, Stand, zone};
use crate::SYSTEM;
use crate::ingest::Ingest;
use crate::ingest::publish::{DEAD, Publisher};

fn key() -> EventKey {
    EventKey::new(KeyId::parse("audit-1").unwrap(), &Key32::new([9; 32])).unwrap()
}

/// What producers believe of us.
fn audits() -> Producers {
    Producers::new([Producer {
        kid: KeyId::parse("audit-1").unwrap(),
        public_key: key().public(),
        service: "audit".to_owned(),
        kinds: [CURSOR.to_owned()].into(),
    }])
}

fn client(valkey: &kit::OwnValkey) -> Client {
    let redis = chassis::config::Redis::at(&valkey.url(), Duration::from_secs(2)).unwrap();
    Client::open(&redis).unwrap()
}

fn ingest(stand: &Stand, client: &Client) -> Ingest {
    Ingest {
        holder: "test".to_owned(),
        appender: Arc::clone(&stand.appender),
        publisher: Publisher::new(client.clone(), Arc::new(key()), stand.clock.clone().into()),
        trust: Arc::clone(&stand.trust),
        metrics: stand.metrics.clone(),
        alarm: stand.alarm.clone(),
        postgres: stand.readiness.need("postgres"),
        redis: stand.readiness.need("redis"),
    }
}

async fn publish(client: &Client, events: &[SignedEnvelope]) {
    let stream = streams::audit_events(0);
    streams::publish(client, &stream, events.iter().cloned(), Trim::Nothing)
        .await
        .unwrap();
}

/// How far the cursors say that each ledger is committed, and that all of them are genuine.
async fn committed(client: &Client) -> BTreeMap<Option<ZoneId>, u64> {
    let trusted = audits();
    let mut reader = Reader::new(client.clone(), AUDIT_CURSORS, EntryId::START)
        .batch(10_000)
        .block(Duration::from_millis(10));
    let mut marks = BTreeMap::new();
    for entry in reader.next().await.unwrap() {
        let verified = entry.envelope().unwrap().verify(&trusted).unwrap();
        let cursor = Cursor::from_payload(&verified.envelope().payload).unwrap();
        let mark: &mut u64 = marks.entry(cursor.zone).or_default();
        *mark = cursor.counter.max(*mark);
    }
    marks
}

async fn until(holds: impl AsyncFn() -> bool) {
    let all = async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(90), all)
        .await
        .expect("in time");
}

struct Running {
    soft: CancellationToken,
    task: AbortHandle,
}

fn start(stand: &Stand, client: &Client) -> Running {
    let soft = CancellationToken::new();
    let (lifecycle, _watch) = chassis::Lifecycle::new();
    let task = lifecycle
        .tracker()
        .spawn(ingest(stand, client).run(0, soft.clone()));
    Running {
        soft,
        task: task.abort_handle(),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_are_committed_and_their_producers_are_told() {
    let (stand, valkey) = (Stand::new().await, kit::own_valkey());
    let client = client(&valkey);
    let running = start(&stand, &client);
    let mut source = Source::new(1);
    for ledger in [zone(1), zone(2), SYSTEM] {
        publish(&client, &source.many(ledger, 50)).await;
    }
    let told = BTreeMap::from([(None, 50), (Some(zone(1)), 50), (Some(zone(2)), 50)]);
    until(async || committed(&client).await == told).await;
    assert!(stand.readiness.is_ready());
    let report = stand.verify().await;
    assert!(report.ok && report.zones.len() == 3, "{report:?}");
    running.soft.cancel();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_wherever_it_was_it_loses_and_doubles_nothing() {
    let (stand, valkey) = (Stand::new().await, kit::own_valkey());
    let client = client(&valkey);
    let ledgers = [zone(1), zone(2), zone(3)];
    let mut source = Source::new(1);
    let all: Vec<SignedEnvelope> = (0..400)
        .flat_map(|_| ledgers.map(|ledger| source.next(ledger)))
        .collect();
    let mut sent = 0;
    for round in 0..30_u64 {
        let running = start(&stand, &client);
        let next = (sent + 40).min(all.len());
        publish(&client, &all[sent..next]).await;
        sent = next;
        tokio::time::sleep(Duration::from_micros(round * round * 40)).await;
        running.task.abort();
        // Nobody let the lease go.
        stand.clock.advance(Duration::from_secs(4));
    }
    let running = start(&stand, &client);
    let told: BTreeMap<Option<ZoneId>, u64> = ledgers.map(|ledger| (Some(ledger), 400)).into();
    until(async || {
        // As a producer does after five seconds without news.
        publish(&client, &all).await;
        tokio::time::sleep(Duration::from_millis(300)).await;
        committed(&client).await == told
    })
    .await;
    for ledger in ledgers {
        assert_eq!(stand.count(ledger).await, 400);
    }
    let report = stand.verify().await;
    assert!(report.ok, "{report:?}");
    running.soft.cancel();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flushed_stream_loses_nothing_that_is_sent_again() {
    let (stand, valkey) = (Stand::new().await, kit::own_valkey());
    let client = client(&valkey);
    let running = start(&stand, &client);
    let mut source = Source::new(1);
    let first = source.many(zone(1), 20);
    publish(&client, &first).await;
    until(async || stand.count(zone(1)).await == 20).await;
    client.call::<()>(&redis::cmd("FLUSHALL")).await.unwrap();
    // Ids that were read already: what is behind the position has lower ones.
    let body = |signed: &SignedEnvelope| wire::convert::envelope_to_bytes(signed.clone());
    for (seq, signed) in first.iter().chain(&source.many(zone(1), 5)).enumerate() {
        let command = redis::cmd("XADD")
            .arg(streams::audit_events(0))
            .arg(format!("5-{}", seq + 1))
            .arg("e")
            .arg(body(signed))
            .to_owned();
        client.call::<String>(&command).await.unwrap();
    }
    until(async || stand.count(zone(1)).await == 25).await;
    assert!(stand.verify().await.ok);
    running.soft.cancel();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_evidence_goes_to_the_dead_letters_and_stops_nothing() {
    let (stand, valkey) = (Stand::new().await, kit::own_valkey());
    let client = client(&valkey);
    let mut source = Source::new(1);
    let good = source.many(zone(1), 3);
    let mut forged = good[1].clone();
    forged.seal.signature[0] ^= 1;
    let stranger = Source::of("stranger", "ext-authz", 4).next(zone(1));
    publish(
        &client,
        &[
            good[0].clone(),
            forged,
            stranger,
            good[1].clone(),
            good[2].clone(),
        ],
    )
    .await;
    let garbage = redis::cmd("XADD")
        .arg(streams::audit_events(0))
        .arg("*")
        .arg("e")
        .arg("garbage")
        .to_owned();
    client.call::<String>(&garbage).await.unwrap();
    let bare = redis::cmd("XADD")
        .arg(streams::audit_events(0))
        .arg("*")
        .arg("x")
        .arg("y")
        .to_owned();
    client.call::<String>(&bare).await.unwrap();
    let running = start(&stand, &client);
    let dead = async || {
        let command = redis::cmd("XRANGE").arg(DEAD).arg("-").arg("+").to_owned();
        client
            .call::<Vec<(String, Vec<(String, Vec<u8>)>)>>(&command)
            .await
            .unwrap()
    };
    until(async || dead().await.len() == 4).await;
    until(async || stand.count(zone(1)).await == 3).await;
    let codes: Vec<String> = dead()
        .await
        .iter()
        .map(|(_, fields)| String::from_utf8(fields[2].1.clone()).unwrap())
        .collect();
    assert_eq!(
        codes,
        [
            "envelope_signature_invalid",
            "envelope_key_unknown",
            "envelope_malformed",
            "envelope_malformed"
        ]
    );
    running.soft.cancel();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_holders_take_turns() {
    let (stand, valkey) = (Stand::new().await, kit::own_valkey());
    let client = client(&valkey);
    let first = start(&stand, &client);
    let mut source = Source::new(1);
    publish(&client, &source.many(zone(1), 10)).await;
    until(async || stand.count(zone(1)).await == 10).await;
    let second = start(&stand, &client);
    // Asked to end, the first lets go at once: no clock has to pass.
    first.soft.cancel();
    publish(&client, &source.many(zone(1), 10)).await;
    until(async || stand.count(zone(1)).await == 20).await;
    assert!(stand.verify().await.ok);
    second.soft.cancel();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_outage_of_the_database_is_waited_for() {
    let (stand, valkey) = (Stand::new().await, kit::own_valkey());
    let client = client(&valkey);
    let running = start(&stand, &client);
    let mut source = Source::new(1);
    publish(&client, &source.many(zone(1), 10)).await;
    until(async || stand.count(zone(1)).await == 10).await;
    let name = &stand.db.name;
    let cut = format!(
        "ALTER DATABASE {name} CONNECTION LIMIT 0;
         SELECT pg_terminate_backend(pid) FROM pg_stat_activity
          WHERE datname = '{name}' AND usename LIKE 'caracal_audit%'"
    );
    stand.break_in(&cut).await;
    publish(&client, &source.many(zone(1), 10)).await;
    until(async || !stand.readiness.is_ready()).await;
    assert_eq!(stand.count(zone(1)).await, 10);
    stand
        .break_in(&format!("ALTER DATABASE {name} CONNECTION LIMIT -1"))
        .await;
    until(async || stand.count(zone(1)).await == 20).await;
    let dead: u64 = client
        .call(&redis::cmd("XLEN").arg(DEAD).to_owned())
        .await
        .unwrap();
    assert_eq!(dead, 0);
    assert!(stand.verify().await.ok);
    running.soft.cancel();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_journal_is_freed_once_the_ledger_has_it() {
    let (stand, valkey) = (Stand::new().await, kit::own_valkey());
    let client = client(&valkey);
    let dir = tempfile::TempDir::new().unwrap();
    let config = JournalConfig {
        partitions: NonZeroU32::MIN,
        ..JournalConfig::new(
            dir.path(),
            "ext-authz",
            Durability::Process,
            1 << 20,
            1 << 18,
        )
    };
    let clock = Clock::from(stand.clock.clone());
    let rng = Rng::from_system().unwrap();
    let signer = Arc::new(super::stand::signer("ext-authz-1"));
    let journal = Journal::open(config, clock.clone(), rng, signer)
        .await
        .unwrap();
    for number in 1..=200 {
        journal
            .append(super::stand::decision(zone(1), number))
            .await
            .unwrap();
    }
    assert_eq!(journal.usage().unacknowledged, 201);
    let running = start(&stand, &client);
    let (lifecycle, _watch) = chassis::Lifecycle::new();
    Shipper::new(journal.clone(), client, audits(), clock).spawn(&lifecycle);
    until(async || journal.usage().unacknowledged == 0).await;
    assert_eq!(stand.count(zone(1)).await, 200);
    let report = stand.verify().await;
    assert!(report.ok, "{report:?}");
    assert_eq!(
        report.zones[0].events, 1,
        "the opening of the journal, without a zone"
    );
    running.soft.cancel();
}
