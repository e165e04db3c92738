//! What is over goes in time, and nothing else does.

use sqlx::Executor as _;

use super::bench::Bench;

async fn count(bench: &Bench, table: &str) -> i64 {
    sqlx::query_scalar(sqlx::AssertSqlSafe(format!("SELECT count(*) FROM {table}")))
        .fetch_one(bench.superuser())
        .await
        .unwrap()
}

#[tokio::test]
async fn what_is_over_and_kept_long_enough_is_removed_and_nothing_else() {
    let bench = Bench::start().await;
    let zone = bench.zone().await;
    let application = bench.application(&zone).await;
    bench.session(&zone, &application).await;
    let before = (
        count(&bench, "idempotency_receipts").await,
        count(&bench, "anchors").await,
        count(&bench, "sessions").await,
    );
    // 1,500 of each that are over, more than one step takes; and one of each that is not.
    let rows = format!(
        "INSERT INTO idempotency_receipts (zone_id, key_digest, request_digest, status, created_at)
                 SELECT '{zone}', sha256(n::text::bytea), sha256('r'), 201, now() - make_interval(hours => CASE WHEN n = 0 THEN 23 ELSE 25 END)
                 FROM generate_series(0, 1500) AS n;
                 INSERT INTO authority_records (zone_id, id, root_id, application_id, usage, expires_at, created_at)
                 SELECT '{zone}', ('00000000-0000-7000-8000-' || lpad(n::text, 12, '0'))::uuid, gen_random_uuid(), '{application}', 'resource',
                        now() - make_interval(hours => CASE WHEN n = 0 THEN 23 ELSE 25 END), now() - interval '30 hours'
                 FROM generate_series(0, 1500) AS n;
                 INSERT INTO anchors (zone_id, kind, id)
                 SELECT zone_id, 'record', id::text FROM authority_records;
                 INSERT INTO anchors (zone_id, kind, id, dead_until)
                 SELECT '{zone}', 'mandate', 'm' || n, now() - make_interval(hours => CASE WHEN n = 0 THEN 23 ELSE 25 END)
                 FROM generate_series(0, 1500) AS n;"
    );
    bench
        .superuser()
        .execute(sqlx::AssertSqlSafe(rows))
        .await
        .unwrap();
    bench.retain().await;
    let after = (
        count(&bench, "idempotency_receipts").await,
        count(&bench, "anchors").await,
        count(&bench, "sessions").await,
    );
    // One receipt; the anchors of one record and one mandate.
    assert_eq!(after, (before.0 + 1, before.1 + 2, before.2));
    assert_eq!(count(&bench, "authority_records").await, 1);
    bench.retain().await;
    assert_eq!(count(&bench, "authority_records").await, 1);
}
