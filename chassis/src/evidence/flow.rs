//! What is under way: sent, and not yet heard of.

use std::collections::HashMap;
use std::time::Duration;

use crate::journal::{Journal, Lane};

/// Nothing heard for this long: it did not arrive.
const STALLED: Duration = Duration::from_secs(5);

#[derive(Clone, Copy, Debug)]
struct Flow {
    sent: u64,
    acknowledged: u64,
    moved: Duration,
}

/// By journal and zone.
#[derive(Debug, Default)]
pub(super) struct Flows(HashMap<Lane, Flow>);

impl Flows {
    /// The last counter that was sent.
    pub(super) fn sent(&self, lane: Lane) -> u64 {
        self.0.get(&lane).map_or(0, |flow| flow.sent)
    }

    pub(super) fn note_sent(&mut self, lane: Lane, counter: u64, now: Duration) {
        let flow = self.0.entry(lane).or_insert(Flow {
            sent: 0,
            acknowledged: 0,
            moved: now,
        });
        if flow.sent <= flow.acknowledged {
            flow.moved = now;
        }
        flow.sent = flow.sent.max(counter);
    }

    /// Events that are sent and not acknowledged.
    pub(super) fn under_way(&self, journal: &Journal) -> u64 {
        let mut events = 0_u64;
        for (lane, flow) in &self.0 {
            let open = flow.sent.saturating_sub(journal.acknowledged(*lane));
            events = events.saturating_add(open);
        }
        events
    }

    /// Takes back what has not moved for too long, so that it is sent again. True when there was any.
    pub(super) fn rewind_stalled(&mut self, journal: &Journal, now: Duration) -> bool {
        let mut any = false;
        for (lane, flow) in &mut self.0 {
            let acknowledged = journal.acknowledged(*lane);
            if acknowledged > flow.acknowledged {
                flow.acknowledged = acknowledged;
                flow.moved = now;
            }
            if flow.sent > acknowledged && now.saturating_sub(flow.moved) >= STALLED {
                flow.sent = acknowledged;
                flow.moved = now;
                any = true;
            }
        }
        any
    }

    /// Takes back everything that is not acknowledged.
    pub(super) fn rewind_all(&mut self) {
        self.0.clear();
    }
}
