//! The ledger: takes evidence from the streams, chains it, keeps it, finds it, and proves that nobody changed it.
//!
//! An event gets here by a stream, which may repeat, reorder or lose it. What makes it count is its producer's
//! signature and its place in its journal; what makes it last is one transaction that moves the zone's head, the
//! journal's cursor and the events together. Only then the producer is told, under our signature, that it may forget.
//!
//! Not here: what an event is and how it is signed (`ledger`), how producers keep and send it (`chassis::journal`,
//! `chassis::evidence`).
#![forbid(unsafe_code)]

mod api;
mod app;
mod columns;
mod config;
mod error;
mod ingest;
mod keyring;
mod metrics;
mod store;
mod sweep;
mod tamper;
#[cfg(test)]
mod tests;

pub use app::run;
pub use config::{Config, RawConfig};

use mandate::id::ZoneId;
use uuid::Uuid;

/// The zone under which what has no zone is kept.
pub(crate) const SYSTEM: ZoneId = ZoneId::from_uuid(Uuid::nil());
/// Its name in answers.
pub(crate) const SYSTEM_NAME: &str = "system";

/// The zone of events; none for the deployment's own log.
pub(crate) fn zone_of(ledger: ZoneId) -> Option<ZoneId> {
    (ledger != SYSTEM).then_some(ledger)
}

/// How a zone's ledger is called in answers.
pub(crate) fn name_of(ledger: ZoneId) -> String {
    zone_of(ledger).map_or_else(|| SYSTEM_NAME.to_owned(), |zone| zone.to_string())
}
