//! The sequencer: dense, in order, once, whatever happens to it or to Redis.

use std::time::{Duration, Instant};

use jiff::SignedDuration;
use ledger::envelope::{DalekSigner, Envelope, Epoch, EventSigner, SignedEnvelope};
use ledger::event::Event;
use mandate::id::{JournalId, KeyId, ZoneId};
use redis::streams::StreamRangeReply;
use serde_json::json;
use sqlx::Row as _;
use uuid::Uuid;
use wire::convert::{Cursor, Heartbeat, envelope_from_bytes, envelope_to_bytes};

use super::bench::{AUDIT_SEED, Bench};
use crate::sequencer::heartbeat::{self, Step};
use crate::sequencer::{STREAM, audit_lane, epoch};

async fn stream(bench: &Bench, name: &str) -> Vec<SignedEnvelope> {
    let mut command = redis::cmd("XRANGE");
    command.arg(name).arg("-").arg("+");
    let reply: StreamRangeReply = bench.redis.call(&command).await.unwrap();
    reply
        .ids
        .iter()
        .map(|entry| envelope_from_bytes(&entry.get::<Vec<u8>>("e").unwrap()).unwrap())
        .collect()
}

/// The positions in the stream, heartbeats left out.
async fn published(bench: &Bench) -> Vec<u64> {
    let all = stream(bench, STREAM).await;
    all.iter()
        .filter(|s| s.envelope.kind != "heartbeat")
        .map(|s| s.envelope.pos)
        .collect()
}

async fn positions(bench: &Bench) -> Vec<i64> {
    sqlx::query_scalar("SELECT pos FROM positions ORDER BY pos")
        .fetch_all(bench.superuser())
        .await
        .unwrap()
}

async fn unnumbered(bench: &Bench) -> i64 {
    sqlx::query_scalar("SELECT count(*) FROM outbox WHERE lane = 'authority' AND pos IS NULL")
        .fetch_one(bench.superuser())
        .await
        .unwrap()
}

async fn held_epoch(bench: &Bench) -> Vec<u8> {
    sqlx::query_scalar("SELECT epoch FROM deployment")
        .fetch_one(bench.superuser())
        .await
        .unwrap()
}

/// The position after a step; none when deposed.
async fn step(
    pool: &sqlx::PgPool,
    term: i64,
    lease: SignedDuration,
    signer: &dyn EventSigner,
) -> Option<u64> {
    match heartbeat::step(pool, term, lease, signer).await.unwrap() {
        Step::Deposed => None,
        Step::Numbered(numbered) => Some(numbered.pos),
    }
}

async fn deployment_pos(bench: &Bench) -> i64 {
    sqlx::query_scalar("SELECT pos FROM deployment")
        .fetch_one(bench.superuser())
        .await
        .unwrap()
}

/// Waits for something that must come about.
async fn until<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(
            started.elapsed() < Duration::from_secs(15),
            "{what} did not come about"
        );
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

async fn everything_is_numbered(bench: &Bench) -> Vec<i64> {
    until("numbering", async || {
        (unnumbered(bench).await == 0).then_some(())
    })
    .await;
    positions(bench).await
}

async fn sequencing(bench: &Bench) {
    bench.sequence();
    until("a sequencer", async || {
        let row = sqlx::query("SELECT term, holder FROM deployment")
            .fetch_optional(bench.superuser())
            .await
            .unwrap();
        row.filter(|row| row.get::<i64, _>("term") > 0)
    })
    .await;
}

#[tokio::test]
async fn positions_are_dense_and_in_the_stream_in_order_under_concurrent_writers() {
    let bench = Bench::start().await;
    sequencing(&bench).await;
    let zones = [bench.zone().await, bench.zone().await, bench.zone().await];
    let bench = &bench;
    let writers = zones.iter().map(|zone| async move {
        let application = bench.application(zone).await;
        for _ in 0..15 {
            let session = bench.session(zone, &application).await;
            let path = format!("/v1/zones/{zone}/sessions/{session}/end");
            assert_eq!(bench.post(&path, json!({})).await.status, 200);
        }
    });
    futures::future::join_all(writers).await;
    let held = everything_is_numbered(bench).await;
    // Three zones, and fifteen sessions ended in each.
    assert_eq!(held, (1..=48).collect::<Vec<i64>>());
    let sent = until("publishing", async || {
        let sent = published(bench).await;
        (sent.len() >= 48).then_some(sent)
    })
    .await;
    assert_eq!(sent, (1..=48).collect::<Vec<u64>>());
    let left: i64 = sqlx::query_scalar("SELECT count(*) FROM outbox WHERE lane = 'authority'")
        .fetch_one(bench.superuser())
        .await
        .unwrap();
    assert_eq!(left, 0);
}

