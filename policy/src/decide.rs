//! The decision about one request.

use jiff::Timestamp;
use mandate::id::DecisionId;
use mandate::template::Operation;
use mandate::{Admitted, Demand, Mandate, Proof, Rejection, Revocations, Use};

use crate::binding::Selected;
use crate::denial::{Denial, Outcome, PolicyDenial, PolicyError, Unavailable};
use crate::input::{Action, Input, Verdict};
use crate::permit::Permit;
use crate::snapshot::{PolicyState, ZoneState};

/// Whether the request may pass.
#[derive(Debug, Clone)]
#[must_use]
pub enum Decision {
    /// It may.
    Allow(Permit),
    /// It may not, and why.
    Deny(Denial),
}

impl Decision {
    /// Allow, deny or unavailable.
    pub const fn outcome(&self) -> Outcome {
        match self {
            Self::Allow(_) => Outcome::Allow,
            Self::Deny(denial) => denial.outcome(),
        }
    }
}

/// What a decision stands on.
#[derive(Debug, Clone, Copy)]
pub struct Ground<'a> {
    /// The binding that was selected.
    pub selected: &'a Selected,
    /// The operation that was found in it.
    pub operation: &'a Operation,
    /// The mandate, authenticated against the zone's keys.
    pub mandate: &'a Mandate,
    /// The zone's revocations and object states.
    pub revocations: &'a Revocations,
    /// The id that the decision will have.
    pub decision: DecisionId,
    /// Now.
    pub now: Timestamp,
}

/// Decides. The one path to `Allow` goes through `admit` and an allowing verdict of the zone's active policy.
pub fn decide(
    ground: &Ground<'_>,
    evaluate: impl FnOnce(&Input<'_>) -> Result<Verdict, PolicyError>,
) -> Decision {
    match permit(ground, evaluate) {
        Ok(permit) => Decision::Allow(permit),
        Err(denial) => Decision::Deny(denial),
    }
}

fn permit(
    ground: &Ground<'_>,
    evaluate: impl FnOnce(&Input<'_>) -> Result<Verdict, PolicyError>,
) -> Result<Permit, Denial> {
    let admitted = admit(ground)?;
    let policy = match ground.selected.zone.policy() {
        PolicyState::Missing => return Err(PolicyDenial::Missing.into()),
        PolicyState::Broken(_) => return Err(PolicyError::Broken.into()),
        PolicyState::Active(policy) => policy.version,
    };
    let claims = ground.mandate.claims();
    let input = Input {
        action: Action::Use,
        application: claims.client_id,
        resource: admitted.resource(),
        scopes: admitted.scopes(),
        labels: &claims.labels,
    };
    match evaluate(&input)? {
        Verdict::Allow => Ok(Permit::decided(ground, admitted, policy)),
        Verdict::Deny(denial) => Err(denial.into()),
    }
}

/// Whether the zone is in force and the mandate admits the request: steps 10 to 14. It says nothing of policy.
pub fn admit(ground: &Ground<'_>) -> Result<Admitted, Denial> {
    let Selected {
        zone_id,
        zone,
        binding,
        resource,
    } = ground.selected;
    match zone.zone().map(|zone| zone.state) {
        Some(ZoneState::Ready) => {}
        Some(ZoneState::Archived) => return Err(Rejection::Archived.into()),
        Some(ZoneState::Provisioning) | None => return Err(Unavailable::NotReady.into()),
    }
    // Mandates are cached by zone and token; whatever a cache does, another zone's or another use's mandate stops here.
    let claims = ground.mandate.claims();
    if claims.zone_id != *zone_id {
        return Err(Rejection::WrongZone.into());
    }
    if claims.usage != Use::Resource {
        return Err(Rejection::WrongUse.into());
    }
    let demand = Demand {
        resource: &resource.identifier,
        scopes: &ground.operation.scopes,
        max_hops: binding.max_hops,
        proof: Proof::None,
    };
    Ok(ground
        .mandate
        .admit(&demand, ground.revocations, ground.now)?)
}

#[cfg(test)]
mod tests;
