//! What a mint may grant: the intersection of everything that bounds it, or a refusal. Pure.
//!
//! Effective scope = resource ∩ application's ceiling in policy ∩ session's ceiling ∩ what the
//! subject token carries ∩ what policy allows now. A mandate for several resources carries only the
//! scopes every one of them grants, for a mandate's scopes hold at each of its targets (RFC 8707 §2).

use std::collections::{BTreeMap, BTreeSet};

use mandate::id::{ResourceUri, Scope, ScopeSet};
use policy::PolicyDenial;

use crate::error::{Error, Refusal};
use crate::token::law::ApplicationLaw;
use crate::token::request::{MAX_RESOURCES, Wanted};

/// Everything that bounds a mint but policy.
#[derive(Debug)]
pub(crate) struct Bounds<'a> {
    /// Scopes of each resource that exists.
    pub resources: &'a BTreeMap<ResourceUri, ScopeSet>,
    /// Scopes of the subject token.
    pub subject_scopes: &'a ScopeSet,
    /// Targets of the subject token.
    pub subject_targets: &'a [ResourceUri],
    /// The session's scopes, when it is narrowed.
    pub session_scopes: Option<&'a ScopeSet>,
    /// The session's resources, when it is narrowed.
    pub session_resources: Option<&'a [ResourceUri]>,
}

/// What is granted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Granted {
    /// The resources, ascending.
    pub resources: Vec<ResourceUri>,
    /// The scopes at each of them.
    pub scopes: ScopeSet,
}

/// The resources a request is about: those it names, or the only one its authority is for.
pub(crate) fn targets(
    wanted: &Wanted,
    subject: &[ResourceUri],
    session: Option<&[ResourceUri]>,
) -> Result<Vec<ResourceUri>, Refusal> {
    if !wanted.resources.is_empty() {
        return Ok(wanted.resources.clone());
    }
    let mut within = subject
        .iter()
        .filter(|resource| session.is_none_or(|session| session.contains(resource)));
    match (within.next(), within.next()) {
        (Some(only), None) => Ok(vec![only.clone()]),
        (None | Some(_), _) => Err(Refusal::TargetMissing),
    }
}

/// Decides what to grant at these targets.
pub(crate) fn decide(
    wanted: &Wanted,
    targets: Vec<ResourceUri>,
    bounds: &Bounds<'_>,
    law: &ApplicationLaw<'_>,
) -> Result<Granted, Error> {
    let mut most: Option<ScopeSet> = None;
    for resource in &targets {
        let here = at_most(resource, bounds, law)?;
        most = Some(match most {
            None => here,
            Some(so_far) => so_far.intersection(&here),
        });
    }
    let most = most.ok_or(Refusal::TargetMissing)?;
    let scopes = match &wanted.scopes {
        Some(asked) if asked.is_subset(&most) => {
            allowed(asked, wanted.allow_partial, &targets, law)?
        }
        Some(_) if !wanted.allow_partial => return Err(Refusal::ScopeNotGranted.into()),
        Some(asked) => allowed(&asked.intersection(&most), true, &targets, law)?,
        None => allowed(&most, true, &targets, law)?,
    };
    if scopes.is_empty() {
        return Err(Refusal::ScopeNotGranted.into());
    }
    Ok(Granted {
        resources: targets,
        scopes,
    })
}

