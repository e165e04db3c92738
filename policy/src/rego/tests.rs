//! The machine, the interpreter and the rules in plain Rust agree; whatever is not a verdict refuses.

use mandate::id::{ApplicationId, Label, ResourceUri, ScopeSet};
use proptest::prelude::*;
use regorus::{Engine, Value};
use serde_json::json;

use super::evaluator::{RESULT, RULES, verdict};
use super::*;
use crate::data::PolicyData;
use crate::denial::{PolicyDenial, PolicyError};
use crate::fixture::{
    RESOURCE, RESOURCES, application, label_lists, labels, policies, policy, policy_json,
    resource_uri, scope_sets, scopes,
};
use crate::input::{Action, Input, Verdict};
use crate::mint;

fn evaluator() -> Evaluator {
    Evaluator::new().unwrap()
}

/// The rules in plain Rust, over the policy as it was written.
fn model(policy: &PolicyData, input: &Input<'_>) -> Verdict {
    let of = |wanted: ApplicationId| {
        policy
            .app_ids
            .iter()
            .find(|(_, id)| **id == wanted)
            .map(|(key, _)| key)
    };
    let key = of(input.application);
    let restrict = &policy.restrict;
    let roles = key.and_then(|key| policy.grants.get(input.resource)?.get(key));
    let confined = input
        .labels
        .iter()
        .filter_map(|label| policy.confinement.get(label));
    let mut outside = confined.filter(|within| !input.scopes.is_subset(within));
    let held = roles
        .into_iter()
        .flat_map(|roles| input.labels.iter().filter_map(|label| roles.get(label)));
    let mut covering = held.filter(|held| !input.scopes.is_empty() && input.scopes.is_subset(held));
    let gated = |scope| {
        policy
            .risk
            .get(scope)
            .is_some_and(|tier| policy.approval_tiers.contains_key(tier))
    };
    let deny = if restrict.zone {
        PolicyDenial::ZoneRestricted
    } else if key.is_some_and(|key| restrict.applications.contains_key(key)) {
        PolicyDenial::ApplicationRestricted
    } else if restrict.resources.contains_key(input.resource) {
        PolicyDenial::ResourceRestricted
    } else if roles.is_none() {
        PolicyDenial::NotGranted
    } else if outside.next().is_some() {
        PolicyDenial::Confined
    } else if covering.next().is_none() {
        PolicyDenial::RoleScopes
    } else if input.scopes.iter().any(gated) {
        PolicyDenial::ApprovalRequired
    } else {
        return Verdict::Allow;
    };
    Verdict::Deny(deny)
}

fn engine(rules: &str) -> Engine {
    let mut engine = Engine::new();
    engine.set_strict_builtin_errors(false);
    engine
        .add_policy("caracal.rego".to_owned(), rules.to_owned())
        .unwrap();
    engine
}

fn interpreted(data: Value, input: Value) -> Result<Verdict, PolicyError> {
    let mut engine = engine(RULES);
    engine.add_data(data).map_err(|_| PolicyError::Evaluation)?;
    engine.set_input(input);
    let result = engine
        .eval_rule(RESULT.to_owned())
        .map_err(|_| PolicyError::Evaluation)?;
    verdict(&result)
}

fn executed(data: Value, input: Value) -> Result<Verdict, PolicyError> {
    let prepared = evaluator().prepare_value(data)?;
    verdict(&prepared.execute(input)?)
}

/// One question, owning its parts.
#[derive(Debug, Clone)]
struct Asked {
    action: Action,
    application: ApplicationId,
    resource: ResourceUri,
    scopes: ScopeSet,
    labels: Vec<Label>,
}

