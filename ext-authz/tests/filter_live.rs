//! A filter at the whole service: on a real clock, a real Valkey and real sockets.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    unreachable_pub,
    dead_code,
    reason = "tests on a real clock; `common` is shared"
)]

#[path = "common/bench.rs"]
mod bench;
mod common;
#[path = "common/stack.rs"]
mod stack;

use std::time::{Duration, Instant};

use bench::{Line, hello};
use chassis::streams::{self, AUTHORITY, Trim};
use common::zone;
use stack::{Stack, revocation};
use tonic::Code;
use wire::pb::caracal::authority::v1::change::What;

async fn publish(stack: &Stack) {
    let change = revocation();
    let signed = stack.coordinator.commit("revocation", zone(1), &change);
    streams::publish(&stack.redis(), AUTHORITY, [signed], Trim::Nothing)
        .await
        .unwrap();
}

/// How far the coordinator was told that readers are whose names end so.
fn reached(stack: &Stack, end: &str) -> Option<u64> {
    stack.coordinator.with(|history| {
        let acks = history.acks.iter().rev();
        let mut ours =
            acks.filter(|(reader, _)| reader.ends_with("/filters") == (end == "/filters"));
        ours.next().map(|(_, pos)| *pos)
    })
}

async fn until(stack: &Stack, end: &str, pos: u64) {
    let started = Instant::now();
    while reached(stack, end) != Some(pos) {
        assert!(
            started.elapsed() < Duration::from_secs(10),
            "{:?}",
            reached(stack, end)
        );
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn join(stack: &Stack) -> Line {
    let url = format!("http://127.0.0.1:{}", stack.port);
    let channel = tonic::transport::Channel::from_shared(url).unwrap();
    bench::say(channel.connect_lazy(), hello(1)).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_revocation_reaches_the_filter_and_everywhere_includes_it() {
    let stack = Stack::start(10_000).await;
    let mut line = join(&stack).await;
    let snapshot = line.snapshot().await;
    line.ack(&snapshot.epoch, snapshot.pos, 0).await;
    until(&stack, "/filters", 10).await;
    let started = Instant::now();
    publish(&stack).await;
    let deltas = line.deltas().await;
    println!(
        "a revocation was at the filter after {:?}",
        started.elapsed()
    );
    assert_eq!(deltas.pos, 11);
    assert!(matches!(&deltas.changes[0].what, Some(What::Dead(_))));
    // The service itself has it; that the filter has it is not said before it said so.
    until(&stack, "", 11).await;
    assert_eq!(reached(&stack, "/filters"), Some(10));
    line.ack(&deltas.epoch, 11, 0).await;
    until(&stack, "/filters", 11).await;
    assert!(line.ping(1).await.age_ms < 10_000);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_that_stops_sends_its_filters_elsewhere_and_ends_in_time() {
    let stack = Stack::start(10_000).await;
    let mut line = join(&stack).await;
    line.snapshot().await;
    stack.beating.cancel();
    stack.lifecycle.soft().cancel();
    let status = line.next().await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    assert!(status.message().starts_with("draining"), "{status}");
    assert!(
        stack.lifecycle.drain(Duration::from_secs(5)).await,
        "everything ended in time"
    );
}
