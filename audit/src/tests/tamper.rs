//! Whoever has the database changes it in every way we can think of; the verification says where.

use mandate::id::ZoneId;

use super::stand::{Source, Stand, refusals, zone};
use crate::sweep::report::ZoneReport;

const EVENTS: usize = 12;

/// A ledger of twelve events, the fourth of them counted refusals.
async fn filled() -> Stand {
    let stand = Stand::new().await;
    let lease = stand.lease().await;
    let mut source = Source::new(1);
    let mut events = source.many(zone(1), 3);
    events.push(source.next_with(zone(1), refusals(zone(1), &[(1, "a"), (2, "b")])));
    events.extend(source.many(zone(1), EVENTS - 4));
    for part in events.chunks(5) {
        stand.append(&lease, zone(1), part).await.unwrap();
        stand.clock.advance(std::time::Duration::from_secs(1));
    }
    stand
        .append(&lease, zone(2), &source.many(zone(2), 3))
        .await
        .unwrap();
    assert!(stand.verify().await.ok);
    stand
}

fn places(report: &ZoneReport) -> Vec<u64> {
    report.findings.iter().map(|finding| finding.seq).collect()
}

/// Breaks a fresh ledger of the first zone with SQL; its report, by a process that has seen it whole or by one that
/// has not.
async fn after(sql: &str, seen: bool) -> ZoneReport {
    let stand = filled().await;
    stand
        .break_in(&sql.replace("ZONE", &format!("'{}'", zone(1))))
        .await;
    let stand = if seen {
        stand
    } else {
        Stand::on(stand.db.clone()).await
    };
    let report = stand.verify().await;
    assert!(!report.ok, "{sql}");
    let of = |zone: ZoneId| {
        report
            .zones
            .iter()
            .find(|report| report.zone == zone.to_string())
            .cloned()
    };
    assert!(
        of(zone(2)).unwrap().findings.is_empty(),
        "{sql}: the other zone is sound"
    );
    assert!(stand.metrics.tamper_open.get() > 0, "{sql}");
    of(zone(1)).unwrap()
}

#[tokio::test]
async fn an_edited_column_is_found_at_its_event_whichever_it_is() {
    let edits = [
        "journal_id = gen_random_uuid()",
        "counter = counter + 100",
        "kind = 'mint'",
        "at = at + interval '1 microsecond'",
        "decision = 'unavailable'",
        "code = 'x'",
        "code = NULL",
        "decision_id = gen_random_uuid()",
        "request_id = 'x'",
        "application_id = NULL",
        "session_id = gen_random_uuid()",
        "resource = 'https://x'",
        "operation = '/x'",
        "jti = NULL",
        "sid = gen_random_uuid()",
        "policy_version = gen_random_uuid()",
        "count = 1",
        "sample_ids = ARRAY[gen_random_uuid()]",
    ];
    let stand = filled().await;
    let zone_id = zone(1);
    for (index, edit) in edits.iter().enumerate() {
        let seq = index % EVENTS + 1;
        let place = format!("WHERE zone_id = '{zone_id}' AND seq = {seq}");
        stand
            .break_in(&format!(
                "CREATE TABLE kept AS SELECT * FROM audit_events {place};
                 UPDATE audit_events SET {edit} {place}"
            ))
            .await;
        let report = stand.verify_zone(zone_id).await;
        assert_eq!(
            places(&report),
            [u64::try_from(seq).unwrap()],
            "{edit}: {report:?}"
        );
        let column = edit.split(' ').next().unwrap();
        assert!(
            report.findings[0].what.contains(column),
            "{edit}: {report:?}"
        );
        assert_eq!(report.layers["columns"], "failed");
        assert_eq!(report.layers["chain"], "ok");
        stand
            .break_in(&format!(
                "DELETE FROM audit_events {place};
                 INSERT INTO audit_events SELECT * FROM kept;
                 DROP TABLE kept"
            ))
            .await;
        assert!(
            stand.verify_zone(zone_id).await.findings.is_empty(),
            "{edit}: put back"
        );
    }
}