#[tokio::test]
async fn heartbeats_say_that_everything_before_them_is_at_or_below_their_position() {
    let bench = Bench::start().await;
    sequencing(&bench).await;
    let zone = bench.zone().await;
    let application = bench.application(&zone).await;
    bench.revoke(&zone, "application", &application).await;
    // Engines and tests share this machine's clock.
    let committed = bench.now();
    let (pos, as_of) = until("a heartbeat after it", async || {
        let all = stream(&bench, STREAM).await;
        all.iter()
            .filter(|s| s.envelope.kind == "heartbeat")
            .find_map(|s| {
                let beat = Heartbeat::from_payload(&s.envelope.payload).unwrap();
                assert_eq!(beat.pos, s.envelope.pos);
                (beat.as_of > committed).then_some((beat.pos, beat.as_of))
            })
    })
    .await;
    let cutoff = stream(&bench, STREAM).await;
    let cutoff = cutoff.iter().find(|s| s.envelope.kind == "cutoff").unwrap();
    assert!(
        cutoff.envelope.pos <= pos,
        "{as_of} claims less than was committed before it"
    );
    // Idle or not, another one comes within a second.
    until("the next heartbeat", async || {
        let all = stream(&bench, STREAM).await;
        let last = all.last()?;
        let beat = Heartbeat::from_payload(&last.envelope.payload).ok()?;
        (beat.as_of > as_of + SignedDuration::from_millis(400)).then_some(())
    })
    .await;
}

#[tokio::test]
async fn one_of_two_sequences_and_the_other_takes_over_without_gap_or_double() {
    let one = Bench::start().await;
    sequencing(&one).await;
    let two = Bench::on(one.engines.clone(), "");
    two.sequence();
    let zone = one.zone().await;
    let application = one.application(&zone).await;
    for round in 0..20 {
        let session = one.session(&zone, &application).await;
        one.post(
            &format!("/v1/zones/{zone}/sessions/{session}/end"),
            json!({}),
        )
        .await;
        if round == 10 {
            // Dropped in the middle of whatever it was doing; its lease has to run out.
            one.process.lifecycle.hard().cancel();
        }
    }
    let held = everything_is_numbered(&two).await;
    assert_eq!(held, (1..=21).collect::<Vec<i64>>());
    let mut sent = until("publishing", async || {
        let sent = published(&two).await;
        sent.contains(&21).then_some(sent)
    })
    .await;
    // Whoever took over may repeat; identical bytes, which readers pass over.
    sent.dedup();
    let mut last = 0;
    for pos in sent {
        assert!(pos <= last + 1, "{pos} after {last}");
        last = last.max(pos);
    }
    let term: i64 = sqlx::query_scalar("SELECT term FROM deployment")
        .fetch_one(two.superuser())
        .await
        .unwrap();
    assert_eq!(term, 2);
}

#[tokio::test]
async fn a_batch_that_was_not_committed_is_numbered_again_as_if_it_never_was() {
    let bench = Bench::start().await;
    let zone = bench.zone().await;
    let application = bench.application(&zone).await;
    bench.revoke(&zone, "application", &application).await;
    let pool = &bench.sequencer.pool;
    let signer = bench.sequencer.stream_key.as_ref();
    let lease = SignedDuration::from_secs(3);
    epoch::ensure(pool, &bench.process.rng, bench.now())
        .await
        .unwrap();
    let term = heartbeat::acquire(pool, "one", lease)
        .await
        .unwrap()
        .unwrap();

    // A writer holds the lease's row: the step waits and is dropped half way.
    let mut holder = bench.superuser().begin().await.unwrap();
    sqlx::query("SELECT 1 FROM deployment FOR UPDATE")
        .execute(&mut *holder)
        .await
        .unwrap();
    {
        let step = step(pool, term, lease, signer);
        assert!(
            tokio::time::timeout(Duration::from_millis(200), step)
                .await
                .is_err()
        );
    }
    holder.rollback().await.unwrap();
    assert_eq!(positions(&bench).await, Vec::<i64>::new());

    let numbered = step(pool, term, lease, signer).await;
    assert_eq!(numbered, Some(3));
    assert_eq!(positions(&bench).await, [1, 2, 3]);
    assert_eq!(step(pool, term, lease, signer).await, Some(3));
    // Whoever is deposed numbers nothing.
    assert_eq!(step(pool, term - 1, lease, signer).await, None);
}

