use std::sync::LazyLock;

use mandate::id::{ApplicationId, Label, PolicyVersionId};
use policy::PolicyData;
use policy::rego::Evaluator;
use proptest::prelude::*;
use serde_json::{Value, json};
use uuid::Uuid;

use super::*;
use crate::token::law::ZoneLaw;

const APPLICATION: ApplicationId = ApplicationId::from_uuid(Uuid::from_u128(1));
const LABEL: &str = "agent";

/// What policy says, as data: a ceiling per resource, scopes that wait for approval.
#[derive(Clone, Debug, Default)]
struct Tables {
    ceilings: BTreeMap<ResourceUri, ScopeSet>,
    approval: ScopeSet,
    confined: Option<ScopeSet>,
    held_back: bool,
}

impl Tables {
    fn data(&self) -> PolicyData {
        let list = |scopes: &ScopeSet| scopes.iter().map(ToString::to_string).collect::<Vec<_>>();
        let grants: serde_json::Map<String, Value> = self
            .ceilings
            .iter()
            .filter(|(_, held)| !held.is_empty())
            .map(|(uri, held)| {
                (
                    uri.to_string(),
                    json!({ "app": { "roles": { LABEL: list(held) } } }),
                )
            })
            .collect();
        let confinement = self.confined.as_ref().map_or_else(
            || json!({}),
            |left| json!({ LABEL: { "scopes": list(left) } }),
        );
        let risk: serde_json::Map<String, Value> = self
            .approval
            .iter()
            .map(|scope| (scope.to_string(), json!("high")))
            .collect();
        let document = json!({
            "app_ids": { "app": APPLICATION },
            "grants": grants,
            "confinement": confinement,
            "restrict": { "zone": self.held_back, "resources": {}, "applications": {} },
            "risk": risk,
            "approval_tiers": { "high": { "approver": "operator", "ttl_seconds": 300 } },
        });
        PolicyData::parse(document.to_string().as_bytes()).unwrap()
    }

    fn law(&self) -> ZoneLaw {
        static EVALUATOR: LazyLock<Evaluator> = LazyLock::new(|| Evaluator::new().unwrap());
        let data = self.data();
        let version = PolicyVersionId::from_uuid(Uuid::from_u128(2));
        ZoneLaw::load(
            &EVALUATOR,
            version,
            &data.canonical(),
            &data.content_sha256(),
        )
        .unwrap()
    }
}

fn uri(name: &str) -> ResourceUri {
    ResourceUri::parse(&format!("urn:{name}")).unwrap()
}

fn scopes(text: &str) -> ScopeSet {
    ScopeSet::parse(text).unwrap()
}

/// One request against one resource `urn:r` with scopes `a b c`.
struct Case {
    wanted: Wanted,
    law: Tables,
    subject: ScopeSet,
    subject_targets: Vec<ResourceUri>,
    session: Option<ScopeSet>,
    session_resources: Option<Vec<ResourceUri>>,
    resources: BTreeMap<ResourceUri, ScopeSet>,
}

impl Case {
    fn new() -> Self {
        let one = BTreeMap::from([(uri("r"), scopes("a b c"))]);
        Self {
            wanted: Wanted {
                resources: vec![uri("r")],
                ..Wanted::default()
            },
            law: Tables {
                ceilings: one.clone(),
                ..Tables::default()
            },
            subject: scopes("a b c"),
            subject_targets: vec![uri("r")],
            session: None,
            session_resources: None,
            resources: one,
        }
    }

    fn asking(mut self, text: &str) -> Self {
        self.wanted.scopes = Some(scopes(text));
        self
    }

    fn partly(mut self) -> Self {
        self.wanted.allow_partial = true;
        self
    }

    fn with(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }

    fn decide(&self) -> Result<Granted, Error> {
        let bounds = Bounds {
            resources: &self.resources,
            subject_scopes: &self.subject,
            subject_targets: &self.subject_targets,
            session_scopes: self.session.as_ref(),
            session_resources: self.session_resources.as_deref(),
        };
        let session = self.session_resources.as_deref();
        let targets = targets(&self.wanted, &self.subject_targets, session)?;
        let labels = [Label::parse(LABEL).unwrap()];
        decide(
            &self.wanted,
            targets,
            &bounds,
            &self.law.law().of(APPLICATION, &labels),
        )
    }

    fn code(&self) -> &'static str {
        self.decide().unwrap_err().code()
    }

    fn granted(&self) -> String {
        self.decide().unwrap().scopes.to_string()
    }
}

