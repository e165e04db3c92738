use mandate::id::{ApplicationId, Label, ResourceUri, Scope, ScopeSet};
use proptest::prelude::*;

use super::*;
use crate::denial::{PolicyDenial, PolicyError};
use crate::fixture::{application, labels, resource_uri, scopes, version};
use crate::input::Action;

/// An input that owns its parts.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Owned {
    action: Action,
    application: ApplicationId,
    resource: ResourceUri,
    scopes: ScopeSet,
    labels: Vec<Label>,
}

impl Owned {
    fn input(&self) -> Input<'_> {
        Input {
            action: self.action,
            application: self.application,
            resource: &self.resource,
            scopes: &self.scopes,
            labels: &self.labels,
        }
    }
}

fn owned() -> impl Strategy<Value = Owned> {
    // Few letters, so that two of them differ by little.
    let scope = "[ab]{1,2}".prop_map(|text| Scope::parse(&text).unwrap());
    let label = "[ab]{1,2}".prop_map(|text| Label::parse(&text).unwrap());
    let lists = (
        prop::collection::vec(scope, 0..3),
        prop::collection::vec(label, 0..3),
    );
    (any::<bool>(), 0..2_u32, "x:[ab]{1,2}", lists).prop_map(
        |(mint, app, uri, (scopes, labels))| Owned {
            action: if mint { Action::Mint } else { Action::Use },
            application: application(app),
            resource: resource_uri(&uri),
            scopes: ScopeSet::new(scopes).unwrap(),
            labels,
        },
    )
}

fn plain() -> Owned {
    Owned {
        action: Action::Use,
        application: application(1),
        resource: resource_uri("x:a"),
        scopes: scopes("a"),
        labels: labels("a"),
    }
}

#[test]
fn a_verdict_is_remembered_and_an_error_never() {
    let mut memo = Memo::new(8);
    let (owned, deny) = (plain(), Verdict::Deny(PolicyDenial::NotGranted));
    let input = owned.input();
    assert_eq!(
        memo.verdict(version(1), &input, || Err(PolicyError::Budget)),
        Err(PolicyError::Budget)
    );
    assert!(memo.is_empty());
    assert_eq!(
        memo.verdict::<PolicyError>(version(1), &input, || Ok(deny)),
        Ok(deny)
    );
    assert_eq!(
        memo.verdict(version(1), &input, || Err(PolicyError::Budget)),
        Ok(deny),
        "it is not evaluated again"
    );
    assert_eq!(
        memo.find(version(2), &input),
        None,
        "another version is asked anew"
    );
}

#[test]
fn it_is_bounded_and_what_is_used_stays() {
    let mut memo = Memo::new(4);
    let owned = plain();
    memo.hold(version(0), &owned.input(), Verdict::Allow);
    for number in 1..200 {
        memo.hold(version(number), &owned.input(), Verdict::Allow);
        assert!(memo.len() <= 8);
        assert_eq!(
            memo.find(version(0), &owned.input()),
            Some(Verdict::Allow),
            "after {number}"
        );
    }
    assert_eq!(memo.find(version(1), &owned.input()), None);
    let mut none = Memo::new(0);
    none.hold(version(0), &owned.input(), Verdict::Allow);
    assert!(none.is_empty());
}

proptest! {
    /// No two inputs share a key, so that no verdict is given to a question it was not given for.
    #[test]
    fn two_inputs_have_one_key_exactly_when_they_are_equal(first in owned(), second in owned()) {
        let key = |owned: &Owned| {
            let mut key = Vec::new();
            owned.input().write_key(&mut key);
            key
        };
        prop_assert_eq!(key(&first) == key(&second), first == second);
    }
}
