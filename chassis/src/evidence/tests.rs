use std::collections::BTreeSet;
use std::sync::Arc;

use jiff::Timestamp;
use ledger::envelope::{DalekSigner, Envelope, Epoch, EventSigner as _, SignedEnvelope};
use mandate::id::{KeyId, ZoneId};
use tempfile::TempDir;
use tokio_util::sync::DropGuard;

use super::*;
use crate::clock::TestClock;
use crate::config;
use crate::journal::tests::{config as journal_config, decision, open_with, trusted, zone};
use crate::journal::{JournalConfig, Receipt};

const KINDS: &[&str] = &["decision", "journal_opened", "journal_closed"];

struct Stand {
    valkey: kit::OwnValkey,
    client: Client,
    journal: Journal,
    clock: TestClock,
    registry: Registry,
    stop: Option<DropGuard>,
    lifecycle: Lifecycle,
    _dir: TempDir,
}

fn audit() -> DalekSigner {
    DalekSigner::new(KeyId::parse("audit-1").unwrap(), &[9; 32])
}

impl Stand {
    async fn new() -> Self {
        let valkey = kit::own_valkey();
        let redis = config::Redis::at(&valkey.url(), Duration::from_secs(2)).unwrap();
        let client = Client::open(&redis).unwrap();
        let dir = TempDir::new().unwrap();
        let mut config: JournalConfig = journal_config(dir.path());
        config.partitions = std::num::NonZeroU32::MIN;
        let journal = open_with(config).await.unwrap();
        let (lifecycle, _watch) = Lifecycle::new();
        let clock = TestClock::new(Timestamp::from_second(1_795_600_000).unwrap());
        let mut stand = Self {
            valkey,
            client,
            journal,
            clock,
            registry: Registry::new("test"),
            stop: None,
            lifecycle,
            _dir: dir,
        };
        stand.start();
        stand
    }

    fn start(&mut self) {
        let soft = CancellationToken::new();
        self.registry = Registry::new("test");
        let shipper = Shipper::new(
            self.journal.clone(),
            self.client.clone(),
            trusted(&audit(), "audit", &[CURSOR]),
            self.clock.clone().into(),
        )
        .counted(&self.registry);
        self.stop = Some(soft.clone().drop_guard());
        self.lifecycle.tracker().spawn(shipper.run(soft));
    }

    async fn arrived(&self) -> Vec<(u64, SignedEnvelope)> {
        let mut reader = Reader::new(
            self.client.clone(),
            streams::audit_events(0),
            EntryId::START,
        )
        .block(Duration::from_millis(10));
        let entries = reader.next().await.unwrap_or_default();
        entries
            .iter()
            .map(|entry| entry.envelope().unwrap())
            .map(|signed| (signed.envelope.counter, signed))
            .collect()
    }

    /// The counters of what has arrived of a zone, each once.
    async fn counters(&self, zone: Option<ZoneId>) -> Vec<u64> {
        let arrived = self.arrived().await;
        let of_zone: BTreeSet<u64> = arrived
            .iter()
            .filter(|(_, signed)| signed.envelope.zone == zone)
            .map(|(counter, _)| *counter)
            .collect();
        of_zone.into_iter().collect()
    }

    /// Whether the shipper has been told of so many events; it looks, and goes on to send at once.
    fn has_seen(&self, unacknowledged: u64) -> bool {
        let line = format!("test_journal_unacknowledged_events {unacknowledged}\n");
        self.registry.expose().unwrap().contains(&line)
    }

