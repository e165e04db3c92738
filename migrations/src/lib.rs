//! The schema: roles, then forward-only SQL, run as the owner.
//!
//! Services do not depend on this crate; they compare the database's version with the range they know.
#![forbid(unsafe_code)]

mod roles;

pub use roles::{OWNER, ROLES, bootstrap};

use sha2::{Digest as _, Sha256};
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection, Row as _};

/// One migration.
#[derive(Debug, Clone, Copy)]
pub struct Migration {
    /// Its number; dense from 1.
    pub version: i32,
    /// Its file's name.
    pub name: &'static str,
    /// Its statements.
    pub sql: &'static str,
}

macro_rules! migrations {
    ($($version:literal $name:literal;)*) => {
        /// All migrations, in order.
        pub const MIGRATIONS: &[Migration] = &[$(
            Migration { version: $version, name: $name, sql: include_str!(concat!("../sql/", $name, ".sql")) },
        )*];
    };
}

migrations! {
    1 "0001_zones";
    2 "0002_authority";
    3 "0003_streams";
    4 "0004_audit";
    5 "0005_grants";
}

/// Why the schema could not be brought up to date.
#[derive(Debug, thiserror::Error)]
pub enum MigrateError {
    /// The database refused.
    #[error("the database refused {doing}: {source}")]
    Database {
        /// What was being done.
        doing: String,
        /// How.
        source: sqlx::Error,
    },
    /// A migration that was applied is not the one this program has.
    #[error(
        "migration {name} was applied with other contents; this program is of another line of versions"
    )]
    Changed {
        /// Which.
        name: &'static str,
    },
    /// The database is ahead of this program.
    #[error("the database has schema version {found}, this program knows up to {known}")]
    Ahead {
        /// What it has.
        found: i32,
        /// What this program has.
        known: i32,
    },
}

fn database(doing: impl Into<String>) -> impl FnOnce(sqlx::Error) -> MigrateError {
    let doing = doing.into();
    move |source| MigrateError::Database { doing, source }
}

/// Applies what is missing, each migration in a transaction of its own, as the owner; one runner at a time.
pub async fn migrate(connection: &mut PgConnection) -> Result<i32, MigrateError> {
    connection
        .execute("SELECT pg_advisory_lock(hashtextextended('caracal/migrate', 0))")
        .await
        .map_err(database("the migration lock"))?;
    let done = apply(connection).await;
    connection
        .execute("SELECT pg_advisory_unlock(hashtextextended('caracal/migrate', 0))")
        .await
        .map_err(database("giving the migration lock back"))?;
    done
}

async fn apply(connection: &mut PgConnection) -> Result<i32, MigrateError> {
    connection
        .execute(
            "SET ROLE caracal_owner;
             CREATE TABLE IF NOT EXISTS schema_version (
                 version integer PRIMARY KEY,
                 name text NOT NULL,
                 sha256 bytea NOT NULL,
                 applied_at timestamptz NOT NULL DEFAULT clock_timestamp()
             )",
        )
        .await
        .map_err(database("the version table"))?;
    let applied = sqlx::query("SELECT version, sha256 FROM schema_version ORDER BY version")
        .fetch_all(&mut *connection)
        .await
        .map_err(database("reading the version table"))?;
    let known = MIGRATIONS.last().map_or(0, |migration| migration.version);
    let mut found = 0;
    for row in &applied {
        let version: i32 = row.try_get(0).map_err(database("reading a version"))?;
        let sum: Vec<u8> = row.try_get(1).map_err(database("reading a checksum"))?;
        let ours = MIGRATIONS
            .iter()
            .find(|migration| migration.version == version);
        let ours = ours.ok_or(MigrateError::Ahead {
            found: version,
            known,
        })?;
        if sum != Sha256::digest(ours.sql).as_slice() {
            return Err(MigrateError::Changed { name: ours.name });
        }
        found = version;
    }
    for migration in MIGRATIONS
        .iter()
        .filter(|migration| migration.version > found)
    {
        one(connection, migration).await?;
    }
    connection
        .execute("RESET ROLE")
        .await
        .map_err(database("RESET ROLE"))?;
    Ok(known)
}

async fn one(connection: &mut PgConnection, migration: &Migration) -> Result<(), MigrateError> {
    let refused = || database(migration.name);
    let mut tx = connection.begin().await.map_err(refused())?;
    tx.execute(sqlx::raw_sql(AssertSqlSafe(migration.sql)))
        .await
        .map_err(refused())?;
    sqlx::query("INSERT INTO schema_version (version, name, sha256) VALUES ($1, $2, $3)")
        .bind(migration.version)
        .bind(migration.name)
        .bind(Sha256::digest(migration.sql).as_slice())
        .execute(&mut *tx)
        .await
        .map_err(refused())?;
    tx.commit().await.map_err(refused())
}
