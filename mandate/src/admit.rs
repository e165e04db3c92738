//! What a genuine mandate admits: steps 10 to 14, on every request.

use jiff::Timestamp;

use crate::id::{ResourceUri, ScopeSet};
use crate::{Claims, Mandate, Rejection, Revocations};

/// What a request needs.
#[derive(Debug, Clone, Copy)]
pub struct Demand<'a> {
    /// The binding's resource.
    pub resource: &'a ResourceUri,
    /// The operation's scopes.
    pub scopes: &'a ScopeSet,
    /// The most delegations that the binding accepts.
    pub max_hops: u8,
    /// What the connection proves.
    pub proof: Proof,
}

/// What the request proves about who holds the mandate's key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Proof {
    /// Nothing.
    #[default]
    None,
}

/// A mandate that admits one demand. Made by [`Mandate::admit`] alone.
#[derive(Debug, Clone)]
pub struct Admitted {
    mandate: Mandate,
    resource: ResourceUri,
    scopes: ScopeSet,
}

impl Admitted {
    /// The mandate.
    pub fn mandate(&self) -> &Mandate {
        &self.mandate
    }

    /// The resource it was admitted for.
    pub fn resource(&self) -> &ResourceUri {
        &self.resource
    }

    /// The scopes that were required.
    pub fn scopes(&self) -> &ScopeSet {
        &self.scopes
    }
}

impl Mandate {
    /// Checks resource, scopes, hops, proof and revocation. Never cached.
    pub fn admit(
        &self,
        demand: &Demand<'_>,
        revocations: &Revocations,
        now: Timestamp,
    ) -> Result<Admitted, Rejection> {
        let claims = self.claims();
        if self.expired(now) {
            return Err(Rejection::Expired);
        }
        if !claims.target.contains(demand.resource) {
            return Err(Rejection::ResourceNotGranted);
        }
        if !demand.scopes.is_subset(&claims.scope) {
            return Err(Rejection::ScopeMissing);
        }
        check_chain(claims, demand.max_hops)?;
        match (&claims.cnf, demand.proof) {
            (None, Proof::None) => {}
            (Some(_), Proof::None) => return Err(Rejection::ConfirmationUnsupported),
        }
        revocations.check(self, Some(demand.resource), now)?;
        Ok(Admitted {
            mandate: self.clone(),
            resource: demand.resource.clone(),
            scopes: demand.scopes.clone(),
        })
    }

    /// Step 14 alone, for those who take a mandate without a demand: the issuer and the control plane.
    pub fn live(&self, revocations: &Revocations, now: Timestamp) -> Result<(), Rejection> {
        if self.expired(now) {
            return Err(Rejection::Expired);
        }
        revocations.check(self, None, now)
    }
}

/// Hops within the limit, and a chain whose parts agree. Step 12.
fn check_chain(claims: &Claims, max_hops: u8) -> Result<(), Rejection> {
    let hops = usize::from(claims.hop_count);
    let sessions = if hops == 0 { 0 } else { hops.saturating_add(1) };
    let ends = claims.delegation_chain.last() == claims.delegation_edge_id.as_ref()
        && (hops == 0 || claims.delegation_path.last() == claims.agent_session_id.as_ref());
    let anchored = claims
        .delegation_chain
        .iter()
        .all(|edge| claims.anc.contains(&edge.as_uuid()));
    if claims.delegation_chain.len() != hops
        || claims.delegation_path.len() != sessions
        || !ends
        || !anchored
    {
        return Err(Rejection::ChainMalformed);
    }
    if claims.hop_count > max_hops {
        Err(Rejection::HopsExceeded)
    } else {
        Ok(())
    }
}
