//! From each service's own role, with one zone set: another zone's rows are neither read, written, referenced nor
//! detected, in any table.
#![expect(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod seed;

use std::collections::BTreeSet;

use kit::{Role, TestDb};
use seed::ROWS;
use sqlx::postgres::PgPoolOptions;
use sqlx::{AssertSqlSafe, Executor as _, PgConnection, PgPool};
use uuid::Uuid;

const OURS: Uuid = Uuid::from_u128(0x0a);
const THEIRS: Uuid = Uuid::from_u128(0x0b);
/// Nobody's.
const NOWHERE: Uuid = Uuid::from_u128(0x0c);
/// `insufficient_privilege`, of a grant that is missing and of row-level security alike.
const REFUSED: &str = "42501";

/// Who reads across zones, which is what the role is for. The keeper is not here: of zones that are not waiting for a
/// key it sees its own only.
const READS_ACROSS: [(Role, &[&str]); 5] = [
    (Role::Operator, &["zones"]),
    (
        Role::Snapshot,
        &[
            "zones",
            "anchors",
            "signing_keys",
            "resources",
            "bindings",
            "policies",
            "policy_heads",
        ],
    ),
    (Role::Sequencer, &["outbox", "outbox_counters"]),
    (
        Role::AuditOperator,
        &[
            "ledger_heads",
            "journal_cursors",
            "audit_events",
            "tamper_cases",
        ],
    ),
    (
        Role::Retention,
        &["anchors", "authority_records", "idempotency_receipts"],
    ),
];

fn reads_across(role: Role, table: &str) -> bool {
    READS_ACROSS
        .iter()
        .any(|(known, tables)| *known == role && tables.contains(&table))
}

async fn two_zones() -> (TestDb, PgPool) {
    let db = kit::database().await;
    let superuser = db.superuser().await;
    seed::zone(&superuser, OURS).await.unwrap();
    seed::zone(&superuser, THEIRS).await.unwrap();
    (db, superuser)
}

/// Runs `statement` as `role` with `zone` set, undone afterwards; gives the affected or counted rows, or SQLSTATE and
/// message.
async fn attempt(
    pool: &PgPool,
    zone: Option<Uuid>,
    statement: &str,
) -> Result<u64, (String, String)> {
    let mut tx = pool.begin().await.unwrap();
    set(&mut tx, zone).await;
    let done = tx.execute(AssertSqlSafe(statement.to_owned())).await;
    tx.rollback().await.unwrap();
    done.map(|done| done.rows_affected()).map_err(|error| {
        let error = error
            .into_database_error()
            .unwrap_or_else(|| panic!("{statement}"));
        (
            error.code().unwrap_or_default().into_owned(),
            error.message().to_owned(),
        )
    })
}

async fn set(connection: &mut PgConnection, zone: Option<Uuid>) {
    if let Some(zone) = zone {
        sqlx::query("SELECT set_config('caracal.zone_id', $1, true)")
            .bind(zone.to_string())
            .execute(connection)
            .await
            .unwrap();
    }
}

async fn login(db: &TestDb, role: Role) -> PgPool {
    PgPoolOptions::new()
        .max_connections(1)
        .connect_with(db.options(role.name()))
        .await
        .unwrap()
}

/// The columns of a table that a role may update.
async fn updatable(superuser: &PgPool, role: Role, table: &str) -> Vec<String> {
    sqlx::query_scalar(
        "SELECT attname::text FROM pg_attribute
         WHERE attrelid = $2::regclass AND attnum > 0 AND NOT attisdropped
           AND has_column_privilege($1, $2, attname, 'UPDATE')",
    )
    .bind(role.name())
    .bind(table)
    .fetch_all(superuser)
    .await
    .unwrap()
}

