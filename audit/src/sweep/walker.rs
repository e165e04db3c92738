//! Along a chain, event by event: pure. Says what does not follow, once, and goes on.

use std::collections::HashMap;

use jiff::Timestamp;
use ledger::chain::{self, ChainKey, GENESIS};
use mandate::id::JournalId;

use super::examine::Examined;
use super::report::{Findings, Layer};
use crate::store::cursors::Mark;
use crate::store::events::Stored;
use crate::store::heads::Head;

/// How the links of a ledger are made.
#[derive(Debug)]
pub(crate) struct Links<'a> {
    pub(crate) key: &'a ChainKey,
    pub(crate) origin: &'a str,
    pub(crate) epoch: u32,
}

/// A journal along the way.
#[derive(Clone, Copy, Debug)]
struct Lane {
    mark: Mark,
    /// Events are missing since: any higher counter will do.
    loose: bool,
}

/// Where the walk is.
#[derive(Debug)]
pub(crate) struct Walker<'a> {
    links: Option<Links<'a>>,
    /// The furthest this process has seen the chain.
    seen: Option<(u64, [u8; 32])>,
    next: u64,
    /// What the link before may have been: one, unless something did not follow; none behind a gap.
    before: Vec<[u8; 32]>,
    /// The same, one event earlier.
    earlier: Vec<[u8; 32]>,
    last: Option<(u64, [u8; 32], Timestamp)>,
    lanes: HashMap<JournalId, Lane>,
    gaps: bool,
    events: u64,
    findings: Findings,
}

impl<'a> Walker<'a> {
    pub(crate) fn new(links: Option<Links<'a>>, seen: Option<(u64, [u8; 32])>) -> Self {
        Self {
            links,
            seen,
            next: 1,
            before: vec![GENESIS],
            earlier: Vec::new(),
            last: None,
            lanes: HashMap::new(),
            gaps: false,
            events: 0,
            findings: Findings::default(),
        }
    }

    /// The next event of the walk.
    pub(crate) fn step(&mut self, stored: &Stored, examined: &Examined) {
        self.events = self.events.saturating_add(1);
        let seq = stored.seq;
        if let Some(poison) = examined.poison {
            self.findings.add(
                Layer::Signatures,
                seq,
                format!("the leaf is no evidence: {}", poison.code()),
            );
        }
        if let Some(column) = examined.difference {
            self.findings.add(
                Layer::Columns,
                seq,
                format!("column {column} is not what the leaf says"),
            );
        }
        if seq < self.next {
            self.findings.add(
                Layer::Sequence,
                seq,
                "there is another event with this number",
            );
            self.prefer(stored, examined);
            return;
        }
        if seq > self.next {
            self.gap(seq);
        }
        if self.last.is_some_and(|(_, _, at)| stored.appended_at < at) {
            self.findings.add(
                Layer::Sequence,
                seq,
                "it was appended before the one before it",
            );
        }
        self.follow(stored, examined);
        self.count(stored, examined);
        if self
            .seen
            .is_some_and(|(at, link)| at == seq && link != stored.link)
        {
            self.findings
                .add(Layer::Head, seq, "this service has seen another link here");
        }
        self.next = seq.saturating_add(1);
        self.last = Some((seq, stored.link, stored.appended_at));
    }

    fn gap(&mut self, seq: u64) {
        let what = match seq.saturating_sub(self.next) {
            1 => "the event is missing".to_owned(),
            _ => format!(
                "the events {} to {} are missing",
                self.next,
                seq.saturating_sub(1)
            ),
        };
        self.findings.add(Layer::Sequence, self.next, what);
        self.before.clear();
        self.loosen();
    }

    /// An event is missing or cannot be read: whose it was is not known, so that each journal may go on higher.
    fn loosen(&mut self) {
        self.gaps = true;
        self.lanes.values_mut().for_each(|lane| lane.loose = true);
    }

    /// Whether the link follows from the one before. If not, the next may follow from what is stored or from what
    /// should be: one change is one finding, not one for every event behind it.
    fn follow(&mut self, stored: &Stored, examined: &Examined) {
        let made = self.made(&self.before, stored.seq, &examined.hash);
        let follows = self.links.is_none()
            || self.before.is_empty()
            || made.iter().any(|link| chain::same(link, &stored.link));
        self.earlier = std::mem::replace(&mut self.before, vec![stored.link]);
        if !follows {
            self.findings.add(
                Layer::Chain,
                stored.seq,
                "the link does not follow from the leaf and the link before",
            );
            self.before.extend(made.first());
        }
    }

