//! What is measured. The proxy shows each name after `wasmcustom.`; all VMs of a process share them.

use std::time::Duration;

use crate::exchange::Metric;
use crate::hostcall::{self, Kind};

/// What is measured, defined when first needed. What the proxy does not take is not measured.
#[derive(Debug, Default)]
pub(super) struct Metrics {
    counters: Vec<(Metric, Option<u32>)>,
    known: Vec<(&'static str, Option<u32>)>,
    ready: bool,
}

impl Metrics {
    pub(super) fn count(&mut self, metric: Metric) {
        let known = self.counters.iter().find(|(known, _)| *known == metric);
        let id = if let Some((_, id)) = known {
            *id
        } else {
            let id = hostcall::define(Kind::Counter, &name(metric)).ok();
            self.counters.push((metric, id));
            id
        };
        if let Some(id) = id {
            let _unmeasured = hostcall::increment(id, 1);
        }
    }

    /// How long ext-authz took, in microseconds.
    pub(super) fn took(&mut self, took: Duration) {
        let took = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.record(Kind::Histogram, "caracal_filter_check_duration_us", took);
    }

    /// Whether this VM decides: the gauge is the number of VMs that do. One that trapped cannot take itself off it.
    pub(super) fn ready(&mut self, ready: bool) {
        if ready == self.ready {
            return;
        }
        if let Some(id) = self.id(Kind::Gauge, "caracal_filter_ready")
            && hostcall::increment(id, if ready { 1 } else { -1 }).is_ok()
        {
            self.ready = ready;
        }
    }

    /// Where memory stands, and how long ago it was last known to be complete: of whichever VM said so last.
    pub(super) fn feed(&mut self, pos: Option<u64>, age: Duration) {
        if let Some(pos) = pos {
            self.record(Kind::Gauge, "caracal_filter_feed_pos", pos);
        }
        let age = u64::try_from(age.as_millis()).unwrap_or(u64::MAX);
        self.record(Kind::Gauge, "caracal_filter_feed_age_ms", age);
    }

    fn record(&mut self, kind: Kind, name: &'static str, value: u64) {
        if let Some(id) = self.id(kind, name) {
            let _unmeasured = hostcall::record(id, value);
        }
    }

    fn id(&mut self, kind: Kind, name: &'static str) -> Option<u32> {
        let known = self.known.iter().find(|(known, _)| *known == name);
        if let Some((_, id)) = known {
            return *id;
        }
        let id = hostcall::define(kind, name).ok();
        self.known.push((name, id));
        id
    }
}

fn name(metric: Metric) -> String {
    match metric {
        Metric::Admitted => "caracal_filter_admitted".to_owned(),
        Metric::Refused(code) => ["caracal_filter_refused_", code].concat(),
        Metric::Relayed(code) => ["caracal_filter_relayed_", code].concat(),
        Metric::Hit => "caracal_filter_verified_hit".to_owned(),
        Metric::Miss => "caracal_filter_verified_miss".to_owned(),
        Metric::Withdrawn(code) => ["caracal_filter_withdrawn_", code].concat(),
        Metric::Abandoned => "caracal_filter_abandoned".to_owned(),
        Metric::Cut => "caracal_filter_streams_cut".to_owned(),
    }
}
