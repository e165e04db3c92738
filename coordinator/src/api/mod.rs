//! The admin API: shapes, not rules.

pub(crate) mod applications;
pub(crate) mod bindings;
pub(crate) mod body;
pub(crate) mod change;
pub(crate) mod check;
pub(crate) mod limit;
pub(crate) mod page;
pub(crate) mod path;
pub(crate) mod policies;
pub(crate) mod principal;
pub(crate) mod resources;
pub(crate) mod revocations;
pub(crate) mod router;
pub(crate) mod sessions;
pub(crate) mod zones;

pub use limit::Rate;
pub use router::openapi;
pub(crate) use router::router;
