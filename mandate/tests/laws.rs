//! Laws of mandates: what holds for all of them, not for examples.
#![expect(clippy::unwrap_used, reason = "tests")]

use jiff::Timestamp;
use mandate::id::{ApplicationId, MandateId, ResourceUri, Scope, ScopeSet, SessionId, ZoneId};
use mandate::{
    Algorithm, Claims, CutOffAnchor, DeadId, Demand, Mandate, ObjectState, Proof, Rejection,
    Revocations, RustCrypto, StateAnchor, SubjectType, Trust, UnverifiedMandate, Use, encode,
};
use proptest::prelude::*;
use proptest::sample::{Index, subsequence};
use uuid::Uuid;

#[expect(dead_code, reason = "the vectors use the rest")]
#[path = "vectors/token.rs"]
mod token;

use token::{EDDSA_KEY, ES256_KEY, ISSUER, NOW, Signer, ZONE};

const RESOURCES: [&str; 3] = [
    "https://a.example.test",
    "https://b.example.test/x",
    "urn:example:c",
];
const SCOPES: [&str; 4] = ["a:read", "a:write", "b:read", "admin"];

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn trust(usage: Use) -> Trust {
    Trust {
        zone: ZONE.parse().unwrap(),
        issuer: ISSUER.parse().unwrap(),
        usage,
    }
}

fn uuid() -> impl Strategy<Value = Uuid> {
    any::<u128>().prop_map(Uuid::from_u128)
}

fn scopes() -> impl Strategy<Value = ScopeSet> {
    subsequence(SCOPES.to_vec(), 0..=SCOPES.len()).prop_map(|names| {
        ScopeSet::new(names.into_iter().map(|name| Scope::parse(name).unwrap())).unwrap()
    })
}

fn targets() -> impl Strategy<Value = Vec<ResourceUri>> {
    subsequence(RESOURCES.to_vec(), 1..=RESOURCES.len())
        .prop_map(|uris| uris.into_iter().map(|uri| uri.parse().unwrap()).collect())
}

/// Sound claims of use `resource` or `session`.
fn claims() -> impl Strategy<Value = Claims> {
    let ids = (uuid(), uuid(), uuid(), uuid(), proptest::option::of(uuid()));
    let user = proptest::option::of("[!-~]{1,40}");
    let labels = proptest::collection::btree_set("[a-z0-9][a-z0-9._:/-]{0,20}", 0..5);
    let times = (0..30_i64, 1..800_i64);
    (ids, scopes(), targets(), user, labels, times, any::<bool>()).prop_map(
        |(ids, scope, target, user, labels, (age, left), for_resource)| {
            let (jti, client, root, sid, session) = ids;
            let usage = if for_resource {
                Use::Resource
            } else {
                Use::Session
            };
            let client_id = ApplicationId::from_uuid(client);
            let own = client_id.to_string();
            let aud = target.iter().rev().map(ToString::to_string).collect();
            Claims {
                iss: ISSUER.parse().unwrap(),
                sub: user.as_ref().unwrap_or(&own).parse().unwrap(),
                aud: if for_resource {
                    aud
                } else {
                    vec![ISSUER.to_owned()]
                },
                exp: NOW + left,
                nbf: NOW - age,
                iat: NOW - age,
                jti: MandateId::from_uuid(jti),
                client_id,
                act: None,
                scope,
                target,
                zone_id: ZONE.parse().unwrap(),
                usage,
                sub_type: if user.is_some() {
                    SubjectType::User
                } else {
                    SubjectType::Application
                },
                sid: mandate::id::RecordId::from_uuid(sid),
                root_sid: mandate::id::RecordId::from_uuid(root),
                agent_session_id: session.map(SessionId::from_uuid),
                delegation_edge_id: None,
                delegation_path: Vec::new(),
                delegation_chain: Vec::new(),
                hop_count: 0,
                anc: [root].into_iter().chain(session).chain([sid]).collect(),
                labels: labels.iter().map(|label| label.parse().unwrap()).collect(),
                policy_version: None,
                cnf: None,
            }
        },
    )
}

fn signed(claims: &Claims, signer: Signer) -> String {
    let (algorithm, kid) = match signer {
        Signer::EdDsa => (Algorithm::EdDsa, EDDSA_KEY),
        Signer::Es256 | Signer::Stranger => (Algorithm::Es256, ES256_KEY),
    };
    let input = encode::signing_input(algorithm, &kid.parse().unwrap(), claims);
    encode::compact(&input, &signer.sign(input.as_bytes()))
}

