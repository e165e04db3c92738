//! What is decided about which request, through the whole path but the socket: from Envoy's message to
//! Envoy's answer, on memory that was loaded from signed chunks.
#![expect(
    clippy::unwrap_used,
    unreachable_pub,
    dead_code,
    reason = "tests; `common` is shared"
)]

mod common;

use std::time::Duration;

use common::{
    Asked, HOST, OTHER, OTHER_HOST, World, change, dead, id, policy, policy_change, zone,
};
use envoy_types::ext_authz::v3::pb::{CheckRequest, CheckResponse};
use ext_authz::api::request;
use ext_authz::decide::{Decided, View};
use mandate::id::DecisionId;
use policy::{Decision, Denial};
use serde_json::{Value, json};
use uuid::Uuid;
use wire::pb::caracal::authority::v1 as pb;

fn decided(world: &World, view: &View, request: &CheckRequest) -> Decided {
    let id = DecisionId::from_uuid(Uuid::from_u64_pair(0xdec1, 1));
    World::decider().decide(id, &request::read(request), view, &world.moment())
}

fn code(world: &World, view: &View, asked: &Asked) -> &'static str {
    match decided(world, view, &asked.request()).decision {
        Decision::Allow(_) => "allowed",
        Decision::Deny(denial) => denial.code(),
    }
}

struct Case {
    world: World,
    view: View,
}

impl Case {
    fn new() -> Self {
        let world = World::new();
        let view = world.view(&world.loaded());
        Self { world, view }
    }

    fn code(&self, asked: &Asked) -> &'static str {
        // Both forms in which Envoy sends headers.
        let joined = code(&self.world, &self.view, &asked.clone().joined());
        let raw = code(&self.world, &self.view, asked);
        assert_eq!(raw, joined, "{:?}", asked.headers);
        raw
    }

    fn good(&self) -> Asked {
        Asked::new().bearer(&self.world.mandate(|_| {}))
    }

    fn with(&self, change: impl FnOnce(&mut Value)) -> &'static str {
        self.code(&Asked::new().bearer(&self.world.mandate(change)))
    }
}

#[test]
fn a_mandate_that_names_resource_and_scope_is_allowed_and_found_in_the_cache_next_time() {
    let case = Case::new();
    let request = case.good().request();
    let first = decided(&case.world, &case.view, &request);
    let second = decided(&case.world, &case.view, &request);
    assert!(matches!(first.decision, Decision::Allow(_)), "{first:?}");
    assert!(matches!(second.decision, Decision::Allow(_)));
    assert_eq!(
        (first.trace.cached, second.trace.cached),
        (Some(false), Some(true))
    );
    assert_eq!(second.trace.zone, Some(zone(1)));
    let operation = second.trace.operation.unwrap();
    assert_eq!(
        (operation.method.as_str(), operation.template.as_str()),
        ("GET", "/v1/invoices/{id}")
    );
}

#[test]
fn refuses_what_a_mandate_is_not_good_for() {
    let case = Case::new();
    let now = case.world.clock.now().as_second();
    for (expected, change) in [
        (
            "expired",
            json!({ "iat": now - 60, "nbf": now - 60, "exp": now }),
        ),
        ("not_yet_valid", json!({ "nbf": now + 60 })),
        ("lifetime_too_long", json!({ "exp": now + 7200 })),
        ("wrong_issuer", json!({ "iss": "https://other.example" })),
        ("wrong_zone", json!({ "zone_id": zone(2).to_string() })),
        (
            "wrong_use",
            json!({ "use": "session", "aud": common::ISSUER }),
        ),
        ("wrong_audience", json!({ "aud": OTHER })),
        (
            "resource_not_granted",
            json!({ "aud": OTHER, "target": [OTHER] }),
        ),
        ("scope_missing", json!({ "scope": "payments:write" })),
        ("confirmation_unsupported", json!({ "cnf": { "jkt": "x" } })),
        ("role_scope_mismatch", json!({ "labels": [] })),
        (
            "policy_not_granted",
            json!({ "client_id": id(8), "sub": id(8) }),
        ),
    ] {
        let got = case.with(|claims| {
            let fields = change.as_object().unwrap().clone();
            claims.as_object_mut().unwrap().extend(fields);
        });
        assert_eq!(got, expected);
    }
}

#[test]
fn refuses_every_credential_but_one() {
    let case = Case::new();
    let mandate = case.world.mandate(|_| {});
    let (head, signature) = mandate.rsplit_once('.').unwrap();
    let swapped = if signature.starts_with('A') { "B" } else { "A" };
    let forged = format!("{head}.{swapped}{}", signature.get(1..).unwrap());
    assert_eq!(case.code(&Asked::new()), "credential_missing");
    assert_eq!(
        case.code(&Asked::new().header("authorization", "Basic YTpi")),
        "credential_malformed"
    );
    assert_eq!(case.code(&Asked::new().bearer("nonsense")), "malformed");
    assert_eq!(
        case.code(&Asked::new().bearer(&forged)),
        "signature_invalid"
    );
    assert_eq!(
        case.code(&case.good().bearer(&mandate)),
        "credential_duplicate"
    );
    let foreign = case.world.mandate_of(1, |_| {});
    assert_eq!(case.code(&Asked::new().bearer(&foreign)), "key_unknown");
}