#[tokio::test]
async fn a_flushed_stream_goes_on_with_what_follows() {
    let bench = Bench::start().await;
    sequencing(&bench).await;
    let zone = bench.zone().await;
    let application = bench.application(&zone).await;
    everything_is_numbered(&bench).await;
    until("publishing", async || {
        published(&bench).await.contains(&1).then_some(())
    })
    .await;
    let before = held_epoch(&bench).await;
    bench
        .redis
        .call::<()>(&redis::cmd("FLUSHDB"))
        .await
        .unwrap();
    bench.revoke(&zone, "application", &application).await;
    let sent = until("publishing again", async || {
        let sent = published(&bench).await;
        sent.contains(&3).then_some(sent)
    })
    .await;
    assert_eq!(sent, [2, 3]);
    assert_eq!(held_epoch(&bench).await, before);
    // What the flush took is still to be had from Postgres.
    assert_eq!(positions(&bench).await, [1, 2, 3]);
}

#[tokio::test]
async fn an_older_copy_of_the_database_gets_a_new_epoch_because_the_stream_is_ahead() {
    let bench = Bench::start().await;
    sequencing(&bench).await;
    let zone = bench.zone().await;
    let application = bench.application(&zone).await;
    bench.revoke(&zone, "application", &application).await;
    everything_is_numbered(&bench).await;
    until("publishing", async || {
        published(&bench).await.contains(&3).then_some(())
    })
    .await;
    let before = held_epoch(&bench).await;
    bench.process.lifecycle.drain(Duration::from_secs(5)).await;

    // The copy is from before the last two positions.
    for statement in [
        "DELETE FROM positions WHERE pos > 1",
        "UPDATE deployment SET pos = 1",
    ] {
        sqlx::query(statement)
            .execute(bench.superuser())
            .await
            .unwrap();
    }
    let restored = Bench::on(bench.engines.clone(), "");
    restored.sequence();
    until("a new epoch", async || {
        (held_epoch(&restored).await != before).then_some(())
    })
    .await;
    assert_eq!(positions(&restored).await, Vec::<i64>::new());
    assert_eq!(deployment_pos(&restored).await, 1);
}

#[tokio::test]
async fn an_older_copy_under_a_running_sequencer_gets_a_new_epoch() {
    let bench = Bench::start().await;
    sequencing(&bench).await;
    let zone = bench.zone().await;
    let application = bench.application(&zone).await;
    bench.revoke(&zone, "application", &application).await;
    everything_is_numbered(&bench).await;
    let before = held_epoch(&bench).await;
    // As after a restore that the process did not live to see: its term is still the database's.
    sqlx::query("UPDATE deployment SET pos = pos - 1")
        .execute(bench.superuser())
        .await
        .unwrap();
    until("a new epoch", async || {
        (held_epoch(&bench).await != before).then_some(())
    })
    .await;
}

#[tokio::test]
async fn another_cluster_or_a_reader_that_is_ahead_is_a_new_epoch() {
    let bench = Bench::start().await;
    sequencing(&bench).await;
    bench.zone().await;
    everything_is_numbered(&bench).await;
    let first = held_epoch(&bench).await;
    sqlx::query(
        "INSERT INTO readers (reader, service, epoch, pos, bound_ms, seen_at)
         SELECT 'r', 'ext-authz', epoch, pos + 1, 10000, as_of FROM deployment",
    )
    .execute(bench.superuser())
    .await
    .unwrap();
    until("a new epoch", async || {
        (held_epoch(&bench).await != first).then_some(())
    })
    .await;
    let second = held_epoch(&bench).await;
    sqlx::query("UPDATE deployment SET system_identifier = '1'")
        .execute(bench.superuser())
        .await
        .unwrap();
    until("another epoch", async || {
        (held_epoch(&bench).await != second).then_some(())
    })
    .await;
}