    /// Waits until `holds`, letting the shipper's own time pass meanwhile.
    async fn until(&self, holds: impl AsyncFn(&Self) -> bool) {
        let all = async {
            while !holds(self).await {
                self.clock.advance(Duration::from_millis(250));
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(Duration::from_mins(1), all)
            .await
            .expect("in time");
    }

    async fn acknowledge(&self, receipt: &Receipt, signer: &DalekSigner) {
        let cursor = Cursor {
            journal: receipt.journal,
            zone: receipt.zone,
            counter: receipt.counter,
            hash: receipt.hash,
        };
        let envelope = Envelope {
            stream: streams::AUDIT_CURSORS.to_owned(),
            kind: CURSOR.to_owned(),
            zone: receipt.zone,
            epoch: Epoch([0; 16]),
            pos: 0,
            producer: "audit".to_owned(),
            counter: 0,
            at: 0,
            payload: cursor.to_payload(),
            kid: signer.kid().clone(),
        };
        let message = envelope.sign(signer);
        streams::publish(
            &self.client,
            streams::AUDIT_CURSORS,
            [message],
            Trim::MaxLen(1000),
        )
        .await
        .unwrap();
    }
}

#[tokio::test]
async fn what_is_journalled_arrives_in_order_and_signed() {
    let stand = Stand::new().await;
    for _ in 0..20 {
        stand.journal.append(decision(zone(1))).await.unwrap();
    }
    stand
        .until(async |stand| stand.arrived().await.len() == 21)
        .await;
    let arrived = stand.arrived().await;
    let signer = crate::journal::tests::signer();
    let trusted = trusted(&signer, "ext-authz", KINDS);
    let counters: Vec<u64> = arrived[1..].iter().map(|(counter, _)| *counter).collect();
    assert_eq!(counters, (1..=20).collect::<Vec<_>>());
    for (_, signed) in &arrived {
        signed.check(&trusted).unwrap();
        assert_eq!(signed.envelope.stream, streams::audit_events(0));
    }
}

#[tokio::test]
async fn only_the_ledgers_own_word_frees() {
    let stand = Stand::new().await;
    let receipt = stand.journal.append(decision(zone(1))).await.unwrap();
    let stranger = DalekSigner::new(KeyId::parse("audit-1").unwrap(), &[1; 32]);
    stand.acknowledge(&receipt, &stranger).await;
    let producer = crate::journal::tests::signer();
    stand.acknowledge(&receipt, &producer).await;
    stand
        .until(async |stand| !stand.arrived().await.is_empty())
        .await;
    assert_eq!(stand.journal.usage().unacknowledged, 2);
    stand.acknowledge(&receipt, &audit()).await;
    stand
        .until(async |stand| stand.journal.usage().unacknowledged == 1)
        .await;
}

#[tokio::test]
async fn what_is_not_acknowledged_is_sent_again() {
    let stand = Stand::new().await;
    let first = stand.journal.append(decision(zone(1))).await.unwrap();
    let second = stand.journal.append(decision(zone(1))).await.unwrap();
    stand
        .until(async |stand| stand.arrived().await.len() >= 3)
        .await;
    stand.acknowledge(&first, &audit()).await;
    stand
        .until(async |stand| stand.journal.usage().unacknowledged == 2)
        .await;
    stand
        .until(async |stand| stand.arrived().await.len() >= 5)
        .await;
    let again = stand.arrived().await.split_off(3);
    let of_zone: Vec<u64> = again
        .iter()
        .filter(|(_, signed)| signed.envelope.zone == zone(1))
        .map(|(counter, _)| *counter)
        .collect();
    assert!(
        of_zone.iter().all(|counter| *counter == second.counter),
        "{of_zone:?}"
    );
}

#[tokio::test]
async fn a_flushed_or_restarted_redis_loses_nothing() {
    let mut stand = Stand::new().await;
    for _ in 0..5 {
        stand.journal.append(decision(zone(1))).await.unwrap();
    }
    stand
        .until(async |stand| stand.arrived().await.len() == 6)
        .await;
    stand
        .client
        .call::<()>(&::redis::cmd("FLUSHALL"))
        .await
        .unwrap();
    stand
        .until(async |stand| stand.arrived().await.len() >= 6)
        .await;

    stand.valkey.stop();
    stand.journal.append(decision(zone(1))).await.unwrap();
    stand.until(async |stand| stand.has_seen(7)).await;
    stand.valkey = kit::own_valkey();
    let redis = config::Redis::at(&stand.valkey.url(), Duration::from_secs(2)).unwrap();
    stand.client = Client::open(&redis).unwrap();
    stand.stop = None;
    stand.start();
    stand
        .until(async |stand| stand.counters(zone(1)).await == [1, 2, 3, 4, 5, 6])
        .await;
}

#[tokio::test]
async fn appending_does_not_wait_for_redis() {
    let mut stand = Stand::new().await;
    stand.valkey.stop();
    let appends = async {
        for _ in 0..100 {
            stand.journal.append(decision(zone(1))).await.unwrap();
        }
    };
    tokio::time::timeout(Duration::from_secs(5), appends)
        .await
        .expect("at once");
    assert_eq!(stand.journal.usage().unacknowledged, 101);
    let _kept = Arc::new(stand);
}

#[tokio::test]
async fn a_reader_starts_over_when_its_stream_did() {
    let valkey = kit::own_valkey();
    let redis = config::Redis::at(&valkey.url(), Duration::from_secs(2)).unwrap();
    let client = Client::open(&redis).unwrap();
    let add = |id: &'static str| {
        ::redis::cmd("XADD")
            .arg("s")
            .arg(id)
            .arg("e")
            .arg("x")
            .to_owned()
    };
    client.call::<String>(&add("100-1")).await.unwrap();
    let mut reader =
        Reader::new(client.clone(), "s", EntryId::START).block(Duration::from_millis(10));
    assert_eq!(reader.next().await.unwrap().len(), 1);
    client
        .call::<i64>(&::redis::cmd("DEL").arg("s").to_owned())
        .await
        .unwrap();
    client.call::<String>(&add("50-1")).await.unwrap();
    assert!(reader.next().await.unwrap().is_empty());
    let entries = reader.next().await.unwrap();
    assert_eq!(entries[0].id, EntryId { ms: 50, seq: 1 });
    client
        .call::<i64>(&::redis::cmd("DEL").arg("s").to_owned())
        .await
        .unwrap();
    assert!(reader.next().await.unwrap().is_empty());
    assert_eq!(reader.position(), EntryId::START);
}
