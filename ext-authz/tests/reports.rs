//! What filters report: in the journal once, before it is acknowledged, and of the form our own refusals have.
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

use bench::{Bench, Line, MOST_VMS, hello, vm};
use common::{Asked, id, zone};
use ledger::event::{Event, EventKind, Outcome};
use mandate::id::{DecisionId, JournalId};
use tonic::Code;
use uuid::Uuid;
use wire::pb::caracal::filter::v1 as pb;

/// A refusal of the mandate that a world mints, by a filter.
fn denied(bench: &Bench, decision: u64) -> pb::Denied {
    let now = bench.world.clock.now().as_second();
    pb::Denied {
        decision_id: id(decision),
        request_id: "req-1".to_owned(),
        zone_id: zone(1).to_string(),
        binding: id(201),
        code: "scope_missing".to_owned(),
        method: "GET".to_owned(),
        template: "/v1/invoices/{id}".to_owned(),
        jti: id(100),
        session: id(102),
        application: id(9),
        subject: id(9),
        at_ns: bench.world.now_ns(),
        withdraws: false,
        sid: id(101),
        root_sid: id(101),
        exp: now + 600,
        scopes: "payments:write".to_owned(),
        labels: vec!["agent".to_owned()],
        epoch: vec![1; 16],
        pos: 10,
        forwarded: false,
        cut: false,
    }
}

fn count(bench: &Bench, code: &str, count: u64) -> pb::RefusalCount {
    pb::RefusalCount {
        binding: id(201),
        code: code.to_owned(),
        peer: "203.0.113.0/24".to_owned(),
        count,
        window_start_ns: bench.world.now_ns(),
        samples: Vec::new(),
        zone_id: zone(1).to_string(),
        last_ns: bench.world.now_ns(),
    }
}

fn report(seq: u64, counts: Vec<pb::RefusalCount>, denied: Vec<pb::Denied>) -> pb::Refusals {
    pb::Refusals {
        seq,
        counts,
        denied,
    }
}

/// An event without who wrote it, and under which id.
fn bare(event: &Event) -> Event {
    let mut event = event.clone();
    event.actor = None;
    event.decision_id = None;
    event.journal_id = JournalId::from_uuid(Uuid::nil());
    event.counter = 0;
    for sample in event.samples.iter_mut().flatten() {
        sample.decision_id = DecisionId::from_uuid(Uuid::nil());
    }
    event
}

async fn joined(bench: &Bench) -> Line {
    let mut line = bench.join(1).await;
    line.snapshot().await;
    line
}

#[tokio::test]
async fn a_refusal_reads_the_same_whoever_refused() {
    let bench = Bench::loaded().await;
    let mut line = joined(&bench).await;
    let mandate = bench
        .world
        .mandate(|claims| claims["scope"] = "payments:write".into());
    let asked = Asked::new().bearer(&mandate).request();
    bench.service.check.answer(&asked).await;
    bench.service.check.answer(&Asked::new().request()).await;
    bench.service.desk.flush().await;

    let mut missing = count(&bench, "credential_missing", 1);
    missing.samples.push(pb::Sample {
        decision_id: id(77),
        request_id: "req-1".to_owned(),
        method: "GET".to_owned(),
        at_ns: bench.world.now_ns(),
    });
    assert_eq!(
        line.report(report(1, vec![missing], vec![denied(&bench, 78)]))
            .await,
        1
    );

    let events = bench.events();
    let of = |code: &str| -> Vec<Event> {
        let found = events
            .iter()
            .filter(|event| event.code.as_deref() == Some(code));
        found.cloned().collect()
    };
    for code in ["scope_missing", "credential_missing"] {
        let found = of(code);
        assert_eq!(found.len(), 2, "{code}");
        assert_eq!(bare(&found[0]), bare(&found[1]), "{code}");
        assert_eq!(found[0].actor, None);
        assert_eq!(found[1].actor, Some(format!("filter/{}", vm(1))));
    }
    assert_eq!(
        of("scope_missing")[1].decision_id.unwrap().to_string(),
        id(78)
    );
}

