//! The enforcement point: answers Envoy's Check from memory that proves its own age.
//!
//! `feed` keeps memory current and knows its age; `decide` is the pure core; `api` speaks Envoy's
//! protocol; `filter` keeps the filters inside Envoy current and takes what they refused. What is
//! allowed is in the journal before it is answered.
//!
//! Not here: what makes a mandate genuine (`mandate`), what a policy permits (`policy`), the bytes of
//! evidence (`ledger`), the journal itself (`chassis`).
#![forbid(unsafe_code)]

pub mod api;
mod app;
pub mod config;
pub mod decide;
pub mod evidence;
pub mod feed;
pub mod filter;
pub mod metrics;
pub mod refusals;

pub use app::run;
pub use config::{Attachments, Config, RawConfig};
