use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use ledger::envelope::{Envelope, Epoch, Seal, SignedEnvelope};
use ledger::tree::Inclusion;
use mandate::id::{
    ApplicationId, AttachmentName, BindingId, DelegationId, Issuer, JournalId, KeyId, MandateId,
    PolicyVersionId, RecordId, ResourceId, ResourceUri, ScopeSet, SessionId, Subject, ZoneId,
};
use mandate::template::{Operation, OperationSet, Template};
use mandate::{Algorithm, CutOffAnchor, ObjectState, StateAnchor, VerifyingKey};
use policy::PolicyData;
use policy::snapshot::{
    ActivePolicy, Binding, Change, EvidenceMode, Forward, PolicyState, Resource, What, Zone,
    ZoneState,
};
use proptest::prelude::*;
use uuid::Uuid;

use super::*;
use crate::pb::caracal::authority::v1 as authority;
use crate::pb::caracal::authority::v1::ObjectKind as Kind;
use crate::pb::caracal::envelope::v1 as envelope;

const PUBLIC: [u8; 32] = [
    0xd7, 0x5a, 0x98, 0x01, 0x82, 0xb1, 0x0a, 0xb7, 0xd5, 0x4b, 0xfe, 0xd3, 0xc9, 0x64, 0x07, 0x3a,
    0x0e, 0xe1, 0x72, 0xf3, 0xda, 0xa6, 0x23, 0x25, 0xaf, 0x02, 0x1a, 0x68, 0xf7, 0x07, 0x51, 0x1a,
];

fn uuid() -> impl Strategy<Value = Uuid> {
    any::<u128>().prop_map(Uuid::from_u128)
}

fn zone() -> impl Strategy<Value = ZoneId> {
    uuid().prop_map(ZoneId::from_uuid)
}

fn time() -> impl Strategy<Value = Timestamp> {
    (0_i64..i64::MAX).prop_map(|at| Timestamp::from_nanosecond(i128::from(at)).unwrap())
}

fn kid() -> impl Strategy<Value = KeyId> {
    "[A-Za-z0-9_-]{1,64}".prop_map(|text| KeyId::parse(&text).unwrap())
}

fn uri() -> impl Strategy<Value = ResourceUri> {
    "https://[a-z]{1,9}\\.example/[a-z]{0,9}".prop_map(|text| ResourceUri::parse(&text).unwrap())
}

fn subject() -> impl Strategy<Value = Subject> {
    "[!-~]{1,40}".prop_map(|text| Subject::parse(&text).unwrap())
}

/// A place in a batch of four with such hashes, or none.
fn place(number: u32, hash: [u8; 32]) -> Option<Inclusion> {
    Inclusion::new(number, 4, vec![hash; 2])
}

fn signed() -> impl Strategy<Value = SignedEnvelope> {
    let names = ("[!-~]{1,64}", "[a-z_]{1,64}", "[a-z]{1,9}@[0-9a-f]{1,32}");
    let numbers = (any::<[u8; 16]>(), any::<u64>(), any::<u64>(), any::<i64>());
    let rest = (any::<Vec<u8>>(), kid(), any::<[u8; 32]>(), 0_u32..5);
    (names, prop::option::of(zone()), numbers, rest).prop_map(
        |(
            (stream, kind, producer),
            zone,
            (epoch, pos, counter, at),
            (payload, kid, half, number),
        )| {
            let mut signature = [0; 64];
            signature[..32].copy_from_slice(&half);
            let epoch = Epoch(epoch);
            let envelope = Envelope {
                stream,
                kind,
                zone,
                epoch,
                pos,
                producer,
                counter,
                at,
                payload,
                kid,
            };
            let seal = Seal {
                signature,
                place: place(number, half),
            };
            SignedEnvelope { envelope, seal }
        },
    )
}

fn dead() -> impl Strategy<Value = Dead> {
    let kind = prop_oneof![
        uuid().prop_map(|id| DeadKind::Mandate(MandateId::from_uuid(id))),
        uuid().prop_map(|id| DeadKind::Record(RecordId::from_uuid(id))),
        uuid().prop_map(|id| DeadKind::Session(SessionId::from_uuid(id))),
        uuid().prop_map(|id| DeadKind::Delegation(DelegationId::from_uuid(id))),
        kid().prop_map(DeadKind::Key),
    ];
    (zone(), kind, time()).prop_map(|(zone, kind, until)| Dead { zone, kind, until })
}