#[tokio::test]
async fn an_edited_leaf_is_found_at_its_event() {
    let report = after(
        "UPDATE audit_events SET leaf = set_byte(leaf, 200, get_byte(leaf, 200) # 1) WHERE zone_id = ZONE AND seq = 6",
        false,
    )
    .await;
    assert!(
        !report.findings.is_empty() && places(&report).iter().all(|seq| *seq == 6),
        "{report:?}"
    );
    assert_eq!(report.layers["signatures"], "failed");
    assert_eq!(report.layers["chain"], "failed");
    assert_eq!(report.events, 12);
}

#[tokio::test]
async fn a_leaf_exchanged_for_another_genuine_one_is_found() {
    let report = after(
        "UPDATE audit_events SET leaf = (SELECT o.leaf FROM audit_events o WHERE o.zone_id = ZONE AND o.seq = 7)
          WHERE zone_id = ZONE AND seq = 6",
        false,
    )
    .await;
    assert!(places(&report).contains(&6), "{report:?}");
    assert_eq!(report.layers["signatures"], "ok");
    assert_eq!(report.layers["chain"], "failed");
}

#[tokio::test]
async fn an_edited_link_is_found_at_its_event_only() {
    let report = after(
        "UPDATE audit_events SET link = set_byte(link, 0, get_byte(link, 0) # 1) WHERE zone_id = ZONE AND seq = 6",
        false,
    )
    .await;
    assert_eq!(places(&report), [6], "{report:?}");
}

#[tokio::test]
async fn deleted_events_are_found_at_the_first_of_them() {
    for (sql, first) in [
        ("seq = 1", 1),
        ("seq = 6", 6),
        ("seq BETWEEN 4 AND 8", 4),
        ("seq = 12", 12),
        ("seq > 9", 10),
        ("seq > 0", 1),
    ] {
        let sql = format!("DELETE FROM audit_events WHERE zone_id = ZONE AND {sql}");
        let report = after(&sql, false).await;
        assert_eq!(places(&report), [first], "{sql}: {report:?}");
        assert_eq!(report.layers["sequence"], "failed");
    }
}

#[tokio::test]
async fn a_deleted_head_is_found() {
    let report = after("DELETE FROM ledger_heads WHERE zone_id = ZONE", false).await;
    assert_eq!(places(&report), [12], "{report:?}");
    assert!(report.head.is_none());
}

#[tokio::test]
async fn a_zone_of_which_only_cursors_are_left_is_found() {
    let report = after(
        "DELETE FROM audit_events WHERE zone_id = ZONE; DELETE FROM ledger_heads WHERE zone_id = ZONE",
        false,
    )
    .await;
    assert_eq!(places(&report), [1], "{report:?}");
    assert_eq!(report.events, 0);
}

#[tokio::test]
async fn whoever_has_seen_a_ledger_finds_that_it_was_rewound_or_removed() {
    let report = after(
        "DELETE FROM audit_events WHERE zone_id = ZONE AND seq > 9;
         UPDATE ledger_heads
            SET seq = 9,
                link = (SELECT link FROM audit_events WHERE zone_id = ZONE AND seq = 9),
                updated_at = (SELECT appended_at FROM audit_events WHERE zone_id = ZONE AND seq = 9)
          WHERE zone_id = ZONE;
         UPDATE journal_cursors SET counter = 9, hash = sha256('\\x00'::bytea ||
                (SELECT leaf FROM audit_events WHERE zone_id = ZONE AND seq = 9)) WHERE zone_id = ZONE",
        true,
    )
    .await;
    assert_eq!(places(&report), [10], "{report:?}");
    assert!(report.findings[0].what.contains("rewound"), "{report:?}");
    let report = after(
        "DELETE FROM audit_events WHERE zone_id = ZONE; DELETE FROM ledger_heads WHERE zone_id = ZONE;
         DELETE FROM journal_cursors WHERE zone_id = ZONE; DELETE FROM chain_keys WHERE zone_id = ZONE",
        true,
    )
    .await;
    assert_eq!(places(&report), [1], "{report:?}");
}

