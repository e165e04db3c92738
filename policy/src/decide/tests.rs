use std::cell::Cell;

use mandate::canonical;
use mandate::id::AttachmentName;
use mandate::{Claims, CutOffAnchor, DeadId, ObjectState, StateAnchor};
use proptest::prelude::*;

use super::*;
use crate::binding;
use crate::fixture::{
    HOST, active, application, change, claims, decision, labels, mandate, now, policy, policy_json,
    scopes, snapshot, uuid, version, zone_id, zone_row,
};
use crate::snapshot::{Snapshot, What};

/// One request, decided under a verdict that is given.
struct Case {
    snapshot: Snapshot,
    claims: Claims,
    revocations: Revocations,
    method: &'static str,
    path: &'static str,
    now: Timestamp,
}

impl Case {
    fn new() -> Self {
        Self {
            snapshot: snapshot(active(policy(&policy_json()))),
            claims: claims("read write", "agent"),
            revocations: Revocations::new(),
            method: "GET",
            path: "/v1/invoices/42",
            now: now(),
        }
    }

    /// The decision, and how often policy was asked.
    fn decide(&self, verdict: Result<Verdict, PolicyError>) -> (Decision, u32) {
        let mandate = mandate(&self.snapshot, &self.claims);
        let (host, path) = (
            canonical::host(HOST.as_bytes()).unwrap(),
            canonical::path(self.path.as_bytes()).unwrap(),
        );
        let ingress = AttachmentName::parse("ingress").unwrap();
        let selected = binding::select(&self.snapshot, &ingress, |_| true, &host, &path).unwrap();
        let operation = selected.operation(self.method, &path).unwrap();
        let asked = Cell::new(0_u32);
        let ground = Ground {
            selected: &selected,
            operation,
            mandate: &mandate,
            revocations: &self.revocations,
            decision: decision(),
            now: self.now,
        };
        let decided = decide(&ground, |input| {
            asked.set(asked.get().wrapping_add(1));
            assert_eq!(
                (input.action, input.application),
                (Action::Use, self.claims.client_id)
            );
            assert_eq!(
                (input.scopes, input.labels),
                (&operation.scopes, self.claims.labels.as_slice())
            );
            verdict
        });
        (decided, asked.get())
    }

    fn refused(&self, expected: impl Into<Denial>) {
        let (decided, asked) = self.decide(Ok(Verdict::Allow));
        let Decision::Deny(denial) = decided else {
            panic!("it was allowed")
        };
        assert_eq!(
            (denial, asked),
            (expected.into(), 0),
            "policy is asked only about what the mandate admits"
        );
    }
}

#[test]
fn what_the_mandate_admits_and_policy_allows_is_permitted() {
    let (decided, asked) = Case::new().decide(Ok(Verdict::Allow));
    assert_eq!((decided.outcome(), asked), (Outcome::Allow, 1));
    let Decision::Allow(permit) = decided else {
        panic!("it was refused")
    };
    assert_eq!(
        (permit.zone(), permit.decision(), permit.policy_version()),
        (zone_id(1), decision(), Some(version(9)))
    );
    assert_eq!(permit.admitted().scopes(), &scopes("read"));
    assert_eq!(permit.binding().path_prefix, "/");
}

#[test]
fn whatever_policy_says_but_allow_refuses() {
    let denied = |verdict| match Case::new().decide(verdict).0 {
        Decision::Deny(denial) => denial,
        Decision::Allow(_) => panic!("{verdict:?} was allowed"),
    };
    let policy = PolicyDenial::NotGranted;
    assert_eq!(denied(Ok(Verdict::Deny(policy))), Denial::Policy(policy));
    for error in [
        PolicyError::Evaluation,
        PolicyError::Undefined,
        PolicyError::Panicked,
        PolicyError::Input,
    ] {
        assert_eq!(
            denied(Err(error)),
            Denial::Unavailable(Unavailable::PolicyError)
        );
    }
    assert_eq!(
        denied(Err(PolicyError::Budget)),
        Denial::Unavailable(Unavailable::PolicyBudget)
    );
}

#[test]
fn a_zone_without_a_policy_refuses_and_one_that_does_not_load_decides_nothing() {
    let mut case = Case::new();
    case.snapshot = snapshot(PolicyState::Missing);
    case.refused(PolicyDenial::Missing);
    // The version before it allows; it must not be used in the place of the one that does not load.
    case.snapshot = snapshot(active(policy(&policy_json()))).apply([&change(
        1,
        2,
        What::Policy(PolicyState::Broken(version(10))),
    )]);
    case.refused(PolicyError::Broken);
}

