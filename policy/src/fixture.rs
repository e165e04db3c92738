//! A zone, a mandate of it, a policy: with good defaults, for tests.

use std::sync::Arc;
use std::time::Duration;

use ed25519_dalek::{Signer as _, SigningKey};
use jiff::Timestamp;
use mandate::id::{
    ApplicationId, AttachmentName, BindingId, DecisionId, Issuer, KeyId, Label, MandateId,
    PolicyVersionId, RecordId, ResourceId, ResourceUri, ScopeSet, SessionId, Subject, ZoneId,
};
use mandate::template::{Operation, OperationSet, Template};
use mandate::{
    Algorithm, Claims, Mandate, RustCrypto, SubjectType, Trust, UnverifiedMandate, Use,
    VerifyingKey, encode,
};
use proptest::prelude::*;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::data::PolicyData;
use crate::snapshot::{
    ActivePolicy, Binding, Change, EvidenceMode, Forward, PolicyState, Resource, Snapshot, What,
    Zone, ZoneState,
};

pub(crate) const RESOURCE: &str = "https://invoices.example/api";
pub(crate) const HOST: &str = "invoices.example";

pub(crate) fn uuid(number: u32) -> Uuid {
    Uuid::from_u128(u128::from(number))
}

pub(crate) fn zone_id(number: u32) -> ZoneId {
    ZoneId::from_uuid(uuid(number))
}

pub(crate) fn application(number: u32) -> ApplicationId {
    ApplicationId::from_uuid(uuid(number))
}

pub(crate) fn version(number: u32) -> PolicyVersionId {
    PolicyVersionId::from_uuid(uuid(number))
}

pub(crate) fn decision() -> DecisionId {
    DecisionId::from_uuid(uuid(7))
}

pub(crate) fn resource_uri(text: &str) -> ResourceUri {
    ResourceUri::parse(text).unwrap()
}

pub(crate) fn scopes(text: &str) -> ScopeSet {
    ScopeSet::parse(text).unwrap()
}

pub(crate) fn labels(text: &str) -> Vec<Label> {
    text.split_whitespace()
        .map(|label| Label::parse(label).unwrap())
        .collect()
}

pub(crate) fn now() -> Timestamp {
    Timestamp::from_second(1_800_000_000).unwrap()
}

fn issuer() -> Issuer {
    Issuer::parse("https://sts.example/z/1").unwrap()
}

fn signing_key() -> SigningKey {
    SigningKey::from_bytes(&[7; 32])
}

fn kid() -> KeyId {
    KeyId::parse("k1").unwrap()
}

/// A policy that grants application 1 `read write pay` at the resource to sessions with the label `agent`.
pub(crate) fn policy_json() -> Value {
    json!({
        "app_ids": { "billing": application(1) },
        "grants": { RESOURCE: { "billing": { "roles": { "agent": ["read", "write", "pay"], "reader": ["read"] } } } },
        "confinement": { "untrusted": { "scopes": ["read"] } },
        "restrict": { "zone": false, "resources": {}, "applications": {} },
        "risk": { "pay": "high" },
        "approval_tiers": { "high": { "approver": "operator", "ttl_seconds": 600 } },
    })
}

pub(crate) fn policy(document: &Value) -> PolicyData {
    PolicyData::parse(document.to_string().as_bytes()).unwrap()
}

pub(crate) fn active(data: PolicyData) -> PolicyState {
    PolicyState::Active(ActivePolicy {
        version: version(9),
        number: 1,
        content_sha256: data.content_sha256(),
        data: Arc::new(data),
    })
}

pub(crate) fn binding(number: u32, hosts: &[&str], prefix: &str) -> Binding {
    Binding {
        id: BindingId::from_uuid(uuid(number)),
        attachment: AttachmentName::parse("ingress").unwrap(),
        resource: resource_uri(RESOURCE),
        hosts: hosts.iter().map(|host| (*host).to_owned()).collect(),
        path_prefix: prefix.to_owned(),
        upstream_clusters: vec!["invoices".to_owned()],
        public_url: "https://invoices.example".to_owned(),
        evidence: EvidenceMode::PerRequest,
        max_hops: 3,
        forward: Forward::Strip,
        active: true,
    }
}

pub(crate) fn resource(number: u32, identifier: &str) -> Resource {
    let operation = |method: &str, template: &str, needs: &str| Operation {
        method: method.to_owned(),
        template: Template::parse(template).unwrap(),
        scopes: scopes(needs),
    };
    let operations = vec![
        operation("GET", "/v1/invoices/{id}", "read"),
        operation("PUT", "/v1/invoices/{id}", "read write"),
        operation("POST", "/v1/payments", "pay"),
    ];
    Resource {
        id: ResourceId::from_uuid(uuid(number)),
        identifier: resource_uri(identifier),
        scopes: scopes("read write pay"),
        operations: OperationSet::new(operations).unwrap(),
        active: true,
    }
}

pub(crate) fn zone_row(number: u32, state: ZoneState) -> Zone {
    Zone {
        id: zone_id(number),
        issuer: issuer(),
        state,
        freshness_bound: Duration::from_secs(10),
    }
}

pub(crate) fn change(zone: u32, version: u64, what: What) -> Change {
    Change {
        zone: zone_id(zone),
        version,
        what,
    }
}

