use ledger::event::{Event, EventKind};
use mandate::id::JournalId;
use uuid::Uuid;

use super::stand::{Source, Stand, decision, refusals, signer, zone};
use crate::SYSTEM;
use crate::ingest::append::AppendError;
use crate::ingest::screen::Poison;

#[tokio::test]
async fn appending_the_same_again_changes_nothing() {
    let stand = Stand::new().await;
    let lease = stand.lease().await;
    let events = Source::new(1).many(zone(1), 20);
    let first = stand.append(&lease, zone(1), &events).await.unwrap();
    assert_eq!((first.events, first.repeated, first.early), (20, 0, 0));
    for part in [&events[..], &events[..7], &events[15..], &events[19..]] {
        let again = stand.append(&lease, zone(1), part).await.unwrap();
        assert_eq!(
            (again.events, again.repeated, again.cases),
            (0, part.len(), 0)
        );
        assert_eq!(
            again
                .marks
                .values()
                .map(|mark| mark.counter)
                .collect::<Vec<_>>(),
            [20]
        );
    }
    assert_eq!(stand.count(zone(1)).await, 20);
    assert!(stand.verify().await.ok);
}

#[tokio::test]
async fn what_comes_too_early_waits_for_what_is_missing() {
    let stand = Stand::new().await;
    let lease = stand.lease().await;
    let events = Source::new(1).many(zone(1), 10);
    let early = stand.append(&lease, zone(1), &events[4..]).await.unwrap();
    assert_eq!((early.events, early.early), (0, 6));
    assert!(early.marks.is_empty());
    stand.append(&lease, zone(1), &events[..6]).await.unwrap();
    let rest = stand.append(&lease, zone(1), &events[4..]).await.unwrap();
    assert_eq!((rest.events, rest.repeated), (4, 2));
    assert!(stand.verify().await.ok);
}

#[tokio::test]
async fn zones_and_journals_have_chains_and_counters_of_their_own() {
    let stand = Stand::new().await;
    let lease = stand.lease().await;
    let (mut one, mut other) = (Source::new(1), Source::new(2));
    for ledger in [zone(1), zone(2), SYSTEM] {
        for _ in 0..3 {
            let mut events = one.many(ledger, 4);
            events.extend(other.many(ledger, 3));
            stand.append(&lease, ledger, &events).await.unwrap();
        }
    }
    let report = stand.verify().await;
    assert!(report.ok, "{report:?}");
    let counts: Vec<(String, u64)> = report
        .zones
        .iter()
        .map(|zone| (zone.zone.clone(), zone.events))
        .collect();
    assert_eq!(counts[0], ("system".to_owned(), 21));
    assert_eq!(counts[1], (zone(1).to_string(), 21));
    assert_eq!(counts.len(), 3);
}

#[tokio::test]
async fn two_events_with_one_number_are_a_tamper_case() {
    let stand = Stand::new().await;
    let lease = stand.lease().await;
    let mut source = Source::new(1);
    let events = source.many(zone(1), 5);
    stand.append(&lease, zone(1), &events).await.unwrap();
    for counter in [2, 5] {
        let mut other = decision(zone(1), 77);
        other.counter = counter;
        other.journal_id = source.journal;
        let other = [source.wrap(&other)];
        assert_eq!(
            stand.append(&lease, zone(1), &other).await.unwrap().cases,
            1
        );
        // However often it comes, it is one case.
        assert_eq!(
            stand.append(&lease, zone(1), &other).await.unwrap().cases,
            0
        );
    }
    stand.alarm.look().await.unwrap();
    assert_eq!(stand.metrics.tamper_open.get(), 2);
    let report = stand.readiness.report();
    assert!(report.ready);
    assert!(
        report.notes["tamper"].starts_with("open: 2"),
        "{:?}",
        report.notes
    );
    assert_eq!(stand.count(zone(1)).await, 5);
    assert!(stand.verify_zone(zone(1)).await.findings.is_empty());
}

#[tokio::test]
async fn an_event_that_was_taken_and_is_gone_is_a_tamper_case_when_it_comes_again() {
    let stand = Stand::new().await;
    let lease = stand.lease().await;
    let events = Source::new(1).many(zone(1), 5);
    stand.append(&lease, zone(1), &events).await.unwrap();
    stand
        .break_in("DELETE FROM audit_events WHERE seq = 2")
        .await;
    let again = stand.append(&lease, zone(1), &events).await.unwrap();
    assert_eq!((again.events, again.cases), (0, 1));
}

