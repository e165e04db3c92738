//! What the filter finds out by itself, in the order and with the codes of ext-authz.

use std::sync::Arc;

use mandate::id::DecisionId;
use mandate::request::{Canonical, Form};
use mandate::template::Operation;
use mandate::{Admitted, Mandate, SignatureBackend, Trust, UnverifiedMandate, Use, credential};
use policy::binding::{self, Selected};
use policy::{Denial, Ground, Unavailable};

use crate::config::Config;
use crate::memory::Memory;
use crate::worker::Moment;

/// A request whose mandate is genuine and whose operation is known.
#[derive(Debug, Clone)]
pub struct Verified {
    /// What it is about.
    pub selected: Selected,
    /// The operation.
    pub operation: Arc<Operation>,
    /// The mandate.
    pub mandate: Mandate,
}

/// What was found out on the way, as far as it went.
#[derive(Debug, Clone, Default)]
pub struct Trace {
    /// What the request is about.
    pub selected: Option<Selected>,
    /// The operation.
    pub operation: Option<Arc<Operation>>,
    /// The mandate, once its signature was verified.
    pub mandate: Option<Mandate>,
    /// Whether it had been verified before; none where that was not looked up.
    pub cached: Option<bool>,
}

/// What verifying takes.
#[derive(Debug)]
pub struct Means<'a, C> {
    /// Which bindings may apply.
    pub config: &'a Config,
    /// What it is decided from.
    pub memory: &'a mut Memory,
    /// Who checks signatures.
    pub crypto: &'a C,
    /// Now.
    pub moment: &'a Moment,
    /// The id that a refusal will have.
    pub decision: DecisionId,
}

/// Verifies a request as far as that is possible without policy.
pub fn verify<C: SignatureBackend>(
    form: &Form<'_>,
    canonical: &Canonical<'_>,
    means: &mut Means<'_, C>,
    trace: &mut Trace,
) -> Result<(Verified, Admitted), Denial> {
    let selected = select(canonical, means)?;
    trace.selected = Some(selected.clone());
    selected.assert_resource(&form.assertions)?;
    let mandate = authenticate(form, &selected, means, trace)?;
    let operation = Arc::clone(selected.operation(canonical.method, &canonical.path)?);
    trace.operation = Some(Arc::clone(&operation));
    let verified = Verified {
        selected,
        operation,
        mandate,
    };
    let admitted = verified.admit(means.memory, means.moment, means.decision)?;
    Ok((verified, admitted))
}

fn select<C>(canonical: &Canonical<'_>, means: &Means<'_, C>) -> Result<Selected, Denial> {
    means.memory.usable()?;
    let reachable = |zone| means.config.zone(zone).is_some();
    binding::select(
        means.memory.snapshot(),
        &means.config.attachment,
        reachable,
        &canonical.host,
        &canonical.path,
    )
}

fn authenticate<C: SignatureBackend>(
    form: &Form<'_>,
    selected: &Selected,
    means: &mut Means<'_, C>,
    trace: &mut Trace,
) -> Result<Mandate, Denial> {
    let zone = selected.zone.zone().ok_or(Unavailable::Resync)?;
    let trusted = means
        .config
        .zone(selected.zone_id)
        .ok_or(Unavailable::Resync)?;
    let now = means.moment.monotonic;
    let memory = means
        .memory
        .zone(selected.zone_id, zone.freshness_bound, now)?;
    // Who issues is said twice, by configuration and by the authority: where they differ, nobody is believed.
    if trusted.issuer != zone.issuer {
        return Err(Unavailable::Resync.into());
    }
    let token = credential::bearer(&form.credentials)?;
    if let Some(mandate) = memory.verified.find(token) {
        trace.cached = Some(true);
        trace.mandate = Some(mandate.clone());
        return Ok(mandate);
    }
    let trust = Trust {
        zone: selected.zone_id,
        issuer: trusted.issuer.clone(),
        usage: Use::Resource,
    };
    trace.cached = Some(false);
    let unverified = UnverifiedMandate::parse(token)?;
    let keys = selected.zone.keys();
    let mandate = unverified.authenticate(&trust, keys, means.crypto, means.moment.now)?;
    memory.verified.hold(token, mandate.clone());
    trace.mandate = Some(mandate.clone());
    Ok(mandate)
}

impl Verified {
    /// Whether the mandate admits the request by what is known now: first, and again whenever time has passed.
    pub fn admit(
        &self,
        memory: &mut Memory,
        moment: &Moment,
        decision: DecisionId,
    ) -> Result<Admitted, Denial> {
        memory.usable()?;
        let zone_id = self.selected.zone_id;
        // The zone as it is now: it may have been archived since the request was selected.
        let view = memory.snapshot().zone(zone_id).ok_or(Unavailable::Resync)?;
        let selected = Selected {
            zone: Arc::clone(view),
            ..self.selected.clone()
        };
        let zone = selected.zone.zone().ok_or(Unavailable::Resync)?;
        let memory = memory.zone(zone_id, zone.freshness_bound, moment.monotonic)?;
        let ground = Ground {
            selected: &selected,
            operation: &self.operation,
            mandate: &self.mandate,
            revocations: &memory.revocations,
            decision,
            now: moment.now,
        };
        policy::admit(&ground)
    }

    /// Why an open exchange must end, if it must: its mandate is revoked or over. Age alone ends none.
    pub fn over(&self, memory: &Memory, moment: &Moment) -> Option<Denial> {
        let revocations = memory.revocations(self.selected.zone_id)?;
        let ground = Ground {
            selected: &self.selected,
            operation: &self.operation,
            mandate: &self.mandate,
            revocations,
            decision: DecisionId::from_uuid(uuid::Uuid::nil()),
            now: moment.now,
        };
        policy::admit(&ground).err()
    }
}