#[tokio::test]
async fn what_comes_twice_is_written_once() {
    let bench = Bench::loaded().await;
    let mut line = joined(&bench).await;
    let first = report(
        1,
        vec![count(&bench, "malformed", 7)],
        vec![denied(&bench, 1)],
    );
    let second = report(2, Vec::new(), vec![denied(&bench, 2)]);
    assert_eq!(line.report(first.clone()).await, 1);
    assert_eq!(line.report(first.clone()).await, 1);
    drop(line);
    // On another stream, too, and with what came after it.
    let mut again = joined(&bench).await;
    assert_eq!(again.report(first).await, 1);
    assert_eq!(again.report(second).await, 2);
    let codes: Vec<_> = bench
        .events()
        .into_iter()
        .map(|event| event.code.unwrap())
        .collect();
    assert_eq!(codes, ["scope_missing", "malformed", "scope_missing"]);

    // A VM that another process served before goes on where it was.
    let came = pb::Hello {
        through_seq: 41,
        ..hello(2)
    };
    let mut other = bench.say(came).await.unwrap();
    assert_eq!(
        other
            .report(report(42, Vec::new(), vec![denied(&bench, 3)]))
            .await,
        42
    );
    assert_eq!(bench.metrics.lost.get(), 0);
}

#[tokio::test]
async fn reports_that_never_came_show() {
    let bench = Bench::loaded().await;
    let mut line = joined(&bench).await;
    assert_eq!(
        line.report(report(3, Vec::new(), vec![denied(&bench, 1)]))
            .await,
        3
    );
    let events = bench.events();
    let codes: Vec<_> = events
        .iter()
        .map(|event| event.code.as_deref().unwrap())
        .collect();
    assert_eq!(codes, ["vm_lost", "scope_missing"]);
    assert_eq!(
        (events[0].kind, events[0].zone),
        (EventKind::Refusals, Some(zone(1)))
    );
    assert!(events[0].detail.as_ref().unwrap().contains('3'));
}

#[tokio::test]
async fn an_allow_that_the_filter_did_not_act_on_is_taken_back() {
    let bench = Bench::loaded().await;
    let mut line = joined(&bench).await;
    let asked = Asked::new().bearer(&bench.world.mandate(|_| {})).request();
    bench.service.check.answer(&asked).await;
    let allow = bench.events().remove(0);
    assert_eq!(allow.decision, Some(Outcome::Allow));
    let back = |code: &str| pb::Denied {
        decision_id: allow.decision_id.unwrap().to_string(),
        withdraws: true,
        code: code.to_owned(),
        scopes: "payments:read".to_owned(),
        ..denied(&bench, 0)
    };
    let forwarded = pb::Denied {
        forwarded: true,
        ..back("revoked")
    };
    let cut = pb::Denied {
        cut: true,
        ..forwarded.clone()
    };
    let all = vec![back("unanswered"), back("revoked"), forwarded, cut];
    assert_eq!(line.report(report(1, Vec::new(), all)).await, 1);
    let unanswered = "takes back an allow that was not answered";
    let ended = "refused the answer to a request that had gone forward";
    let events = bench.events();
    assert_eq!(events.len(), 5);
    let cut = &events[4];
    assert_eq!((cut.kind, cut.decision), (EventKind::Outcome, None));
    assert_eq!(cut.code.as_deref(), Some("revoked"));
    assert_eq!(
        cut.detail.as_deref(),
        Some("cut off an answer that had begun")
    );
    assert_eq!(
        (cut.decision_id, cut.jti, cut.operation.as_ref()),
        (allow.decision_id, allow.jti, allow.operation.as_ref())
    );
    for (event, (outcome, code, detail)) in events[1..4].iter().zip([
        (Outcome::Unavailable, "unanswered", unanswered),
        (Outcome::Deny, "revoked", unanswered),
        (Outcome::Deny, "revoked", ended),
    ]) {
        assert_eq!(
            (event.decision, event.code.as_deref()),
            (Some(outcome), Some(code))
        );
        assert_eq!(event.decision_id, allow.decision_id);
        assert_eq!(event.detail.as_deref(), Some(detail));
        let mut same = bare(event);
        (same.decision, same.code, same.detail) = (allow.decision, allow.code.clone(), None);
        assert_eq!(same, bare(&allow));
    }
}