fn cut_off() -> impl Strategy<Value = CutOff> {
    let anchor = prop_oneof![
        Just(CutOffAnchor::Zone),
        uuid().prop_map(|id| CutOffAnchor::Application(ApplicationId::from_uuid(id))),
        subject().prop_map(CutOffAnchor::Subject),
        uri().prop_map(CutOffAnchor::Resource),
    ];
    (zone(), anchor, 0_i64..i64::MAX).prop_map(|(zone, anchor, not_before_s)| CutOff {
        zone,
        anchor,
        not_before_s,
    })
}

fn state() -> impl Strategy<Value = StateChange> {
    let anchor = prop_oneof![
        Just(StateAnchor::Zone),
        uuid().prop_map(|id| StateAnchor::Application(ApplicationId::from_uuid(id))),
        subject().prop_map(StateAnchor::Subject),
        uri().prop_map(StateAnchor::Resource),
        uuid().prop_map(|id| StateAnchor::Session(SessionId::from_uuid(id))),
    ];
    let state = prop::sample::select(vec![
        ObjectState::Active,
        ObjectState::Suspended,
        ObjectState::Disabled,
        ObjectState::Archived,
    ]);
    (zone(), anchor, state).prop_map(|(zone, anchor, state)| StateChange {
        zone,
        anchor,
        state,
    })
}

fn a_resource(id: Uuid, identifier: ResourceUri, active: bool) -> Resource {
    let operation = |method: &str, template: &str, scopes: &str| Operation {
        method: method.to_owned(),
        template: Template::parse(template).unwrap(),
        scopes: ScopeSet::parse(scopes).unwrap(),
    };
    let operations = OperationSet::new(vec![
        operation("GET", "/v1/invoices/{id}", "invoices:read"),
        operation("POST", "/v1/invoices", "invoices:write"),
        operation("GET", "/v1/**", "invoices:read"),
    ]);
    Resource {
        id: ResourceId::from_uuid(id),
        identifier,
        scopes: ScopeSet::parse("invoices:read invoices:write").unwrap(),
        operations: operations.unwrap(),
        active,
    }
}

fn a_binding(id: Uuid, resource: ResourceUri, max_hops: u8, other: bool) -> Binding {
    Binding {
        id: BindingId::from_uuid(id),
        attachment: AttachmentName::parse("edge").unwrap(),
        resource,
        hosts: vec!["api.example".to_owned(), "api.example:8443".to_owned()],
        path_prefix: if other { "/" } else { "/v1" }.to_owned(),
        upstream_clusters: vec!["upstream".to_owned()],
        public_url: "https://api.example/v1".to_owned(),
        evidence: if other {
            EvidenceMode::Lease
        } else {
            EvidenceMode::PerRequest
        },
        max_hops,
        forward: if other { Forward::Keep } else { Forward::Strip },
        active: other,
    }
}

fn an_active_policy(version: Uuid, number: u32) -> PolicyState {
    let data = PolicyData::parse(POLICY.as_bytes()).unwrap();
    PolicyState::Active(ActivePolicy {
        version: PolicyVersionId::from_uuid(version),
        number,
        content_sha256: data.content_sha256(),
        data: Arc::new(data),
    })
}

const POLICY: &str = r#"{
    "app_ids": { "agent": "018f2f6e-3b7a-7c11-8a55-0242ac120002" },
    "grants": {
        "https://invoices.example/": { "agent": { "roles": { "reader": ["invoices:read"] } } }
    },
    "confinement": {},
    "restrict": { "zone": false, "resources": {}, "applications": {} },
    "risk": {},
    "approval_tiers": {}
}"#;

fn what() -> impl Strategy<Value = What> {
    let zone_state = prop::sample::select(vec![
        ZoneState::Provisioning,
        ZoneState::Ready,
        ZoneState::Archived,
    ]);
    let key = |kid: &KeyId| VerifyingKey::new(kid.clone(), Algorithm::EdDsa, &PUBLIC).unwrap();
    prop_oneof![
        (uuid(), zone_state, 1_000_u64..=60_000).prop_map(|(id, state, bound)| {
            What::Zone(Zone {
                id: ZoneId::from_uuid(id),
                issuer: Issuer::parse("https://sts.example/z/1").unwrap(),
                state,
                freshness_bound: Duration::from_millis(bound),
            })
        }),
        (kid(), any::<bool>()).prop_map(move |(kid, verifies)| {
            let key = verifies.then(|| key(&kid));
            What::Key { kid, key }
        }),
        (uuid(), uri(), any::<bool>())
            .prop_map(|(id, uri, active)| What::Resource(a_resource(id, uri, active))),
        (uuid(), uri(), any::<u8>(), any::<bool>())
            .prop_map(|(id, uri, hops, other)| What::Binding(a_binding(id, uri, hops, other))),
        (uuid(), any::<u32>())
            .prop_map(|(version, number)| What::Policy(an_active_policy(version, number))),
        uuid().prop_map(|id| { What::Policy(PolicyState::Broken(PolicyVersionId::from_uuid(id))) }),
        Just(What::Policy(PolicyState::Missing)),
    ]
}