#[tokio::test]
async fn whoever_lost_the_lease_appends_nothing() {
    let stand = Stand::new().await;
    let old = stand.lease().await;
    let mut source = Source::new(1);
    stand
        .append(&old, zone(1), &source.many(zone(1), 2))
        .await
        .unwrap();
    stand.clock.advance(std::time::Duration::from_secs(4));
    let new = stand.lease().await;
    assert_eq!(new.term, old.term + 1);
    let events = source.many(zone(1), 2);
    let fenced = stand.append(&old, zone(1), &events).await.unwrap_err();
    assert!(matches!(fenced, AppendError::Fenced), "{fenced:?}");
    assert_eq!(stand.count(zone(1)).await, 2);
    stand.append(&new, zone(1), &events).await.unwrap();
    assert!(stand.verify().await.ok);
}

#[tokio::test]
async fn a_clock_set_back_keeps_the_order_of_the_partitions() {
    let stand = Stand::new().await;
    let lease = stand.lease().await;
    let mut source = Source::new(1);
    stand
        .append(&lease, zone(1), &source.many(zone(1), 2))
        .await
        .unwrap();
    stand
        .clock
        .set(jiff::Timestamp::from_second(super::stand::START - 90 * 86_400).unwrap());
    stand
        .append(&lease, zone(1), &source.many(zone(1), 2))
        .await
        .unwrap();
    assert!(stand.verify().await.ok);
}

fn poison(stand: &Stand, source: &Source, event: &Event) -> Poison {
    stand.screen(&source.wrap(event)).unwrap_err()
}

#[tokio::test]
async fn only_what_its_producer_may_say_and_said_is_evidence() {
    let stand = Stand::new().await;
    let mut source = Source::new(1);
    let fine = source.next(zone(1));
    stand.screen(&fine).unwrap();

    let mut forged = fine.clone();
    forged.envelope.at += 1;
    assert_eq!(stand.screen(&forged).unwrap_err(), Poison::SignatureInvalid);

    let mut event = decision(zone(1), 1);
    (event.counter, event.journal_id) = (1, source.journal);
    event.kind = EventKind::Mint;
    assert_eq!(poison(&stand, &source, &event), Poison::KindNotAllowed);
    event.kind = EventKind::Decision;

    let stranger = Source::of("stranger", "ext-authz", 1);
    assert_eq!(poison(&stand, &stranger, &event), Poison::KeyUnknown);
    let poser = Source::of("ext-authz-1", "sts", 1);
    assert_eq!(poison(&stand, &poser, &event), Poison::WrongProducer);

    event.code = Some("a\0b".to_owned());
    assert_eq!(poison(&stand, &source, &event), Poison::Unstorable);
    event.code = None;
    event.counter = 0;
    assert_eq!(poison(&stand, &source, &event), Poison::Contradiction);
    event.counter = 1;
    event.zone = Some(SYSTEM);
    assert_eq!(poison(&stand, &source, &event), Poison::ZoneReserved);
}

#[tokio::test]
async fn what_came_by_the_outbox_is_its_writers_word() {
    let stand = Stand::new().await;
    let outbox = Source::of("outbox-1", "outbox", 5);
    let numbered = |event: Event| {
        let mut event = event;
        event.counter = 1;
        event.journal_id = JournalId::from_uuid(Uuid::from_u128(0xa005));
        event
    };
    let mut mint = decision(zone(1), 1);
    mint.kind = EventKind::Mint;
    assert_eq!(
        poison(&stand, &outbox, &numbered(mint.clone())),
        Poison::OriginInvalid
    );
    let signed = numbered(mint.clone().sign_origin(&signer("sts-1")));
    stand.screen(&outbox.wrap(&signed)).unwrap();
    // The sequencer cannot change what the writer wrote, nor say it for somebody who may not.
    let mut changed = signed.clone();
    changed.code = Some("denied".to_owned());
    assert_eq!(poison(&stand, &outbox, &changed), Poison::OriginInvalid);
    let by_other = numbered(mint.sign_origin(&signer("ext-authz-1")));
    assert_eq!(poison(&stand, &outbox, &by_other), Poison::OriginInvalid);
}

#[tokio::test]
async fn counted_refusals_are_appended_with_their_samples() {
    let stand = Stand::new().await;
    let lease = stand.lease().await;
    let mut source = Source::new(1);
    let events = [
        source.next_with(SYSTEM, refusals(SYSTEM, &[(1, "a"), (2, "b")])),
        source.next_with(SYSTEM, refusals(SYSTEM, &[(3, "c")])),
        source.next(SYSTEM),
    ];
    stand.append(&lease, SYSTEM, &events).await.unwrap();
    let report = stand.verify().await;
    assert!(report.ok, "{report:?}");
}