/// What a session mandate carries: everything policy grants at the resources wanted, or at all.
/// It may be nothing; then nothing can be narrowed from it.
pub(crate) fn everything(
    wanted: &Wanted,
    resources: &BTreeMap<ResourceUri, ScopeSet>,
    law: &ApplicationLaw<'_>,
) -> Result<Granted, Error> {
    let mut targets = Vec::new();
    let mut scopes: BTreeSet<Scope> = BTreeSet::new();
    for (resource, exists) in resources {
        let here = law.ceiling(resource).intersection(exists);
        if !here.is_empty() {
            targets.push(resource.clone());
            scopes.extend(here.iter().cloned());
        }
    }
    if wanted
        .resources
        .iter()
        .any(|named| !targets.contains(named))
    {
        return Err(Refusal::TargetNotGranted.into());
    }
    if targets.len() > MAX_RESOURCES {
        return Err(Refusal::TargetMissing.into());
    }
    let held_back = [
        PolicyDenial::ZoneRestricted,
        PolicyDenial::ApplicationRestricted,
    ];
    if let Some(any) = targets.first()
        && let Some(denial) = law.denial(std::slice::from_ref(any), &law.ceiling(any))?
        && held_back.contains(&denial)
    {
        return Err(Refusal::Policy(denial).into());
    }
    if let Some(asked) = &wanted.scopes {
        let granted = asked.iter().filter(|scope| scopes.contains(*scope)).count();
        if granted == 0 || (granted < asked.len() && !wanted.allow_partial) {
            return Err(Refusal::ScopeNotGranted.into());
        }
        scopes.retain(|scope| asked.contains(scope));
    }
    let scopes = ScopeSet::new(scopes).map_err(|_| Refusal::ScopeMissing)?;
    Ok(Granted {
        resources: targets,
        scopes,
    })
}

/// The bounds at one resource; nothing at all there is a refusal of the target.
fn at_most(
    resource: &ResourceUri,
    bounds: &Bounds<'_>,
    law: &ApplicationLaw<'_>,
) -> Result<ScopeSet, Refusal> {
    let exists = bounds
        .resources
        .get(resource)
        .ok_or(Refusal::TargetNotGranted)?;
    let by_session = bounds
        .session_resources
        .is_none_or(|within| within.contains(resource));
    if !by_session || !bounds.subject_targets.contains(resource) {
        return Err(Refusal::TargetNotGranted);
    }
    let ceiling = law.ceiling(resource).intersection(exists);
    if ceiling.is_empty() {
        return Err(Refusal::TargetNotGranted);
    }
    let mut most = ceiling.intersection(bounds.subject_scopes);
    if let Some(session) = bounds.session_scopes {
        most = most.intersection(session);
    }
    Ok(most)
}

/// What policy allows of `scopes` at every target: all of it, or when `partly`, what it allows of
/// each scope alone.
fn allowed(
    scopes: &ScopeSet,
    partly: bool,
    targets: &[ResourceUri],
    law: &ApplicationLaw<'_>,
) -> Result<ScopeSet, Error> {
    if scopes.is_empty() {
        return Ok(scopes.clone());
    }
    match law.denial(targets, scopes)? {
        None => Ok(scopes.clone()),
        Some(denial) if partly && is_about_scopes(denial) => most_of(scopes, targets, law, denial),
        Some(denial) => Err(Refusal::Policy(denial).into()),
    }
}

/// Whether fewer scopes could be allowed.
fn is_about_scopes(denial: PolicyDenial) -> bool {
    match denial {
        PolicyDenial::Confined | PolicyDenial::RoleScopes | PolicyDenial::ApprovalRequired => true,
        PolicyDenial::Missing
        | PolicyDenial::ZoneRestricted
        | PolicyDenial::ApplicationRestricted
        | PolicyDenial::ResourceRestricted
        | PolicyDenial::NotGranted => false,
    }
}

/// Adds one scope after the other, in their order, as long as policy allows them together.
fn most_of(
    scopes: &ScopeSet,
    targets: &[ResourceUri],
    law: &ApplicationLaw<'_>,
    whole: PolicyDenial,
) -> Result<ScopeSet, Error> {
    let mut kept = ScopeSet::default();
    for scope in scopes {
        let more = set(kept.iter().chain([scope]).cloned())?;
        if law.denial(targets, &more)?.is_none() {
            kept = more;
        }
    }
    if kept.is_empty() {
        Err(Refusal::Policy(whole).into())
    } else {
        Ok(kept)
    }
}

/// Never more scopes than a set that exists already.
fn set(scopes: impl IntoIterator<Item = Scope>) -> Result<ScopeSet, Error> {
    ScopeSet::new(scopes).map_err(|error| Error::dependency("scopes", error))
}

#[cfg(test)]
mod tests;