#[test]
fn grants_what_every_bound_allows() {
    assert_eq!(Case::new().granted(), "a b c");
    assert_eq!(Case::new().asking("b").granted(), "b");
    assert_eq!(
        Case::new()
            .with(|case| case.session = Some(scopes("b c d")))
            .granted(),
        "b c"
    );
    assert_eq!(
        Case::new()
            .with(|case| case.subject = scopes("a c"))
            .granted(),
        "a c"
    );
    assert_eq!(
        Case::new()
            .with(|case| case.law.confined = Some(scopes("b c")))
            .granted(),
        "b c"
    );
    assert_eq!(
        Case::new()
            .with(|case| case.law.approval = scopes("a"))
            .granted(),
        "b c"
    );
}

#[test]
fn grants_less_only_when_less_is_welcome() {
    let narrow = |case: &mut Case| case.session = Some(scopes("a"));
    assert_eq!(
        Case::new().asking("a b").with(narrow).code(),
        "scope_not_granted"
    );
    assert_eq!(
        Case::new().asking("a b").partly().with(narrow).granted(),
        "a"
    );
    let deny = |case: &mut Case| case.law.confined = Some(scopes("a c"));
    assert_eq!(
        Case::new().asking("a b").with(deny).code(),
        "scope_not_granted"
    );
    assert_eq!(Case::new().asking("a b").partly().with(deny).granted(), "a");
    let approve = |case: &mut Case| case.law.approval = scopes("b");
    assert_eq!(
        Case::new().asking("a b").with(approve).code(),
        "approval_required"
    );
    assert_eq!(
        Case::new().asking("a b").partly().with(approve).granted(),
        "a"
    );
    assert_eq!(
        Case::new().asking("b").partly().with(approve).code(),
        "approval_required"
    );
    assert_eq!(Case::new().asking("x").partly().code(), "scope_not_granted");
}

#[test]
fn refuses_a_target_that_is_unknown_ungranted_or_outside_the_session() {
    for (name, change) in [
        (
            "unknown",
            (|case: &mut Case| case.resources.clear()) as fn(&mut Case),
        ),
        ("no ceiling", |case| case.law.ceilings.clear()),
        ("not the subject's", |case| {
            case.subject_targets = vec![uri("other")];
        }),
        ("not the session's", |case| {
            case.session_resources = Some(vec![uri("other")]);
        }),
    ] {
        assert_eq!(
            Case::new().with(change).code(),
            "target_not_granted",
            "{name}"
        );
    }
    assert_eq!(
        Case::new().with(|case| case.law.held_back = true).code(),
        "zone_restricted"
    );
}

#[test]
fn takes_the_only_target_there_is_when_none_is_named() {
    let unnamed = || Case::new().with(|case| case.wanted.resources.clear());
    assert_eq!(unnamed().decide().unwrap().resources, [uri("r")]);
    let two = |case: &mut Case| case.subject_targets = vec![uri("q"), uri("r")];
    assert_eq!(unnamed().with(two).code(), "target_missing");
    let narrowed = |case: &mut Case| {
        case.subject_targets = vec![uri("q"), uri("r")];
        case.session_resources = Some(vec![uri("r")]);
    };
    assert_eq!(
        unnamed().with(narrowed).decide().unwrap().resources,
        [uri("r")]
    );
}

#[test]
fn a_scope_of_several_targets_is_granted_at_each() {
    let two = |case: &mut Case| {
        let other = (uri("q"), scopes("b c"));
        case.wanted.resources = vec![uri("q"), uri("r")];
        case.subject_targets = vec![uri("q"), uri("r")];
        case.resources.insert(other.0.clone(), other.1.clone());
        case.law.ceilings.insert(other.0, other.1);
    };
    assert_eq!(Case::new().with(two).granted(), "b c");
    assert_eq!(
        Case::new().asking("a").with(two).code(),
        "scope_not_granted"
    );
}

