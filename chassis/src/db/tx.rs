//! Transactions. There is no way to a zone's rows but through a [`ZoneTx`].

use std::fmt;

use mandate::id::ZoneId;
use sqlx::{PgConnection, Postgres, Transaction};

use super::Pool;
use super::error::DbError;

/// Begins transactions on one zone at a time.
#[derive(Clone, Debug)]
pub struct Store {
    pool: Pool,
}

impl Store {
    /// Over a pool.
    pub fn new(pool: Pool) -> Self {
        Self { pool }
    }

    /// Opens a transaction that sees the rows of `zone` and no others. One round trip.
    pub async fn begin(&self, zone: ZoneId) -> Result<ZoneTx, DbError> {
        // A UUID's own text has hexadecimal digits and hyphens only.
        let statement = format!(
            "BEGIN; SELECT set_config('caracal.zone_id', '{}', true)",
            zone.as_uuid()
        );
        let inner = self.pool.begin(&statement).await?;
        Ok(ZoneTx { inner, zone })
    }

    /// The same for reading: one view of the database for the whole transaction, no writes.
    pub async fn begin_view(&self, zone: ZoneId) -> Result<ZoneTx, DbError> {
        let statement = format!(
            "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; \
             SELECT set_config('caracal.zone_id', '{}', true)",
            zone.as_uuid()
        );
        let inner = self.pool.begin(&statement).await?;
        Ok(ZoneTx { inner, zone })
    }

    /// The pool, for readiness and for what has no zone.
    pub fn pool(&self) -> &Pool {
        &self.pool
    }
}

/// A transaction on one zone. Dropped without [`ZoneTx::commit`] it never was.
pub struct ZoneTx {
    inner: Transaction<'static, Postgres>,
    zone: ZoneId,
}

impl ZoneTx {
    /// The zone whose rows it sees.
    pub fn zone(&self) -> ZoneId {
        self.zone
    }

    /// Makes it so.
    pub async fn commit(self) -> Result<(), DbError> {
        Ok(self.inner.commit().await?)
    }

    /// Undoes it.
    pub async fn rollback(self) -> Result<(), DbError> {
        Ok(self.inner.rollback().await?)
    }
}

impl AsMut<PgConnection> for ZoneTx {
    fn as_mut(&mut self) -> &mut PgConnection {
        &mut self.inner
    }
}

impl fmt::Debug for ZoneTx {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ZoneTx")
            .field("zone", &self.zone)
            .finish_non_exhaustive()
    }
}

/// Begins transactions on what spans zones, as a role that may. Never the pool that serves zones.
#[derive(Clone, Debug)]
pub struct OperatorStore {
    pool: Pool,
}

impl OperatorStore {
    /// Over a pool that is logged in as a role with a cross-zone policy.
    pub fn new(pool: Pool) -> Self {
        Self { pool }
    }

    /// Opens a transaction without a zone.
    pub async fn begin(&self) -> Result<OperatorTx, DbError> {
        Ok(OperatorTx {
            inner: self.pool.begin("BEGIN").await?,
        })
    }

    /// The same for reading: one view of the database for the whole transaction, no writes.
    pub async fn begin_view(&self) -> Result<OperatorTx, DbError> {
        let statement = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";
        Ok(OperatorTx {
            inner: self.pool.begin(statement).await?,
        })
    }

    /// The pool, for readiness and listening.
    pub fn pool(&self) -> &Pool {
        &self.pool
    }
}

/// A transaction without a zone: it sees what its role's cross-zone policies show.
pub struct OperatorTx {
    inner: Transaction<'static, Postgres>,
}

impl OperatorTx {
    /// Makes it so.
    pub async fn commit(self) -> Result<(), DbError> {
        Ok(self.inner.commit().await?)
    }

    /// Undoes it.
    pub async fn rollback(self) -> Result<(), DbError> {
        Ok(self.inner.rollback().await?)
    }
}

impl AsMut<PgConnection> for OperatorTx {
    fn as_mut(&mut self) -> &mut PgConnection {
        &mut self.inner
    }
}

impl fmt::Debug for OperatorTx {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OperatorTx").finish_non_exhaustive()
    }
}
