use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::fixture::{
    RESOURCE, RESOURCES, application, label_lists, labels, policies, policy, policy_json,
    resource_uri,
};

#[test]
fn a_ceiling_is_what_the_labels_give_within_what_they_confine_to() {
    let policy = policy(&policy_json());
    let resource = resource_uri(RESOURCE);
    let check = |of: &str, expected: &str| {
        let labels = labels(of);
        assert_eq!(
            ceiling(&policy, application(1), &resource, &labels).to_string(),
            expected,
            "{of}"
        );
        assert_eq!(
            resources(&policy, application(1), &labels).count() == 1,
            !expected.is_empty(),
            "{of}"
        );
    };
    check("agent", "pay read write");
    check("reader", "read");
    check("agent untrusted", "read");
    check("untrusted", "");
    check("", "");
    assert!(ceiling(&policy, application(2), &resource, &labels("agent")).is_empty());
    assert!(
        ceiling(
            &policy,
            application(1),
            &resource_uri("x:other"),
            &labels("agent")
        )
        .is_empty()
    );
}

#[test]
fn every_scope_that_roles_may_hold_fits_into_a_ceiling() {
    let names = |from: u32| {
        (from..from.wrapping_add(32))
            .map(|number| format!("s{number}"))
            .collect::<Vec<_>>()
    };
    let mut document = policy_json();
    document["grants"][RESOURCE]["billing"]["roles"] = json!({ "a": names(0), "b": names(32) });
    let most = ceiling(
        &policy(&document),
        application(1),
        &resource_uri(RESOURCE),
        &labels("a b"),
    );
    assert_eq!(most.len(), PolicyData::MAX_ROLE_SCOPES);
}

proptest! {
    /// A ceiling exceeds none of what it is made of, and no label but one that grants can raise it.
    #[test]
    fn a_ceiling_never_exceeds_a_bound(
        document in policies(), of in label_lists(), app in 1..=4_u32, at in 0..RESOURCES.len(), more in label_lists(),
    ) {
        let policy = policy(&document);
        let (application, resource) = (application(app), resource_uri(RESOURCES[at]));
        let most = ceiling(&policy, application, &resource, &of);
        let roles = policy.roles(&resource, application);
        for scope in &most {
            let given = |label: &Label| roles.and_then(|roles| roles.get(label)).is_some_and(|held| held.contains(scope));
            prop_assert!(of.iter().any(given));
        }
        for label in &of {
            if let Some(within) = policy.confinement().get(label) {
                prop_assert!(most.is_subset(within));
            }
        }
        let confining = more.into_iter().filter(|label| roles.is_none_or(|roles| !roles.contains_key(label)));
        let both: Vec<Label> = of.iter().cloned().chain(confining).collect();
        prop_assert!(ceiling(&policy, application, &resource, &both).is_subset(&most), "a child keeps its parent's bounds");
    }
}
