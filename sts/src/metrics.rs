//! What the STS counts.

use chassis::metrics::Registry;
use mandate::Use;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;

use crate::error::Error;

/// A use, as a label.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct UseLabel {
    usage: &'static str,
}

/// A refusal, as a label: one of a closed set of codes.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CodeLabel {
    error: &'static str,
    code: &'static str,
}

/// What is counted.
#[derive(Clone, Debug, Default)]
pub(crate) struct Metrics {
    issued: Family<UseLabel, Counter>,
    refused: Family<CodeLabel, Counter>,
}

impl Metrics {
    /// In a registry.
    pub(crate) fn new(registry: &Registry) -> Self {
        let metrics = Self::default();
        registry.register(|registry| {
            registry.register("mandates_issued", "Mandates issued", metrics.issued.clone());
            registry.register(
                "requests_refused",
                "Token requests without a mandate",
                metrics.refused.clone(),
            );
        });
        metrics
    }

    /// A mandate was issued.
    pub(crate) fn issued(&self, usage: Use) {
        self.issued
            .get_or_create(&UseLabel {
                usage: usage.name(),
            })
            .inc();
    }

    /// None was.
    pub(crate) fn refused(&self, error: &Error) {
        let label = CodeLabel {
            error: error.face().error,
            code: error.code(),
        };
        self.refused.get_or_create(&label).inc();
    }
}
