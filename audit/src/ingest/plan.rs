//! What of a batch is appended: pure, by each journal's cursor and nothing else.

use std::collections::{BTreeMap, HashMap};

use ledger::chain::{self, ChainKey};
use mandate::id::JournalId;

use super::screen::Candidate;
use crate::store::cursors::Mark;

/// A journal's move.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Move {
    /// Where it was; 0 before its first event.
    pub(crate) from: u64,
    /// Where it is now.
    pub(crate) to: Mark,
}

/// What is to be done with the events of one zone in one batch.
#[derive(Debug, Default)]
pub(crate) struct Plan<'a> {
    /// To append, in this order.
    pub(crate) appends: Vec<&'a Candidate>,
    /// How cursors move.
    pub(crate) moves: BTreeMap<JournalId, Move>,
    /// Came before: what is stored at their place has to be the same.
    pub(crate) repeats: Vec<&'a Candidate>,
    /// Came before, and was another event.
    pub(crate) conflicts: Vec<&'a Candidate>,
    /// Came too early: the producer sends them again once those before them are here.
    pub(crate) early: usize,
}

/// Sorts a batch: the next of its journal is appended, what was there before is dropped, what comes too early is left.
pub(crate) fn plan<'a>(marks: &HashMap<JournalId, Mark>, batch: &'a [Candidate]) -> Plan<'a> {
    let mut plan = Plan::default();
    let mut now: HashMap<JournalId, Mark> = marks.clone();
    let mut taken: HashMap<(JournalId, u64), [u8; 32]> = HashMap::new();
    for candidate in batch {
        let place = (candidate.journal, candidate.counter);
        let mark = now.get(&candidate.journal).copied();
        let counter = mark.map_or(0, |mark| mark.counter);
        if candidate.counter == counter.saturating_add(1) {
            let to = Mark {
                counter: candidate.counter,
                hash: candidate.hash,
            };
            now.insert(candidate.journal, to);
            taken.insert(place, candidate.hash);
            let made = plan
                .moves
                .entry(candidate.journal)
                .or_insert(Move { from: counter, to });
            made.to = to;
            plan.appends.push(candidate);
        } else if candidate.counter > counter {
            plan.early = plan.early.saturating_add(1);
        } else {
            let at_mark = mark
                .filter(|mark| mark.counter == candidate.counter)
                .map(|mark| mark.hash);
            match taken.get(&place).copied().or(at_mark) {
                Some(hash) if hash == candidate.hash => {}
                Some(_) => plan.conflicts.push(candidate),
                None => plan.repeats.push(candidate),
            }
        }
    }
    plan
}

/// The links of events appended behind a link.
pub(crate) fn links(
    key: &ChainKey,
    origin: &str,
    epoch: u32,
    seq: u64,
    link: &[u8; 32],
    appends: &[&Candidate],
) -> Vec<(u64, [u8; 32])> {
    let mut previous = *link;
    let mut links = Vec::with_capacity(appends.len());
    for (candidate, seq) in appends.iter().zip(seq.saturating_add(1)..) {
        previous = chain::link(key, origin, epoch, seq, &previous, &candidate.hash);
        links.push((seq, previous));
    }
    links
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use ledger::event::{Event, EventKind};
    use proptest::prelude::*;
    use uuid::Uuid;

    use super::*;
    use crate::SYSTEM;
    use crate::columns::Columns;

    fn journal(number: u128) -> JournalId {
        JournalId::from_uuid(Uuid::from_u128(number))
    }

    fn candidate(of: u128, counter: u64) -> Candidate {
        let mut event = Event::new(EventKind::Decision, 0);
        event.journal_id = journal(of);
        event.counter = counter;
        let leaf = event.encode();
        Candidate {
            zone: SYSTEM,
            journal: journal(of),
            counter,
            hash: ledger::leaf_hash(&leaf),
            leaf,
            columns: Columns::of(&event).unwrap(),
        }
    }

    proptest! {
        /// Whatever a stream does with what is sent, each event is appended once and in its journal's order, and once
        /// everything was sent again in order, all of it is there.
        #[test]
        fn however_events_arrive_each_is_appended_once_and_in_order(
            arrivals in proptest::collection::vec((0_u128..3, 1_u64..12), 0..120),
            cuts in proptest::collection::vec(1_usize..20, 1..20),
        ) {
            let in_order = (0..3).flat_map(|of| (1..12).map(move |counter| (of, counter)));
            let sent: Vec<Candidate> = arrivals
                .into_iter()
                .chain(in_order)
                .map(|(of, counter)| candidate(of, counter))
                .collect();
            let mut marks: HashMap<JournalId, Mark> = HashMap::new();
            let mut appended: BTreeMap<JournalId, Vec<u64>> = BTreeMap::new();
            let mut rest = sent.as_slice();
            let mut cuts = cuts.iter().cycle();
            while !rest.is_empty() {
                let (batch, later) = rest.split_at((*cuts.next().unwrap()).min(rest.len()));
                rest = later;
                let plan = plan(&marks, batch);
                prop_assert!(plan.conflicts.is_empty());
                for candidate in &plan.appends {
                    appended.entry(candidate.journal).or_default().push(candidate.counter);
                }
                for (journal, made) in &plan.moves {
                    let before = marks.get(journal).map_or(0, |mark| mark.counter);
                    prop_assert_eq!(made.from, before);
                    marks.insert(*journal, made.to);
                }
            }
            for counters in appended.values() {
                prop_assert_eq!(counters.clone(), (1..12).collect::<Vec<_>>());
            }
            prop_assert_eq!(appended.len(), 3);
        }
    }

    #[test]
    fn another_event_at_a_known_place_is_a_conflict() {
        let first = candidate(1, 1);
        let mut other = first.clone();
        other.hash = [1; 32];
        let marks = HashMap::from([(
            journal(1),
            Mark {
                counter: 1,
                hash: first.hash,
            },
        )]);
        assert_eq!(
            plan(&marks, std::slice::from_ref(&other)).conflicts.len(),
            1
        );
        assert!(
            plan(&marks, std::slice::from_ref(&first))
                .conflicts
                .is_empty()
        );
        assert_eq!(plan(&HashMap::new(), &[first, other]).conflicts.len(), 1);
    }

    #[test]
    fn what_lies_further_back_has_to_be_looked_up() {
        let marks = HashMap::from([(
            journal(1),
            Mark {
                counter: 5,
                hash: [0; 32],
            },
        )]);
        let old = [candidate(1, 2)];
        let plan = plan(&marks, &old);
        assert_eq!(plan.repeats.len(), 1);
        assert!(plan.appends.is_empty() && plan.moves.is_empty());
        assert_eq!(old[0].columns.at, Timestamp::UNIX_EPOCH);
    }
}
