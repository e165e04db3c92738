//! The schema: roles of a cluster, and migrations of a database, forward only.
//!
//! Services never migrate. They check `schema_version` when they start and refuse one they do not know.
#![forbid(unsafe_code)]

mod apply;
mod bootstrap;
mod role;

pub use apply::{Applied, Error, MIGRATIONS, Migration, NEWEST, migrate};
pub use bootstrap::{bootstrap, create_database};
pub use role::{Role, UnknownRole};
