//! The checks of a start in stable mode that need a running dependency. Their findings end the
//! process with 64, all at once.

use std::ops::RangeInclusive;

use crate::config::{Database, Findings, Mode, Redis};
use crate::db::{self, DbError, Pool};
use crate::failure::Failure;
use crate::redis::Client;

/// What is checked.
#[derive(Debug, Default)]
pub struct Preflight {
    findings: Findings,
    stable: bool,
}

impl Preflight {
    /// Checks in `mode`: in dev only what could not work at all.
    pub fn new(mode: Mode) -> Self {
        Self {
            findings: Findings::default(),
            stable: mode.is_stable(),
        }
    }

    /// Postgres through `pool`: the schema's version always; the role and durability in stable.
    pub async fn postgres(
        &mut self,
        database: &Database,
        pool: &Pool,
        schema: RangeInclusive<i64>,
    ) -> Result<(), Failure> {
        self.postgres_checks(database, pool, schema)
            .await
            .map_err(|error| Failure::dependency("postgres", error))
    }

    async fn postgres_checks(
        &mut self,
        database: &Database,
        pool: &Pool,
        schema: RangeInclusive<i64>,
    ) -> Result<(), DbError> {
        self.findings
            .extend(db::check_schema_version(pool, schema).await?);
        if self.stable {
            self.findings.extend(db::check_role(pool).await?);
            let attested = database.attested_loss.as_deref();
            self.findings
                .extend(db::check_database(pool, attested).await?);
        }
        Ok(())
    }

    /// That nothing stands between `pool` and the database that would swallow notifications.
    pub async fn listening(&mut self, pool: &Pool) -> Result<(), Failure> {
        if self.stable {
            let checked = db::check_listen(pool).await;
            let findings = checked.map_err(|error| Failure::dependency("postgres", error))?;
            self.findings.extend(findings);
        }
        Ok(())
    }

    /// Redis: `noeviction` and an append-only file, in stable.
    pub async fn redis(&mut self, redis: &Redis, client: &Client) -> Result<(), Failure> {
        if self.stable {
            let checked = client.check(redis.attested_durability.as_deref()).await;
            let findings = checked.map_err(|error| Failure::dependency("redis", error))?;
            self.findings.extend(findings);
        }
        Ok(())
    }

    /// Anything else.
    pub fn find(&mut self, key: impl Into<String>, what: impl Into<String>) {
        self.findings.add(key, what);
    }

    /// The end of the checks: go on, or end with everything that was found.
    pub fn finish(self) -> Result<(), Failure> {
        self.findings.into_result().map_err(Failure::from)
    }
}
