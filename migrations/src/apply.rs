//! Applying migrations: in order, each in a transaction of its own, each once.

use sha2::{Digest as _, Sha256};
use sqlx::{Connection as _, Executor as _, PgConnection};

/// One step of the schema.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Migration {
    /// Its number; the schema's version once it is applied.
    pub version: i64,
    /// Its file's name.
    pub name: &'static str,
    /// Its statements.
    pub sql: &'static str,
}

impl Migration {
    /// SHA-256 of its statements, which the database remembers.
    pub fn sha256(&self) -> [u8; 32] {
        Sha256::digest(self.sql.as_bytes()).into()
    }
}

macro_rules! migrations {
    ($($version:literal $name:literal)*) => {
        /// Every step, in order.
        pub const MIGRATIONS: &[Migration] = &[$(Migration {
            version: $version,
            name: $name,
            sql: include_str!(concat!("../sql/", $name)),
        }),*];
    };
}

migrations! {
    1 "0001_zones.sql"
    2 "0002_authority.sql"
    3 "0003_streams.sql"
    4 "0004_audit.sql"
    5 "0005_retention.sql"
}

/// The version of the schema after all of them.
pub const NEWEST: i64 = 5;

/// Why the schema could not be brought up to date.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The database refused or did not answer.
    #[error(transparent)]
    Database(#[from] sqlx::Error),
    /// A step failed; nothing of it was applied.
    #[error("migration {name} failed: {source}")]
    Step {
        /// Its file.
        name: &'static str,
        /// What the database says.
        source: sqlx::Error,
    },
    /// A step was applied with other statements than it has now.
    #[error("migration {name} was applied with other contents; applied migrations never change")]
    Changed {
        /// Its file.
        name: &'static str,
    },
    /// The database is newer than this build.
    #[error("the schema has version {0}, which this build does not know")]
    Newer(i64),
    /// A database cannot be called so.
    #[error("`{0}` is no name for a database: lower-case letters, digits and `_` are")]
    Name(String),
}

/// What was done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Applied {
    /// The schema's version now.
    pub version: i64,
    /// The steps that were not applied before.
    pub steps: Vec<&'static str>,
}

/// Applies what is missing, as the owner. Must be connected as a superuser to the database itself. Others that
/// migrate it wait.
pub async fn migrate(connection: &mut PgConnection) -> Result<Applied, Error> {
    connection
        .execute("SELECT pg_advisory_lock(hashtextextended('caracal.migrations', 0))")
        .await?;
    let applied = under_lock(connection).await;
    connection
        .execute("SELECT pg_advisory_unlock(hashtextextended('caracal.migrations', 0))")
        .await?;
    applied
}

async fn under_lock(connection: &mut PgConnection) -> Result<Applied, Error> {
    let known = known(connection).await?;
    if let Some((newest, _)) = known.last()
        && *newest > NEWEST
    {
        return Err(Error::Newer(*newest));
    }
    let mut steps = Vec::new();
    for migration in MIGRATIONS {
        match known
            .iter()
            .find(|(version, _)| *version == migration.version)
        {
            Some((_, sha256)) if sha256.as_slice() == migration.sha256() => {}
            Some(_) => {
                return Err(Error::Changed {
                    name: migration.name,
                });
            }
            None => {
                step(connection, migration).await?;
                steps.push(migration.name);
            }
        }
    }
    Ok(Applied {
        version: NEWEST,
        steps,
    })
}

/// Versions and checksums of what was applied. Prepares a database that was never migrated.
async fn known(connection: &mut PgConnection) -> Result<Vec<(i64, Vec<u8>)>, Error> {
    let prepared: bool =
        sqlx::query_scalar("SELECT to_regclass('public.schema_version') IS NOT NULL")
            .fetch_one(&mut *connection)
            .await?;
    if !prepared {
        let mut tx = connection.begin().await?;
        sqlx::raw_sql(include_str!("prepare.sql"))
            .execute(&mut *tx)
            .await?;
        sqlx::raw_sql(include_str!("schema_version.sql"))
            .execute(&mut *tx)
            .await?;
        tx.commit().await?;
    }
    Ok(
        sqlx::query_as("SELECT version, sha256 FROM schema_version ORDER BY version")
            .fetch_all(connection)
            .await?,
    )
}

async fn step(connection: &mut PgConnection, migration: &Migration) -> Result<(), Error> {
    let mut tx = connection.begin().await?;
    tx.execute("SET LOCAL ROLE caracal_owner").await?;
    sqlx::raw_sql(migration.sql)
        .execute(&mut *tx)
        .await
        .map_err(|source| Error::Step {
            name: migration.name,
            source,
        })?;
    sqlx::query(
        "INSERT INTO schema_version (version, name, sha256, applied_at) VALUES ($1, $2, $3, now())",
    )
    .bind(migration.version)
    .bind(migration.name)
    .bind(migration.sha256().as_slice())
    .execute(&mut *tx)
    .await?;
    tx.commit().await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_numbered_without_gaps_and_named_after_their_numbers() {
        for (expected, migration) in (1..).zip(MIGRATIONS) {
            assert_eq!(migration.version, expected);
            assert!(
                migration.name.starts_with(&format!("{expected:04}_")),
                "{}",
                migration.name
            );
        }
        assert_eq!(MIGRATIONS.last().unwrap().version, NEWEST);
    }

    #[test]
    fn every_file_is_a_step() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/sql");
        let mut files: Vec<String> = std::fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| name.to_ascii_lowercase().ends_with(".sql"))
            .collect();
        files.sort_unstable();
        let named: Vec<&str> = MIGRATIONS.iter().map(|migration| migration.name).collect();
        assert_eq!(files, named);
    }

    #[test]
    fn every_file_begins_with_why_and_what_it_locks() {
        for migration in MIGRATIONS {
            let header: Vec<&str> = migration
                .sql
                .lines()
                .take_while(|line| line.starts_with("--"))
                .collect();
            let header = header.join("\n");
            for part in ["Why:", "Lock:", "Safe with older code"] {
                assert!(header.contains(part), "{}: {part}", migration.name);
            }
        }
    }
}
