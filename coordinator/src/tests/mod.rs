//! The coordinator on real engines, as its own roles.

mod api;
mod authority;
pub(crate) mod bench;
mod engines;
mod limits;
mod races;
mod retention;
mod sequencing;
mod sessions;
mod start;
