//! Policy data and input as the engine's values. Names of applications are resolved here, so that each rule is a
//! look-up in keyed objects, whatever the size of the policy.

use std::collections::{BTreeMap, BTreeSet};

use mandate::id::{Label, ScopeSet};
use regorus::Value;

use crate::data::PolicyData;
use crate::input::Input;

/// `data`, as `caracal.rego` describes it.
pub(super) fn data(policy: &PolicyData) -> Value {
    let grants = policy.grants.iter().map(|(resource, applications)| {
        let applications = applications.iter().filter_map(|(key, roles)| {
            let application = policy.app_ids.get(key)?.to_string();
            let roles = roles
                .iter()
                .map(|(label, scopes)| (label.as_str(), set(scopes)));
            Some((application, object(roles)))
        });
        (resource.as_str(), object(applications))
    });
    let confinement = policy
        .confinement
        .iter()
        .map(|(label, scopes)| (label.as_str(), set(scopes)));
    let restrict = &policy.restrict;
    let resources = restrict
        .resources
        .keys()
        .map(|resource| (resource.as_str(), Value::from(true)));
    let applications = restrict.applications.keys().filter_map(|key| {
        let application = policy.app_ids.get(key)?.to_string();
        Some((application, Value::from(true)))
    });
    let restrict = [
        ("zone", Value::from(restrict.zone)),
        ("resources", object(resources)),
        ("applications", object(applications)),
    ];
    let gated = policy
        .approvals()
        .map(|(scope, _)| Value::from(scope.as_str()));
    let policy = [
        ("grants", object(grants)),
        ("confinement", object(confinement)),
        ("restrict", object(restrict)),
        ("gated", Value::from(gated.collect::<BTreeSet<Value>>())),
    ];
    object([("policy", object(policy))])
}

/// `input`, as `caracal.rego` describes it.
pub(super) fn input(input: &Input<'_>) -> Value {
    let labels = input
        .labels
        .iter()
        .map(|label| Value::from(Label::as_str(label)));
    object([
        ("action", Value::from(input.action.name())),
        ("application", Value::from(input.application.to_string())),
        ("resource", Value::from(input.resource.as_str())),
        ("scopes", set(input.scopes)),
        ("labels", Value::from(labels.collect::<Vec<Value>>())),
    ])
}

fn object<K: Into<Value>>(entries: impl IntoIterator<Item = (K, Value)>) -> Value {
    let entries = entries.into_iter().map(|(key, value)| (key.into(), value));
    Value::from(entries.collect::<BTreeMap<Value, Value>>())
}

fn set(scopes: &ScopeSet) -> Value {
    let scopes = scopes.iter().map(|scope| Value::from(scope.as_str()));
    Value::from(scopes.collect::<BTreeSet<Value>>())
}
