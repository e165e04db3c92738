//! What is counted. Labels are enums or codes of a closed table, so their number is known.

use std::sync::atomic::{AtomicI64, AtomicU64};

use chassis::metrics::Registry;
use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;

/// How a Check ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
pub enum Ended {
    /// Allowed.
    Allow,
    /// Refused.
    Deny,
    /// Not decided.
    Unavailable,
}

/// A code of one of the closed tables of refusals.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Code(pub &'static str);

impl EncodeLabelValue for Code {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> Result<(), std::fmt::Error> {
        EncodeLabelValue::encode(&self.0, encoder)
    }
}

/// The labels of a decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Decided {
    /// How it ended.
    pub outcome: Ended,
    /// Why.
    pub code: Code,
}

/// How memory was brought up to date.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
pub enum How {
    /// By the stream.
    Stream,
    /// By asking for what was missed.
    Since,
    /// By a snapshot.
    Snapshot,
}

/// The labels of news.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct News {
    /// How it came.
    pub how: How,
}

/// How a verified mandate was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
pub enum Found {
    /// In the cache.
    Hit,
    /// By verifying its signature.
    Miss,
}

/// The labels of a lookup.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Lookup {
    /// How it was found.
    pub result: Found,
}

/// The metrics of answering.
#[derive(Clone, Debug)]
pub struct Metrics {
    /// Decisions.
    pub decisions: Family<Decided, Counter>,
    /// Time to answer, in seconds.
    pub duration: Histogram,
    /// Checks shed before they were looked at.
    pub shed: Counter,
    /// Lookups of verified mandates.
    pub lookups: Family<Lookup, Counter>,
    /// Decisions whose event could not be journaled.
    pub unjournaled: Counter,
    /// Kinds of refusal being counted.
    pub refusal_kinds: Gauge,
}

impl Metrics {
    /// Registers them.
    pub fn new(registry: &Registry) -> Self {
        let metrics = Self {
            decisions: Family::default(),
            duration: Histogram::new([
                0.000_05, 0.000_1, 0.000_2, 0.000_5, 0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1,
                0.25, 0.5,
            ]),
            shed: Counter::default(),
            lookups: Family::default(),
            unjournaled: Counter::default(),
            refusal_kinds: Gauge::default(),
        };
        registry.register(|registry| {
            registry.register("decisions", "Decisions", metrics.decisions.clone());
            registry.register(
                "check_duration_seconds",
                "Time to answer",
                metrics.duration.clone(),
            );
            registry.register("checks_shed", "Checks shed unseen", metrics.shed.clone());
            registry.register(
                "mandate_lookups",
                "Verified mandates sought",
                metrics.lookups.clone(),
            );
            registry.register(
                "events_unjournaled",
                "Decisions whose event could not be journaled",
                metrics.unjournaled.clone(),
            );
            registry.register(
                "refusal_kinds",
                "Kinds of refusal being counted",
                metrics.refusal_kinds.clone(),
            );
        });
        metrics
    }
}

/// The metrics of memory.
#[derive(Clone, Debug)]
pub struct FeedMetrics {
    /// The position held.
    pub position: Gauge<u64, AtomicU64>,
    /// How old memory is; -1 where that is not known.
    pub age_milliseconds: Gauge<i64, AtomicI64>,
    /// Whether memory can be decided from.
    pub usable: Gauge,
    /// Changes applied.
    pub changes: Family<News, Counter>,
    /// Messages that were not believed.
    pub disbelieved: Counter,
    /// Calls to a coordinator that failed.
    pub failures: Counter,
    /// Times memory was of another history.
    pub resyncs: Counter,
}

impl FeedMetrics {
    /// Registers them.
    pub fn new(registry: &Registry) -> Self {
        let metrics = Self {
            position: Gauge::default(),
            age_milliseconds: Gauge::default(),
            usable: Gauge::default(),
            changes: Family::default(),
            disbelieved: Counter::default(),
            failures: Counter::default(),
            resyncs: Counter::default(),
        };
        registry.register(|registry| {
            registry.register(
                "feed_position",
                "The position held",
                metrics.position.clone(),
            );
            registry.register(
                "feed_age_milliseconds",
                "How old memory is; -1 where that is not known",
                metrics.age_milliseconds.clone(),
            );
            registry.register(
                "feed_usable",
                "Whether memory can be decided from",
                metrics.usable.clone(),
            );
            registry.register("feed_changes", "Changes applied", metrics.changes.clone());
            registry.register(
                "feed_messages_disbelieved",
                "Messages that were not believed",
                metrics.disbelieved.clone(),
            );
            registry.register(
                "feed_calls_failed",
                "Calls to a coordinator that failed",
                metrics.failures.clone(),
            );
            registry.register(
                "feed_resyncs",
                "Times memory was of another history",
                metrics.resyncs.clone(),
            );
        });
        metrics
    }
}

/// The metrics of filters.
#[derive(Clone, Debug, Default)]
pub struct FilterMetrics {
    /// Filters connected.
    pub vms: Gauge,
    /// Of these, those that can decide.
    pub ready: Gauge,
    /// Filters not served.
    pub refused: Counter,
    /// Filters cut off because they did not read.
    pub slow: Counter,
    /// Filters, or reports of one, that never came back.
    pub lost: Counter,
    /// Reports received.
    pub reports: Counter,
    /// Items of reports that were not understood.
    pub items_refused: Counter,
    /// Positions acknowledged.
    pub acks: Counter,
    /// Bytes of snapshots sent.
    pub snapshot_bytes: Counter,
}

impl FilterMetrics {
    /// Registers them.
    pub fn new(registry: &Registry) -> Self {
        let metrics = Self::default();
        registry.register(|registry| {
            for (name, help, gauge) in [
                ("filter_vms", "Filters connected", &metrics.vms),
                (
                    "filter_vms_ready",
                    "Filters that can decide",
                    &metrics.ready,
                ),
            ] {
                registry.register(name, help, gauge.clone());
            }
            for (name, help, counter) in [
                ("filter_refused", "Filters not served", &metrics.refused),
                (
                    "filter_slow",
                    "Filters cut off for not reading",
                    &metrics.slow,
                ),
                (
                    "filter_lost",
                    "Filters or reports that are lost",
                    &metrics.lost,
                ),
                ("filter_reports", "Reports received", &metrics.reports),
                (
                    "filter_report_items_refused",
                    "Items not understood",
                    &metrics.items_refused,
                ),
                ("filter_acks", "Positions acknowledged", &metrics.acks),
                (
                    "filter_snapshot_bytes",
                    "Bytes of snapshots sent",
                    &metrics.snapshot_bytes,
                ),
            ] {
                registry.register(name, help, counter.clone());
            }
        });
        metrics
    }
}