    /// Of two events with one number, the one whose link follows is the one that the next follows from.
    fn prefer(&mut self, stored: &Stored, examined: &Examined) {
        let made = self.made(&self.earlier, stored.seq, &examined.hash);
        if stored.seq.saturating_add(1) == self.next
            && made.iter().any(|link| chain::same(link, &stored.link))
        {
            self.before.push(stored.link);
            if let Some((_, link, _)) = &mut self.last {
                *link = stored.link;
            }
        }
    }

    fn made(&self, before: &[[u8; 32]], seq: u64, leaf: &[u8; 32]) -> Vec<[u8; 32]> {
        let Some(links) = &self.links else {
            return Vec::new();
        };
        before
            .iter()
            .map(|before| chain::link(links.key, links.origin, links.epoch, seq, before, leaf))
            .collect()
    }

    fn count(&mut self, stored: &Stored, examined: &Examined) {
        let Some((journal, counter)) = examined.place else {
            return self.loosen();
        };
        let mark = Mark {
            counter,
            hash: examined.hash,
        };
        let known = self.lanes.insert(journal, Lane { mark, loose: false });
        let (last, loose) = known.map_or((0, self.gaps), |lane| (lane.mark.counter, lane.loose));
        let dense = counter == last.saturating_add(1) || (loose && counter > last);
        if !dense {
            let what = format!("journal {journal} goes from counter {last} to {counter}");
            self.findings.add(Layer::Counters, stored.seq, what);
        }
    }

    /// The end of the walk: what the tables say that there is.
    pub(crate) fn finish(
        mut self,
        head: Option<&Head>,
        marks: &HashMap<JournalId, Mark>,
    ) -> (u64, Findings) {
        let (seq, link, at) = self.last.unwrap_or((0, GENESIS, Timestamp::UNIX_EPOCH));
        let next = seq.saturating_add(1);
        match head {
            None if seq > 0 => {
                self.findings
                    .add(Layer::Head, seq, "the head of the ledger is missing");
            }
            None => {}
            Some(head) if head.seq > seq => {
                let what = format!("the events {next} to {} are missing at the end", head.seq);
                self.findings.add(Layer::Sequence, next, what);
                self.gaps = true;
            }
            Some(head) if head.seq < seq => {
                let behind = head.seq.saturating_add(1);
                self.findings
                    .add(Layer::Head, behind, "there are events behind the head");
            }
            Some(head) => {
                if seq > 0 && !chain::same(&head.link, &link) {
                    self.findings
                        .add(Layer::Head, seq, "the head has another link");
                }
                if seq > 0 && head.appended_at != at {
                    self.findings
                        .add(Layer::Head, seq, "the head has another time");
                }
            }
        }
        if let Some((seen, _)) = self.seen
            && seen > seq.max(head.map_or(0, |head| head.seq))
        {
            let what = format!("the ledger was rewound: this service has seen it at {seen}");
            self.findings.add(Layer::Head, next, what);
        }
        self.compare_marks(next, marks);
        (self.events, self.findings)
    }

    /// Cursors, where no event is known to be missing: each must be its journal's last event.
    fn compare_marks(&mut self, next: u64, marks: &HashMap<JournalId, Mark>) {
        for (journal, mark) in marks {
            let walked = self.lanes.get(journal).map(|lane| lane.mark);
            if walked == Some(*mark)
                || (self.gaps && walked.is_none_or(|walked| walked.counter < mark.counter))
            {
                continue;
            }
            let walked = walked.map_or(0, |walked| walked.counter);
            let what = format!(
                "journal {journal} was taken up to counter {} and is here up to {walked}, or ends otherwise",
                mark.counter
            );
            self.findings.add(Layer::Head, next, what);
        }
        for journal in self
            .lanes
            .keys()
            .filter(|journal| !marks.contains_key(*journal))
        {
            self.findings.add(
                Layer::Head,
                next,
                format!("journal {journal} has no cursor"),
            );
        }
    }
}
