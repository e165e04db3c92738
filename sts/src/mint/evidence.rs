//! Evidence of every answer. A mint's rides the outbox of its own transaction; a refusal's goes to
//! the local journal: one event each once the client is known, counted together before that.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use chassis::Dependency;
use chassis::clock::Clock;
use chassis::crypto::EventKey;
use chassis::journal::{Journal, JournalError};
use ledger::event::{Event, EventKind, Outcome, Sample as EventSample};
use mandate::Use;
use tokio_util::sync::CancellationToken;

use crate::error::Error;
use crate::metrics::Metrics;
use crate::mint::Account;
use crate::tally::{Counted, Kind, Sample, Tally};
use crate::token::claims::Draft;

/// What the mint's event says of who wrote it.
const SERVICE: &str = "sts";

/// An event in the outbox's form.
#[derive(Debug)]
pub(super) struct OutboxEvent {
    pub(super) kind: &'static str,
    pub(super) payload: Vec<u8>,
}

/// The event of a mint, signed by us; whoever numbers it cannot change it.
pub(super) fn minted(account: &Account, draft: &Draft, key: &EventKey) -> OutboxEvent {
    let mut event = Event::new(EventKind::Mint, account.at_ns);
    event.zone = Some(draft.zone);
    event.decision = Some(Outcome::Allow);
    event.code = Some("minted".to_owned());
    event.decision_id = Some(account.decision);
    event.request_id = text(&account.request);
    event.application = Some(draft.application);
    event.session = draft.sessions.last().copied();
    event.resource.clone_from(&account.resource);
    event.jti = Some(draft.jti);
    event.sid = Some(draft.record);
    event.root_sid = Some(draft.root());
    event.usage = Some(draft.usage.name().to_owned());
    event.exp = Some(draft.exp);
    event.scopes = Some(draft.scopes.clone());
    event.labels = Some(draft.labels.clone()).filter(|labels| !labels.is_empty());
    event.policy_version = Some(draft.policy);
    event.actor = Some(SERVICE.to_owned());
    event.detail = targets(draft);
    OutboxEvent {
        kind: EventKind::Mint.as_str(),
        payload: event.sign_origin(key).encode(),
    }
}

/// The other targets of a mandate that has several; `resource` is the first.
fn targets(draft: &Draft) -> Option<String> {
    let more = draft.targets.len().saturating_sub(1);
    (more > 0 && draft.usage != Use::Session).then(|| format!("{more} more targets"))
}

fn text(text: &str) -> Option<String> {
    Some(text.to_owned()).filter(|text| !text.is_empty())
}

/// Where refusals are written.
#[derive(Debug)]
pub(crate) struct Evidence {
    journal: Journal,
    tally: Mutex<Tally>,
    clock: Clock,
    metrics: Metrics,
    dependency: Dependency,
}

impl Evidence {
    /// Over a journal.
    pub(crate) fn new(
        journal: Journal,
        clock: Clock,
        metrics: Metrics,
        dependency: Dependency,
        kinds: usize,
    ) -> Self {
        dependency.up();
        Self {
            journal,
            tally: Mutex::new(Tally::new(kinds)),
            clock,
            metrics,
            dependency,
        }
    }

    /// Counts a mint.
    pub(crate) fn count_issued(&self, usage: Use) {
        self.metrics.issued(usage);
    }

    /// Writes that nothing was issued, and why. The refusal stands whether or not it could be
    /// written; that it could not makes the process not ready.
    pub(crate) async fn refused(&self, account: &Account, error: &Error) {
        self.metrics.refused(error);
        if account.application.is_none() {
            let source = Some(account.source);
            let kind = Kind {
                zone: account.zone,
                code: error.code(),
                source,
            };
            let sample = Sample {
                decision: account.decision,
                request: account.request.clone(),
                at_ns: account.at_ns,
            };
            self.with_tally(|tally| tally.count(kind, sample));
            return;
        }
        let written = self.journal.append(refusal(account, error)).await;
        self.note(&written.map(drop));
    }

    /// Writes what was counted, every `every` and once more at the end.
    pub(crate) async fn keep(&self, every: Duration, stop: CancellationToken) {
        loop {
            let stopped = tokio::select! {
                () = stop.cancelled() => true,
                () = tokio::time::sleep(every) => false,
            };
            self.flush().await;
            if stopped {
                return;
            }
        }
    }

    /// Writes what was counted so far.
    pub(crate) async fn flush(&self) {
        for counted in self.with_tally(Tally::take) {
            let written = self.journal.append(self.counted(&counted)).await;
            if written.is_err() {
                self.with_tally(|tally| tally.put_back(counted));
            }
            self.note(&written.map(drop));
        }
    }

    fn counted(&self, counted: &Counted) -> Event {
        let now = self.clock.now();
        let at_ns = i64::try_from(now.as_nanosecond()).unwrap_or(i64::MAX);
        let mut event = Event::new(EventKind::Refusals, at_ns);
        event.zone = counted.kind.zone;
        event.decision = Some(Outcome::Deny);
        event.code = Some(counted.kind.code.to_owned());
        event.count = Some(counted.count);
        event.window_ns = u64::try_from(at_ns.saturating_sub(counted.first_ns)).ok();
        event.peer = counted.kind.source.map(|source| source.to_string());
        let samples = counted.samples.iter().map(|sample| EventSample {
            decision_id: sample.decision,
            request_id: sample.request.clone(),
            at_ns: sample.at_ns,
        });
        event.samples = Some(samples.collect());
        event.actor = Some(SERVICE.to_owned());
        event
    }

    fn note(&self, written: &Result<(), JournalError>) {
        if let Err(error) = written {
            tracing::error!(error = %error, "a refusal could not be written to the journal");
        }
        self.dependency.observe(written);
    }

    fn with_tally<T>(&self, act: impl FnOnce(&mut Tally) -> T) -> T {
        act(&mut self.tally.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

fn refusal(account: &Account, error: &Error) -> Event {
    let mut event = Event::new(EventKind::MintRefused, account.at_ns);
    event.zone = account.zone;
    event.decision = Some(match error {
        Error::Refused(_) => Outcome::Deny,
        Error::Unavailable(_) => Outcome::Unavailable,
    });
    event.code = Some(error.code().to_owned());
    event.decision_id = Some(account.decision);
    event.request_id = text(&account.request);
    event.application = account.application;
    event.session = account.session;
    event.sid = account.subject_record;
    event.resource.clone_from(&account.resource);
    event.scopes = Some(account.scopes.clone()).filter(|scopes| !scopes.is_empty());
    event.policy_version = account.policy;
    event.peer = Some(account.source.to_string());
    event.actor = Some(SERVICE.to_owned());
    event
}
