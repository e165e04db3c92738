//! What policy lets an application hold at most: the bounds of a mint, before the rules are asked.

use mandate::id::{ApplicationId, Label, ResourceUri, Scope, ScopeSet};

use crate::data::PolicyData;

/// The most that an application may hold at a resource in a session with these labels: every scope of the roles that
/// the labels give it, within what each label confines it to. The rules may allow less at once.
pub fn ceiling(
    policy: &PolicyData,
    application: ApplicationId,
    resource: &ResourceUri,
    labels: &[Label],
) -> ScopeSet {
    let Some(roles) = policy.roles(resource, application) else {
        return ScopeSet::default();
    };
    let granted: Vec<Scope> = labels
        .iter()
        .filter_map(|label| roles.get(label))
        .flat_map(ScopeSet::iter)
        .cloned()
        .collect();
    // The roles of one application at one resource have no more scopes than a set holds; see `PolicyData::parse`.
    let granted = ScopeSet::new(granted).unwrap_or_default();
    let confined = labels
        .iter()
        .filter_map(|label| policy.confinement().get(label));
    confined.fold(granted, |most, within| most.intersection(within))
}

/// The resources at which an application may hold anything in a session with these labels, ascending.
pub fn resources<'a>(
    policy: &'a PolicyData,
    application: ApplicationId,
    labels: &'a [Label],
) -> impl Iterator<Item = &'a ResourceUri> {
    policy
        .resources()
        .filter(move |resource| !ceiling(policy, application, resource, labels).is_empty())
}

#[cfg(test)]
mod tests;
