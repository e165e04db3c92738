//! What a request is about, whether it may pass, and what a refusal looks like.
//!
//! A [`Snapshot`] is everything decided from, immutable and versioned. [`binding::select`] finds the one binding of a
//! request, [`decide`](decide()) is the only way to a [`Permit`], and a [`Denial`] becomes a [`Refusal`] that
//! the filter and the services render alike. Policy is typed data ([`PolicyData`]); the rules that read it are the
//! platform's own, in Rego, behind the feature `rego`.
//!
//! Not here: whether a mandate is genuine (`mandate`), evidence (`ledger`), anything that reads a clock or a socket.
//! Nothing here logs: a decision's explanation is its value.
#![forbid(unsafe_code)]
#![deny(clippy::arithmetic_side_effects, clippy::as_conversions)]

pub mod binding;
pub mod data;
mod decide;
mod denial;
#[cfg(test)]
mod fixture;
pub mod identity;
mod input;
pub mod memo;
pub mod mint;
mod permit;
pub mod refusal;
#[cfg(feature = "rego")]
pub mod rego;
pub mod snapshot;

pub use data::{Finding, PolicyData};
pub use decide::{Decision, Ground, admit, decide};
pub use denial::{Denial, Outcome, PolicyDenial, PolicyError, Refused, Unavailable};
pub use input::{Action, Input, Verdict};
pub use permit::{ALLOWED, CheckAllowed, Permit, Said};
pub use refusal::Refusal;
pub use snapshot::Snapshot;
