//! What tests stand on: a real PostgreSQL with the real schema, a real Valkey.
//!
//! Engines given by `CARACAL_TEST_DATABASE_URL` and `CARACAL_TEST_REDIS_URL` are used; else the test process starts its
//! own, which end with it.
#![forbid(unsafe_code)]
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::disallowed_methods,
    clippy::missing_panics_doc,
    reason = "test support: a failure here is a failed test"
)]

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, OnceLock};

use engines::{Postgres, Tools, Valkey};
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection, PgPool};
use tempfile::TempDir;

const SUPERUSER: &str = "caracal_superuser";
const TEMPLATE: &str = "caracal_template";

/// A database of its own, made from the migrated template.
#[derive(Debug, Clone)]
pub struct TestDb {
    /// Its name.
    pub name: String,
    /// Its URL, without user.
    pub url: String,
}

impl TestDb {
    /// A pool that is logged in as a role.
    pub async fn pool(&self, role: &str) -> PgPool {
        PgPoolOptions::new()
            .max_connections(8)
            .connect_with(self.options(role))
            .await
            .expect("logging in as the role")
    }

    /// A pool of the superuser: for arranging and for breaking things.
    pub async fn superuser(&self) -> PgPool {
        self.pool(SUPERUSER).await
    }

    /// How to log in as a role.
    pub fn options(&self, role: &str) -> PgConnectOptions {
        self.url
            .parse::<PgConnectOptions>()
            .expect("the database's URL")
            .username(role)
    }
}

/// A fresh database with the whole schema.
pub async fn database() -> TestDb {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let base = base_url();
    template(&base).await;
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let name = format!("test_{}_{number}", std::process::id());
    let mut connection = connect(&base, "postgres").await;
    connection
        .execute(sqlx::raw_sql(AssertSqlSafe(format!(
            "CREATE DATABASE {name} TEMPLATE {TEMPLATE}"
        ))))
        .await
        .expect("making a database");
    TestDb {
        url: with_database(&base, &name),
        name,
    }
}

/// The URL of a Valkey that other tests use too.
pub fn valkey_url() -> String {
    static OWN: OnceLock<String> = OnceLock::new();
    if let Ok(url) = std::env::var("CARACAL_TEST_REDIS_URL") {
        return url;
    }
    OWN.get_or_init(|| {
        let valkey = own_valkey();
        let url = valkey.url();
        keep(Held::Valkey(valkey));
        url
    })
    .clone()
}

/// A Valkey of the test's own, to be stopped and flushed at will.
pub fn own_valkey() -> OwnValkey {
    let folder = folder();
    let user = engines::unprivileged().expect("a user");
    let valkey =
        Valkey::start(&tools(), &folder.path().join("v"), user.as_ref()).expect("a Valkey");
    OwnValkey {
        valkey,
        _folder: folder,
    }
}

/// A Valkey with its folder.
#[derive(Debug)]
pub struct OwnValkey {
    valkey: Valkey,
    _folder: TempDir,
}

impl OwnValkey {
    /// Its URL.
    pub fn url(&self) -> String {
        self.valkey.url()
    }

    /// Its pid.
    pub fn pid(&self) -> u32 {
        self.valkey.pid()
    }

    /// Stops it.
    pub fn stop(&mut self) {
        self.valkey.stop();
    }
}

/// The pinned engines.
pub fn tools() -> Tools {
    engines::install().expect("installing the engines")
}

#[derive(Debug)]
#[expect(dead_code, reason = "held until the process ends")]
enum Held {
    Valkey(OwnValkey),
    Postgres(Postgres, TempDir),
}

/// Engines of this process. A static is never dropped, so each is told to follow its parent's end.
fn keep(held: Held) {
    static HELD: Mutex<Vec<Held>> = Mutex::new(Vec::new());
    HELD.lock().unwrap().push(held);
}

fn folder() -> TempDir {
    let folder = tempfile::Builder::new()
        .prefix("caracal-")
        .tempdir_in("/tmp")
        .expect("a folder");
    std::fs::set_permissions(
        folder.path(),
        std::os::unix::fs::PermissionsExt::from_mode(0o755),
    )
    .expect("its mode");
    folder
}

fn base_url() -> String {
    static OWN: OnceLock<String> = OnceLock::new();
    if let Ok(url) = std::env::var("CARACAL_TEST_DATABASE_URL") {
        return url;
    }
    OWN.get_or_init(|| {
        let folder = folder();
        let user = engines::unprivileged().expect("a user");
        let postgres = Postgres::start(&tools(), &folder.path().join("p"), user.as_ref(), false)
            .expect("a PostgreSQL");
        let url = postgres.url("postgres");
        keep(Held::Postgres(postgres, folder));
        url
    })
    .clone()
}

/// Makes the template once per cluster: whoever holds the lock does.
async fn template(base: &str) {
    let mut connection = connect(base, "postgres").await;
    connection
        .execute("SELECT pg_advisory_lock(4242)")
        .await
        .expect("the template's lock");
    let made: bool = sqlx::query_scalar(
        "SELECT EXISTS (SELECT 1 FROM pg_database WHERE datname = $1 AND datistemplate)",
    )
    .bind(TEMPLATE)
    .fetch_one(&mut connection)
    .await
    .expect("looking for the template");
    if !made {
        let drop = format!("DROP DATABASE IF EXISTS {TEMPLATE}");
        connection
            .execute(sqlx::raw_sql(AssertSqlSafe(drop)))
            .await
            .expect("dropping half a template");
        let create = format!("CREATE DATABASE {TEMPLATE}");
        connection
            .execute(sqlx::raw_sql(AssertSqlSafe(create)))
            .await
            .expect("making the template");
        let mut inside = connect(base, TEMPLATE).await;
        migrations::bootstrap(&mut inside, &BTreeMap::new())
            .await
            .expect("making the roles");
        migrations::migrate(&mut inside).await.expect("migrating");
        inside.close().await.expect("leaving the template");
        let done = format!("ALTER DATABASE {TEMPLATE} IS_TEMPLATE true");
        connection
            .execute(sqlx::raw_sql(AssertSqlSafe(done)))
            .await
            .expect("marking the template");
    }
    connection
        .execute("SELECT pg_advisory_unlock(4242)")
        .await
        .expect("the template's lock");
}

async fn connect(base: &str, database: &str) -> PgConnection {
    let options = base
        .parse::<PgConnectOptions>()
        .expect("a URL")
        .username(SUPERUSER)
        .database(database);
    PgConnection::connect_with(&options)
        .await
        .expect("connecting as superuser")
}

fn with_database(base: &str, name: &str) -> String {
    base.replacen("///postgres?", &format!("///{name}?"), 1)
}
