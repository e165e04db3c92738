//! SQL, one file per aggregate. Every statement runs in a transaction that has its zone set, but
//! for the operator's list of zones and the global tables of the deployment.

pub(crate) mod anchors;
pub(crate) mod applications;
pub(crate) mod bindings;
pub(crate) mod clock;
pub(crate) mod forgotten;
pub(crate) mod policies;
pub(crate) mod positions;
pub(crate) mod readers;
pub(crate) mod receipts;
pub(crate) mod resources;
pub(crate) mod revocations;
pub(crate) mod sessions;
pub(crate) mod signing_keys;
pub(crate) mod snapshot;
pub(crate) mod zones;

/// Whether a statement failed on a unique or primary key of `table`.
pub(crate) fn is_duplicate(error: &sqlx::Error, table: &str) -> bool {
    error
        .as_database_error()
        .is_some_and(|error| error.is_unique_violation() && error.table() == Some(table))
}