#[tokio::test]
async fn an_inserted_event_is_found() {
    let columns = "journal_id, counter, kind, at, decision, code, decision_id, request_id, application_id,
                   session_id, resource, operation, jti, sid, policy_version, count, sample_ids, link, leaf";
    let insert = |seq: &str, at: &str, from: u64| {
        format!(
            "INSERT INTO audit_events (zone_id, seq, appended_at, {columns})
             SELECT zone_id, {seq}, {at}, {columns} FROM audit_events WHERE zone_id = ZONE AND seq = {from}"
        )
    };
    // Behind the end.
    let report = after(&insert("13", "appended_at", 12), false).await;
    assert!(places(&report).iter().all(|seq| *seq >= 13), "{report:?}");
    assert_eq!(report.layers["head"], "failed");
    // The number of another, in another month's partition: before or behind the genuine one.
    for (interval, from) in [("- interval '40 days'", 6), ("+ interval '40 days'", 7)] {
        let sql = format!(
            "SELECT audit_make_partition((SELECT max(appended_at) FROM audit_events) {interval}); {}",
            insert("6", &format!("appended_at {interval}"), from)
        );
        let report = after(&sql, false).await;
        assert!(places(&report).contains(&6), "{report:?}");
        assert!(
            report
                .findings
                .iter()
                .any(|finding| finding.what.contains("another event with this number"))
        );
        assert!(report.findings.len() <= 4, "{report:?}");
    }
}

#[tokio::test]
async fn exchanged_numbers_are_found() {
    let report = after(
        "UPDATE audit_events SET seq = 100 WHERE zone_id = ZONE AND seq = 6;
         UPDATE audit_events SET seq = 6 WHERE zone_id = ZONE AND seq = 7;
         UPDATE audit_events SET seq = 7 WHERE zone_id = ZONE AND seq = 100",
        false,
    )
    .await;
    assert!(places(&report).contains(&6), "{report:?}");
    assert!(
        places(&report).iter().all(|seq| (6..=9).contains(seq)),
        "{report:?}"
    );
    assert_eq!(report.layers["chain"], "failed");
    assert_eq!(report.layers["counters"], "failed");
}

#[tokio::test]
async fn times_of_appending_that_do_not_rise_are_found() {
    let report = after(
        "UPDATE audit_events SET appended_at = appended_at - interval '2 seconds' WHERE zone_id = ZONE AND seq = 11",
        false,
    )
    .await;
    assert_eq!(places(&report), [11], "{report:?}");
}

#[tokio::test]
async fn a_chain_key_that_is_gone_or_exchanged_is_found() {
    let report = after("DELETE FROM chain_keys WHERE zone_id = ZONE", false).await;
    assert_eq!(places(&report), [1], "{report:?}");
    // Another zone's key does not open here.
    let sql = format!(
        "UPDATE chain_keys SET sealed = (SELECT o.sealed FROM chain_keys o WHERE o.zone_id = '{}') WHERE zone_id = ZONE",
        zone(2)
    );
    let report = after(&sql, false).await;
    assert_eq!(places(&report), [1], "{report:?}");
}

#[tokio::test]
async fn a_moved_cursor_is_found() {
    let report = after(
        "UPDATE journal_cursors SET counter = 11 WHERE zone_id = ZONE",
        false,
    )
    .await;
    assert_eq!(places(&report), [13], "{report:?}");
    let report = after("DELETE FROM journal_cursors WHERE zone_id = ZONE", false).await;
    assert_eq!(places(&report), [13], "{report:?}");
}

#[tokio::test]
async fn a_verification_that_sees_nothing_is_no_good_news() {
    let stand = Stand::new().await;
    let report = stand.verify().await;
    assert!(!report.ok && report.zones.is_empty());
    assert!(stand.sweep.verify(Some(zone(1))).await.is_err());
}

#[tokio::test]
async fn findings_stay_open_when_they_are_found_again() {
    let stand = filled().await;
    stand
        .break_in("UPDATE audit_events SET code = 'x' WHERE seq = 2")
        .await;
    stand.verify().await;
    let open = stand.metrics.tamper_open.get();
    stand.verify().await;
    assert_eq!(
        (open, stand.metrics.tamper_open.get()),
        (2, 2),
        "one in each zone"
    );
}
