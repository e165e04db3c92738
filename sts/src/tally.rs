//! Refusals of callers nobody knows, counted instead of written one by one, so that a stranger
//! cannot fill a tenant's ledger.

use std::collections::HashMap;

use mandate::id::{DecisionId, ZoneId};

use crate::limit::Source;

/// The most decisions kept as samples of one count.
pub(crate) const MAX_SAMPLES: usize = 8;

/// What is counted together.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Kind {
    /// The zone asked, when there is such a zone.
    pub zone: Option<ZoneId>,
    /// The refusal's code.
    pub code: &'static str,
    /// Who asked; `None` where the sources were too many to tell apart.
    pub source: Option<Source>,
}

/// One of the refusals counted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Sample {
    /// Its decision.
    pub decision: DecisionId,
    /// The request id of the caller's choosing.
    pub request: String,
    /// When.
    pub at_ns: i64,
}

/// A count ready to be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Counted {
    /// What was counted.
    pub kind: Kind,
    /// How many.
    pub count: u64,
    /// The first one's time.
    pub first_ns: i64,
    /// The last one's time.
    pub last_ns: i64,
    /// The first few.
    pub samples: Vec<Sample>,
}

/// Counts by kind; holds at most `limit` kinds that name a source, and one per zone and code beyond.
#[derive(Debug)]
pub(crate) struct Tally {
    limit: usize,
    counts: HashMap<Kind, Counted>,
}

impl Tally {
    /// Nothing counted.
    pub(crate) fn new(limit: usize) -> Self {
        Self {
            limit,
            counts: HashMap::new(),
        }
    }

    /// Counts one refusal.
    pub(crate) fn count(&mut self, mut kind: Kind, sample: Sample) {
        if self.counts.len() >= self.limit && !self.counts.contains_key(&kind) {
            kind.source = None;
        }
        let at_ns = sample.at_ns;
        let counted = self.counts.entry(kind.clone()).or_insert_with(|| Counted {
            kind,
            count: 0,
            first_ns: at_ns,
            last_ns: at_ns,
            samples: Vec::new(),
        });
        counted.count = counted.count.saturating_add(1);
        counted.last_ns = counted.last_ns.max(at_ns);
        if counted.samples.len() < MAX_SAMPLES {
            counted.samples.push(sample);
        }
    }

    /// Takes everything counted so far, in a fixed order.
    pub(crate) fn take(&mut self) -> Vec<Counted> {
        let mut taken: Vec<Counted> = self.counts.drain().map(|(_, counted)| counted).collect();
        taken.sort_by(|a, b| a.kind.cmp(&b.kind));
        taken
    }

    /// Puts back what could not be written.
    pub(crate) fn put_back(&mut self, counted: Counted) {
        match self.counts.get_mut(&counted.kind) {
            None => {
                self.counts.insert(counted.kind.clone(), counted);
            }
            Some(held) => {
                held.count = held.count.saturating_add(counted.count);
                held.first_ns = held.first_ns.min(counted.first_ns);
                held.last_ns = held.last_ns.max(counted.last_ns);
                held.samples.splice(0..0, counted.samples);
                held.samples.truncate(MAX_SAMPLES);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use uuid::Uuid;

    use super::*;

    fn kind(source: u8) -> Kind {
        let address = IpAddr::V4(Ipv4Addr::new(192, 0, 2, source));
        Kind {
            zone: None,
            code: "client_unknown",
            source: Some(address.into()),
        }
    }

    fn sample(at_ns: i64) -> Sample {
        Sample {
            decision: DecisionId::from_uuid(Uuid::nil()),
            request: String::new(),
            at_ns,
        }
    }

    #[test]
    fn counts_what_is_alike_once() {
        let mut tally = Tally::new(10);
        for at in 0..20 {
            tally.count(kind(1), sample(at));
        }
        let taken = tally.take();
        assert_eq!(taken.len(), 1);
        assert_eq!(
            (taken[0].count, taken[0].first_ns, taken[0].last_ns),
            (20, 0, 19)
        );
        assert_eq!(taken[0].samples.len(), MAX_SAMPLES);
        assert!(tally.take().is_empty());
    }

    #[test]
    fn loses_no_count_when_sources_are_too_many() {
        let mut tally = Tally::new(3);
        for source in 0..100 {
            tally.count(kind(source), sample(1));
        }
        let taken = tally.take();
        assert_eq!(taken.len(), 4);
        assert_eq!(taken.iter().map(|counted| counted.count).sum::<u64>(), 100);
    }

    #[test]
    fn puts_back_what_was_not_written() {
        let mut tally = Tally::new(3);
        tally.count(kind(1), sample(5));
        let mut taken = tally.take();
        tally.count(kind(1), sample(9));
        tally.put_back(taken.remove(0));
        let taken = tally.take();
        assert_eq!(
            (taken[0].count, taken[0].first_ns, taken[0].last_ns),
            (2, 5, 9)
        );
        assert_eq!(taken[0].samples[0].at_ns, 5);
    }

    #[test]
    fn what_is_put_back_keeps_its_last_time_when_what_was_counted_since_is_earlier() {
        let mut tally = Tally::new(3);
        tally.count(kind(1), sample(5));
        tally.count(kind(1), sample(9));
        let mut taken = tally.take();
        // The clock was set back.
        tally.count(kind(1), sample(7));
        tally.put_back(taken.remove(0));
        let taken = tally.take();
        assert_eq!(
            (taken[0].count, taken[0].first_ns, taken[0].last_ns),
            (3, 5, 9)
        );
    }
}
