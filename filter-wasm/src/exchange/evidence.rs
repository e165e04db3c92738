//! What is told of an exchange that did not go forward.

use std::net::IpAddr;
use std::sync::Arc;

use jiff::Timestamp;
use mandate::canonical;
use mandate::id::{DecisionId, ZoneId};
use wire::pb::caracal::filter::v1::Denied;

use super::Asked;
use crate::report::{self, Refused};
use crate::verify::{Trace, Verified};
use crate::worker::Worker;

/// The code of an allow taken back because whoever asked was gone.
pub(super) const UNANSWERED: &str = "unanswered";

/// How far a request had got that was allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Reached {
    /// Not past the filter.
    #[default]
    Nobody,
    /// The upstream.
    Upstream,
    /// The upstream, and its answer the caller, in part.
    Caller,
}

/// Who asked, as far as evidence names it.
#[derive(Debug, Clone, Default)]
pub(super) struct Caller {
    /// Whether it wants its answer in gRPC's form.
    pub(super) grpc: bool,
    /// How far its request got.
    pub(super) reached: Reached,
    peer: Option<IpAddr>,
    request_id: String,
    method: String,
    /// The zone in which the proxy's own filter got an allow: of use while we know none ourselves.
    zone: Option<ZoneId>,
}

impl Caller {
    /// Whoever sent a request.
    pub(super) fn of(asked: &Asked<'_>) -> Self {
        let method = canonical::method(asked.first(b":method")).unwrap_or_default();
        Self {
            grpc: false,
            reached: Reached::Nobody,
            peer: report::address(asked.source).map(|address| address.ip()),
            request_id: asked.request_id().to_owned(),
            method: method.to_owned(),
            zone: asked.kept.zone.and_then(|zone| ZoneId::parse(zone).ok()),
        }
    }

    /// Tells a refusal: one by one where the mandate is genuine, else as part of a count.
    pub(super) fn report(
        &self,
        worker: &mut Worker,
        decision: DecisionId,
        code: &'static str,
        trace: &Trace,
        at: Timestamp,
    ) {
        let refused = self.refused(decision, code, trace, at);
        if trace.mandate.is_some() {
            let denied = denied(&refused, trace, worker, false);
            worker.reports.deny(denied, &refused);
        } else {
            worker.reports.count(&refused);
        }
    }

    /// Takes an allow of ext-authz back, or tells that what it allowed was cut off.
    pub(super) fn withdraw(
        &self,
        worker: &mut Worker,
        decision: DecisionId,
        code: &'static str,
        trace: &Trace,
        at: Timestamp,
    ) {
        let refused = self.refused(decision, code, trace, at);
        let mut denied = denied(&refused, trace, worker, true);
        if denied.zone_id.is_empty() {
            denied.zone_id = self.zone.map(|zone| zone.to_string()).unwrap_or_default();
        }
        denied.forwarded = self.reached != Reached::Nobody;
        denied.cut = self.reached == Reached::Caller;
        worker.reports.deny(denied, &refused);
    }

    fn refused<'a>(
        &'a self,
        decision: DecisionId,
        code: &'static str,
        trace: &Trace,
        at: Timestamp,
    ) -> Refused<'a> {
        Refused {
            decision,
            code,
            binding: trace
                .selected
                .as_ref()
                .map(|it| (it.zone_id, it.binding.id)),
            request_id: &self.request_id,
            method: &self.method,
            peer: self.peer,
            at,
        }
    }
}

fn denied(refused: &Refused<'_>, trace: &Trace, worker: &Worker, withdraws: bool) -> Denied {
    let (epoch, pos) = worker.feed.position();
    let claims = trace.mandate.as_ref().map(mandate::Mandate::claims);
    let selected = trace.selected.as_ref();
    Denied {
        decision_id: refused.decision.to_string(),
        request_id: refused.request_id.to_owned(),
        zone_id: selected
            .map(|it| it.zone_id.to_string())
            .unwrap_or_default(),
        binding: selected
            .map(|it| it.binding.id.to_string())
            .unwrap_or_default(),
        code: refused.code.to_owned(),
        method: refused.method.to_owned(),
        template: trace
            .operation
            .as_ref()
            .map(|operation| operation.template.to_string())
            .unwrap_or_default(),
        jti: claims
            .map(|claims| claims.jti.to_string())
            .unwrap_or_default(),
        session: claims
            .and_then(|claims| claims.agent_session_id)
            .map(|session| session.to_string())
            .unwrap_or_default(),
        application: claims
            .map(|claims| claims.client_id.to_string())
            .unwrap_or_default(),
        subject: claims
            .map(|claims| claims.sub.to_string())
            .unwrap_or_default(),
        at_ns: report::nanoseconds(refused.at),
        withdraws,
        forwarded: false,
        cut: false,
        sid: claims
            .map(|claims| claims.sid.to_string())
            .unwrap_or_default(),
        root_sid: claims
            .map(|claims| claims.root_sid.to_string())
            .unwrap_or_default(),
        exp: claims.map(|claims| claims.exp).unwrap_or_default(),
        scopes: claims
            .map(|claims| claims.scope.to_string())
            .unwrap_or_default(),
        labels: claims
            .map(|claims| claims.labels.iter().map(ToString::to_string).collect())
            .unwrap_or_default(),
        epoch,
        pos,
    }
}

impl From<&Verified> for Trace {
    fn from(verified: &Verified) -> Self {
        Self {
            selected: Some(verified.selected.clone()),
            operation: Some(Arc::clone(&verified.operation)),
            mandate: Some(verified.mandate.clone()),
            cached: None,
        }
    }
}
