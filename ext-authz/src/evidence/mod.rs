//! Puts decisions on record before they are answered.
//!
//! An allow is answered only from a [`Recorded`], and a `Recorded` allow exists only after the journal
//! said that it has the event. What comes before a valid signature is counted instead. An allow whose
//! answer cannot be given any more, since time is up or the caller is gone, is taken back by a second
//! event with the same decision id.

pub mod event;
mod withdrawal;

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use chassis::Dependency;
use chassis::journal::{Journal, JournalError};
use ledger::event::{Event, Outcome};
use policy::{Decision, Denial, Unavailable};
use tokio::sync::mpsc;

use crate::decide::{Decided, Inquiry};
use crate::metrics::Metrics;
use crate::refusals::{Key, Peer, Refusals, Sample};

use withdrawal::Unanswered;
pub use withdrawal::{UNANSWERED, take_back};

/// Where decisions go on record.
#[derive(Debug)]
pub struct Desk {
    journal: Journal,
    refusals: Refusals,
    withdrawals: mpsc::UnboundedSender<Event>,
    metrics: Metrics,
    dependency: Dependency,
    writable: AtomicBool,
}

/// A decision that is on record, and may be answered.
#[derive(Debug)]
pub struct Recorded(Decided);

impl Recorded {
    /// What was decided.
    pub fn decided(&self) -> &Decided {
        &self.0
    }
}

impl Desk {
    /// A desk, and where what has to be taken back arrives: for [`take_back`].
    pub fn new(
        journal: Journal,
        refusals: Refusals,
        metrics: Metrics,
        dependency: Dependency,
    ) -> (Self, mpsc::UnboundedReceiver<Event>) {
        let (withdrawals, receiver) = mpsc::unbounded_channel();
        dependency.up();
        let writable = AtomicBool::new(true);
        let desk = Self {
            journal,
            refusals,
            withdrawals,
            metrics,
            dependency,
            writable,
        };
        (desk, receiver)
    }

    /// Puts a decision on record, or turns an allow that could not be into no decision.
    pub async fn record(
        &self,
        decided: Decided,
        inquiry: &Inquiry<'_>,
        patience: Duration,
    ) -> Recorded {
        // Nothing is known about who asked: anybody can cause this.
        if decided.trace.mandate.is_none() {
            return self.counted(decided, inquiry);
        }
        let event = event::of_decision(&decided, inquiry.request_id);
        let unanswered = Unanswered::watch(&decided, inquiry.request_id, &self.withdrawals);
        let why = match tokio::time::timeout(patience, self.journal.append(event)).await {
            Ok(Ok(_)) => {
                self.journaled();
                unanswered.answered();
                return Recorded(decided);
            }
            Ok(Err(error)) => {
                self.unjournaled(&error);
                Unavailable::JournalUnavailable
            }
            Err(_) => Unavailable::Deadline,
        };
        // Whether the journal has the event is not known. An allow is taken back by a second event, which
        // is then what is on record; a refusal is counted, so that it is in the ledger in any case.
        unanswered.because(Denial::from(why).code());
        match decided.decision {
            Decision::Allow(_) => Recorded(undecided(decided, why)),
            Decision::Deny(_) => self.counted(decided, inquiry),
        }
    }

    /// Counts a refusal. An allow cannot come here: it would be without evidence.
    fn counted(&self, decided: Decided, inquiry: &Inquiry<'_>) -> Recorded {
        let decided = undecided(decided, Unavailable::JournalUnavailable);
        let (outcome, code) = event::outcome(&decided.decision);
        let key = Key {
            zone: decided.trace.zone,
            binding: decided.trace.binding,
            code,
            unavailable: outcome == Outcome::Unavailable,
            peer: Peer::from(inquiry.peer),
        };
        let at_ns = i64::try_from(decided.at.as_nanosecond()).unwrap_or(i64::MAX);
        let sample = || Sample {
            decision: decided.id,
            request_id: inquiry.request_id.to_owned(),
            at_ns,
        };
        self.refusals.count(key, sample, at_ns);
        Recorded(decided)
    }

    /// Writes down what somebody else decided.
    pub async fn append(&self, event: Event) -> Result<(), JournalError> {
        match self.journal.append(event).await {
            Ok(_) => {
                self.journaled();
                Ok(())
            }
            Err(error) => {
                self.unjournaled(&error);
                Err(error)
            }
        }
    }

    /// Writes down what was counted. What the journal does not take is kept for the next time.
    pub async fn flush(&self) {
        let counts = self.refusals.take();
        self.metrics
            .refusal_kinds
            .set(i64::try_from(counts.len()).unwrap_or(i64::MAX));
        for count in counts {
            match self.journal.append(event::of_count(&count)).await {
                Ok(_) => self.journaled(),
                Err(error) => {
                    self.unjournaled(&error);
                    self.refusals.put_back(count);
                }
            }
        }
    }

    /// Counts an allow that could not even be taken back: most likely it was not written either.
    fn count_withdrawn(&self, withdrawal: &Event) {
        let Some(decision) = withdrawal.decision_id else {
            return;
        };
        let key = Key {
            zone: withdrawal.zone,
            binding: withdrawal.binding,
            code: Denial::from(Unavailable::JournalUnavailable).code(),
            unavailable: true,
            peer: Peer::Unknown,
        };
        let at_ns = withdrawal.at_ns;
        let request_id = withdrawal.request_id.clone().unwrap_or_default();
        self.refusals.count(
            key,
            || Sample {
                decision,
                request_id,
                at_ns,
            },
            at_ns,
        );
    }

    fn journaled(&self) {
        if !self.writable.swap(true, Ordering::Relaxed) {
            self.dependency.up();
        }
    }

    fn unjournaled(&self, error: &JournalError) {
        self.metrics.unjournaled.inc();
        self.writable.store(false, Ordering::Relaxed);
        self.dependency.down(error.code());
        let error = error.to_string();
        tracing::warn!(error, "an event could not be journaled");
    }
}

/// An allow becomes no decision; a refusal stays what it is.
fn undecided(mut decided: Decided, why: Unavailable) -> Decided {
    if matches!(decided.decision, Decision::Allow(_)) {
        decided.decision = Decision::Deny(Denial::from(why));
    }
    decided
}
