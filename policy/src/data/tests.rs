use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::fixture::{RESOURCE, application, policies, policy, policy_json, scopes};

fn findings(json: &str) -> Vec<String> {
    match PolicyData::parse(json.as_bytes()) {
        Ok(_) => Vec::new(),
        Err(findings) => findings.iter().map(ToString::to_string).collect(),
    }
}

/// What is found when one place of a good policy holds another value, or none.
fn check(pointer: &str, value: Option<Value>, expected: &[&str]) {
    let mut document = policy_json();
    let (parent, name) = pointer.rsplit_once('/').unwrap();
    let name = name.replace("~1", "/").replace("~0", "~");
    let parent = document
        .pointer_mut(parent)
        .unwrap()
        .as_object_mut()
        .unwrap();
    match value {
        Some(value) => parent.insert(name, value),
        None => parent.remove(&name),
    };
    assert_eq!(findings(&document.to_string()), expected, "{pointer}");
}

#[test]
fn a_policy_has_one_canonical_form() {
    let data = policy(&policy_json());
    let canonical = data.canonical();
    assert_eq!(
        String::from_utf8_lossy(&canonical),
        "{\"app_ids\":{\"billing\":\"00000000-0000-0000-0000-000000000001\"},\
         \"approval_tiers\":{\"high\":{\"approver\":\"operator\",\"ttl_seconds\":600}},\
         \"confinement\":{\"untrusted\":{\"scopes\":[\"read\"]}},\
         \"grants\":{\"https://invoices.example/api\":{\"billing\":{\"roles\":\
         {\"agent\":[\"pay\",\"read\",\"write\"],\"reader\":[\"read\"]}}}},\
         \"restrict\":{\"applications\":{},\"resources\":{},\"zone\":false},\
         \"risk\":{\"pay\":\"high\"}}"
    );
    assert_eq!(PolicyData::parse(&canonical).unwrap(), data);
}

#[test]
fn what_is_misspelt_missing_or_of_another_shape_is_found_at_its_place() {
    let roots = "is none of app_ids, grants, confinement, restrict, risk, approval_tiers";
    let misspelt = format!("/confinements {roots}");
    check("/confinements", Some(json!({})), &[&misspelt]);
    for root in [
        "app_ids",
        "grants",
        "confinement",
        "restrict",
        "risk",
        "approval_tiers",
    ] {
        let mut document = policy_json();
        document.as_object_mut().unwrap().remove(root);
        assert!(
            findings(&document.to_string()).contains(&format!("/{root} is missing")),
            "{root}"
        );
        for wrong in [json!(null), json!([]), json!(true), json!("x"), json!(1)] {
            document[root] = wrong;
            assert!(
                findings(&document.to_string()).contains(&format!("/{root} is no object")),
                "{root}"
            );
        }
    }
}

#[test]
fn a_confinement_or_restriction_of_another_shape_is_found_at_its_place() {
    check(
        "/confinement/untrusted",
        Some(json!({ "scope": [] })),
        &[
            "/confinement/untrusted/scope is none of scopes",
            "/confinement/untrusted/scopes is missing",
        ],
    );
    check(
        "/confinement/untrusted",
        Some(json!(["read"])),
        &["/confinement/untrusted is no object"],
    );
    check(
        "/confinement/untrusted/scopes",
        Some(json!("read")),
        &["/confinement/untrusted/scopes is no list of scopes"],
    );
    check(
        "/restrict/zone",
        Some(json!("false")),
        &["/restrict/zone is neither true nor false"],
    );
    check("/restrict/zone", None, &["/restrict/zone is missing"]);
    check(
        "/restrict/resources",
        Some(json!({ "invoices": "x" })),
        &[
            "/restrict/resources/invoices has a name that is not an absolute URI of visible ASCII without fragment, at most \
         512 bytes",
        ],
    );
    check(
        "/restrict/resources",
        Some(json!({ RESOURCE: "" })),
        &[
            "/restrict/resources/https:~1~1invoices.example~1api is no reason of 1 to 256 characters",
        ],
    );
    check(
        "/restrict/applications",
        Some(json!({ "biling": "x" })),
        &["/restrict/applications/biling is no key of app_ids"],
    );
}

#[test]
fn a_tier_that_needs_no_approval_by_mistake_is_found_at_its_place() {
    check(
        "/risk/pay",
        Some(json!("hihg")),
        &["/risk/pay is no tier of approval_tiers"],
    );
    check(
        "/approval_tiers/high",
        Some(json!({ "approver": "me", "ttl_seconds": 0 })),
        &[
            "/approval_tiers/high/approver is neither \"operator\" nor \"subject\"",
            "/approval_tiers/high/ttl_seconds is no whole number from 1 to 604800",
        ],
    );
    for ttl in [
        json!(1.5),
        json!(-1),
        json!("60"),
        json!(604_801),
        json!(4_294_967_297_u64),
    ] {
        check(
            "/approval_tiers/high/ttl_seconds",
            Some(ttl),
            &["/approval_tiers/high/ttl_seconds is no whole number from 1 to 604800"],
        );
    }
}

