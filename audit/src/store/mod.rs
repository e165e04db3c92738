//! SQL, by table. Everything about a zone goes through its transaction.

pub(crate) mod cursors;
pub(crate) mod events;
pub(crate) mod heads;
pub(crate) mod keys;
pub(crate) mod leases;
pub(crate) mod search;
pub(crate) mod tamper;

use jiff::Timestamp;
use jiff_sqlx::ToSqlx as _;

use crate::error::Error;

/// A time as a parameter.
pub(crate) fn time(at: Timestamp) -> jiff_sqlx::Timestamp {
    at.to_sqlx()
}

/// A number that a table keeps as `bigint`.
pub(crate) fn signed(number: u64) -> Result<i64, Error> {
    i64::try_from(number).map_err(Error::internal)
}

/// A number of a `bigint` that is never below zero.
pub(crate) fn unsigned(number: i64) -> Result<u64, Error> {
    u64::try_from(number).map_err(Error::internal)
}

/// A hash of a `bytea` that has its length checked by the table.
pub(crate) fn hash(bytes: &[u8]) -> Result<[u8; 32], Error> {
    <[u8; 32]>::try_from(bytes).map_err(Error::internal)
}