/// Zone 1 with its key, its resource and one binding, under a policy.
pub(crate) fn snapshot(policy: PolicyState) -> Snapshot {
    let public = signing_key().verifying_key().to_bytes();
    let key = VerifyingKey::new(kid(), Algorithm::EdDsa, &public).unwrap();
    Snapshot::new().apply(&[
        change(1, 1, What::Zone(zone_row(1, ZoneState::Ready))),
        change(
            1,
            1,
            What::Key {
                kid: kid(),
                key: Some(key),
            },
        ),
        change(1, 1, What::Resource(resource(1, RESOURCE))),
        change(1, 1, What::Binding(binding(1, &[HOST], "/"))),
        change(1, 1, What::Policy(policy)),
    ])
}

/// Claims of application 1 for the resource.
pub(crate) fn claims(granted: &str, of: &str) -> Claims {
    let at = now().as_second();
    let record = RecordId::from_uuid(uuid(20));
    Claims {
        iss: issuer(),
        sub: Subject::parse(&application(1).to_string()).unwrap(),
        aud: vec![RESOURCE.to_owned()],
        exp: at.checked_add(300).unwrap(),
        nbf: at,
        iat: at,
        jti: MandateId::from_uuid(uuid(21)),
        client_id: application(1),
        act: None,
        scope: scopes(granted),
        target: vec![resource_uri(RESOURCE)],
        zone_id: zone_id(1),
        usage: Use::Resource,
        sub_type: SubjectType::Application,
        sid: record,
        root_sid: record,
        agent_session_id: Some(SessionId::from_uuid(uuid(22))),
        delegation_edge_id: None,
        delegation_path: Vec::new(),
        delegation_chain: Vec::new(),
        hop_count: 0,
        anc: vec![record.as_uuid()],
        labels: labels(of),
        policy_version: Some(version(9)),
        cnf: None,
    }
}

/// The genuine mandate of these claims.
pub(crate) fn mandate(snapshot: &Snapshot, claims: &Claims) -> Mandate {
    let input = encode::signing_input(Algorithm::EdDsa, &kid(), claims);
    let signature = signing_key().sign(input.as_bytes()).to_bytes();
    let compact = encode::compact(&input, &signature);
    let trust = Trust {
        zone: claims.zone_id,
        issuer: issuer(),
        usage: claims.usage,
    };
    let keys = snapshot.zone(zone_id(1)).unwrap().keys();
    UnverifiedMandate::parse(compact.as_bytes())
        .unwrap()
        .authenticate(&trust, keys, &RustCrypto, now())
        .unwrap()
}

/// Names from which generated policies and inputs are made. Policies leave some of each out.
pub(crate) const RESOURCES: [&str; 3] = ["x:a", "x:b", "x:c"];
pub(crate) const LABELS: [&str; 3] = ["l0", "l1", "l2"];
const SCOPES: [&str; 4] = ["a", "b", "c", "d"];
const KEYS: [&str; 3] = ["k1", "k2", "k3"];

fn some<T: Copy + std::fmt::Debug + 'static>(
    of: &[T],
    least: usize,
) -> impl Strategy<Value = Vec<T>> + use<T> {
    prop::sample::subsequence(of.to_vec(), least..=of.len())
}

fn keyed<V: std::fmt::Debug>(
    keys: &[&'static str],
    least: usize,
    value: impl Strategy<Value = V>,
) -> impl Strategy<Value = Vec<(&'static str, V)>> {
    let count = keys.len();
    (some(keys, least), prop::collection::vec(value, count))
        .prop_map(|(keys, values)| keys.into_iter().zip(values).collect())
}

fn object<V: Into<Value>>(entries: Vec<(&'static str, V)>) -> Value {
    Value::Object(
        entries
            .into_iter()
            .map(|(key, value)| (key.to_owned(), value.into()))
            .collect(),
    )
}

/// Scopes of [`SCOPES`], some or none.
#[cfg(feature = "rego")]
pub(crate) fn scope_sets() -> impl Strategy<Value = ScopeSet> {
    some(&SCOPES, 0).prop_map(|list| scopes(&list.join(" ")))
}

/// Labels of [`LABELS`], some or none.
pub(crate) fn label_lists() -> impl Strategy<Value = Vec<Label>> {
    some(&LABELS, 0).prop_map(|list| labels(&list.join(" ")))
}

/// Policy documents of keys 1 to 3 for applications 1 to 3.
pub(crate) fn policies() -> impl Strategy<Value = Value> {
    let roles =
        keyed(&LABELS, 1, some(&SCOPES, 1)).prop_map(|roles| json!({ "roles": object(roles) }));
    let grants = keyed(&RESOURCES, 0, keyed(&KEYS, 0, roles).prop_map(object));
    let confinement = keyed(
        &LABELS[1..],
        0,
        some(&SCOPES, 0).prop_map(|list| json!({ "scopes": list })),
    );
    let reasons = |names: &[&'static str]| {
        prop::option::weighted(0.2, some(names, 0)).prop_map(|names| {
            object(
                names
                    .unwrap_or_default()
                    .into_iter()
                    .map(|name| (name, "held"))
                    .collect(),
            )
        })
    };
    let restrict = (
        prop::bool::weighted(0.1),
        reasons(&RESOURCES[1..]),
        reasons(&KEYS[1..]),
    );
    let restrict = restrict.prop_map(|(zone, resources, applications)| {
        json!({ "zone": zone, "resources": resources, "applications": applications })
    });
    let risk = keyed(&SCOPES[2..], 0, Just("high"));
    (grants, confinement, restrict, risk).prop_map(|(grants, confinement, restrict, risk)| {
        json!({
            "app_ids": { "k1": application(1), "k2": application(2), "k3": application(3) },
            "grants": object(grants),
            "confinement": object(confinement),
            "restrict": restrict,
            "risk": object(risk),
            "approval_tiers": { "high": { "approver": "subject", "ttl_seconds": 60 } },
        })
    })
}
