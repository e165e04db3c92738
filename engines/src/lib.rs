//! The parts that are not ours: Envoy, PostgreSQL and Valkey. Installs pinned, hash-checked binaries under
//! a cache folder and says how each one is started, as an unprivileged user where the caller is root.
//!
//! It knows nothing of what they are used for: no schema, no configuration of Envoy.
#![forbid(unsafe_code)]

mod install;
mod launch;
mod leash;
mod postgres;
mod prerequisites;
mod user;
mod valkey;

pub use install::{Tools, install};
pub use launch::Launch;
pub use leash::Leash;
pub use postgres::{Durability, Postgres};
pub use prerequisites::{Need, check};
pub use user::{User, reachable_by_others, unprivileged};
pub use valkey::Valkey;

/// Paths of Unix sockets have to be shorter than this: the system takes 108 bytes, with some for a suffix.
pub const MAX_SOCKET_PATH: usize = 100;
