//! What each role of the ledger can see and do.

use chassis::db::{Pool, Store};
use sqlx::{AssertSqlSafe, PgPool};

use super::stand::{Source, Stand, zone};
use crate::config::{OPERATOR, READER, WRITER};

async fn filled() -> Stand {
    let stand = Stand::new().await;
    let lease = stand.lease().await;
    for ledger in [zone(1), zone(2)] {
        stand
            .append(&lease, ledger, &Source::new(1).many(ledger, 3))
            .await
            .unwrap();
    }
    stand
}

/// Runs a statement in a zone's transaction; how many rows, or the SQLSTATE of the refusal.
async fn run(pool: &PgPool, role: &str, sql: &str) -> Result<u64, String> {
    let store = Store::new(Pool::of(pool.clone(), role));
    let mut tx = store.begin(zone(1)).await.unwrap();
    let done = sqlx::query(AssertSqlSafe(sql.to_owned()))
        .execute(tx.as_mut())
        .await;
    done.map(|done| done.rows_affected()).map_err(|error| {
        error
            .as_database_error()
            .and_then(sqlx::error::DatabaseError::code)
            .unwrap_or_default()
            .into_owned()
    })
}

const TABLES: [&str; 4] = [
    "audit_events",
    "ledger_heads",
    "journal_cursors",
    "tamper_cases",
];

#[tokio::test]
async fn one_zones_transaction_sees_and_counts_that_zone_only() {
    let stand = filled().await;
    for role in [READER, WRITER] {
        let pool = stand.db.pool(role).await;
        for table in TABLES {
            let others = format!("SELECT 1 FROM {table} WHERE zone_id <> '{}'", zone(1));
            assert_eq!(run(&pool, role, &others).await, Ok(0), "{role} {table}");
        }
        assert_eq!(run(&pool, role, "SELECT 1 FROM audit_events").await, Ok(3));
        let unset: i64 = sqlx::query_scalar("SELECT count(*) FROM audit_events")
            .fetch_one(&pool)
            .await
            .unwrap();
        assert_eq!(unset, 0, "{role} without a zone");
    }
    let partition: String = sqlx::query_scalar(
        "SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = 'audit_events'::regclass LIMIT 1",
    )
    .fetch_one(&stand.db.superuser().await)
    .await
    .unwrap();
    for role in [READER, WRITER, OPERATOR] {
        let pool = stand.db.pool(role).await;
        let refused = run(&pool, role, &format!("SELECT 1 FROM {partition}")).await;
        assert_eq!(
            refused,
            Err("42501".to_owned()),
            "{role} reads no partition by itself"
        );
    }
}

#[tokio::test]
async fn nobody_changes_or_removes_evidence() {
    let stand = filled().await;
    for role in [READER, WRITER, OPERATOR] {
        let pool = stand.db.pool(role).await;
        for sql in [
            "UPDATE audit_events SET code = 'x'",
            "DELETE FROM audit_events",
            "TRUNCATE audit_events",
            "DELETE FROM ledger_heads",
            "DELETE FROM journal_cursors",
            "DELETE FROM tamper_cases",
            "UPDATE tamper_cases SET what = 'x'",
            "DELETE FROM chain_keys",
            "UPDATE chain_keys SET sealed = sealed",
            "SET LOCAL session_replication_role = 'replica'",
        ] {
            assert_eq!(
                run(&pool, role, sql).await,
                Err("42501".to_owned()),
                "{role}: {sql}"
            );
        }
    }
}

#[tokio::test]
async fn the_writer_writes_its_zone_only_and_readers_nothing() {
    let stand = filled().await;
    let mark = |zone| {
        format!(
            "INSERT INTO journal_cursors (zone_id, journal_id, counter, hash)
             VALUES ('{zone}', gen_random_uuid(), 1, sha256('x'))"
        )
    };
    let writer = stand.db.pool(WRITER).await;
    assert_eq!(run(&writer, WRITER, &mark(zone(1))).await, Ok(1));
    assert_eq!(
        run(&writer, WRITER, &mark(zone(2))).await,
        Err("42501".to_owned())
    );
    let other = format!(
        "UPDATE ledger_heads SET seq = 99 WHERE zone_id = '{}'",
        zone(2)
    );
    assert_eq!(run(&writer, WRITER, &other).await, Ok(0));
    for role in [READER, OPERATOR] {
        let pool = stand.db.pool(role).await;
        assert_eq!(
            run(&pool, role, &mark(zone(1))).await,
            Err("42501".to_owned()),
            "{role}"
        );
    }
}

#[tokio::test]
async fn only_the_writer_can_open_chain_keys() {
    let stand = filled().await;
    for (role, table) in [
        (READER, "zone_keys"),
        (OPERATOR, "zone_keys"),
        (OPERATOR, "chain_keys"),
    ] {
        let pool = stand.db.pool(role).await;
        let refused = run(&pool, role, &format!("SELECT sealed FROM {table}")).await;
        assert_eq!(refused, Err("42501".to_owned()), "{role} {table}");
    }
}
