//! Postgres: one pool a role, and transactions that have their zone set.

mod checks;
mod error;
mod skew;
mod tx;

use std::sync::Arc;
use std::time::Duration;

use secrecy::ExposeSecret;
use sqlx::postgres::PgPoolOptions;
use sqlx::{AssertSqlSafe, ConnectOptions, PgPool, Postgres, Transaction};
use tracing::log::LevelFilter;

pub use checks::{check_database, check_listen, check_role, check_schema_version};
pub use error::DbError;
pub use skew::{Skew, database_time};
pub use tx::{OperatorStore, OperatorTx, Store, ZoneTx};

use crate::config::{Database, Role};
use crate::failure::Failure;

/// So many broken connections are passed over before one request.
const MOST_BROKEN: u32 = 32;

/// Connections that are logged in as one role. Clones share them.
#[derive(Clone, Debug)]
pub struct Pool {
    inner: PgPool,
    role: Arc<str>,
}

impl Pool {
    /// Connects as `role`, trying again with pauses for up to `patience`.
    pub async fn connect(
        database: &Database,
        role: Role,
        patience: Duration,
    ) -> Result<Self, Failure> {
        let pool = Self::lazy(database, role);
        let started = tokio::time::Instant::now();
        let mut pause = Duration::from_millis(50);
        loop {
            match pool.inner.acquire().await {
                Ok(_connection) => return Ok(pool),
                Err(error) if started.elapsed() >= patience => {
                    return Err(Failure::dependency("postgres", DbError::from(error)));
                }
                Err(error) => {
                    let error = error.to_string();
                    tracing::info!(role, error, "postgres does not answer yet");
                }
            }
            tokio::time::sleep(pause).await;
            pause = pause.saturating_mul(2).min(Duration::from_secs(1));
        }
    }

    /// Connects as `role` when first used.
    pub fn lazy(database: &Database, role: Role) -> Self {
        let timeout = |duration: Duration| format!("{}ms", duration.as_millis().max(1));
        let mut options = database
            .options
            .clone()
            .username(role)
            .application_name(role)
            .options([
                ("statement_timeout", timeout(database.statement_timeout)),
                ("lock_timeout", timeout(database.statement_timeout)),
                ("idle_in_transaction_session_timeout", "30s".to_owned()),
            ])
            .log_statements(LevelFilter::Trace)
            .log_slow_statements(LevelFilter::Warn, Duration::from_secs(1));
        if let Some(password) = database.password(role) {
            options = options.password(password.expose_secret());
        }
        let inner = PgPoolOptions::new()
            .max_connections(database.max_connections)
            .acquire_timeout(database.acquire_timeout)
            // A round trip saved on each use; `begin` finds out what is broken.
            .test_before_acquire(false)
            .connect_lazy_with(options);
        Self {
            inner,
            role: Arc::from(role),
        }
    }

    /// Over a pool at hand, for tests and tools.
    pub fn of(inner: PgPool, role: &str) -> Self {
        Self {
            inner,
            role: Arc::from(role),
        }
    }

    /// Opens a transaction with a statement of ours. A connection that broke while it lay in the
    /// pool is found out here, before anything was done, so that another one may be tried.
    async fn begin(&self, statement: &str) -> Result<Transaction<'static, Postgres>, DbError> {
        let mut tries = self.inner.options().get_max_connections().min(MOST_BROKEN);
        loop {
            match self
                .inner
                .begin_with(AssertSqlSafe(statement.to_owned()))
                .await
            {
                Err(error) if tries > 0 && is_broken(&error) => tries = tries.saturating_sub(1),
                begun => return Ok(begun?),
            }
        }
    }

    /// The role.
    pub fn role(&self) -> &str {
        &self.role
    }

    /// The connections, for what is not work on a zone: catalogues, listening, global tables.
    pub fn inner(&self) -> &PgPool {
        &self.inner
    }
}

/// Whether the connection, not the database, is to blame: closed, or told to close (class 57,
/// `admin_shutdown` and `crash_shutdown`).
fn is_broken(error: &sqlx::Error) -> bool {
    if let sqlx::Error::Database(error) = error {
        return error
            .code()
            .is_some_and(|code| ["57P01", "57P02"].contains(&code.as_ref()));
    }
    matches!(error, sqlx::Error::Io(_))
}