fn authenticate(compact: &[u8], usage: Use) -> Result<Mandate, Rejection> {
    UnverifiedMandate::parse(compact)?.authenticate(
        &trust(usage),
        &token::keys(),
        &RustCrypto,
        at(NOW),
    )
}

fn genuine(claims: &Claims) -> Mandate {
    authenticate(signed(claims, Signer::EdDsa).as_bytes(), claims.usage).unwrap()
}

fn signer() -> impl Strategy<Value = Signer> {
    prop_oneof![Just(Signer::Es256), Just(Signer::EdDsa)]
}

/// Something that may happen to a set of revocations; `pick` chooses among what concerns the mandate and what does not.
#[derive(Debug, Clone)]
enum Happening {
    Kill(Index, i64),
    CutOff(Index, i64),
    State(Index, ObjectState),
}

fn happening() -> impl Strategy<Value = Happening> {
    let state = prop_oneof![
        Just(ObjectState::Suspended),
        Just(ObjectState::Disabled),
        Just(ObjectState::Archived)
    ];
    prop_oneof![
        (any::<Index>(), NOW - 50..NOW + 50).prop_map(|(pick, until)| Happening::Kill(pick, until)),
        (any::<Index>(), NOW - 50..NOW + 50).prop_map(|(pick, at)| Happening::CutOff(pick, at)),
        (any::<Index>(), state).prop_map(|(pick, state)| Happening::State(pick, state)),
    ]
}

fn happen(revocations: &mut Revocations, claims: &Claims, happening: &Happening) {
    let stranger = Uuid::from_u128(7);
    match happening {
        Happening::Kill(pick, until) => {
            let ids = [claims.jti.as_uuid(), claims.sid.as_uuid(), stranger];
            revocations.kill(DeadId::Id(*pick.get(&ids)), at(*until));
        }
        Happening::CutOff(pick, not_before) => {
            let anchors = [
                CutOffAnchor::Zone,
                CutOffAnchor::Application(claims.client_id),
                CutOffAnchor::Subject(claims.sub.clone()),
                CutOffAnchor::Resource(claims.target.first().unwrap().clone()),
                CutOffAnchor::Application(ApplicationId::from_uuid(stranger)),
            ];
            revocations.cut_off(pick.get(&anchors).clone(), *not_before);
        }
        Happening::State(pick, state) => {
            let anchors = [
                StateAnchor::Zone,
                StateAnchor::Application(claims.client_id),
                StateAnchor::Session(SessionId::from_uuid(claims.sid.as_uuid())),
                StateAnchor::Application(ApplicationId::from_uuid(stranger)),
            ];
            revocations.set_state(pick.get(&anchors).clone(), *state);
        }
    }
}

fn happenings() -> impl Strategy<Value = Vec<Happening>> {
    proptest::collection::vec(happening(), 0..6)
}

fn after(claims: &Claims, happenings: &[Happening]) -> Revocations {
    let mut revocations = Revocations::new();
    for happening in happenings {
        happen(&mut revocations, claims, happening);
    }
    revocations
}

