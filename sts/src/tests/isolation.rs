//! From the service's own roles another zone's rows can be neither read, written nor referenced.

use super::world::{World, visible};
use crate::config::{KEEPING, SERVING};

const TABLES: [&str; 10] = [
    "anchors",
    "applications",
    "application_secrets",
    "authority_records",
    "policies",
    "policy_heads",
    "resources",
    "sessions",
    "signing_keys",
    "zone_keys",
];

#[tokio::test]
async fn without_a_zone_the_serving_role_sees_nothing() {
    let world = World::new().await;
    world.session_mandate().await;
    let pool = world.db.pool(SERVING).await;
    for (table, seen) in visible(&pool, &TABLES).await {
        assert_eq!(seen, "0", "{table}");
    }
    assert_eq!(visible(&pool, &["zones"]).await["zones"], "0");
    assert_eq!(visible(&pool, &["positions"]).await["positions"], "refused");
    assert_eq!(
        visible(&pool, &["audit_events"]).await["audit_events"],
        "refused"
    );
}

#[tokio::test]
async fn the_keeper_sees_which_zones_wait_and_no_more() {
    let world = World::new().await;
    let pool = world.db.pool(KEEPING).await;
    assert_eq!(visible(&pool, &["zones"]).await["zones"], "0");
    let superuser = world.db.superuser().await;
    sqlx::query("UPDATE zones SET state = 'provisioning'")
        .execute(&superuser)
        .await
        .unwrap();
    assert_eq!(visible(&pool, &["zones"]).await["zones"], "1");
    for (table, seen) in visible(&pool, &TABLES).await {
        assert!(["0", "refused"].contains(&seen.as_str()), "{table}: {seen}");
    }
    let moved = sqlx::query("UPDATE zones SET state = 'archived'")
        .execute(&pool)
        .await;
    assert!(moved.is_err() || moved.unwrap().rows_affected() == 0);
}

#[tokio::test]
async fn another_zones_rows_can_be_neither_written_nor_referenced() {
    let world = World::new().await;
    let elsewhere = uuid::Uuid::from_u128(1);
    let mut tx = world.desk.mint.store.begin(world.zone).await.unwrap();
    let written = sqlx::query("INSERT INTO anchors (zone_id, kind, id) VALUES ($1, 'record', 'x')")
        .bind(elsewhere)
        .execute(tx.as_mut())
        .await;
    let refused = written.unwrap_err().to_string();
    assert!(refused.contains("row-level security"), "{refused}");

    let zone = mandate::id::ZoneId::from_uuid(elsewhere);
    let mut tx = world.desk.mint.store.begin(zone).await.unwrap();
    let referenced = sqlx::query(
        "INSERT INTO authority_records (zone_id, id, root_id, application_id, usage, expires_at, created_at)
         VALUES ($1, $1, $1, $2, 'session', to_timestamp(0), to_timestamp(0))",
    )
    .bind(elsewhere)
    .bind(world.application.as_uuid())
    .execute(tx.as_mut())
    .await;
    assert!(
        referenced.is_err(),
        "an application of another zone was referenced"
    );
}

#[tokio::test]
async fn the_serving_role_changes_no_authority() {
    let world = World::new().await;
    for statement in [
        "UPDATE anchors SET state = 'active'",
        "DELETE FROM anchors",
        "UPDATE authority_records SET expires_at = expires_at",
        "UPDATE sessions SET state = 'active'",
        "UPDATE policy_heads SET version = 9",
        "INSERT INTO signing_keys DEFAULT VALUES",
        "UPDATE zones SET state = 'ready'",
        "DELETE FROM outbox",
    ] {
        let mut tx = world.desk.mint.store.begin(world.zone).await.unwrap();
        let done = sqlx::query(statement).execute(tx.as_mut()).await;
        assert!(done.is_err(), "{statement}");
    }
}