fn change() -> impl Strategy<Value = AuthorityChange> {
    prop_oneof![
        dead().prop_map(AuthorityChange::Dead),
        cut_off().prop_map(AuthorityChange::CutOff),
        (any::<u64>(), state())
            .prop_map(|(version, change)| AuthorityChange::State { version, change }),
        (zone(), any::<u64>(), what()).prop_map(|(zone, version, what)| {
            // A zone's own row names its zone once only.
            let zone = if let What::Zone(row) = &what {
                row.id
            } else {
                zone
            };
            AuthorityChange::Snapshot(Change {
                zone,
                version,
                what,
            })
        }),
    ]
}

proptest! {
    #[test]
    fn an_envelope_comes_back_as_it_went(signed in signed()) {
        let bytes = envelope_to_bytes(signed.clone());
        prop_assert_eq!(envelope_from_bytes(&bytes), Ok(signed));
    }

    #[test]
    fn a_change_comes_back_as_it_went(change in change()) {
        let payload = change.clone().to_payload();
        prop_assert_eq!(AuthorityChange::from_payload(&payload), Ok(change));
    }

    #[test]
    fn a_heartbeat_comes_back_as_it_went(pos: u64, as_of in time()) {
        let heartbeat = Heartbeat { pos, as_of };
        prop_assert_eq!(Heartbeat::from_payload(&heartbeat.to_payload()), Ok(heartbeat));
    }

    #[test]
    fn a_cursor_comes_back_as_it_went(
        journal in uuid(), zone in prop::option::of(zone()), counter: u64, hash: [u8; 32],
    ) {
        let cursor = Cursor { journal: JournalId::from_uuid(journal), zone, counter, hash };
        prop_assert_eq!(Cursor::from_payload(&cursor.to_payload()), Ok(cursor));
    }

    #[test]
    fn bytes_of_anything_are_refused_or_come_back(bytes: Vec<u8>) {
        if let Ok(change) = AuthorityChange::from_payload(&bytes) {
            let again = AuthorityChange::from_payload(&change.clone().to_payload());
            prop_assert_eq!(again, Ok(change));
        }
        if let Ok(signed) = envelope_from_bytes(&bytes) {
            prop_assert_eq!(envelope_from_bytes(&envelope_to_bytes(signed.clone())), Ok(signed));
        }
    }
}

/// What is said of a good message after `spoil`.
fn verdict(what: What, spoil: impl FnOnce(&mut authority::change::What)) -> &'static str {
    let zone = ZoneId::from_uuid(Uuid::from_u128(1));
    let change = AuthorityChange::Snapshot(Change {
        zone,
        version: 1,
        what,
    });
    let mut message = authority::Change::from(change);
    spoil(message.what.as_mut().unwrap());
    AuthorityChange::try_from(message).map_or_else(|error| error.field, |_| "fine")
}

macro_rules! spoilt {
    ($variant:ident, $what:expr, |$message:ident| $spoil:expr) => {
        verdict($what, |what| {
            let authority::change::What::$variant($message) = what else {
                panic!("another")
            };
            $spoil;
        })
    };
}

