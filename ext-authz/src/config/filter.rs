//! The filters inside Envoy: how many, and how much they may say.

use std::time::Duration;

use chassis::config::{Checks, Period};
use serde::{Deserialize, Serialize};

/// The filters inside Envoy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RawFilter {
    /// Filters served at once: each proxy has one for each of its workers, and one more.
    pub max_vms: usize,
    /// A filter's message larger than this ends its stream; filters make none larger than 192 KiB.
    pub max_report_bytes: usize,
    /// A filter that went away for longer than this is lost, with what it had not reported.
    pub lost_after: Period,
}

impl Default for RawFilter {
    fn default() -> Self {
        Self {
            max_vms: 1_024,
            max_report_bytes: 1024 * 1024,
            lost_after: Period::from_secs(60),
        }
    }
}

/// The filters inside Envoy.
#[derive(Clone, Copy, Debug)]
pub struct Filter {
    /// Filters served at once.
    pub max_vms: usize,
    /// A filter's message larger than this ends its stream.
    pub max_report_bytes: usize,
    /// A filter that went away for longer than this is lost.
    pub lost_after: Duration,
}

impl RawFilter {
    pub(super) fn resolve(self, checks: &mut Checks<'_>) -> Filter {
        checks.ensure(self.max_vms > 0, "filter.max_vms", "must be at least 1");
        checks.ensure(
            (256 * 1024..=4 * 1024 * 1024).contains(&self.max_report_bytes),
            "filter.max_report_bytes",
            "must be between 262144 and 4194304",
        );
        let lost_after = self.lost_after.get();
        checks.ensure(
            !lost_after.is_zero(),
            "filter.lost_after",
            "must not be zero",
        );
        Filter {
            max_vms: self.max_vms,
            max_report_bytes: self.max_report_bytes,
            lost_after,
        }
    }
}
