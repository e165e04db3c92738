//! What is counted.

use chassis::metrics::Registry;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;

use crate::ingest::screen::Poison;

/// Why an entry went to the dead letters.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct Reason {
    pub(crate) reason: Poison,
}

/// The metrics of the service.
#[derive(Clone, Debug, Default)]
pub(crate) struct Metrics {
    pub(crate) appended: Counter,
    pub(crate) repeated: Counter,
    pub(crate) early: Counter,
    pub(crate) fenced: Counter,
    pub(crate) refused_zones: Counter,
    pub(crate) dead: Family<Reason, Counter>,
    pub(crate) verified: Counter,
    pub(crate) tamper_open: Gauge,
}

impl Metrics {
    pub(crate) fn new(registry: &Registry) -> Self {
        let metrics = Self::default();
        registry.register(|registry| {
            let counters = [
                (
                    "appended_events",
                    "Events appended to ledgers",
                    &metrics.appended,
                ),
                (
                    "repeated_events",
                    "Events that had been appended before",
                    &metrics.repeated,
                ),
                (
                    "early_events",
                    "Events left because one before them is missing",
                    &metrics.early,
                ),
                (
                    "fenced_batches",
                    "Batches given up because somebody else writes",
                    &metrics.fenced,
                ),
                (
                    "refused_zone_batches",
                    "Batches of zones whose ledger cannot be continued",
                    &metrics.refused_zones,
                ),
                (
                    "verified_events",
                    "Events walked by verifications",
                    &metrics.verified,
                ),
            ];
            for (name, help, counter) in counters {
                registry.register(name, help, counter.clone());
            }
            registry.register(
                "dead_letters",
                "Entries that are no evidence",
                metrics.dead.clone(),
            );
        });
        registry.register_plain(|registry| {
            registry.register(
                "caracal_audit_tamper_open",
                "Tamper cases that nobody has closed",
                metrics.tamper_open.clone(),
            );
        });
        metrics
    }
}