#[test]
fn refuses_what_cannot_be_governed_or_would_have_to_be_repaired() {
    let case = Case::new();
    for (expected, asked) in [
        ("method_refused", case.good().method("CONNECT")),
        ("method_refused", case.good().method("TRACE")),
        ("path_refused", case.good().path("/v1/../v1/invoices/42")),
        ("path_refused", case.good().path("/v1/invoices%2f42")),
        ("path_refused", case.good().path("")),
        ("host_refused", case.good().host("a,b")),
        ("host_refused", case.good().header("host", "wiki.test")),
        (
            "override_header",
            case.good().header("x-http-method-override", "DELETE"),
        ),
        (
            "override_header",
            case.good().header("X_Original-URL", "/admin"),
        ),
        (
            "resource_assertion",
            case.good().header("x-caracal-resource", OTHER),
        ),
        (
            "resource_assertion",
            case.good().header("x_caracal_resource", ""),
        ),
    ] {
        assert_eq!(
            case.code(&asked),
            expected,
            "{asked:?}",
            asked = (&asked.method, &asked.path, &asked.headers)
        );
    }
    let asserted = case.good().header("x-caracal-resource", common::RESOURCE);
    assert_eq!(case.code(&asserted), "allowed");
    let twice = asserted.header("x-caracal-resource", common::RESOURCE);
    assert_eq!(case.code(&twice), "resource_assertion");
}

#[test]
fn a_check_without_http_or_with_headers_in_both_forms_is_refused() {
    let case = Case::new();
    let mut network = case.good().request();
    network.attributes.as_mut().unwrap().request = None;
    let mut both = case.good().request();
    let joined = case
        .good()
        .joined()
        .request()
        .attributes
        .unwrap()
        .request
        .unwrap()
        .http
        .unwrap()
        .headers;
    both.attributes
        .as_mut()
        .unwrap()
        .request
        .as_mut()
        .unwrap()
        .http
        .as_mut()
        .unwrap()
        .headers = joined;
    for request in [CheckRequest::default(), network, both] {
        let Decision::Deny(denial) = decided(&case.world, &case.view, &request).decision else {
            panic!("allowed")
        };
        assert_eq!(denial.http(), 400, "{denial:?}");
    }
}

#[test]
fn the_client_chooses_only_within_what_the_proxy_attached() {
    let case = Case::new();
    let other = |asked: Asked| asked.host(OTHER_HOST);
    assert_eq!(
        case.code(&other(case.good())),
        "resource_not_granted",
        "a mandate of one binding at another's host"
    );
    assert_eq!(case.code(&case.good().host("nobody.example")), "no_binding");
    assert_eq!(case.code(&case.good().path("/v1/nothing")), "no_rule");
    let mut elsewhere = case.good();
    for attachment in [None, Some("unknown"), Some("Not A Name"), Some("both")] {
        elsewhere.attachment = attachment.map(str::to_owned);
        assert_eq!(case.code(&elsewhere), "no_binding", "{attachment:?}");
    }
    // A zone out of the attachment's reach cannot be reached by its host.
    assert_eq!(
        case.code(&case.good().host("payments.two.test")),
        "no_binding"
    );
    elsewhere.attachment = Some("both".to_owned());
    assert_eq!(
        case.code(&elsewhere.host("payments.two.test")),
        "key_unknown",
        "another zone's mandate"
    );
}

#[test]
fn a_mandate_cached_in_one_zone_is_nothing_in_another() {
    let case = Case::new();
    let mandate = case.world.mandate(|_| {});
    assert_eq!(case.code(&Asked::new().bearer(&mandate)), "allowed");
    let mut asked = Asked::new().bearer(&mandate).host("payments.two.test");
    asked.attachment = Some("both".to_owned());
    assert_eq!(case.code(&asked), "key_unknown");
}