#[test]
fn a_bad_binding_is_told_by_its_field() {
    let good = || {
        let resource = ResourceUri::parse("https://invoices.example/").unwrap();
        What::Binding(a_binding(Uuid::from_u128(7), resource, 3, false))
    };
    assert_eq!(spoilt!(Binding, good(), |m| m.max_hops = 0), "fine");
    let refused = [
        spoilt!(Binding, good(), |m| m.zone_id = "1".into()),
        spoilt!(Binding, good(), |m| m.id = m.id.to_uppercase() + "F"),
        spoilt!(Binding, good(), |m| m.attachment = "Edge".into()),
        spoilt!(Binding, good(), |m| m.resource = "invoices".into()),
        spoilt!(Binding, good(), |m| m.hosts.clear()),
        spoilt!(Binding, good(), |m| m.hosts.push("API.example".into())),
        spoilt!(Binding, good(), |m| m.path_prefix = "/v1/".into()),
        spoilt!(Binding, good(), |m| m.path_prefix = "/v1?x".into()),
        spoilt!(Binding, good(), |m| m.path_prefix = String::new()),
        spoilt!(Binding, good(), |m| m.upstream_clusters.push(String::new())),
        spoilt!(Binding, good(), |m| m.public_url = "javascript:x".into()),
        spoilt!(Binding, good(), |m| m.evidence = "sometimes".into()),
        spoilt!(Binding, good(), |m| m.max_hops = 256),
        spoilt!(Binding, good(), |m| m.state = 0),
        spoilt!(Binding, good(), |m| m.state = 99),
        spoilt!(Binding, good(), |m| m.forward_mandate = String::new()),
    ];
    assert_eq!(
        refused,
        [
            "binding.zone_id",
            "binding.id",
            "binding.attachment",
            "binding.resource",
            "binding.hosts",
            "binding.hosts",
            "binding.path_prefix",
            "binding.path_prefix",
            "binding.path_prefix",
            "binding.upstream_clusters",
            "binding.public_url",
            "binding.evidence",
            "binding.max_hops",
            "binding.state",
            "binding.state",
            "binding.forward_mandate",
        ]
    );
}

#[test]
fn bad_zones_keys_and_resources_are_told_by_their_field() {
    let zone = || {
        What::Zone(Zone {
            id: ZoneId::from_uuid(Uuid::from_u128(1)),
            issuer: Issuer::parse("https://sts.example/z/1").unwrap(),
            state: ZoneState::Ready,
            freshness_bound: Duration::from_secs(10),
        })
    };
    assert_eq!(spoilt!(Zone, zone(), |m| m.state = 3), "zone.state");
    assert_eq!(
        spoilt!(Zone, zone(), |m| m.freshness_bound_ms = 0),
        "zone.freshness_bound_ms"
    );
    assert_eq!(
        spoilt!(Zone, zone(), |m| m.issuer = "sts".into()),
        "zone.issuer"
    );

    let key = || {
        let kid = KeyId::parse("k1").unwrap();
        let key = VerifyingKey::new(kid.clone(), Algorithm::EdDsa, &PUBLIC).unwrap();
        What::Key {
            kid,
            key: Some(key),
        }
    };
    assert_eq!(spoilt!(Key, key(), |m| m.alg = "none".into()), "key.alg");
    assert_eq!(
        spoilt!(Key, key(), |m| m.alg = "ES256".into()),
        "key.public_key"
    );
    assert_eq!(
        spoilt!(Key, key(), |m| m.state = String::new()),
        "key.state"
    );
    assert_eq!(spoilt!(Key, key(), |m| m.kid = "a b".into()), "key.kid");
    assert_eq!(
        spoilt!(Key, key(), |m| m.state = "distrusted".into()),
        "fine"
    );

    let resource = || {
        let uri = ResourceUri::parse("https://invoices.example/").unwrap();
        What::Resource(a_resource(Uuid::from_u128(7), uri, true))
    };
    assert_eq!(
        spoilt!(Resource, resource(), |m| m.scopes.clear()),
        "resource.operations"
    );
    assert_eq!(
        spoilt!(Resource, resource(), |m| m.scopes.push("a b".into())),
        "resource.scopes"
    );
    let template = "/v1/../x".to_owned();
    let spoilt_template = spoilt!(Resource, resource(), |m| m.operations[0].template =
        template.clone());
    assert_eq!(spoilt_template, "operation.template");
    let doubled = spoilt!(Resource, resource(), |m| m
        .operations
        .push(m.operations[0].clone()));
    assert_eq!(doubled, "resource.operations");
}

