//! The decision, step by step. Every path to an allow goes through `policy::decide`.

use std::sync::Arc;

use chassis::crypto::AwsLc;
use jiff::Timestamp;
use mandate::id::{AttachmentName, BindingId, DecisionId, PolicyVersionId, ResourceUri, ZoneId};
use mandate::request::Canonical;
use mandate::template::Operation;
use mandate::{Mandate, Trust, UnverifiedMandate, Use, credential};
use policy::binding::{self, Selected};
use policy::{Decision, Denial, Ground, Permit, PolicyError, Refused, Unavailable};

use super::inquiry::Inquiry;
use super::memory::{Moment, View, ZoneMemory};
use crate::config::Attachments;
use crate::feed::tracker::Position;

/// Decides about requests.
#[derive(Clone, Debug)]
pub struct Decider {
    attachments: Arc<Attachments>,
    backend: AwsLc,
}

/// A decision and what it stands on.
#[derive(Clone, Debug)]
pub struct Decided {
    /// Our id of it.
    pub id: DecisionId,
    /// When it was made.
    pub at: Timestamp,
    /// What came out.
    pub decision: Decision,
    /// What was found out on the way.
    pub trace: Trace,
}

/// What was found out on the way to a decision, as far as it went.
#[derive(Clone, Debug, Default)]
pub struct Trace {
    /// Where memory stood.
    pub position: Option<Position>,
    /// The zone.
    pub zone: Option<ZoneId>,
    /// The binding.
    pub binding: Option<BindingId>,
    /// Its resource.
    pub resource: Option<ResourceUri>,
    /// The operation.
    pub operation: Option<Arc<Operation>>,
    /// The mandate, once its signature was verified.
    pub mandate: Option<Mandate>,
    /// Whether it had been verified before.
    pub cached: Option<bool>,
    /// The policy version that was asked.
    pub policy_version: Option<PolicyVersionId>,
}

impl Decider {
    /// Decides within these attachments.
    pub fn new(attachments: Attachments) -> Self {
        Self {
            attachments: Arc::new(attachments),
            backend: AwsLc,
        }
    }

    /// Decides. Total: whatever is asked, an answer comes out.
    pub fn decide(
        &self,
        id: DecisionId,
        inquiry: &Inquiry<'_>,
        view: &View,
        moment: &Moment,
    ) -> Decided {
        let mut trace = Trace {
            position: view.position,
            ..Trace::default()
        };
        let decision = match self.permit(id, inquiry, view, moment, &mut trace) {
            Ok(permit) => Decision::Allow(permit),
            Err(denial) => Decision::Deny(denial),
        };
        Decided {
            id,
            at: moment.now,
            decision,
            trace,
        }
    }

    fn permit(
        &self,
        id: DecisionId,
        inquiry: &Inquiry<'_>,
        view: &View,
        moment: &Moment,
        trace: &mut Trace,
    ) -> Result<Permit, Denial> {
        let asked = inquiry.form.canonical()?;
        let selected = self.select(inquiry, &asked, view)?;
        trace.note(&selected);
        selected.assert_resource(&inquiry.form.assertions)?;
        let zone = selected.zone.zone().ok_or(Unavailable::Resync)?;
        let memory = view.zone(selected.zone_id, zone.freshness_bound, moment)?;
        let trust = Trust {
            zone: selected.zone_id,
            issuer: zone.issuer.clone(),
            usage: Use::Resource,
        };
        let mandate = self.authenticate(inquiry, &trust, &selected, memory, moment, trace)?;
        let operation = selected.operation(asked.method, &asked.path)?;
        trace.operation = Some(Arc::clone(operation));
        trace.policy_version = memory.policy_version();
        let revocations = memory.revocations();
        let ground = Ground {
            selected: &selected,
            operation,
            mandate: &mandate,
            revocations: &revocations,
            decision: id,
            now: moment.now,
        };
        match policy::decide(&ground, |input| memory.ask(input)) {
            Decision::Allow(permit) => Ok(permit),
            Decision::Deny(denial) => Err(denial),
        }
    }

    fn select(
        &self,
        inquiry: &Inquiry<'_>,
        asked: &Canonical<'_>,
        view: &View,
    ) -> Result<Selected, Denial> {
        let attachment = inquiry
            .attachment
            .and_then(|name| AttachmentName::parse(name).ok());
        let known = attachment
            .as_ref()
            .and_then(|name| self.attachments.get_key_value(name));
        let (name, zones) = known.ok_or(Refused::NoBinding)?;
        view.usable()?;
        let reachable = |zone: ZoneId| zones.contains(&zone);
        binding::select(&view.snapshot, name, reachable, &asked.host, &asked.path)
    }

    fn authenticate(
        &self,
        inquiry: &Inquiry<'_>,
        trust: &Trust,
        selected: &Selected,
        memory: &ZoneMemory,
        moment: &Moment,
        trace: &mut Trace,
    ) -> Result<Mandate, Denial> {
        let token = credential::bearer(&inquiry.form.credentials)?;
        if let Some(mandate) = memory.verified().find(token) {
            trace.cached = Some(true);
            trace.mandate = Some(mandate.clone());
            return Ok(mandate);
        }
        trace.cached = Some(false);
        let unverified = UnverifiedMandate::parse(token)?;
        let keys = selected.zone.keys();
        let mandate = unverified.authenticate(trust, keys, &self.backend, moment.now)?;
        memory.verified().hold(token, mandate.clone());
        trace.mandate = Some(mandate.clone());
        Ok(mandate)
    }
}

impl Decided {
    /// No decision at all: deciding itself failed.
    pub fn failed(id: DecisionId, moment: &Moment) -> Self {
        let decision = Decision::Deny(Denial::from(PolicyError::Panicked));
        Self {
            id,
            at: moment.now,
            decision,
            trace: Trace::default(),
        }
    }
}

impl Trace {
    fn note(&mut self, selected: &Selected) {
        self.zone = Some(selected.zone_id);
        self.binding = Some(selected.binding.id);
        self.resource = Some(selected.resource.identifier.clone());
    }
}
