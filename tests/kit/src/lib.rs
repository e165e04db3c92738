//! What tests stand on: a real PostgreSQL with the real schema, a real Valkey.
//!
//! Engines given by `CARACAL_TEST_DATABASE_URL` (a superuser's) and `CARACAL_TEST_REDIS_URL` are used; else each
//! test process starts its own, which end with it however it ends.
#![forbid(unsafe_code)]
#![expect(
    clippy::expect_used,
    clippy::disallowed_methods,
    clippy::missing_panics_doc,
    reason = "a failure here is a failed test"
)]

mod database;
mod folder;
mod valkey;

pub use database::{TestDb, database};
pub use migrations::Role;
pub use valkey::{OwnValkey, own_valkey, valkey_url};

/// The pinned engines.
pub fn tools() -> engines::Tools {
    engines::install().expect("installing the engines")
}
