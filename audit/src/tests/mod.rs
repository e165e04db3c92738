//! On a real Postgres as the service's own roles, and on a real Valkey.

mod config;
mod ingest;
mod isolation;
pub(crate) mod stand;
mod streams;
mod tamper;