impl Asked {
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

fn asked() -> impl Strategy<Value = Asked> {
    (
        any::<bool>(),
        1..=4_u32,
        0..RESOURCES.len(),
        scope_sets(),
        label_lists(),
    )
        .prop_map(|(mint, app, at, scopes, labels)| Asked {
            action: if mint { Action::Mint } else { Action::Use },
            application: application(app),
            resource: resource_uri(RESOURCES[at]),
            scopes,
            labels,
        })
}

fn plain(of_scopes: &str, of_labels: &str) -> Asked {
    Asked {
        action: Action::Use,
        application: application(1),
        resource: resource_uri(RESOURCE),
        scopes: scopes(of_scopes),
        labels: labels(of_labels),
    }
}

#[test]
fn every_gate_names_itself() {
    let check = |of_scopes: &str,
                 of_labels: &str,
                 change: &dyn Fn(&mut serde_json::Value),
                 expected: Verdict| {
        let mut document = policy_json();
        change(&mut document);
        let (asked, policy) = (plain(of_scopes, of_labels), policy(&document));
        let prepared = evaluator().prepare(&policy).unwrap();
        assert_eq!(
            prepared.evaluate(&asked.input()),
            Ok(expected),
            "{of_scopes} {of_labels}"
        );
    };
    let none = &|_: &mut serde_json::Value| {};
    check("read write", "agent", none, Verdict::Allow);
    check("read", "reader", none, Verdict::Allow);
    let deny = Verdict::Deny;
    check(
        "read",
        "agent",
        &|policy| policy["restrict"]["zone"] = json!(true),
        deny(PolicyDenial::ZoneRestricted),
    );
    let by_application = |policy: &mut serde_json::Value| {
        policy["restrict"]["applications"] = json!({ "billing": "x" });
    };
    check(
        "read",
        "agent",
        &by_application,
        deny(PolicyDenial::ApplicationRestricted),
    );
    let by_resource = |policy: &mut serde_json::Value| {
        policy["restrict"]["resources"] = json!({ RESOURCE: "x" });
    };
    check(
        "read",
        "agent",
        &by_resource,
        deny(PolicyDenial::ResourceRestricted),
    );
    check(
        "read",
        "agent",
        &|policy| policy["grants"] = json!({}),
        deny(PolicyDenial::NotGranted),
    );
    check(
        "write",
        "agent untrusted",
        none,
        deny(PolicyDenial::Confined),
    );
    check("write", "reader", none, deny(PolicyDenial::RoleScopes));
    check("read", "", none, deny(PolicyDenial::RoleScopes));
    check("", "agent", none, deny(PolicyDenial::RoleScopes));
    check("pay", "agent", none, deny(PolicyDenial::ApprovalRequired));
}

#[test]
fn roles_do_not_add_up() {
    let mut document = policy_json();
    document["grants"][RESOURCE]["billing"]["roles"] = json!({ "a": ["read"], "b": ["write"] });
    let (asked, policy) = (plain("read write", "a b"), policy(&document));
    let prepared = evaluator().prepare(&policy).unwrap();
    assert_eq!(
        prepared.evaluate(&asked.input()),
        Ok(Verdict::Deny(PolicyDenial::RoleScopes))
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn machine_interpreter_and_model_agree(document in policies(), questions in prop::collection::vec(asked(), 1..5)) {
        let policy = policy(&document);
        let prepared = evaluator().prepare(&policy).unwrap();
        for asked in &questions {
            let input = asked.input();
            let expected = Ok(model(&policy, &input));
            // One machine answers all of them, one after the other.
            prop_assert_eq!(prepared.evaluate(&input), expected);
            prop_assert_eq!(interpreted(value::data(&policy), value::input(&input)), expected);
        }
    }

    /// What is allowed exceeds none of the bounds, and is within the ceiling of a mint.
    #[test]
    fn what_is_allowed_is_within_every_bound(document in policies(), asked in asked()) {
        let policy = policy(&document);
        let input = asked.input();
        if evaluator().prepare(&policy).unwrap().evaluate(&input) == Ok(Verdict::Allow) {
            let ceiling = mint::ceiling(&policy, input.application, input.resource, input.labels);
            prop_assert!(input.scopes.is_subset(&ceiling));
            let one_role = policy.roles(input.resource, input.application).unwrap();
            prop_assert!(input.labels.iter().filter_map(|label| one_role.get(label)).any(|held| input.scopes.is_subset(held)));
            prop_assert!(policy.approvals().all(|(scope, _)| !input.scopes.contains(scope)));
            prop_assert!(!policy.restrict().zone && !policy.restrict().resources.contains_key(input.resource));
        }
    }

    /// A stricter policy never allows what the laxer one refused.
    #[test]
    fn tightening_only_takes_away(document in policies(), asked in asked(), pick in 0..4_u8) {
        let mut tighter = document.clone();
        match pick {
            0 => tighter["restrict"]["zone"] = json!(true),
            1 => tighter["confinement"]["l0"] = json!({ "scopes": ["a"] }),
            2 => tighter["risk"]["a"] = json!("high"),
            _ => {
                if let Some(grants) = tighter["grants"].as_object_mut() {
                    grants.remove("x:a");
                }
            }
        }
        let evaluate = |document| evaluator().prepare(&policy(document)).unwrap().evaluate(&asked.input());
        if evaluate(&document) != Ok(Verdict::Allow) {
            prop_assert_ne!(evaluate(&tighter), Ok(Verdict::Allow));
        }
    }

    /// Whatever is broken in data or input, machine and interpreter agree whether it is allowed.
    #[test]
    fn machine_and_interpreter_agree_on_broken_values(
        document in policies(),
        asked in asked(),
        steps in prop::collection::vec(any::<prop::sample::Index>(), 1..6),
        odd in 0..8_usize,
        in_data in any::<bool>(),
    ) {
        let policy = policy(&document);
        let (mut data, mut input) = (value::data(&policy), value::input(&asked.input()));
        break_value(if in_data { &mut data } else { &mut input }, &steps, odd);
        // The interpreter reports some errors that the machine takes for undefined. Either way it is refused.
        let allowed = |answer| answer == Ok(Verdict::Allow);
        prop_assert_eq!(allowed(executed(data.clone(), input.clone())), allowed(interpreted(data, input)));
    }
}

/// Replaces, or takes away, what lies at the end of some steps into a value.
fn break_value(value: &mut Value, steps: &[prop::sample::Index], odd: usize) {
    let odd_value = |odd: usize| {
        let values = ["null", "false", "true", "0", "\"a\"", "[]", "{}"];
        values
            .get(odd)
            .map(|json| Value::from_json_str(json).unwrap())
    };
    let Some((step, rest)) = steps.split_first() else {
        *value = odd_value(odd).unwrap_or(Value::Undefined);
        return;
    };
    let inner = match value.as_object() {
        Ok(object) if !object.is_empty() => object.keys().nth(step.index(object.len())).cloned(),
        _ => None,
    };
    let Some(key) = inner else {
        *value = odd_value(odd).unwrap_or_else(Value::new_array);
        return;
    };
    let object = value.as_object_mut().unwrap();
    if rest.is_empty() && odd_value(odd).is_none() {
        object.remove(&key);
    } else if let Some(inner) = object.get_mut(&key) {
        break_value(inner, rest, odd);
    }
}

#[test]
fn data_that_lacks_a_root_allows_nothing() {
    let (policy, asked) = (policy(&policy_json()), plain("read", "agent"));
    let whole = value::data(&policy);
    let input = value::input(&asked.input());
    assert_eq!(executed(whole.clone(), input.clone()), Ok(Verdict::Allow));
    for root in ["grants", "confinement", "restrict", "gated"] {
        for replacement in [
            None,
            Some("null"),
            Some("[]"),
            Some("\"x\""),
            Some("true"),
            Some("1"),
        ] {
            let mut data = whole.clone();
            let roots = data
                .as_object_mut()
                .unwrap()
                .get_mut(&Value::from("policy"))
                .unwrap()
                .as_object_mut()
                .unwrap();
            match replacement {
                Some(json) => roots.insert(Value::from(root), Value::from_json_str(json).unwrap()),
                None => roots.remove(&Value::from(root)),
            };
            assert_ne!(
                executed(data, input.clone()),
                Ok(Verdict::Allow),
                "{root} {replacement:?}"
            );
        }
    }
}

/// Rules of a test's own, in the place of the platform's.
fn answering(body: &str) -> Result<Verdict, PolicyError> {
    let rules = format!("package caracal.authz\n\nimport rego.v1\n\n{body}\n");
    let prepared =
        Evaluator::compile(&rules, MAX_INSTRUCTIONS)?.prepare(&policy(&policy_json()))?;
    prepared.evaluate(&plain("read", "agent").input())
}

#[test]
fn only_the_two_forms_of_a_result_are_one() {
    assert_eq!(
        answering(r#"result := {"decision": "allow"}"#),
        Ok(Verdict::Allow)
    );
    assert_eq!(
        answering("result := 1 if input.none"),
        Err(PolicyError::Undefined)
    );
    for malformed in [
        "true",
        "\"allow\"",
        "null",
        "{}",
        r#"{"decision": "Allow"}"#,
        r#"{"decision": "allow", "code": "x"}"#,
        r#"{"decision": ["allow"]}"#,
        r#"{"decision": "deny"}"#,
        r#"{"decision": "deny", "code": "expired"}"#,
        r#"{"decision": "deny", "code": "policy_missing"}"#,
        r#"{"decision": "deny", "code": "zone_restricted", "more": 1}"#,
    ] {
        assert_eq!(
            answering(&format!("result := {malformed}")),
            Err(PolicyError::Malformed),
            "{malformed}"
        );
    }
    assert!(matches!(answering("result := "), Err(PolicyError::Rules)));
}

#[test]
fn an_evaluation_beyond_its_budget_is_an_error_and_the_next_one_is_not_harmed() {
    let rules = "package caracal.authz\n\nimport rego.v1\n\nnumbers := {1, 2, 3, 4, 5, 6, 7, 8, 9, 10}\n\n\
                 result := {\"decision\": \"allow\"} if {\n\tcount(input.labels) < 2\n} else := {\"decision\": \"allow\"} \
                 if {\n\tcount([1 | some a in numbers; some b in numbers; some c in numbers; a + b + c > 0]) > 0\n}\n";
    let prepared = Evaluator::compile(rules, 500)
        .unwrap()
        .prepare(&policy(&policy_json()))
        .unwrap();
    assert_eq!(
        prepared.evaluate(&plain("read", "a b").input()),
        Err(PolicyError::Budget)
    );
    assert_eq!(
        prepared.evaluate(&plain("read", "a").input()),
        Ok(Verdict::Allow)
    );
}

/// The largest input there can be, over a policy in which every look-up finds something.
#[test]
fn the_platforms_rules_take_less_than_half_of_the_budget() {
    let names: Vec<String> = (0..32).map(|number| format!("l{number}")).collect();
    let many: Vec<String> = (0..64).map(|number| format!("s{number}")).collect();
    let all: serde_json::Map<String, serde_json::Value> = names
        .iter()
        .map(|name| (name.clone(), json!({ "scopes": many })))
        .collect();
    // No role but the last has all the scopes, and no label confines.
    let roles: serde_json::Map<String, serde_json::Value> = names
        .iter()
        .rev()
        .take(1)
        .map(|name| (name.clone(), json!(many)))
        .collect();
    let mut document = policy_json();
    document["confinement"] = all.into();
    document["grants"][RESOURCE]["billing"]["roles"] = roles.into();
    let asked = plain(&many.join(" "), &names.join(" "));
    let half = Evaluator::compile(RULES, MAX_INSTRUCTIONS.wrapping_div(2)).unwrap();
    assert_eq!(
        half.prepare(&policy(&document))
            .unwrap()
            .evaluate(&asked.input()),
        Ok(Verdict::Allow)
    );
    document["risk"] = json!({ "s0": "high" });
    let denied = half
        .prepare(&policy(&document))
        .unwrap()
        .evaluate(&asked.input());
    assert_eq!(denied, Ok(Verdict::Deny(PolicyDenial::ApprovalRequired)));
}

#[test]
fn an_input_beyond_its_bounds_is_an_error() {
    let prepared = evaluator().prepare(&policy(&policy_json())).unwrap();
    let names: Vec<String> = (0..257).map(|number| format!("l{number}")).collect();
    assert_eq!(
        prepared.evaluate(&plain("read", &names.join(" ")).input()),
        Err(PolicyError::Input)
    );
    let long: Vec<String> = (0..256)
        .map(|number| format!("{:a<60}{number}", "l"))
        .collect();
    let asked = plain("read", &long.join(" "));
    assert!(prepared.evaluate(&asked.input()).is_ok());
    let mut more = asked;
    more.scopes = scopes(
        &(0..64)
            .map(|number| format!("{:s<126}{number}", ""))
            .collect::<Vec<_>>()
            .join(" "),
    );
    more.resource = resource_uri(&format!("x:{}", "a".repeat(500)));
    let total: usize = more.labels.iter().map(|label| label.as_str().len()).sum();
    assert!(total < crate::input::MAX_BYTES);
    assert!(
        prepared.evaluate(&more.input()).is_ok(),
        "what the types allow fits"
    );
}

#[test]
fn many_threads_share_one_policy() {
    let prepared = evaluator().prepare(&policy(&policy_json())).unwrap();
    std::thread::scope(|scope| {
        for thread in 0..8 {
            let prepared = &prepared;
            scope.spawn(move || {
                let (allowed, denied) = (plain("read", "agent"), plain("write", "reader"));
                for _ in 0..200 {
                    let (asked, expected) = if thread % 2 == 0 {
                        (&allowed, Verdict::Allow)
                    } else {
                        (&denied, Verdict::Deny(PolicyDenial::RoleScopes))
                    };
                    assert_eq!(prepared.evaluate(&asked.input()), Ok(expected));
                }
            });
        }
    });
}
