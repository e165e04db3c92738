//! What a genuine mandate admits: steps 10 to 14, on every request.

use jiff::Timestamp;

use crate::id::{ResourceUri, ScopeSet, SessionId};
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
        check_proof(claims, demand.proof)?;
        revocations.check(self, Some(demand.resource), now)?;
        Ok(Admitted {
            mandate: self.clone(),
            resource: demand.resource.clone(),
            scopes: demand.scopes.clone(),
        })
    }

    /// What holds without a demand: a chain well formed, no proof outstanding, nothing revoked. For those who take a
    /// mandate of use `session`: the issuer and the control plane.
    pub fn live(&self, revocations: &Revocations, now: Timestamp) -> Result<(), Rejection> {
        if self.expired(now) {
            return Err(Rejection::Expired);
        }
        check_chain(self.claims(), u8::MAX)?;
        check_proof(self.claims(), Proof::None)?;
        revocations.check(self, None, now)
    }
}

/// A chain whose parts agree, and hops within the limit. Step 12.
///
/// Every delegation and every session it passed through must be among the ancestors: what is not looked up cannot be
/// revoked.
fn check_chain(claims: &Claims, max_hops: u8) -> Result<(), Rejection> {
    let hops = usize::from(claims.hop_count);
    let parties = if hops == 0 { 0 } else { hops.saturating_add(1) };
    let counted = claims.delegation_path.len() == hops && claims.delegation_chain.len() == parties;
    let edges = claims
        .delegation_path
        .iter()
        .copied()
        .map(Some)
        .chain([None]);
    let given = claims
        .delegation_chain
        .iter()
        .map(|hop| hop.delegation_edge_id);
    let ends = claims.delegation_path.last() == claims.delegation_edge_id.as_ref()
        && claims.delegation_chain.last().is_none_or(|receiver| {
            receiver.application_id == claims.client_id
                && receiver.agent_session_id == claims.agent_session_id
        });
    let passed = claims.delegation_chain.iter().rev().skip(1);
    let sessions = passed
        .filter_map(|hop| hop.agent_session_id)
        .map(SessionId::as_uuid);
    let mut through = claims
        .delegation_path
        .iter()
        .map(|edge| edge.as_uuid())
        .chain(sessions);
    let agreed = hops == 0 || given.eq(edges);
    if !counted || !agreed || !ends || !through.all(|id| claims.anc.contains(&id)) {
        return Err(Rejection::ChainMalformed);
    }
    if claims.hop_count > max_hops {
        Err(Rejection::HopsExceeded)
    } else {
        Ok(())
    }
}

/// A mandate bound to a key is good only with the proof. Step 13.
fn check_proof(claims: &Claims, proof: Proof) -> Result<(), Rejection> {
    match (&claims.cnf, proof) {
        (None, Proof::None) => Ok(()),
        (Some(_), Proof::None) => Err(Rejection::ConfirmationUnsupported),
    }
}