#[tokio::test]
async fn evidence_is_numbered_densely_sent_and_let_go_when_the_ledger_has_it() {
    let bench = Bench::start().await;
    sequencing(&bench).await;
    let zone = bench.zone().await;
    let application = bench.application(&zone).await;
    bench.revoke(&zone, "application", &application).await;
    let zone_id: ZoneId = zone.parse().unwrap();
    let name = audit_lane::stream(zone_id, 4);
    let sent = until("evidence", async || {
        let sent = stream(&bench, &name).await;
        (sent.len() >= 3).then_some(sent)
    })
    .await;
    let mut journal = None;
    for (index, signed) in sent.iter().enumerate() {
        let event = Event::decode(&signed.envelope.payload).unwrap();
        let counter = u64::try_from(index).unwrap() + 1;
        assert_eq!((event.counter, signed.envelope.counter), (counter, counter));
        assert_eq!(event.kind.as_str(), signed.envelope.kind);
        assert_eq!(
            signed.envelope.producer,
            format!("outbox@{}", event.journal_id)
        );
        assert_eq!(signed.envelope.kid.as_str(), "outbox");
        assert!(event.origin_signed_by(&bench.event_producer()));
        journal = Some(event.journal_id);
    }
    let journal = journal.unwrap();
    // A cursor that somebody else signed frees nothing, nor does one of another journal.
    confirm(&bench, zone_id, journal, 3, &[1; 32]).await;
    let other = JournalId::from_uuid(Uuid::from_u128(5));
    confirm(&bench, zone_id, other, 3, &AUDIT_SEED).await;
    confirm(&bench, zone_id, journal, 2, &AUDIT_SEED).await;
    until("freeing", async || {
        (unconfirmed(&bench, zone_id).await == [3]).then_some(())
    })
    .await;

    // What is not confirmed is sent again, byte for byte.
    bench
        .redis
        .call::<()>(&redis::cmd("FLUSHDB"))
        .await
        .unwrap();
    let again = until("sending again", async || {
        stream(&bench, &name).await.into_iter().next()
    })
    .await;
    assert_eq!(&again, sent.last().unwrap());
    confirm(&bench, zone_id, journal, 3, &AUDIT_SEED).await;
    until("freeing the rest", async || {
        unconfirmed(&bench, zone_id).await.is_empty().then_some(())
    })
    .await;
}

async fn unconfirmed(bench: &Bench, zone: ZoneId) -> Vec<i64> {
    sqlx::query_scalar("SELECT pos FROM outbox WHERE zone_id = $1 AND lane = 'audit'")
        .bind(zone.as_uuid())
        .fetch_all(bench.superuser())
        .await
        .unwrap()
}

async fn confirm(bench: &Bench, zone: ZoneId, journal: JournalId, counter: u64, seed: &[u8; 32]) {
    let signer = DalekSigner::new(KeyId::parse("audit-1").unwrap(), seed);
    let cursor = Cursor {
        journal,
        zone: Some(zone),
        counter,
        hash: [0; 32],
    };
    let envelope = Envelope {
        stream: "caracal.audit.cursors".to_owned(),
        kind: "cursor".to_owned(),
        zone: Some(zone),
        epoch: Epoch([0; 16]),
        pos: 0,
        producer: "audit".to_owned(),
        counter: 1,
        at: 1,
        payload: cursor.to_payload(),
        kid: KeyId::parse("audit-1").unwrap(),
    };
    let mut command = redis::cmd("XADD");
    let bytes = envelope_to_bytes(envelope.sign(&signer));
    command
        .arg("caracal.audit.cursors")
        .arg("*")
        .arg("e")
        .arg(bytes);
    bench.redis.call::<String>(&command).await.unwrap();
}

#[tokio::test]
async fn without_redis_numbering_and_heartbeats_go_on_in_postgres() {
    let bench = Bench::on(super::engines::start().await.without_redis(), "");
    sequencing(&bench).await;
    let zone = bench.zone().await;
    let application = bench.application(&zone).await;
    bench.revoke(&zone, "application", &application).await;
    assert_eq!(everything_is_numbered(&bench).await, [1, 2, 3]);
    let as_of = async || -> jiff_sqlx::Timestamp {
        sqlx::query_scalar("SELECT as_of FROM deployment")
            .fetch_one(bench.superuser())
            .await
            .unwrap()
    };
    let before = as_of().await.to_jiff();
    until("a heartbeat", async || {
        (as_of().await.to_jiff() > before).then_some(())
    })
    .await;
}
