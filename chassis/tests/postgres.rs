//! Transactions, outbox and start checks against a real Postgres, as the services' own roles.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::time::Duration;

use chassis::Problem;
use chassis::config::{Database, Findings, Mode};
use chassis::crypto::EventKey;
use chassis::db::{self, DbError, OperatorStore, Pool, Store};
use chassis::outbox;
use chassis::preflight::Preflight;
use chassis::secrets::Key32;
use jiff::Timestamp;
use jiff_sqlx::ToSqlx;
use ledger::envelope::{EventSigner, Producer};
use ledger::event::{Event, EventKind};
use mandate::id::{KeyId, ZoneId};
use sqlx::Row;
use sqlx::postgres::{PgConnectOptions, PgListener};
use uuid::Uuid;
use wire::pb::caracal::authority::v1 as pb;

const COORDINATOR: &str = "caracal_coordinator";

fn zone(number: u128) -> ZoneId {
    ZoneId::from_uuid(Uuid::from_u128(number))
}

fn now() -> Timestamp {
    Timestamp::from_second(1_700_000_000).unwrap()
}

/// A database as a service's configuration describes it.
fn configured(db: &kit::TestDb, max_connections: u32) -> Database {
    let options: PgConnectOptions = db.url.parse().unwrap();
    let mut database = Database::at(options);
    database.max_connections = max_connections;
    database.acquire_timeout = Duration::from_secs(10);
    database
}

fn store(db: &kit::TestDb, max_connections: u32) -> Store {
    Store::new(Pool::lazy(&configured(db, max_connections), COORDINATOR))
}

async fn insert_zone(store: &Store, zone: ZoneId, row: ZoneId) -> Result<(), DbError> {
    let mut tx = store.begin(zone).await?;
    sqlx::query(
        "INSERT INTO zones (zone_id, name, issuer, state, freshness_bound_ms, version, created_at,
                            updated_at)
         VALUES ($1, 'a zone', 'https://sts.example', 'provisioning', 10000, 1, $2, $2)",
    )
    .bind(row.as_uuid())
    .bind(now().to_sqlx())
    .execute(tx.as_mut())
    .await?;
    tx.commit().await
}

async fn count(connection: &mut sqlx::PgConnection) -> i64 {
    sqlx::query_scalar("SELECT count(*) FROM zones")
        .fetch_one(connection)
        .await
        .unwrap()
}

#[tokio::test]
async fn a_transaction_sees_its_own_zone_and_nothing_is_seen_without_one() {
    let db = kit::database().await;
    let store = store(&db, 2);
    insert_zone(&store, zone(1), zone(1)).await.unwrap();
    insert_zone(&store, zone(2), zone(2)).await.unwrap();

    for number in [1, 2] {
        let mut tx = store.begin(zone(number)).await.unwrap();
        assert_eq!(tx.zone(), zone(number));
        let seen: Uuid = sqlx::query_scalar("SELECT zone_id FROM zones")
            .fetch_one(tx.as_mut())
            .await
            .unwrap();
        assert_eq!(seen, zone(number).as_uuid());
    }
    assert_eq!(count(store.begin(zone(3)).await.unwrap().as_mut()).await, 0);
    let mut bare = store.pool().inner().acquire().await.unwrap();
    assert_eq!(count(&mut bare).await, 0);
}

#[tokio::test]
async fn another_zones_row_cannot_be_written() {
    let db = kit::database().await;
    let error = insert_zone(&store(&db, 1), zone(1), zone(2))
        .await
        .unwrap_err();
    assert!(matches!(error, DbError::Internal(_)), "{error}");
}

#[tokio::test]
async fn the_zone_ends_with_its_transaction_however_it_ends() {
    let db = kit::database().await;
    let store = store(&db, 1);
    insert_zone(&store, zone(1), zone(1)).await.unwrap();
    store.begin(zone(1)).await.unwrap().commit().await.unwrap();
    let check = async || {
        // The one connection of the pool, as the last user left it.
        let mut bare = store.pool().inner().acquire().await.unwrap();
        count(&mut bare).await
    };
    assert_eq!(check().await, 0);
    store
        .begin(zone(1))
        .await
        .unwrap()
        .rollback()
        .await
        .unwrap();
    assert_eq!(check().await, 0);
    drop(store.begin(zone(1)).await.unwrap());
    assert_eq!(check().await, 0);
    let mut failed = store.begin(zone(1)).await.unwrap();
    sqlx::query("SELECT 1 / 0")
        .execute(failed.as_mut())
        .await
        .unwrap_err();
    drop(failed);
    assert_eq!(check().await, 0);
}

