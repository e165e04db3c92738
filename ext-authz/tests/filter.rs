//! Filters' sessions: who is served, what they are told and when, and how old it is.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    unreachable_pub,
    dead_code,
    reason = "tests; `common` is shared"
)]

#[path = "common/bench.rs"]
mod bench;
mod common;

use std::time::Duration;

use bench::{Bench, MOST_VMS, hello};
use common::{binding_change, dead, id, zone};
use ledger::envelope::Epoch;
use prost::Message as _;
use tonic::{Code, Status};
use wire::pb::caracal::authority::v1::Change;
use wire::pb::caracal::authority::v1::{ObjectKind, State, change::What};
use wire::pb::caracal::filter::v1 as pb;

const NO_AGE: u32 = u32::MAX;

fn revocation(bench: &Bench, pos: u64, n: u64) -> ledger::envelope::SignedEnvelope {
    let until = bench.world.clock.now().as_second() + 3_600;
    let change = dead(zone(1), ObjectKind::Session, &id(n), until);
    bench
        .world
        .sign("revocation", Some(zone(1)), pos, change.encode_to_vec())
}

/// A hello that is wrong in one place.
fn but(change: impl FnOnce(&mut pb::Hello)) -> pb::Hello {
    let mut hello = hello(1);
    change(&mut hello);
    hello
}

