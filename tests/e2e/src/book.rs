use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::{Reply, Stack};

/// How long evidence may take to be in the ledger: it passes a window, a journal and a stream.
const PATIENCE: Duration = Duration::from_mins(1);

/// What the ledger says of a request that was refused after it had gone forward.
const HAD_GONE_FORWARD: &str = "refused the answer to a request that had gone forward";

/// What has to be found of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Evidence {
    /// An event of its own.
    Event,
    /// A part of a count.
    Count,
    /// Either.
    Any,
}

/// A request that was decided on.
#[derive(Debug, Clone)]
struct Sent {
    what: String,
    code: String,
    decision: String,
    evidence: Evidence,
}

/// The drill's own account of what it sent, to be compared with the ledger's.
#[derive(Debug, Default)]
pub struct Book {
    sent: Vec<Sent>,
    /// Answers that nobody of ours gave.
    foreign: u64,
    /// Requests of which nobody knows whether they were decided on.
    unknown: u64,
}

/// What the ledger says.
#[derive(Debug, Default)]
struct Ledger {
    events: HashMap<String, Vec<(String, String)>>,
    sampled: HashMap<String, String>,
    totals: BTreeMap<String, u64>,
    /// Requests that were refused after they had gone forward.
    forwarded: u64,
}

impl Book {
    /// Takes an answer down.
    pub fn take(&mut self, what: &str, reply: &Reply, evidence: Evidence) {
        let code = reply.code();
        if code.is_empty() {
            self.foreign += 1;
            return;
        }
        let decision = reply
            .decision()
            .unwrap_or_else(|| panic!("{what}: no decision id in {reply:?}"));
        self.sent.push(Sent {
            what: what.to_owned(),
            code,
            decision,
            evidence,
        });
    }

    /// Takes down that this many further requests may have been decided on.
    pub fn may_have(&mut self, requests: u64) {
        self.unknown += requests;
    }

    /// How many answers were decisions of ours.
    pub fn decided(&self) -> u64 {
        self.sent.len() as u64
    }

    /// How many further requests may have been decided on.
    pub fn unknown(&self) -> u64 {
        self.unknown
    }

    /// How many of them were allows.
    pub fn allowed(&self) -> u64 {
        self.totals().get("allowed").copied().unwrap_or(0)
    }

    /// How many answers were not.
    pub fn foreign(&self) -> u64 {
        self.foreign
    }

    /// How many answers had each code.
    pub fn totals(&self) -> BTreeMap<String, u64> {
        let mut totals = BTreeMap::new();
        for sent in &self.sent {
            *totals.entry(sent.code.clone()).or_insert(0) += 1;
        }
        totals
    }

    /// Waits until the ledger says the same, and fails when it says anything else. Gives how many requests had gone
    /// forward when they were refused, since their authority ended before an answer began.
    pub fn settle(&self, stack: &Stack) -> u64 {
        let started = Instant::now();
        loop {
            let ledger = Ledger::read(stack);
            let wrong = self.differences(&ledger);
            if wrong.is_empty() {
                return ledger.forwarded;
            }
            assert!(
                started.elapsed() < PATIENCE,
                "the ledger disagrees:\n{}",
                wrong.join("\n")
            );
            std::thread::sleep(Duration::from_millis(250));
        }
    }

    /// As `settle`, where what only counted may be lost with a process that was killed: every allow that was answered is
    /// in the ledger, once, and no more are than may have been.
    pub fn settle_allows(&self, stack: &Stack) {
        let started = Instant::now();
        loop {
            let ledger = Ledger::read(stack);
            let allowed = || self.sent.iter().filter(|sent| sent.code == "allowed");
            let missing = allowed().find(|sent| ledger.lacks(sent).is_some());
            let found = ledger.totals.get("allowed").copied().unwrap_or(0);
            // What takes an allow back comes later than the allow.
            let most = self.allowed() + self.unknown;
            if missing.is_none() && found <= most {
                return;
            }
            assert!(
                started.elapsed() < PATIENCE,
                "not in the ledger: {missing:?}; {found} allows, and {most} may have been; {:?}",
                ledger.totals
            );
            std::thread::sleep(Duration::from_millis(250));
        }
    }

    fn differences(&self, ledger: &Ledger) -> Vec<String> {
        let mut wrong = Vec::new();
        let totals = self.totals();
        let whole = totals
            .iter()
            .all(|(code, count)| ledger.totals.get(code).is_some_and(|found| found >= count));
        let sum = |totals: &BTreeMap<String, u64>| totals.values().sum::<u64>();
        if !whole || sum(&ledger.totals) > sum(&totals) + self.unknown {
            wrong.push(format!("sent  {totals:?}\nfound {:?}", ledger.totals));
        }
        for sent in &self.sent {
            if let Some(why) = ledger.lacks(sent) {
                wrong.push(format!(
                    "{} ({} {}): {why}",
                    sent.what, sent.code, sent.decision
                ));
            }
        }
        wrong
    }
}

impl Ledger {
    fn read(stack: &Stack) -> Self {
        let mut ledger = Self::default();
        for event in stack.ok(&["audit", "search"]).lines() {
            match event["kind"].as_str() {
                Some("decision") => ledger.decision(&event),
                Some("refusals") => ledger.refusals(&event),
                _ => {}
            }
        }
        for events in ledger.events.values() {
            let code = verdict(events).expect("an event");
            *ledger.totals.entry(code.to_owned()).or_insert(0) += 1;
        }
        ledger
    }

    fn decision(&mut self, event: &Value) {
        self.forwarded += u64::from(event["detail"] == HAD_GONE_FORWARD);
        let events = self.events.entry(text(event, "decision_id")).or_default();
        events.push((text(event, "decision"), text(event, "code")));
    }

    fn refusals(&mut self, event: &Value) {
        let code = text(event, "code");
        // A filter that went away with what it had not reported is told of without a number.
        let count = event["count"].as_u64().unwrap_or(0);
        *self.totals.entry(code.clone()).or_insert(0) += count;
        for sample in event["samples"].as_array().into_iter().flatten() {
            self.sampled
                .insert(text(sample, "decision_id"), code.clone());
        }
    }

    /// Why what the ledger has of a request is not what it should have.
    fn lacks(&self, sent: &Sent) -> Option<String> {
        let event = self.events.get(&sent.decision);
        let sampled = self.sampled.get(&sent.decision);
        if let (Some(event), Some(sampled)) = (event, sampled) {
            return Some(format!("there twice: {event:?} and counted as {sampled}"));
        }
        let code = event
            .and_then(|events| verdict(events))
            .or(sampled.map(String::as_str));
        if code.is_some_and(|code| code != sent.code) {
            return Some(format!("found as {event:?} {sampled:?}"));
        }
        match (sent.evidence, event) {
            (Evidence::Event, None) => Some("no event".to_owned()),
            (Evidence::Count, Some(event)) => Some(format!("not counted but {event:?}")),
            (Evidence::Event | Evidence::Count | Evidence::Any, _) => None,
        }
    }
}

/// The code that counts among the events of one decision: what takes an allow back may lie in another chain, and then
/// comes before it.
fn verdict(events: &[(String, String)]) -> Option<&str> {
    let withdrawal = events.iter().find(|(decision, _)| decision != "allow");
    withdrawal.or(events.last()).map(|(_, code)| code.as_str())
}

fn text(value: &Value, name: &str) -> String {
    let found = value[name].as_str();
    found
        .unwrap_or_else(|| panic!("no {name} in {value}"))
        .to_owned()
}
