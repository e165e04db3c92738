//! What a verification found.

use std::collections::BTreeSet;

use serde::Serialize;
use serde_json::{Map, Value};

/// More findings than this in one zone are counted and not told one by one.
const MOST: usize = 1_000;

/// What is checked, each apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Layer {
    /// Producers' signatures.
    Signatures,
    /// The chain under our key.
    Chain,
    /// Columns against leaves.
    Columns,
    /// No number missing, none twice, in order.
    Sequence,
    /// No number of a journal missing.
    Counters,
    /// The head, the cursors, and what this process has seen before.
    Head,
}

impl Layer {
    const ALL: [Self; 6] = [
        Self::Signatures,
        Self::Chain,
        Self::Columns,
        Self::Sequence,
        Self::Counters,
        Self::Head,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::Signatures => "signatures",
            Self::Chain => "chain",
            Self::Columns => "columns",
            Self::Sequence => "sequence",
            Self::Counters => "counters",
            Self::Head => "head",
        }
    }
}

/// One thing that should not be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Finding {
    /// Where.
    pub(crate) seq: u64,
    /// What.
    pub(crate) what: String,
}

/// What was found in a zone.
#[derive(Clone, Debug, Default)]
pub(crate) struct Findings {
    list: Vec<Finding>,
    failed: BTreeSet<Layer>,
    untold: u64,
}

impl Findings {
    pub(crate) fn add(&mut self, layer: Layer, seq: u64, what: impl Into<String>) {
        self.failed.insert(layer);
        if self.list.len() < MOST {
            self.list.push(Finding {
                seq,
                what: what.into(),
            });
        } else {
            self.untold = self.untold.saturating_add(1);
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.failed.is_empty()
    }

    fn layers(&self) -> Map<String, Value> {
        let checked = Layer::ALL.into_iter().map(|layer| {
            let state = if self.failed.contains(&layer) {
                "failed"
            } else {
                "ok"
            };
            (layer.name(), state)
        });
        // Said so that nobody takes silence for an answer.
        let unchecked = [
            ("tree", "not checkable (the ledger has no tree)"),
            ("checkpoints", "not checkable (none are published)"),
            ("witnesses", "not checkable (not anchored)"),
        ];
        checked
            .chain(unchecked)
            .map(|(name, state)| (name.to_owned(), Value::from(state)))
            .collect()
    }
}

/// The end of a chain, as a report has it.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct HeadReport {
    /// The number of the last event.
    pub(crate) seq: u64,
    /// Its link, in hexadecimal digits.
    pub(crate) link: String,
}

/// The report on a zone.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct ZoneReport {
    /// The zone, or `system`.
    pub(crate) zone: String,
    /// How many events were walked.
    pub(crate) events: u64,
    /// The end of the chain, if there is one.
    pub(crate) head: Option<HeadReport>,
    /// Each layer: `ok`, `failed`, or `not checkable (why)`.
    pub(crate) layers: Map<String, Value>,
    /// Everything that was found.
    pub(crate) findings: Vec<Finding>,
    /// How many more there are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) more_findings: Option<u64>,
}

impl ZoneReport {
    pub(crate) fn new(
        zone: String,
        events: u64,
        head: Option<HeadReport>,
        findings: Findings,
    ) -> Self {
        Self {
            zone,
            events,
            head,
            layers: findings.layers(),
            more_findings: Some(findings.untold).filter(|untold| *untold > 0),
            findings: findings.list,
        }
    }
}

/// The report.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Report {
    /// Whether something was examined and nothing was found.
    pub(crate) ok: bool,
    /// By zone.
    pub(crate) zones: Vec<ZoneReport>,
}

impl Report {
    /// A report that examined nothing is no good news.
    pub(crate) fn of(zones: Vec<ZoneReport>) -> Self {
        let sound = |zone: &ZoneReport| zone.findings.is_empty();
        Self {
            ok: !zones.is_empty() && zones.iter().all(sound),
            zones,
        }
    }
}
