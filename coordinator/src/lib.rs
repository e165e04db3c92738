//! The control plane: the admin API, sessions, revocation, the sequencer that gives changes their
//! order, and the service that enforcement points read them from.
//!
//! Invariant: a change, its evidence and what enforcement points are told are one transaction.
//! Invariant: what was revoked is refused by every mint that commits later, because both take the
//! anchor's lock and read only in a later statement.
//! Invariant: positions come from the sequencer alone and are dense; Redis ids are never positions.
//!
//! Not here: issuing mandates and keys (`sts`), deciding on requests (`ext-authz`), the ledger
//! (`audit`).
#![forbid(unsafe_code)]

mod api;
mod app;
mod authority;
mod bearer;
mod config;
mod delta;
mod error;
mod evidence;
mod reach;
mod retention;
mod sequencer;
mod store;
mod sweeper;
#[cfg(test)]
mod tests;

pub use api::{Rate, openapi};
pub use app::run;
pub use config::{
    Config, RawAdmin, RawConfig, RawGrpc, RawLimits, RawSequencer, RawSessions, Sequencer,
};
