//! The whole service on a real clock, a real Valkey and real sockets.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::disallowed_methods,
    unreachable_pub,
    dead_code,
    reason = "tests on a real clock; `common` is shared"
)]

mod common;
#[path = "common/stack.rs"]
mod stack;

use std::time::{Duration, Instant};

use chassis::streams::{self, AUTHORITY, Trim};
use common::zone;
use ledger::envelope::Epoch;
use stack::{Stack, revocation};
use tonic_health::pb::health_check_response::ServingStatus;

const MOMENT: Duration = Duration::from_secs(5);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_revocation_on_the_stream_refuses_within_milliseconds_and_is_acknowledged() {
    let mut stack = Stack::start(10_000).await;
    let mandate = stack.mandate();
    stack.until(&mandate, "allowed", MOMENT).await;
    let signed = stack
        .coordinator
        .commit("revocation", zone(1), &revocation());
    streams::publish(&stack.redis(), AUTHORITY, [signed], Trim::Nothing)
        .await
        .unwrap();
    let took = stack.until(&mandate, "revoked", MOMENT).await;
    println!("refused after {took:?}");
    let started = Instant::now();
    while !stack
        .coordinator
        .with(|history| history.acks.iter().any(|(_, pos)| *pos == 11))
    {
        assert!(started.elapsed() < MOMENT, "never acknowledged");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let readers = stack.coordinator.with(|history| {
        history
            .acks
            .iter()
            .map(|(reader, _)| reader.clone())
            .collect::<std::collections::BTreeSet<_>>()
    });
    assert_eq!(readers.len(), 1, "{readers:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_the_stream_memory_stays_fresh_and_a_revocation_still_arrives() {
    let mut stack = Stack::start(2_000).await;
    let mandate = stack.mandate();
    stack.until(&mandate, "allowed", MOMENT).await;
    stack.valkey.kill();
    let started = Instant::now();
    while started.elapsed() < Duration::from_secs(5) {
        assert_eq!(
            stack.ask(&mandate).await,
            "allowed",
            "after {:?}",
            started.elapsed()
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    stack
        .coordinator
        .commit("revocation", zone(1), &revocation());
    let took = stack.until(&mandate, "revoked", MOMENT).await;
    println!("refused after {took:?}, by asking");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn when_the_database_stands_still_memory_gets_too_old_although_messages_arrive() {
    let mut stack = Stack::start(1_000).await;
    let mandate = stack.mandate();
    stack.until(&mandate, "allowed", MOMENT).await;
    // Answers still come, with the heartbeat of the moment the database stopped.
    stack.coordinator.with(|history| history.alive = false);
    stack.until(&mandate, "authority_stale", MOMENT).await;
    stack.coordinator.with(|history| history.alive = true);
    stack.until(&mandate, "allowed", MOMENT).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flushed_stream_and_a_new_epoch_lose_nothing() {
    let mut stack = Stack::start(5_000).await;
    let mandate = stack.mandate();
    stack.until(&mandate, "allowed", MOMENT).await;
    let mut connection = stack
        .redis()
        .dedicated(Duration::from_secs(1))
        .await
        .unwrap();
    connection
        .call::<()>(&redis::cmd("FLUSHALL"))
        .await
        .unwrap();
    let signed = stack
        .coordinator
        .commit("revocation", zone(1), &revocation());
    streams::publish(&stack.redis(), AUTHORITY, [signed], Trim::Nothing)
        .await
        .unwrap();
    stack.until(&mandate, "revoked", MOMENT).await;
    // An older copy of the database in a new epoch: it does not know of the revocation.
    stack.coordinator.with(|history| {
        history.world.epoch = Epoch([4; 16]);
        history.pos = 5;
        history.base = history.world.changes();
        history.deltas.clear();
    });
    let started = Instant::now();
    while !stack
        .coordinator
        .with(|history| history.acks.iter().any(|(_, pos)| *pos == 5))
    {
        let code = stack.ask(&mandate).await;
        assert!(code == "revoked" || code == "authority_resync", "{code}");
        assert!(
            started.elapsed() < MOMENT,
            "the new epoch was never taken up"
        );
    }
    assert_eq!(
        stack.ask(&mandate).await,
        "revoked",
        "what was dead stays dead"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn health_follows_memory_and_the_end_is_announced_before_the_listener_closes() {
    let mut stack = Stack::start(10_000).await;
    let mandate = stack.mandate();
    stack.until(&mandate, "allowed", MOMENT).await;
    let mut health = stack.health.clone();
    let mut status = async |service: &str| {
        let request = tonic_health::pb::HealthCheckRequest {
            service: service.to_owned(),
        };
        health
            .check(request)
            .await
            .map(|answer| answer.into_inner().status)
    };
    let started = Instant::now();
    for service in ["", "envoy.service.auth.v3.Authorization"] {
        while status(service).await.ok() != Some(ServingStatus::Serving.into()) {
            assert!(started.elapsed() < MOMENT, "never serving");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
    stack.beating.cancel();
    stack.lifecycle.soft().cancel();
    let asked = Instant::now();
    while status("").await.ok() != Some(ServingStatus::NotServing.into()) {
        assert!(asked.elapsed() < MOMENT, "it is never said");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(
        stack.ask(&mandate).await,
        "allowed",
        "what still comes is still decided"
    );
    assert!(
        stack.lifecycle.drain(Duration::from_secs(5)).await,
        "everything ended in time"
    );
    assert!(
        std::net::TcpStream::connect(("127.0.0.1", stack.port)).is_err(),
        "the listener is closed"
    );
}