#[test]
fn an_approval_a_restriction_a_missing_and_a_broken_policy_each_say_so() {
    let case = Case::new();
    let admin = Asked::new().method("DELETE").bearer(
        &case
            .world
            .mandate(|claims| claims["scope"] = json!("payments:admin")),
    );
    assert_eq!(case.code(&admin), "approval_required");

    let mut restricted = policy();
    restricted["restrict"]["zone"] = json!(true);
    let mut changes = case.world.changes();
    changes.push(policy_change(zone(1), 2, &restricted));
    let view = case.world.view(&case.world.loaded_with(&changes));
    assert_eq!(code(&case.world, &view, &case.good()), "zone_restricted");

    let without = |change: &pb::Change| !matches!(change.what, Some(pb::change::What::Policy(_)));
    let changes: Vec<_> = case.world.changes().into_iter().filter(without).collect();
    let view = case.world.view(&case.world.loaded_with(&changes));
    assert_eq!(code(&case.world, &view, &case.good()), "policy_missing");

    let mut changes = case.world.changes();
    let mut broken = policy_change(zone(1), 2, &policy());
    if let Some(pb::change::What::Policy(policy)) = &mut broken.what {
        policy.data = b"{\"grants\":[]}".to_vec();
    }
    changes.push(broken);
    let view = case.world.view(&case.world.loaded_with(&changes));
    assert_eq!(
        code(&case.world, &view, &case.good()),
        "policy_error",
        "the one before it is not kept"
    );
}

#[test]
fn nothing_is_decided_without_memory_or_from_memory_that_is_too_old() {
    let case = Case::new();
    assert_eq!(
        code(&case.world, &View::empty(), &case.good()),
        "authority_not_ready"
    );
    case.world.clock.advance(Duration::from_millis(9_900));
    assert_eq!(code(&case.world, &case.view, &case.good()), "allowed");
    case.world.clock.advance(Duration::from_millis(200));
    assert_eq!(
        code(&case.world, &case.view, &case.good()),
        "authority_stale"
    );
}

#[test]
fn a_wall_clock_that_was_set_makes_memory_stale() {
    let case = Case::new();
    let asked = case.good();
    assert_eq!(case.code(&asked), "allowed");
    case.world
        .clock
        .set(case.world.clock.now() + Duration::from_secs(2));
    assert_eq!(case.code(&asked), "authority_stale");
}

#[test]
fn a_zone_of_which_something_was_not_understood_is_refused_alone() {
    let world = World::new();
    let mut changes = world.changes();
    changes.push(change(pb::change::What::Zone(pb::Zone {
        zone_id: zone(2).to_string(),
        ..pb::Zone::default()
    })));
    let view = world.view(&world.loaded_with(&changes));
    let good = Asked::new().bearer(&world.mandate(|_| {}));
    assert_eq!(code(&world, &view, &good), "allowed");
    let mut other = Asked::new()
        .bearer(&world.mandate_of(1, |_| {}))
        .host("payments.two.test");
    other.attachment = Some("both".to_owned());
    assert_eq!(code(&world, &view, &other), "authority_resync");
}

#[test]
fn every_anchor_of_a_mandate_revokes_it() {
    use pb::ObjectKind::{Application, Key, Mandate, Record, Resource, Session, Subject, Zone};
    let world = World::new();
    let now = world.clock.now().as_second();
    let anchored = |kind, id: &str| dead(zone(1), kind, id, now + 3_600);
    let cut = |kind, id: &str| common::cut_off(zone(1), kind, id, now);
    for change in [
        anchored(Mandate, &id(100)),
        anchored(Record, &id(101)),
        anchored(Session, &id(102)),
        anchored(Key, "zone-1"),
        cut(Application, &id(9)),
        cut(Subject, &id(9)),
        cut(Resource, common::RESOURCE),
        cut(Zone, &zone(1).to_string()),
    ] {
        let mut changes = world.changes();
        changes.push(change.clone());
        let view = world.view(&world.loaded_with(&changes));
        let good = Asked::new().bearer(&world.mandate(|_| {}));
        assert_eq!(code(&world, &view, &good), "revoked", "{change:?}");
        assert_eq!(code(&world, &view, &good), "revoked", "also from the cache");
    }
}

#[test]
fn whatever_is_asked_the_answer_refuses_or_carries_a_permit() {
    // A denial of every kind there is renders to something that Envoy takes for a refusal.
    for denial in Denial::all() {
        assert!(denial.http() >= 400 && denial.grpc() != 0, "{denial:?}");
    }
    let empty = CheckResponse::default();
    assert!(
        empty.http_response.is_none(),
        "the empty answer is what must never be sent"
    );
    assert_eq!(
        Case::new().code(&Asked::new().host(HOST)),
        "credential_missing"
    );
}

#[test]
fn verified_mandates_are_bounded_however_many_there_are() {
    let case = Case::new();
    for number in 0..2_500 {
        let mandate = case
            .world
            .mandate(|claims| claims["jti"] = json!(id(10_000 + number)));
        assert_eq!(
            code(&case.world, &case.view, &Asked::new().bearer(&mandate)),
            "allowed"
        );
    }
    let held = case.view.zones.get(&zone(1)).unwrap().verified().len();
    assert!((1_000..=2_000).contains(&held), "{held}");
}