#[tokio::test]
async fn a_view_reads_one_state_and_writes_nothing() {
    let db = kit::database().await;
    let store = store(&db, 2);
    let mut view = store.begin_view(zone(1)).await.unwrap();
    assert_eq!(count(view.as_mut()).await, 0);
    insert_zone(&store, zone(1), zone(1)).await.unwrap();
    assert_eq!(count(view.as_mut()).await, 0);
    let write = sqlx::query("UPDATE zones SET name = 'x'")
        .execute(view.as_mut())
        .await;
    assert!(write.is_err());
}

#[tokio::test]
async fn the_operator_sees_zones_without_having_one() {
    let db = kit::database().await;
    let store = store(&db, 1);
    insert_zone(&store, zone(1), zone(1)).await.unwrap();
    insert_zone(&store, zone(2), zone(2)).await.unwrap();
    let operator = OperatorStore::new(Pool::lazy(&configured(&db, 1), "caracal_operator"));
    assert_eq!(count(operator.begin().await.unwrap().as_mut()).await, 2);
    assert_eq!(
        count(operator.begin_view().await.unwrap().as_mut()).await,
        2
    );
}

#[tokio::test]
async fn a_pool_without_a_free_connection_is_an_outage_and_no_decision() {
    let db = kit::database().await;
    let mut impatient = configured(&db, 1);
    impatient.acquire_timeout = Duration::from_secs(2);
    let store = Store::new(Pool::lazy(&impatient, COORDINATOR));
    let held = store.begin(zone(1)).await.unwrap();
    let error = store.begin(zone(1)).await.unwrap_err();
    assert!(matches!(error, DbError::Unavailable(_)), "{error}");
    let problem = Problem::from(error);
    assert_eq!(
        (problem.http, problem.grpc, problem.code),
        (503, 14, "unavailable")
    );
    assert_eq!(problem.retry_after_seconds(), Some(1));
    drop(held);
    store.begin(zone(1)).await.unwrap();
}

#[tokio::test]
async fn connections_that_broke_in_the_pool_cost_no_request() {
    let db = kit::database().await;
    let store = store(&db, 3);
    let held = [
        store.begin(zone(1)).await.unwrap(),
        store.begin(zone(1)).await.unwrap(),
        store.begin(zone(1)).await.unwrap(),
    ];
    for tx in held {
        tx.commit().await.unwrap();
    }
    // Those of this database: other tests have connections of the same role.
    let kill = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                WHERE usename = $1 AND datname = current_database()";
    sqlx::query(kill)
        .bind(COORDINATOR)
        .execute(&db.superuser().await)
        .await
        .unwrap();
    store.begin(zone(1)).await.unwrap().commit().await.unwrap();
}

#[tokio::test]
async fn a_database_that_is_not_there_is_a_dependency_that_is_unavailable() {
    let options: PgConnectOptions = "postgres:///none?host=/nonexistent".parse().unwrap();
    let mut database = Database::at(options);
    database.acquire_timeout = Duration::from_millis(50);
    let failure = Pool::connect(&database, COORDINATOR, Duration::from_millis(200)).await;
    assert_eq!(failure.unwrap_err().exit_code(), 69);
}

fn cut_off() -> pb::Change {
    let zone_id = zone(1).to_string();
    let kind = pb::ObjectKind::Zone.into();
    let cut_off = pb::CutOff {
        zone_id: zone_id.clone(),
        kind,
        id: zone_id,
        not_before_s: 5,
    };
    pb::Change {
        version: 1,
        what: Some(pb::change::What::CutOff(cut_off)),
    }
}

async fn add_cut_off(tx: &mut db::ZoneTx) {
    let change = cut_off();
    let kind = outbox::kind_of(&change).unwrap();
    outbox::authority(tx, kind, &change, now()).await.unwrap();
}

async fn outbox_rows(db: &kit::TestDb) -> Vec<(String, String, Vec<u8>)> {
    let sequencer = Pool::lazy(&configured(db, 1), "caracal_sequencer");
    sqlx::query("SELECT lane, kind, payload FROM outbox ORDER BY id")
        .fetch_all(sequencer.inner())
        .await
        .unwrap()
        .iter()
        .map(|row| (row.get("lane"), row.get("kind"), row.get("payload")))
        .collect()
}