#[test]
fn names_must_be_declared_and_applications_have_one_key() {
    check(
        "/app_ids",
        Some(json!({})),
        &["/grants/https:~1~1invoices.example~1api/billing is no key of app_ids"],
    );
    check(
        "/app_ids/again",
        Some(json!(application(1))),
        &["/app_ids/billing is an application that has a key already"],
    );
    check(
        "/app_ids/billing",
        Some(json!("00000000-0000-0000-0000-00000000000A")),
        &[
            "/app_ids/billing is not a lower-case hyphenated UUID",
            "/grants/https:~1~1invoices.example~1api/billing is no key of app_ids",
        ],
    );
    let roles = "/grants/https:~1~1invoices.example~1api/billing/roles";
    let check_roles =
        |value: Value, expected: &str| check(roles, Some(value), &[&format!("{roles}{expected}")]);
    check_roles(json!({}), " has no role");
    check_roles(json!({ "agent": [] }), "/agent is a role without a scope");
    check_roles(
        json!({ "agent": ["read", "read"] }),
        "/agent/1 is there twice",
    );
    check_roles(json!({ "agent": ["read", 1] }), "/agent/1 is no text");
    check_roles(
        json!({ "Agent": ["read"] }),
        "/Agent has a name that is not a lower-case label of at most 63 bytes",
    );
    let many = |from: u32| {
        (from..from.wrapping_add(40))
            .map(|number| format!("s{number}"))
            .collect::<Vec<_>>()
    };
    check_roles(
        json!({ "a": many(0), "b": many(40) }),
        " has more than 64 scopes together",
    );
}

#[test]
fn a_member_that_is_there_twice_is_found_at_any_depth() {
    let text = policy_json().to_string();
    let check = |one: &str, doubled: &str, expected: &str| {
        let document = text.replacen(one, doubled, 1);
        assert_ne!(document, text);
        assert_eq!(findings(&document), [expected]);
    };
    check(
        "\"zone\":false",
        "\"zone\":true,\"zone\":false",
        "/restrict/zone is there twice",
    );
    check("\"risk\":", "\"risk\":{},\"risk\":", "/risk is there twice");
    check("\"reader\":", "\"agent\":[\"read\"],\"reader\":", {
        "/grants/https:~1~1invoices.example~1api/billing/roles/agent is there twice"
    });
    check(
        "\"zone\":false",
        "\"zone\":false,\"z\\u006fne\":true",
        "/restrict/zone is there twice",
    );
}

#[test]
fn what_is_no_document_is_one_finding() {
    for json in [
        "",
        "{",
        "[]",
        "null",
        "{} {}",
        "\u{feff}{}",
        &"[".repeat(200),
    ] {
        assert_eq!(findings(json).len(), 1, "{json}");
    }
    let long = format!("\"{}\"", "x".repeat(MAX_BYTES));
    assert_eq!(
        findings(&long),
        [format!("the policy has more than {MAX_BYTES} bytes")]
    );
    let many: serde_json::Map<String, Value> = (0..500)
        .map(|number| (format!("x{number}"), json!(1)))
        .collect();
    assert_eq!(
        findings(&Value::Object(many).to_string()).len(),
        100,
        "not without end"
    );
}

#[test]
fn what_the_zone_does_not_have_is_found() {
    let mut document = policy_json();
    document["restrict"]["resources"] =
        json!({ "https://invioces.example/api": "held", RESOURCE: "held" });
    let (known, fewer) = (scopes("read write pay"), scopes("read write"));
    let unknown = |known: Option<&ScopeSet>| -> Vec<String> {
        let found = policy(&document).unknown(|uri| known.filter(|_| uri.as_str() == RESOURCE));
        found.iter().map(ToString::to_string).collect()
    };
    let misspelt =
        "/restrict/resources/https:~1~1invioces.example~1api is no resource of this zone";
    assert_eq!(unknown(Some(&known)), [misspelt]);
    assert_eq!(
        unknown(Some(&fewer)),
        [
            "/grants/https:~1~1invoices.example~1api/billing/roles/agent has `pay`, no scope of the resource",
            misspelt,
        ]
    );
    assert_eq!(unknown(None).len(), 3);
}

/// Every place of a document at which a member has a name.
fn members(value: &Value, at: &str, found: &mut Vec<String>) {
    if let Value::Object(object) = value {
        for (name, value) in object {
            let at = tree::below(at, name);
            members(value, &at, found);
            found.push(at);
        }
    }
}

proptest! {
    #[test]
    fn print_and_parse_are_each_others_inverse(document in policies()) {
        let data = policy(&document);
        let again = PolicyData::parse(&data.canonical()).unwrap();
        prop_assert_eq!(&again, &data);
        prop_assert_eq!(again.content_sha256(), data.content_sha256());
    }

    /// Whatever member of the document's own is spelt otherwise, the document is refused: never "no restriction".
    #[test]
    fn no_member_can_be_misspelt(document in policies(), pick in any::<prop::sample::Index>()) {
        const OWN: [&str; 11] = [
            "app_ids", "grants", "confinement", "restrict", "risk", "approval_tiers", "roles", "scopes", "zone",
            "resources", "applications",
        ];
        let mut found = Vec::new();
        members(&document, "", &mut found);
        found.retain(|at| OWN.contains(&at.rsplit('/').next().unwrap()));
        let at = &found[pick.index(found.len())];
        let (parent, name) = at.rsplit_once('/').unwrap();
        let mut misspelt = document.clone();
        let parent = misspelt.pointer_mut(parent).unwrap().as_object_mut().unwrap();
        let value = parent.remove(name).unwrap();
        parent.insert(format!("{name}s"), value);
        prop_assert!(findings(&misspelt.to_string()).iter().any(|found| found.contains("is missing")));
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..64), cut in any::<prop::sample::Index>()) {
        prop_assert!(PolicyData::parse(&bytes).is_err());
        let text = policy_json().to_string();
        prop_assert!(PolicyData::parse(&text.as_bytes()[..cut.index(text.len())]).is_err());
    }
}
