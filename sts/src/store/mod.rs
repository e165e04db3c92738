//! SQL, one file per aggregate. Every statement on a zone's rows runs in a transaction that has
//! its zone set; the keeper alone finds zones across zones.

pub(crate) mod client;
pub(crate) mod keys;
pub(crate) mod mint;
pub(crate) mod policies;
pub(crate) mod provision;

use chassis::db::DbError;

use crate::error::{BoxError, Error};

/// Why a statement gave nothing to go on.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StoreError {
    /// Postgres, or the way there.
    #[error(transparent)]
    Db(#[from] DbError),
    /// A row that no writer of ours writes.
    #[error("table {table} holds a row that is not valid: {key}")]
    BadRow {
        /// The table.
        table: &'static str,
        /// What identifies the row, or the value that is wrong.
        key: String,
    },
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        Self::Db(error.into())
    }
}

impl From<StoreError> for Error {
    fn from(error: StoreError) -> Self {
        Self::dependency("postgres", BoxError::from(error))
    }
}

impl From<DbError> for Error {
    fn from(error: DbError) -> Self {
        Self::dependency("postgres", BoxError::from(error))
    }
}

/// A row that no writer of ours writes.
pub(crate) fn bad_row(table: &'static str, key: impl Into<String>) -> StoreError {
    StoreError::BadRow {
        table,
        key: key.into(),
    }
}
