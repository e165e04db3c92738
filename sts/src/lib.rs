//! The sole issuer: session mandates for applications, and mandates narrowed from them by token
//! exchange (RFC 8693); the zones' signing keys, key sets and metadata.
//!
//! Order of a mint: shape, client, subject token, session, resources and scopes, policy, and then one
//! transaction that locks everything it rests on, reads it again, and records.
//!
//! Not here: what a mandate is (`mandate`), what policy says (`policy`), sessions and revocation
//! (`coordinator`).
#![forbid(unsafe_code)]

mod api;
mod app;
mod config;
mod error;
mod keys;
mod limit;
mod metrics;
mod mint;
mod skew;
mod store;
mod tally;
#[cfg(test)]
mod tests;
mod token;

pub use app::run;
pub use config::{Config, RawConfig};