#[tokio::test]
async fn the_rows_cover_every_table_of_a_zone() {
    let (_db, superuser) = two_zones().await;
    let tables: Vec<String> = sqlx::query_scalar(
        "SELECT c.relname::text FROM pg_class AS c
         JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attname = 'zone_id'
         WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p') AND NOT c.relispartition
           AND c.relrowsecurity",
    )
    .fetch_all(&superuser)
    .await
    .unwrap();
    let tables: BTreeSet<&str> = tables.iter().map(String::as_str).collect();
    assert_eq!(tables, ROWS.iter().map(|(table, _)| *table).collect());
}

#[tokio::test]
async fn another_zones_rows_are_not_read() {
    let (db, _superuser) = two_zones().await;
    let mut readable = 0;
    for role in Role::ALL {
        let pool = login(&db, role).await;
        for (table, _) in ROWS {
            let theirs = format!("SELECT zone_id FROM {table} WHERE zone_id = '{THEIRS}'");
            let expected = u64::from(reads_across(role, table));
            for zone in [Some(OURS), Some(NOWHERE), None] {
                match attempt(&pool, zone, &theirs).await {
                    Ok(rows) => assert_eq!(rows, expected, "{role} {table} {zone:?}"),
                    Err((code, _)) => {
                        assert_eq!((code.as_str(), expected), (REFUSED, 0), "{role} {table}");
                    }
                }
            }
            let ours = format!("SELECT zone_id FROM {table} WHERE zone_id = '{OURS}'");
            readable += attempt(&pool, Some(OURS), &ours).await.unwrap_or_default();
        }
        pool.close().await;
    }
    assert!(
        readable > 50,
        "roles see hardly anything of their own zone: {readable}"
    );
}

#[tokio::test]
async fn another_zones_rows_are_not_written() {
    let (db, superuser) = two_zones().await;
    let mut writable = 0;
    for role in Role::ALL {
        let pool = login(&db, role).await;
        for (table, _) in ROWS {
            let across = reads_across(role, table);
            let mut statements = vec![format!("DELETE FROM {table} WHERE zone_id = '{THEIRS}'")];
            for column in updatable(&superuser, role, table).await {
                statements.push(format!(
                    "UPDATE {table} SET {column} = {column} WHERE zone_id = '{THEIRS}'"
                ));
                writable += 1;
            }
            for statement in statements {
                match attempt(&pool, Some(OURS), &statement).await {
                    Ok(0) => {}
                    Ok(_) => assert!(across, "{role}: {statement}"),
                    Err((code, _)) => assert_eq!(code, REFUSED, "{role}: {statement}"),
                }
            }
        }
        pool.close().await;
    }
    assert!(
        writable > 40,
        "roles may change hardly anything: {writable}"
    );
}

#[tokio::test]
async fn a_row_is_not_added_to_another_zone_and_the_refusal_does_not_say_what_is_there() {
    let (db, _superuser) = two_zones().await;
    for role in Role::ALL {
        let pool = login(&db, role).await;
        for (table, _) in ROWS {
            // The sequencer numbers every zone's evidence; that is its work, with counters and nothing else.
            if (role, table) == (Role::Sequencer, "outbox_counters") {
                continue;
            }
            let there = seed::insert(table, THEIRS, THEIRS);
            let elsewhere = seed::insert(table, NOWHERE, NOWHERE);
            let refused = attempt(&pool, Some(OURS), &there).await.unwrap_err();
            assert_eq!(refused.0, REFUSED, "{role} {table}: {}", refused.1);
            assert_eq!(
                attempt(&pool, Some(OURS), &elsewhere).await.unwrap_err(),
                refused,
                "{role} {table}"
            );
            let quietly = format!("{there} ON CONFLICT DO NOTHING");
            assert_eq!(
                attempt(&pool, Some(OURS), &quietly).await.unwrap_err(),
                refused,
                "{role} {table}"
            );
        }
        pool.close().await;
    }
}