#[test]
fn a_zone_that_is_not_in_force_admits_nothing() {
    let mut case = Case::new();
    for (number, state, expected) in [
        (
            2,
            ZoneState::Archived,
            Denial::Rejected(Rejection::Archived),
        ),
        (
            3,
            ZoneState::Provisioning,
            Denial::Unavailable(Unavailable::NotReady),
        ),
    ] {
        case.snapshot = case
            .snapshot
            .apply([&change(1, number, What::Zone(zone_row(1, state)))]);
        case.refused(expected);
    }
}

#[test]
fn another_zones_mandate_and_another_uses_stop_here_too() {
    let mut case = Case::new();
    case.claims.zone_id = zone_id(2);
    case.refused(Rejection::WrongZone);
    let mut case = Case::new();
    case.claims.usage = Use::Gateway;
    case.claims.aud = vec![case.claims.iss.to_string()];
    case.refused(Rejection::WrongUse);
}

#[test]
fn the_mandate_must_admit_the_request() {
    let mut case = Case::new();
    case.claims.scope = scopes("write");
    case.refused(Rejection::ScopeMissing);
    let mut case = Case::new();
    (case.method, case.path) = ("POST", "/v1/payments");
    case.refused(Rejection::ScopeMissing);
    let mut case = Case::new();
    case.now = Timestamp::from_second(case.claims.exp).unwrap();
    case.refused(Rejection::Expired);
    let mut case = Case::new();
    case.revocations
        .kill(DeadId::Id(case.claims.jti.as_uuid()), Timestamp::MAX);
    case.refused(Rejection::Revoked);
    let mut case = Case::new();
    case.revocations
        .cut_off(CutOffAnchor::Application(application(1)), case.claims.iat);
    case.refused(Rejection::Revoked);
    let mut case = Case::new();
    case.revocations
        .set_state(StateAnchor::Zone, ObjectState::Suspended);
    case.refused(Rejection::Suspended);
}

#[test]
fn a_permit_sets_or_removes_every_owned_header() {
    let Decision::Allow(permit) = Case::new().decide(Ok(Verdict::Allow)).0 else {
        panic!("it was refused")
    };
    let headers = crate::identity::headers(&permit);
    assert_eq!(
        headers.each_ref().map(|(name, _)| *name),
        mandate::OWNED_HEADERS
    );
    let application = Some(application(1).to_string());
    let expected = [
        Some(zone_id(1).to_string()),
        application.clone(),
        None,
        application,
        Some(uuid(22).to_string()),
        Some("read".to_owned()),
        Some(decision().to_string()),
    ];
    assert_eq!(headers.map(|(_, value)| value), expected);
}

proptest! {
    /// Nothing is permitted beyond any of what it rests on, and permits only go away when more is revoked.
    #[test]
    fn a_permit_stays_within_mandate_operation_and_policy(
        granted in prop::sample::subsequence(vec!["pay", "read", "write"], 0..=3),
        (method, path) in prop::sample::select(vec![
            ("GET", "/v1/invoices/1"), ("PUT", "/v1/invoices/1"), ("POST", "/v1/payments"),
        ]),
        allowed in any::<bool>(),
        age in 0..600_i64,
        dead in any::<bool>(),
    ) {
        let mut case = Case::new();
        case.claims = claims(&granted.join(" "), "agent");
        (case.method, case.path) = (method, path);
        case.now = Timestamp::from_second(now().as_second().checked_add(age).unwrap()).unwrap();
        let verdict = if allowed { Verdict::Allow } else { Verdict::Deny(PolicyDenial::RoleScopes) };
        let before = case.decide(Ok(verdict)).0.outcome();
        if let Decision::Allow(permit) = case.decide(Ok(verdict)).0 {
            prop_assert!(allowed && age < 300);
            prop_assert!(permit.admitted().scopes().is_subset(&case.claims.scope));
        }
        if dead {
            case.revocations.kill(DeadId::Id(case.claims.sid.as_uuid()), Timestamp::MAX);
            prop_assert_ne!(case.decide(Ok(verdict)).0.outcome(), Outcome::Allow);
        } else {
            let complete = match path {
                "/v1/payments" => granted.contains(&"pay"),
                _ if method == "PUT" => granted.contains(&"read") && granted.contains(&"write"),
                _ => granted.contains(&"read"),
            };
            prop_assert_eq!(before == Outcome::Allow, allowed && complete && age < 300);
        }
        prop_assert!(labels("agent") == case.claims.labels);
    }
}