#[tokio::test]
async fn what_is_not_understood_is_counted_and_not_sent_again() {
    let bench = Bench::loaded().await;
    let mut line = joined(&bench).await;
    let counts = vec![
        count(&bench, "no_such_code", 5),
        pb::RefusalCount {
            zone_id: zone(2).to_string(),
            ..count(&bench, "malformed", 1)
        },
        pb::RefusalCount {
            binding: "b".to_owned(),
            ..count(&bench, "malformed", 0)
        },
    ];
    let wrong = |change: fn(&mut pb::Denied)| {
        let mut denied = denied(&bench, 1);
        change(&mut denied);
        denied
    };
    let denied = vec![
        wrong(|denied| denied.code = "unanswered".to_owned()),
        wrong(|denied| denied.zone_id = zone(2).to_string()),
        wrong(|denied| denied.zone_id.clear()),
        wrong(|denied| denied.decision_id = "1".to_owned()),
        wrong(|denied| denied.jti = "1".to_owned()),
        wrong(|denied| denied.template = "a b".to_owned()),
        wrong(|denied| denied.scopes = "a  b".to_owned()),
        wrong(|denied| denied.request_id = "a b".to_owned()),
    ];
    assert_eq!(line.report(report(1, counts, denied)).await, 1);
    let events = bench.events();
    let told: Vec<_> = events
        .iter()
        .map(|event| (event.code.as_deref().unwrap(), event.count))
        .collect();
    assert_eq!(
        told,
        [
            ("scope_missing", None),
            ("report_refused", Some(5 + 1 + 1 + 7))
        ]
    );
    assert_eq!(events[0].request_id, None, "clipped, not refused");
    assert_eq!(bench.metrics.items_refused.get(), 10);
    // Of a binding that belongs to another attachment.
    let mut both = bench
        .say(pb::Hello {
            attachment: "both".to_owned(),
            ..hello(2)
        })
        .await
        .unwrap();
    both.report(report(1, vec![count(&bench, "malformed", 1)], Vec::new()))
        .await;
    assert_eq!(
        bench.events().last().unwrap().code.as_deref(),
        Some("report_refused")
    );
}

#[tokio::test]
async fn without_the_journal_nothing_is_acknowledged_and_no_more_is_held_than_may_be() {
    let bench = Bench::loaded().await;
    let mut line = joined(&bench).await;
    bench.service.journal.close().await.unwrap();
    for seq in 1..=8 {
        line.send(pb::up::What::Refusals(report(
            seq,
            Vec::new(),
            vec![denied(&bench, seq)],
        )))
        .await;
    }
    assert!(
        line.ping(1).await.age_ms < 100,
        "memory is as fresh as before"
    );
    for seq in 9..=10 {
        line.send(pb::up::What::Refusals(report(
            seq,
            Vec::new(),
            vec![denied(&bench, seq)],
        )))
        .await;
    }
    let status = line.next().await.unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted);
    assert!(status.message().starts_with("too_many_reports"), "{status}");
}

#[tokio::test]
async fn a_report_too_large_ends_the_stream() {
    let bench = Bench::loaded().await;
    let mut line = joined(&bench).await;
    let many = (0..1_000).map(|n| denied(&bench, n)).collect();
    line.send(pb::up::What::Refusals(report(1, Vec::new(), many)))
        .await;
    assert_eq!(line.next().await.unwrap_err().code(), Code::OutOfRange);
    assert!(bench.events().is_empty());
}