fn admits(mandate: &Mandate, revocations: &Revocations) -> bool {
    let resource = mandate.claims().target.first().unwrap();
    let scopes = ScopeSet::default();
    let demand = Demand {
        resource,
        scopes: &scopes,
        max_hops: 0,
        proof: Proof::None,
    };
    mandate.admit(&demand, revocations, at(NOW)).is_ok()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn what_is_signed_is_what_is_read(claims in claims(), signer in signer()) {
        let mandate = authenticate(signed(&claims, signer).as_bytes(), claims.usage).unwrap();
        prop_assert_eq!(mandate.claims(), &claims);
        let text = serde_json::to_string(&claims).unwrap();
        prop_assert_eq!(serde_json::from_str::<Claims>(&text).unwrap(), claims);
    }

    #[test]
    fn no_changed_character_is_accepted(
        claims in claims(),
        signer in signer(),
        place in any::<Index>(),
        byte in any::<u8>(),
    ) {
        let mut compact = signed(&claims, signer).into_bytes();
        let place = place.index(compact.len());
        prop_assume!(compact.get(place) != Some(&byte));
        *compact.get_mut(place).unwrap() = byte;
        prop_assert!(authenticate(&compact, claims.usage).is_err());
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        prop_assert!(authenticate(&bytes, Use::Resource).is_err());
    }

    #[test]
    fn no_text_of_the_right_shape_makes_it_panic(text in "[A-Za-z0-9_-]{0,40}\\.[A-Za-z0-9_-]{0,80}\\.[A-Za-z0-9_-]{0,90}") {
        prop_assert!(authenticate(text.as_bytes(), Use::Resource).is_err());
    }

    #[test]
    fn a_use_is_accepted_as_itself_alone(claims in claims()) {
        let compact = signed(&claims, Signer::EdDsa);
        for usage in [Use::Session, Use::Gateway, Use::Resource] {
            let found = authenticate(compact.as_bytes(), usage);
            prop_assert_eq!(found.is_ok(), usage == claims.usage);
        }
    }

    #[test]
    fn a_zone_never_takes_the_mandate_of_another(claims in claims(), zone in uuid()) {
        let compact = signed(&claims, Signer::EdDsa);
        let trust = Trust { zone: ZoneId::from_uuid(zone), ..trust(claims.usage) };
        let found = UnverifiedMandate::parse(compact.as_bytes())
            .unwrap()
            .authenticate(&trust, &token::keys(), &RustCrypto, at(NOW));
        prop_assert_eq!(found.err(), Some(Rejection::WrongZone));
    }

    #[test]
    fn exactly_the_granted_is_admitted(claims in claims(), asked in scopes(), pick in any::<Index>()) {
        let mandate = genuine(&claims);
        let resource: ResourceUri = pick.get(&RESOURCES).parse().unwrap();
        let demand = Demand { resource: &resource, scopes: &asked, max_hops: 0, proof: Proof::None };
        let found = mandate.admit(&demand, &Revocations::new(), at(NOW));
        let granted = claims.target.contains(&resource) && asked.is_subset(&claims.scope);
        prop_assert_eq!(found.is_ok(), granted);
        if let Ok(admitted) = found {
            prop_assert_eq!(admitted.resource(), &resource);
            prop_assert_eq!(admitted.scopes(), &asked);
            prop_assert_eq!(admitted.mandate().digest(), mandate.digest());
        }
    }

    #[test]
    fn a_revocation_never_admits_what_was_refused(claims in claims(), before in happenings(), then in happening()) {
        let mandate = genuine(&claims);
        let mut revocations = after(&claims, &before);
        let admitted = admits(&mandate, &revocations);
        happen(&mut revocations, &claims, &then);
        prop_assert!(admitted || !admits(&mandate, &revocations));
    }

    #[test]
    fn a_merged_set_refuses_what_either_refuses(claims in claims(), ours in happenings(), theirs in happenings()) {
        let mandate = genuine(&claims);
        let (ours, theirs) = (after(&claims, &ours), after(&claims, &theirs));
        let mut merged = ours.clone();
        merged.merge(&theirs);
        let both = admits(&mandate, &ours) && admits(&mandate, &theirs);
        prop_assert_eq!(admits(&mandate, &merged), both);
        let mut turned = theirs.clone();
        turned.merge(&ours);
        prop_assert_eq!(admits(&mandate, &turned), both);
    }

    #[test]
    fn sweeping_changes_no_decision(claims in claims(), happenings in happenings()) {
        let mandate = genuine(&claims);
        let mut revocations = after(&claims, &happenings);
        let before = (admits(&mandate, &revocations), mandate.live(&revocations, at(NOW)));
        revocations.sweep(at(NOW));
        prop_assert_eq!((admits(&mandate, &revocations), mandate.live(&revocations, at(NOW))), before);
    }

    #[test]
    fn a_cut_off_only_rises(claims in claims(), marks in proptest::collection::vec(NOW - 40..NOW + 10, 1..5)) {
        let mandate = genuine(&claims);
        let mut revocations = Revocations::new();
        for mark in &marks {
            revocations.cut_off(CutOffAnchor::Zone, *mark);
        }
        let highest = marks.iter().max().unwrap();
        prop_assert_eq!(admits(&mandate, &revocations), claims.iat > *highest);
    }

    #[test]
    fn a_mandate_ends_at_its_exp(claims in claims(), second in NOW..NOW + 1000) {
        let mandate = genuine(&claims);
        prop_assert_eq!(mandate.expired(at(second)), second >= claims.exp);
        let live = mandate.live(&Revocations::new(), at(second));
        prop_assert_eq!(live.is_ok(), second < claims.exp);
    }

    #[test]
    fn scope_sets_are_sets(a in scopes(), b in scopes()) {
        let both = a.intersection(&b);
        prop_assert!(both.is_subset(&a) && both.is_subset(&b));
        prop_assert_eq!(&both, &b.intersection(&a));
        prop_assert_eq!(a.is_subset(&b), both == a);
        prop_assert_eq!(ScopeSet::parse(&a.to_string()).unwrap(), a);
    }
}