fn wrong() -> [(Code, &'static str, pb::Hello); 8] {
    use Code::{FailedPrecondition, InvalidArgument, NotFound, PermissionDenied};
    let other = zone(2).to_string();
    [
        (
            FailedPrecondition,
            "protocol_unsupported",
            but(|h| h.protocol = 2),
        ),
        (
            NotFound,
            "attachment_unknown",
            but(|h| h.attachment.push('x')),
        ),
        (
            NotFound,
            "attachment_unknown",
            but(|h| h.attachment.clear()),
        ),
        (
            InvalidArgument,
            "vm_malformed",
            but(|h| h.vm = "F".repeat(32)),
        ),
        (InvalidArgument, "vm_malformed", but(|h| h.vm.push('f'))),
        (
            InvalidArgument,
            "zone_malformed",
            but(|h| h.zone_ids.clear()),
        ),
        (
            InvalidArgument,
            "zone_malformed",
            but(|h| h.zone_ids[0].push('z')),
        ),
        (
            PermissionDenied,
            "zone_not_attached",
            but(|h| h.zone_ids.push(other)),
        ),
    ]
}

fn word(status: &Status) -> (Code, &str) {
    (
        status.code(),
        status.message().split(':').next().unwrap_or_default(),
    )
}

#[tokio::test]
async fn refuses_a_hello_by_what_is_wrong_with_it() {
    let bench = Bench::loaded().await;
    for (code, expected, hello) in wrong() {
        let status = bench.say(hello).await.err().expect(expected);
        assert_eq!(word(&status), (code, expected));
    }
    assert_eq!(bench.metrics.vms.get(), 0);
    let refused = bench.metrics.refused.get();
    assert_eq!(refused, u64::try_from(wrong().len()).unwrap());
    let status = bench.say_nothing().await.unwrap_err();
    assert_eq!(word(&status), (Code::DeadlineExceeded, "hello_expected"));
    assert_eq!(bench.metrics.refused.get(), refused + 1);
}

#[tokio::test]
async fn serves_no_more_than_it_may_and_each_vm_on_one_stream() {
    let bench = Bench::loaded().await;
    let mut open = Vec::new();
    for vm in 0..MOST_VMS {
        let mut line = bench.join(u8::try_from(vm).unwrap()).await;
        assert_eq!(line.snapshot().await.pos, 10);
        open.push(line);
    }
    let status = bench.say(hello(77)).await.err().unwrap();
    assert_eq!(word(&status), (Code::ResourceExhausted, "too_many_vms"));
    // The same VM again takes the place of its own stream.
    let mut again = bench.join(0).await;
    assert_eq!(open[0].next().await.unwrap_err().code(), Code::Aborted);
    assert_eq!(again.snapshot().await.pos, 10);
}

#[tokio::test]
async fn a_snapshot_holds_the_attachments_zones_and_bindings_and_never_policy() {
    let bench = Bench::loaded().await;
    let names = |changes: &[Change]| {
        let mut names: Vec<String> = changes
            .iter()
            .map(|change| match change.what.as_ref().unwrap() {
                What::Zone(zone) => format!("zone {}", zone.zone_id),
                What::Key(key) => format!("key {}", key.kid),
                What::Resource(resource) => format!("resource {}", resource.id),
                What::Binding(binding) => format!("binding {}", binding.id),
                What::Policy(_) | What::State(_) | What::Dead(_) | What::CutOff(_) => {
                    panic!("{change:?}")
                }
            })
            .collect();
        names.sort();
        names
    };
    let of = |zones: &[u64], resources: &[u64], bindings: &[u64]| {
        let mut names: Vec<String> = zones
            .iter()
            .flat_map(|number| {
                [
                    format!("zone {}", zone(*number)),
                    format!("key zone-{number}"),
                ]
            })
            .chain(
                resources
                    .iter()
                    .map(|number| format!("resource {}", id(*number))),
            )
            .chain(
                bindings
                    .iter()
                    .map(|number| format!("binding {}", id(200 + number))),
            )
            .collect();
        names.sort();
        names
    };
    let snapshot = bench.join(1).await.snapshot().await;
    assert_eq!(
        (snapshot.pos, snapshot.epoch.as_slice()),
        (10, &[1; 16][..])
    );
    assert_eq!(names(&snapshot.changes), of(&[1], &[1, 2], &[1, 2]));
    let both = pb::Hello {
        attachment: "both".to_owned(),
        ..hello(2)
    };
    let snapshot = bench.say(both).await.unwrap().snapshot().await;
    assert_eq!(names(&snapshot.changes), of(&[1, 2], &[1, 2, 3], &[3]));
    assert!(bench.metrics.snapshot_bytes.get() > 0);
}

#[tokio::test]
async fn changes_arrive_in_order_and_a_late_filter_gets_them_behind_its_snapshot() {
    let mut bench = Bench::loaded().await;
    let mut early = bench.join(1).await;
    assert_eq!(early.snapshot().await.pos, 10);
    bench.take(revocation(&bench, 11, 1_001));
    // Of another zone: only the position moves.
    let other = dead(zone(2), ObjectKind::Session, &id(1), common::START + 60);
    bench.take(
        bench
            .world
            .sign("revocation", Some(zone(2)), 12, other.encode_to_vec()),
    );
    bench.take(common_policy(&bench, 13));
    bench.take(revocation(&bench, 14, 1_004));
    let mut late = bench.join(2).await;
    assert_eq!(
        late.snapshot().await.pos,
        10,
        "the one that was written before"
    );
    for line in [&mut early, &mut late] {
        for (pos, changes) in [(11, 1), (12, 0), (13, 0), (14, 1)] {
            let deltas = line.deltas().await;
            assert_eq!((deltas.pos, deltas.changes.len()), (pos, changes));
        }
    }
}

fn common_policy(bench: &Bench, pos: u64) -> ledger::envelope::SignedEnvelope {
    let change = common::policy_change(zone(1), 2, &common::policy());
    bench
        .world
        .sign("policy", Some(zone(1)), pos, change.encode_to_vec())
}

#[tokio::test]
async fn a_binding_that_moves_to_another_attachment_is_taken_from_the_first() {
    let mut bench = Bench::loaded().await;
    let mut line = bench.join(1).await;
    line.snapshot().await;
    let mut moved = binding_change(zone(1), 1, common::RESOURCE, common::HOST);
    moved.version = 7;
    if let Some(What::Binding(binding)) = &mut moved.what {
        binding.attachment = "both".to_owned();
    }
    bench.take(
        bench
            .world
            .sign("binding", Some(zone(1)), 11, moved.encode_to_vec()),
    );
    let deltas = line.deltas().await;
    let Some(What::Binding(binding)) = &deltas.changes[0].what else {
        panic!("{deltas:?}")
    };
    assert_eq!(deltas.changes[0].version, 7);
    assert_eq!(
        (binding.attachment.as_str(), binding.state),
        ("ingress", State::Disabled.into())
    );
    // Who comes later is told the same: by an older snapshot and what came after it, or by a newer one.
    let mut late = bench.join(2).await;
    late.snapshot().await;
    assert_eq!(late.deltas().await, deltas);
    let changes = bench.world.changes();
    bench.load(11, &[&changes[..], &[moved]].concat());
    let snapshot = late.snapshot().await;
    assert!(snapshot.changes.iter().all(|change| {
        !matches!(&change.what, Some(What::Binding(binding)) if binding.id == id(201))
    }));
}

#[tokio::test]
async fn a_pong_says_how_old_memory_is_and_never_less() {
    let mut bench = Bench::empty().await;
    let mut line = bench.join(1).await;
    let nothing = line.ping(1).await;
    assert_eq!(
        (
            nothing.echo_t_ns,
            nothing.age_ms,
            nothing.pos,
            nothing.epoch.len()
        ),
        (1, NO_AGE, 0, 0)
    );

    let changes = bench.world.changes();
    bench.load(10, &changes);
    assert_eq!(line.snapshot().await.pos, 10);
    let fresh = line.ping(2).await;
    assert!((1..=2).contains(&fresh.age_ms), "{fresh:?}");
    assert_eq!((fresh.pos, fresh.bound_ms), (10, 10_000));

    // Nothing is heard any more.
    bench.world.clock.advance(Duration::from_secs(30));
    assert!((30_000..30_100).contains(&line.ping(3).await.age_ms));
    // A later position is heard of: what is held gets no younger by that.
    bench.take(bench.world.heartbeat(11));
    assert!(line.ping(4).await.age_ms >= 30_000);
    bench.take(revocation(&bench, 11, 1));
    bench.core.read_clock(bench.world.trip());
    bench.take(bench.world.heartbeat(11));
    assert_eq!(line.deltas().await.pos, 11);
    assert!(line.ping(5).await.age_ms < 100);

    // The wall clock is another one than the database's.
    bench
        .world
        .clock
        .set(jiff::Timestamp::from_second(common::START + 3_600).unwrap());
    assert_eq!(line.ping(6).await.age_ms, NO_AGE);
}

#[tokio::test]
async fn another_history_is_no_age_until_its_snapshot_is_sent_and_the_dead_stay_dead() {
    let mut bench = Bench::loaded().await;
    let mut line = bench.join(1).await;
    line.snapshot().await;
    bench.take(revocation(&bench, 11, 1_001));
    assert_eq!(line.deltas().await.pos, 11);
    bench.world.epoch = Epoch([2; 16]);
    bench.take(bench.world.heartbeat(3));
    let pong = line.ping(1).await;
    assert_eq!((pong.age_ms, pong.epoch.as_slice()), (NO_AGE, &[1; 16][..]));
    // Who comes now is not told the old one either.
    let mut other = bench.join(2).await;
    let unserved = other.ping(1).await;
    assert_eq!((unserved.age_ms, unserved.epoch.len()), (NO_AGE, 0));
    let changes = bench.world.changes();
    bench.load(3, &changes);
    for line in [&mut line, &mut other] {
        let snapshot = line.snapshot().await;
        assert_eq!((snapshot.pos, snapshot.epoch.as_slice()), (3, &[2; 16][..]));
        assert!(
            snapshot.changes.iter().any(
                |change| matches!(&change.what, Some(What::Dead(dead)) if dead.id == id(1_001))
            )
        );
        assert!(line.ping(2).await.age_ms < 100);
    }
    bench.take(revocation(&bench, 4, 1_002));
    assert_eq!(line.deltas().await.pos, 4);
}

#[tokio::test]
async fn a_large_snapshot_comes_in_parts_and_revocations_by_the_thousand_after_it() {
    let mut bench = Bench::empty().await;
    let mut changes = bench.world.changes();
    changes.extend(
        (0..20_000).map(|n| dead(zone(1), ObjectKind::Mandate, &id(n), common::START + 60)),
    );
    bench.load(10, &changes);
    let mut line = bench.join(1).await;
    let mut parts = 0;
    let mut rows = 0;
    loop {
        let pb::down::What::Snapshot(part) = line.next().await.unwrap() else {
            panic!("no part")
        };
        parts += 1;
        rows += part.changes.len();
        assert!(part.encoded_len() < 300_000 && part.pos == 10);
        if part.last {
            break;
        }
    }
    assert!(parts > 4 && rows > 20_000, "{parts} {rows}");
}

#[tokio::test]
async fn a_filter_that_does_not_read_is_cut_off_and_delays_nobody() {
    let mut bench = Bench::loaded().await;
    let mut slow = bench.join(1).await;
    let mut quick = bench.join(2).await;
    quick.snapshot().await;
    let mut pos = 10;
    while bench.metrics.slow.get() == 0 {
        pos += 1;
        assert!(pos < 60_000, "never too slow");
        bench.take(revocation(&bench, pos, pos));
        assert_eq!(quick.deltas().await.pos, pos);
    }
    let status = loop {
        if let Err(status) = slow.next().await {
            break status;
        }
    };
    assert_eq!(word(&status), (Code::ResourceExhausted, "reader_too_slow"));
    assert_eq!(bench.metrics.slow.get(), 1);
    let mut again = bench.join(1).await;
    again.snapshot().await;
    while again.deltas().await.pos < pos {}
}

#[tokio::test]
async fn reach_is_the_last_of_all_filters_until_it_refuses_by_itself() {
    let mut bench = Bench::loaded().await;
    let reach = |bench: &Bench| bench.reach.borrow().as_ref().map(|ack| ack.position.pos);
    assert_eq!(
        reach(&bench),
        None,
        "without filters there is nobody to wait for"
    );
    let mut one = bench.join(1).await;
    let mut two = bench.join(2).await;
    assert_eq!(reach(&bench), Some(0));
    for line in [&mut one, &mut two] {
        let epoch = line.snapshot().await.epoch;
        line.ack(&epoch, 10, 0).await;
    }
    bench.until("both", |bench| reach(bench) == Some(10)).await;
    assert_eq!((bench.metrics.vms.get(), bench.metrics.ready.get()), (2, 2));
    bench.take(revocation(&bench, 11, 1));
    let epoch = one.deltas().await.epoch;
    one.ack(&epoch, 11, 0).await;
    // Nobody is believed to be further than what was sent.
    two.ack(&[9; 16], 99, 0).await;
    bench.until("behind", |bench| reach(bench) == Some(0)).await;
    // It has made a report that never came: its end is not in order.
    two.ack(&epoch, 99, 1).await;
    bench
        .until("clipped", |bench| reach(bench) == Some(11))
        .await;

    bench.take(revocation(&bench, 12, 2));
    one.ack(&epoch, 12, 0).await;
    one.ping(1).await;
    drop(two);
    bench
        .until("gone", |bench| bench.metrics.vms.get() == 1)
        .await;
    assert_eq!(reach(&bench), Some(11), "gone is not yet silent");
    bench.world.clock.advance(Duration::from_secs(11));
    one.ping(2).await;
    assert_eq!(reach(&bench), Some(11));
    bench.world.clock.advance(Duration::from_millis(100));
    one.ping(3).await;
    assert_eq!(reach(&bench), Some(12), "by now it refuses by itself");
}