#[test]
fn a_policy_whose_data_or_hash_is_wrong_is_broken_and_not_refused() {
    let state = |spoil: fn(&mut authority::Policy)| {
        let what = What::Policy(an_active_policy(Uuid::from_u128(5), 2));
        let zone = ZoneId::from_uuid(Uuid::from_u128(1));
        let change = AuthorityChange::Snapshot(Change {
            zone,
            version: 9,
            what,
        });
        let mut message = authority::Change::from(change);
        let Some(authority::change::What::Policy(policy)) = &mut message.what else {
            panic!()
        };
        spoil(policy);
        match AuthorityChange::try_from(message) {
            Ok(AuthorityChange::Snapshot(Change {
                what: What::Policy(state),
                ..
            })) => Some(state),
            _ => None,
        }
    };
    let broken = PolicyState::Broken(PolicyVersionId::from_uuid(Uuid::from_u128(5)));
    assert!(matches!(state(|_| ()), Some(PolicyState::Active(_))));
    assert_eq!(
        state(|policy| policy.content_sha256[0] ^= 1),
        Some(broken.clone())
    );
    assert_eq!(
        state(|policy| policy.content_sha256.clear()),
        Some(broken.clone())
    );
    assert_eq!(
        state(|policy| policy.data = b"{\"grantz\":{}}".to_vec()),
        Some(broken.clone())
    );
    assert_eq!(state(|policy| policy.data.clear()), Some(broken));
    assert_eq!(state(|policy| policy.version_id = "5".into()), None);
}

#[test]
fn revocations_of_the_wrong_kind_are_refused() {
    let zone_id = Uuid::from_u128(1).to_string();
    let dead = |kind: Kind, id: &str, until_ns| {
        let kind = kind.into();
        let message = authority::DeadId {
            zone_id: zone_id.clone(),
            kind,
            id: id.into(),
            until_ns,
        };
        Dead::try_from(message)
            .map_err(|error| (error.field, error.wrong))
            .map(|_| ())
    };
    assert_eq!(dead(Kind::Session, &zone_id, 1), Ok(()));
    assert_eq!(
        dead(Kind::Zone, &zone_id, 1),
        Err(("dead.kind", Wrong::Unknown))
    );
    assert_eq!(
        dead(Kind::Unspecified, &zone_id, 1),
        Err(("dead.kind", Wrong::Unknown))
    );
    assert_eq!(
        dead(Kind::Session, "x", 1),
        Err(("dead.id", Wrong::Malformed))
    );
    assert_eq!(
        dead(Kind::Session, &zone_id, -1),
        Err(("dead.until_ns", Wrong::Range))
    );

    let other = Uuid::from_u128(2).to_string();
    let cut_off = authority::CutOff {
        zone_id: zone_id.clone(),
        kind: Kind::Zone.into(),
        id: other,
        not_before_s: 1,
    };
    let error = CutOff::try_from(cut_off).unwrap_err();
    assert_eq!(
        (error.field, error.wrong),
        ("cut_off.id", Wrong::Contradiction)
    );

    let ended = authority::ObjectState {
        zone_id: zone_id.clone(),
        kind: Kind::Session.into(),
        id: zone_id,
        state: authority::State::Ended.into(),
    };
    assert_eq!(
        StateChange::try_from(ended).unwrap_err().field,
        "state.state"
    );
}

#[test]
fn a_change_that_says_nothing_is_refused() {
    let error = AuthorityChange::try_from(authority::Change {
        version: 1,
        what: None,
    });
    assert_eq!(
        error.unwrap_err(),
        ConvertError::new("change.what", Wrong::Missing)
    );
}

#[test]
fn bad_envelopes_are_told_by_their_field() {
    let good = envelope::Envelope {
        stream: "caracal.authority".into(),
        kind: "zone".into(),
        zone_id: String::new(),
        epoch: vec![1; 16],
        pos: 1,
        producer: "coordinator".into(),
        counter: 1,
        at_ns: 1,
        payload: vec![],
        kid: "stream-1".into(),
        sig: vec![0; 64],
    };
    let field = |spoil: fn(&mut envelope::Envelope)| {
        let mut message = good.clone();
        spoil(&mut message);
        SignedEnvelope::try_from(message).map_or_else(|error| error.field, |_| "fine")
    };
    assert_eq!(field(|_| ()), "fine");
    assert_eq!(field(|m| m.stream.clear()), "envelope.stream");
    assert_eq!(field(|m| m.kind = "a b".into()), "envelope.kind");
    assert_eq!(field(|m| m.zone_id = "0".into()), "envelope.zone_id");
    assert_eq!(field(|m| m.epoch.push(0)), "envelope.epoch");
    assert_eq!(field(|m| m.producer = "x".repeat(129)), "envelope.producer");
    assert_eq!(field(|m| m.kid.clear()), "envelope.kid");
    assert_eq!(field(|m| m.sig.truncate(63)), "envelope.sig");
}