#[tokio::test]
async fn what_another_zone_calls_the_same_is_not_in_the_way() {
    let db = kit::database().await;
    let superuser = db.superuser().await;
    seed::zone(&superuser, THEIRS).await.unwrap();
    // The same names, identifiers, hosts, numbers, keys and journals as there.
    seed::zone(&superuser, OURS).await.unwrap();
    for (table, _) in ROWS {
        let statement = format!("SELECT zone_id FROM {table} ORDER BY zone_id");
        let zones: Vec<Uuid> = sqlx::query_scalar(AssertSqlSafe(statement))
            .fetch_all(&superuser)
            .await
            .unwrap();
        assert_eq!(zones, [OURS, THEIRS], "{table}");
    }
}

#[tokio::test]
async fn another_zones_rows_are_not_referenced() {
    let (db, _superuser) = two_zones().await;
    let check = async |role: Role, row: &str| {
        let pool = login(&db, role).await;
        let mut refusals = Vec::new();
        for target in [THEIRS, NOWHERE] {
            let statement = row
                .replace("{z}", &OURS.to_string())
                .replace("{t}", &target.to_string());
            refusals.push(attempt(&pool, Some(OURS), &statement).await.unwrap_err());
        }
        // A row there and a row nowhere are refused alike.
        assert_eq!(refusals.first().unwrap().0, "23503", "{role}: {refusals:?}");
        assert_eq!(refusals.first(), refusals.last(), "{role}");
        pool.close().await;
    };
    let id = Uuid::from_u128(0xff);
    check(
        Role::Coordinator,
        &format!(
            "INSERT INTO application_secrets (zone_id, application_id, id, hmac, created_at)
             VALUES ('{{z}}', '{{t}}', '{id}', sha256('x'), now())"
        ),
    )
    .await;
    check(
        Role::Coordinator,
        &format!(
            "INSERT INTO bindings (zone_id, id, attachment, resource_id, hosts, path_prefix, upstream_clusters,
                                   public_url, evidence, max_hops, forward_mandate, state, version, created_at, updated_at)
             VALUES ('{{z}}', '{id}', 'ingress', '{{t}}', '{{g}}', '/', '{{}}', 'https://g', 'per_request', 0, 'strip',
                     'active', 1, now(), now())"
        ),
    )
    .await;
    check(
        Role::Coordinator,
        "INSERT INTO binding_hosts (zone_id, attachment, host, path_prefix, binding_id)
         VALUES ('{z}', 'ingress', 'g', '/', '{t}')",
    )
    .await;
    check(
        Role::Coordinator,
        "UPDATE policy_heads SET active_id = '{t}' WHERE zone_id = '{z}'",
    )
    .await;
}

#[tokio::test]
async fn the_keeper_sees_across_zones_only_those_that_wait_for_a_key() {
    let (db, superuser) = two_zones().await;
    let pool = login(&db, Role::Keeper).await;
    let seen = "SELECT zone_id FROM zones";
    assert_eq!(attempt(&pool, None, seen).await, Ok(0));
    assert_eq!(attempt(&pool, Some(OURS), seen).await, Ok(1));
    superuser
        .execute("UPDATE zones SET state = 'provisioning'")
        .await
        .unwrap();
    assert_eq!(attempt(&pool, None, seen).await, Ok(2));
    let change = format!("UPDATE zones SET state = 'ready' WHERE zone_id = '{THEIRS}'");
    assert_eq!(attempt(&pool, Some(OURS), &change).await, Ok(0));
    assert_eq!(attempt(&pool, Some(THEIRS), &change).await, Ok(1));
}

#[tokio::test]
async fn a_zone_that_was_set_is_gone_with_its_transaction() {
    let (db, _superuser) = two_zones().await;
    let pool = login(&db, Role::Coordinator).await;
    let seen = "SELECT zone_id FROM applications";
    assert_eq!(attempt(&pool, Some(OURS), seen).await, Ok(1));
    // The same connection: the setting is there, and empty.
    assert_eq!(attempt(&pool, None, seen).await, Ok(0));
}
