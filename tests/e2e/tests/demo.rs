//! The walk of the README, and what happens when someone edits the evidence afterwards.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

use e2e::{Options, Stack};
use sqlx::Executor as _;

/// Every case of issue's walk, by the name `caracal demo` gives it.
const CASES: [&str; 10] = [
    "no_mandate",
    "allowed",
    "missing_scope",
    "wrong_zone",
    "other_resource",
    "other_binding",
    "expired",
    "session_revoked",
    "application_cut_off",
    "application_enabled",
];

#[tokio::test]
async fn every_case_of_the_demo_comes_out_and_an_edited_row_is_named() {
    let stack = Stack::start(&Options::default());

    let lines = stack.ok(&["demo"]).lines();
    let (summary, cases) = lines.split_last().expect("a summary");
    assert_eq!(summary["ok"], true, "{lines:#?}");
    for name in CASES {
        let case = cases
            .iter()
            .find(|case| case["case"] == name)
            .unwrap_or_else(|| panic!("no case {name}"));
        assert_eq!(case["status"], case["expected"], "{case}");
        assert_eq!(case["in_ledger"], true, "{case}");
    }
    println!(
        "{} cases, revocation reached Envoy in {} ms",
        cases.len(),
        summary["revoke_ms"]
    );

    let verified = stack.ok(&["audit", "verify"]).json();
    assert_eq!(verified["ok"], true, "{verified}");

    let mut superuser = stack.superuser().await;
    let (zone, seq): (uuid::Uuid, i64) = sqlx::query_as(
        "SELECT zone_id, seq FROM audit_events WHERE decision = 'allow' ORDER BY seq LIMIT 1",
    )
    .fetch_one(&mut superuser)
    .await
    .unwrap();
    superuser
        .execute("SET session_replication_role = replica")
        .await
        .unwrap();
    let edited =
        sqlx::query("UPDATE audit_events SET decision = 'deny' WHERE zone_id = $1 AND seq = $2")
            .bind(zone)
            .bind(seq)
            .execute(&mut superuser)
            .await
            .unwrap();
    assert_eq!(edited.rows_affected(), 1);

    let output = stack.run(&["audit", "verify"]);
    assert_eq!(output.code, 4, "{}{}", output.stdout, output.stderr);
    let report = output.json();
    let finding = report["zones"]
        .as_array()
        .into_iter()
        .flatten()
        .find(|entry| entry["zone"] == zone.to_string())
        .map(|entry| entry["findings"].clone())
        .expect("the zone in the report");
    assert!(
        finding
            .as_array()
            .unwrap()
            .iter()
            .any(|finding| finding["seq"] == seq),
        "{report}"
    );
}