#[tokio::test]
async fn a_change_leaves_and_wakes_with_its_commit_and_not_without() {
    let db = kit::database().await;
    let store = store(&db, 2);
    let mut listener = PgListener::connect_with(store.pool().inner())
        .await
        .unwrap();
    listener.listen(outbox::CHANNEL).await.unwrap();

    let mut lost = store.begin(zone(1)).await.unwrap();
    add_cut_off(&mut lost).await;
    lost.rollback().await.unwrap();
    let mut kept = store.begin(zone(1)).await.unwrap();
    add_cut_off(&mut kept).await;
    let early = tokio::time::timeout(Duration::from_millis(100), listener.recv()).await;
    assert!(early.is_err(), "woken before the commit");
    assert!(outbox_rows(&db).await.is_empty());

    kept.commit().await.unwrap();
    let woken = tokio::time::timeout(Duration::from_secs(5), listener.recv()).await;
    assert_eq!(woken.unwrap().unwrap().payload(), "");
    let rows = outbox_rows(&db).await;
    let payload = prost::Message::encode_to_vec(&cut_off());
    assert_eq!(
        rows,
        [("authority".to_owned(), "cutoff".to_owned(), payload)]
    );
}

#[tokio::test]
async fn evidence_leaves_signed_by_its_writer_and_wakes_nobody() {
    let db = kit::database().await;
    let store = store(&db, 2);
    let mut listener = PgListener::connect_with(store.pool().inner())
        .await
        .unwrap();
    listener.listen(outbox::CHANNEL).await.unwrap();
    let key_id = KeyId::parse("coordinator-events-1").unwrap();
    let signer = EventKey::new(key_id, &Key32::new([5; 32])).unwrap();

    let mut tx = store.begin(zone(1)).await.unwrap();
    let mut event = Event::new(EventKind::AdminChange, 7);
    event.zone = Some(zone(1));
    outbox::audit(&mut tx, event, &signer, now()).await.unwrap();
    tx.commit().await.unwrap();

    let early = tokio::time::timeout(Duration::from_millis(100), listener.recv()).await;
    assert!(early.is_err(), "evidence wakes nobody, but {early:?}");
    let rows = outbox_rows(&db).await;
    let [(lane, kind, payload)] = rows.as_slice() else {
        panic!("{rows:?}")
    };
    assert_eq!(
        (lane.as_str(), kind.as_str()),
        ("audit", EventKind::AdminChange.as_str())
    );
    let mut event = Event::decode(payload).unwrap();
    let writer = Producer {
        kid: signer.kid().clone(),
        public_key: signer.public(),
        service: "coordinator".to_owned(),
        kinds: [kind.clone()].into(),
    };
    assert!(event.origin_signed_by(&writer));
    event.counter = 99;
    assert!(
        event.origin_signed_by(&writer),
        "the sequencer numbers what is signed"
    );
    event.at_ns += 1;
    assert!(!event.origin_signed_by(&writer));
}

#[tokio::test]
async fn a_services_role_passes_the_start_checks_and_the_superuser_does_not() {
    let db = kit::database().await;
    let pool = Pool::lazy(&configured(&db, 2), COORDINATOR);
    assert_eq!(db::check_role(&pool).await.unwrap(), Findings::default());
    assert_eq!(db::check_listen(&pool).await.unwrap(), Findings::default());
    let newest = i64::from(u32::MAX);
    assert!(
        db::check_schema_version(&pool, 1..=newest)
            .await
            .unwrap()
            .is_empty()
    );
    assert_eq!(
        db::check_schema_version(&pool, newest..=newest)
            .await
            .unwrap()
            .0
            .len(),
        1
    );

    let superuser = Pool::of(db.superuser().await, COORDINATOR);
    let found = db::check_role(&superuser).await.unwrap();
    assert_eq!(found.0.len(), 3, "{found}");
}

#[tokio::test]
async fn the_start_checks_tell_everything_at_once() {
    let db = kit::database().await;
    let superuser = Pool::of(db.superuser().await, COORDINATOR);
    let database = configured(&db, 2);
    let newest = i64::from(u32::MAX);

    let mut stable = Preflight::new(Mode::Stable);
    stable
        .postgres(&database, &superuser, newest..=newest)
        .await
        .unwrap();
    let failure = stable.finish().unwrap_err();
    assert_eq!(failure.exit_code(), 64);
    assert!(failure.to_string().lines().count() >= 5, "{failure}");

    let mut dev = Preflight::new(Mode::Dev);
    dev.postgres(&database, &superuser, 1..=newest)
        .await
        .unwrap();
    dev.listening(&superuser).await.unwrap();
    dev.finish().unwrap();
}
