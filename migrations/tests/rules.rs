//! What the schema itself enforces, whoever asks.
#![expect(clippy::unwrap_used, reason = "tests")]

mod seed;

use kit::Role;
use migrations::{Error, MIGRATIONS, NEWEST, bootstrap, migrate};
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection, PgPool};
use uuid::Uuid;

const ZONE: Uuid = Uuid::from_u128(0x0a);

async fn refused(connection: &mut PgConnection, statement: &str) -> String {
    let error = connection
        .execute(AssertSqlSafe(statement.to_owned()))
        .await
        .unwrap_err();
    error
        .into_database_error()
        .unwrap()
        .code()
        .unwrap_or_default()
        .into_owned()
}

async fn seeded() -> (kit::TestDb, PgPool) {
    let db = kit::database().await;
    let superuser = db.superuser().await;
    seed::zone(&superuser, ZONE).await.unwrap();
    (db, superuser)
}

#[tokio::test]
async fn evidence_is_not_changed_removed_or_emptied_even_by_who_may_do_anything() {
    let (_db, superuser) = seeded().await;
    let mut connection = superuser.acquire().await.unwrap();
    for table in ["audit_events", "audit_events_202611"] {
        for statement in [
            format!("UPDATE {table} SET code = 'x'"),
            format!("DELETE FROM {table}"),
            format!("TRUNCATE {table}"),
        ] {
            assert_eq!(
                refused(&mut connection, &statement).await,
                "42501",
                "{statement}"
            );
        }
    }
}

#[tokio::test]
async fn the_writer_makes_partitions_and_has_no_rights_on_them() {
    let (db, _superuser) = seeded().await;
    let pool = db.pool(Role::AuditWriter.name()).await;
    let mut connection = pool.acquire().await.unwrap();
    for _ in 0..2 {
        connection
            .execute("SELECT audit_make_partition('2027-02-03T00:00:00Z')")
            .await
            .unwrap();
    }
    assert_eq!(
        refused(&mut connection, "SELECT 1 FROM audit_events_202702").await,
        "42501"
    );
    assert_eq!(
        refused(&mut connection, "DROP TABLE audit_events_202702").await,
        "42501"
    );
    let reader = db.pool(Role::AuditReader.name()).await;
    let mut reader = reader.acquire().await.unwrap();
    assert_eq!(
        refused(&mut reader, "SELECT audit_make_partition(now())").await,
        "42501"
    );
}

#[tokio::test]
async fn a_sequence_number_is_one_event_s_within_its_zone() {
    let (_db, superuser) = seeded().await;
    let mut connection = superuser.acquire().await.unwrap();
    assert_eq!(
        refused(&mut connection, &seed::insert("audit_events", ZONE, ZONE)).await,
        "23505"
    );
}

#[tokio::test]
async fn a_cut_off_and_a_death_are_never_taken_back() {
    let (_db, superuser) = seeded().await;
    let mut connection = superuser.acquire().await.unwrap();
    connection
        .execute("UPDATE anchors SET not_before_s = 100, dead_until = '2027-01-01T00:00:00Z', version = 2")
        .await
        .unwrap();
    for change in [
        "not_before_s = 99, version = 3",
        "dead_until = NULL, version = 3",
        "dead_until = '2026-12-31T00:00:00Z', version = 3",
        "state = 'suspended'",
        "version = 1",
    ] {
        assert_eq!(
            refused(&mut connection, &format!("UPDATE anchors SET {change}")).await,
            "23000",
            "{change}"
        );
    }
    connection
        .execute("UPDATE anchors SET not_before_s = 101, version = 3")
        .await
        .unwrap();
}

#[tokio::test]
async fn a_policy_version_is_what_its_hash_says_and_does_not_change() {
    let (db, superuser) = seeded().await;
    let mut connection = superuser.acquire().await.unwrap();
    assert_eq!(
        refused(&mut connection, "UPDATE policies SET canonical = '\\x00'").await,
        "23514"
    );
    let pool = db.pool(Role::Coordinator.name()).await;
    let mut coordinator = pool.acquire().await.unwrap();
    assert_eq!(
        refused(&mut coordinator, "UPDATE policies SET data = '{}'").await,
        "42501"
    );
}

#[tokio::test]
async fn locks_of_different_anchors_differ() {
    let (db, _superuser) = seeded().await;
    let pool = db.pool(Role::Sts.name()).await;
    let keys: i64 = sqlx::query_scalar(
        "SELECT count(DISTINCT anchor_lock_key(zone, kind, id))
         FROM unnest(ARRAY['00000000-0000-0000-0000-00000000000a', '00000000-0000-0000-0000-00000000000b']::uuid[]) AS zone,
              unnest(ARRAY['session', 'record']) AS kind, unnest(ARRAY['x', 'y']) AS id",
    )
    .fetch_one(&pool)
    .await
    .unwrap();
    assert_eq!(keys, 8);
}

#[tokio::test]
async fn migrating_twice_changes_nothing_and_a_changed_step_is_refused() {
    let (_db, superuser) = seeded().await;
    let mut connection = superuser.acquire().await.unwrap();
    let again = migrate(&mut connection).await.unwrap();
    assert_eq!((again.version, again.steps.len()), (NEWEST, 0));
    connection
        .execute("UPDATE schema_version SET sha256 = sha256('x') WHERE version = 2")
        .await
        .unwrap();
    let name = MIGRATIONS.get(1).unwrap().name;
    assert!(
        matches!(migrate(&mut connection).await, Err(Error::Changed { name: changed }) if changed == name)
    );
    connection
        .execute("INSERT INTO schema_version VALUES (1000, 'later', sha256('x'), now())")
        .await
        .unwrap();
    assert!(matches!(
        migrate(&mut connection).await,
        Err(Error::Newer(1000))
    ));
}

#[tokio::test]
async fn a_step_that_fails_leaves_nothing() {
    let db = kit::database().await;
    let superuser = db.superuser().await;
    let mut connection = superuser.acquire().await.unwrap();
    connection.execute("DROP TABLE tamper_cases").await.unwrap();
    connection
        .execute("DELETE FROM schema_version WHERE version = 4")
        .await
        .unwrap();
    assert!(matches!(
        migrate(&mut connection).await,
        Err(Error::Step { .. })
    ));
    let there: bool = sqlx::query_scalar("SELECT to_regclass('tamper_cases') IS NOT NULL")
        .fetch_one(&mut *connection)
        .await
        .unwrap();
    assert!(!there);
}

#[tokio::test]
async fn several_bootstrap_at_once_and_set_passwords() {
    let db = kit::database().await;
    let cluster = db
        .superuser()
        .await
        .connect_options()
        .as_ref()
        .clone()
        .database("postgres");
    let one = async {
        let mut connection = PgConnection::connect_with(&cluster).await.unwrap();
        bootstrap(
            &mut connection,
            &[(Role::Retention, "it's 100% \\quoted\"")],
        )
        .await
    };
    let other = async {
        let mut connection = PgConnection::connect_with(&cluster).await.unwrap();
        bootstrap(
            &mut connection,
            &[(Role::Retention, "it's 100% \\quoted\"")],
        )
        .await
    };
    let (one, other) = tokio::join!(one, other);
    one.unwrap();
    other.unwrap();
}