#[test]
fn a_session_mandate_carries_what_policy_grants() {
    let case = Case::new();
    let everything = |wanted: &Wanted, law: &Tables| {
        let labels = [Label::parse(LABEL).unwrap()];
        everything(wanted, &case.resources, &law.law().of(APPLICATION, &labels))
    };
    let all = everything(&Wanted::default(), &case.law).unwrap();
    assert_eq!(
        (all.scopes.to_string(), all.resources),
        ("a b c".to_owned(), vec![uri("r")])
    );
    let nothing = everything(&Wanted::default(), &Tables::default()).unwrap();
    assert!(nothing.scopes.is_empty() && nothing.resources.is_empty());
    let asked = Wanted {
        scopes: Some(scopes("a x")),
        ..Wanted::default()
    };
    assert_eq!(
        everything(&asked, &case.law).unwrap_err().code(),
        "scope_not_granted"
    );
    let asked = Wanted {
        allow_partial: true,
        ..asked
    };
    assert_eq!(
        everything(&asked, &case.law).unwrap().scopes.to_string(),
        "a"
    );
    let asked = Wanted {
        resources: vec![uri("other")],
        ..Wanted::default()
    };
    assert_eq!(
        everything(&asked, &case.law).unwrap_err().code(),
        "target_not_granted"
    );
    let held_back = Tables {
        held_back: true,
        ..case.law.clone()
    };
    let refused = everything(&Wanted::default(), &held_back).unwrap_err();
    assert_eq!(refused.code(), "zone_restricted");
}

fn some_scopes() -> impl Strategy<Value = ScopeSet> {
    proptest::collection::vec("[a-f]", 0..6)
        .prop_map(|words| ScopeSet::parse(&words.join(" ")).unwrap())
}

fn some_uris() -> impl Strategy<Value = Vec<ResourceUri>> {
    proptest::collection::btree_set("[p-s]", 0..4)
        .prop_map(|names| names.iter().map(|name| uri(name)).collect())
}

fn some_tables() -> impl Strategy<Value = BTreeMap<ResourceUri, ScopeSet>> {
    proptest::collection::btree_map("[p-s]".prop_map(|name| uri(&name)), some_scopes(), 0..4)
}

prop_compose! {
    fn some_case()(
        resources in some_tables(),
        ceilings in some_tables(),
        confined in proptest::option::of(some_scopes().prop_filter("not empty", |set| !set.is_empty())),
        approval in some_scopes(),
        subject in some_scopes(),
        subject_targets in some_uris(),
        session in proptest::option::of(some_scopes()),
        session_resources in proptest::option::of(some_uris()),
        asked in some_uris(),
        asked_scopes in proptest::option::of(some_scopes()),
        allow_partial in any::<bool>(),
    ) -> Case {
        let wanted =
            Wanted { resources: asked, scopes: asked_scopes, ttl: None, allow_partial };
        let law = Tables { ceilings, approval, confined, held_back: false };
        Case { wanted, law, subject, subject_targets, session, session_resources, resources }
    }
}

impl std::fmt::Debug for Case {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?} {:?} {:?}", self.wanted, self.law, self.resources)
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    #[test]
    fn never_grants_beyond_any_bound(case in some_case()) {
        let Ok(granted) = case.decide() else { return Ok(()) };
        prop_assert!(!granted.scopes.is_empty() && !granted.resources.is_empty());
        prop_assert!(granted.scopes.is_subset(&case.subject));
        if let Some(left) = &case.law.confined {
            prop_assert!(granted.scopes.is_subset(left));
        }
        prop_assert!(granted.scopes.intersection(&case.law.approval).is_empty());
        if let Some(session) = &case.session {
            prop_assert!(granted.scopes.is_subset(session));
        }
        if let Some(asked) = &case.wanted.scopes {
            prop_assert!(granted.scopes.is_subset(asked));
            prop_assert!(case.wanted.allow_partial || &granted.scopes == asked);
        }
        for resource in &granted.resources {
            prop_assert!(granted.scopes.is_subset(&case.resources[resource]));
            prop_assert!(granted.scopes.is_subset(&case.law.ceilings[resource]));
            prop_assert!(case.subject_targets.contains(resource));
            prop_assert!(case.session_resources.as_ref().is_none_or(|within| within.contains(resource)));
        }
        if !case.wanted.resources.is_empty() {
            prop_assert_eq!(&granted.resources, &case.wanted.resources);
        }
    }

    #[test]
    fn a_tighter_bound_never_grants_more(case in some_case(), tighter in some_scopes()) {
        let before = case.decide().map(|granted| granted.scopes).unwrap_or_default();
        let subject = case.subject.intersection(&tighter);
        let after = Case { subject, ..case }.decide();
        let after = after.map(|granted| granted.scopes).unwrap_or_default();
        prop_assert!(after.is_subset(&before) || after.is_empty());
    }
}