#[tokio::test]
async fn a_vm_that_does_not_come_back_is_lost_once() {
    let bench = Bench::loaded().await;
    let mut orderly = bench.join(2).await;
    orderly
        .report(report(1, Vec::new(), vec![denied(&bench, 1)]))
        .await;
    // What is on its way is still written, acknowledged and read.
    let second = report(2, Vec::new(), vec![denied(&bench, 3)]);
    orderly.send(pb::up::What::Refusals(second)).await;
    orderly.close();
    bench
        .until("over", |bench| bench.metrics.vms.get() == 0)
        .await;
    assert_eq!(orderly.up_ack().await, 2);
    assert_eq!(orderly.next().await.unwrap_err().code(), Code::Ok);
    let mut line = joined(&bench).await;
    line.report(report(1, Vec::new(), vec![denied(&bench, 2)]))
        .await;
    line.ack(&[1; 16], 10, 3).await;
    line.ping(1).await;
    drop(line);
    bench
        .until("gone", |bench| bench.metrics.vms.get() == 0)
        .await;
    bench.world.clock.advance(Duration::from_secs(50));
    bench.sessions.report_lost().await;
    assert_eq!(bench.metrics.lost.get(), 0, "it may come back");
    bench.world.clock.advance(Duration::from_secs(11));
    for _ in 0..2 {
        bench.sessions.report_lost().await;
    }
    assert_eq!(bench.metrics.lost.get(), 1);
    let lost: Vec<_> = bench
        .events()
        .into_iter()
        .filter(|event| event.code.as_deref() == Some("vm_lost"))
        .collect();
    assert_eq!(lost.len(), 1);
    assert_eq!(lost[0].actor, Some(format!("filter/{}", vm(1))));
    assert!(
        lost[0]
            .detail
            .as_ref()
            .unwrap()
            .contains("3 reports, 1 arrived"),
        "{lost:?}"
    );
}

/// As a VM that trapped: its proxy keeps the stream, and nobody is behind it.
#[tokio::test]
async fn a_vm_that_falls_silent_makes_room_and_is_lost_once() {
    let bench = Bench::loaded().await;
    let (_silent, mut other) = (joined(&bench).await, bench.join(2).await);
    other.snapshot().await;
    bench.world.clock.advance(Duration::from_millis(11_001));
    other.ping(1).await;
    // As many as may be, but for the other.
    let mut more = Vec::new();
    for number in 3..MOST_VMS + 2 {
        more.push(bench.join(u8::try_from(number).unwrap()).await);
    }
    assert!(bench.say(hello(u8::MAX)).await.is_err(), "no more");
    bench.world.clock.advance(Duration::from_mins(1));
    for line in more.iter_mut().chain([&mut other]) {
        line.ping(2).await;
    }
    bench.sessions.report_lost().await;
    bench.sessions.report_lost().await;
    let events = bench.events();
    assert_eq!(bench.metrics.lost.get(), 1, "{events:?}");
    assert_eq!(events[0].code.as_deref(), Some("vm_lost"));
    assert_eq!(events[0].actor, Some(format!("filter/{}", vm(1))));
}

#[tokio::test]
async fn streams_on_which_nobody_asks_are_not_more_than_so_many_either() {
    let bench = Bench::loaded().await;
    let mut open = Vec::new();
    for number in 0..MOST_VMS * 4 {
        open.push(bench.join(u8::try_from(number).unwrap()).await);
        bench.world.clock.advance(Duration::from_secs(12));
    }
    let status = bench.say(hello(u8::MAX)).await.err().unwrap();
    assert!(status.message().starts_with("too_many_vms"), "{status}");
    drop(open.pop());
    let fewer = |bench: &Bench| bench.metrics.vms.get() == 11;
    bench.until("gone", fewer).await;
    bench.join(u8::MAX).await;
}

#[tokio::test]
async fn a_vm_that_is_forgotten_for_want_of_room_is_told_of_as_lost() {
    let bench = Bench::loaded().await;
    for number in 0..=MOST_VMS * 4 {
        let mut line = bench.join(u8::try_from(number).unwrap()).await;
        // It has made a report that never came.
        line.ack(&[1; 16], 10, 1).await;
        line.ping(1).await;
        drop(line);
        bench
            .until("gone", |bench| bench.metrics.vms.get() == 0)
            .await;
        bench.world.clock.advance(Duration::from_millis(1));
    }
    bench.sessions.report_lost().await;
    assert_eq!(bench.metrics.lost.get(), 1);
    assert_eq!(bench.events()[0].actor, Some(format!("filter/{}", vm(0))));
}
