//! `envoy.service.auth.v3.Authorization/Check`.
//!
//! Errors of gRPC are for what was not looked at: shed load. Whatever was looked at gets an answer
//! that refuses by itself, a panic included.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use chassis::{Clock, Rng};
use envoy_types::ext_authz::v3::pb::{Authorization, CheckRequest, CheckResponse};
use futures::FutureExt as _;
use ledger::event::Outcome;
use mandate::id::DecisionId;
use tokio::sync::Semaphore;
use tonic::{Request, Response, Status};

use super::{answer, request};
use crate::decide::{Decided, Decider, Inquiry, Moment};
use crate::evidence::{Desk, Recorded, event};
use crate::feed::run::Shared;
use crate::metrics::{self, Code, Ended, Found, Lookup, Metrics};

/// Answers Checks.
#[derive(Clone, Debug)]
pub struct Check {
    parts: Arc<Parts>,
}

/// What answering takes.
#[derive(Debug)]
pub struct Parts {
    /// Decides.
    pub decider: Decider,
    /// Memory.
    pub memory: Shared,
    /// Where decisions go on record.
    pub desk: Arc<Desk>,
    /// A decision that takes longer is none.
    pub deadline: Duration,
    /// Checks that may be looked at at once.
    pub slots: Semaphore,
    /// Time.
    pub clock: Clock,
    /// Ids.
    pub rng: Rng,
    /// What is counted.
    pub metrics: Metrics,
}

impl Check {
    /// Answers with these parts.
    pub fn new(parts: Parts) -> Self {
        Self {
            parts: Arc::new(parts),
        }
    }

    /// Decides, puts the decision on record and answers.
    pub async fn answer(&self, request: &CheckRequest) -> CheckResponse {
        let parts = &self.parts;
        let started = parts.clock.monotonic();
        let inquiry = request::read(request);
        let id = DecisionId::from_uuid(parts.rng.uuid_v7(parts.clock.now()));
        let moment = Moment {
            now: parts.clock.now(),
            monotonic: started,
        };
        let decided = self.decide(id, &inquiry, &moment);
        self.count_lookup(&decided);
        let recorded = parts.desk.record(decided, &inquiry, parts.deadline).await;
        let answer = answer::of(&recorded, &inquiry);
        self.note(
            &recorded,
            &inquiry,
            parts.clock.monotonic().saturating_sub(started),
        );
        answer
    }

    /// Decides. A panic is no decision, and costs nobody else anything.
    fn decide(&self, id: DecisionId, inquiry: &Inquiry<'_>, moment: &Moment) -> Decided {
        let view = self.parts.memory.load();
        let decided = std::panic::catch_unwind(AssertUnwindSafe(|| {
            self.parts.decider.decide(id, inquiry, &view, moment)
        }));
        decided.unwrap_or_else(|_| {
            tracing::error!(decision.id = %id, "deciding panicked");
            Decided::failed(id, moment)
        })
    }

    fn count_lookup(&self, decided: &Decided) {
        let Some(cached) = decided.trace.cached else {
            return;
        };
        let result = if cached { Found::Hit } else { Found::Miss };
        self.parts
            .metrics
            .lookups
            .get_or_create(&Lookup { result })
            .inc();
    }

    fn note(&self, recorded: &Recorded, inquiry: &Inquiry<'_>, took: Duration) {
        let decided = recorded.decided();
        let (outcome, code) = event::outcome(&decided.decision);
        let ended = match outcome {
            Outcome::Allow => Ended::Allow,
            Outcome::Deny => Ended::Deny,
            Outcome::Unavailable => Ended::Unavailable,
        };
        let labels = metrics::Decided {
            outcome: ended,
            code: Code(code),
        };
        self.parts.metrics.decisions.get_or_create(&labels).inc();
        self.parts.metrics.duration.observe(took.as_secs_f64());
        if outcome == Outcome::Allow {
            tracing::debug!(decision.id = %decided.id, code, "decided");
        } else {
            tracing::info!(
                decision.id = %decided.id,
                decision.code = code,
                request.id = inquiry.request_id,
                zone.id = decided.trace.zone.map(tracing::field::display),
                feed.pos = decided.trace.position.map(|position| position.pos),
                duration.us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX),
                "refused"
            );
        }
    }
}

#[tonic::async_trait]
impl Authorization for Check {
    async fn check(
        &self,
        request: Request<CheckRequest>,
    ) -> Result<Response<CheckResponse>, Status> {
        let Ok(_slot) = self.parts.slots.try_acquire() else {
            self.parts.metrics.shed.inc();
            return Err(Status::resource_exhausted("too many checks at once"));
        };
        let request = request.into_inner();
        let answer = AssertUnwindSafe(self.answer(&request)).catch_unwind().await;
        answer.map(Response::new).map_err(|_| {
            tracing::error!("answering panicked");
            Status::internal("answering failed")
        })
    }
}
