//! What messages do to memory, and so to decisions: signed messages in, decisions out.
#![expect(
    clippy::unwrap_used,
    unreachable_pub,
    dead_code,
    reason = "tests; `common` is shared"
)]

mod common;

use std::time::Duration;

use common::{Asked, World, cut_off, dead, id, state, zone};
use ext_authz::api::request;
use ext_authz::feed::core::{Core, SnapshotError, Taken, Wants};
use ledger::envelope::{DalekSigner, Epoch};
use mandate::id::{DecisionId, KeyId};
use policy::Decision;
use proptest::prelude::*;
use prost::Message as _;
use uuid::Uuid;
use wire::pb::caracal::authority::v1 as pb;

fn code(world: &World, core: &Core, mandate: &str) -> &'static str {
    let request = Asked::new().bearer(mandate).request();
    let id = DecisionId::from_uuid(Uuid::from_u64_pair(0xdec1, 1));
    let view = world.view(core);
    match World::decider()
        .decide(id, &request::read(&request), &view, &world.moment())
        .decision
    {
        Decision::Allow(_) => "allowed",
        Decision::Deny(denial) => denial.code(),
    }
}

fn later(world: &World) -> i64 {
    world.clock.now().as_second() + 3_600
}

fn revoke(world: &World, pos: u64) -> ledger::envelope::SignedEnvelope {
    let change = dead(zone(1), pb::ObjectKind::Session, &id(102), later(world));
    world.sign("revocation", Some(zone(1)), pos, change.encode_to_vec())
}

#[test]
fn a_revocation_refuses_from_the_moment_it_is_applied() {
    let world = World::new();
    let mut core = world.loaded();
    let mandate = world.mandate(|_| {});
    assert_eq!(code(&world, &core, &mandate), "allowed");
    assert_eq!(core.take(revoke(&world, 11)), Taken::Applied);
    assert_eq!(code(&world, &core, &mandate), "revoked");
}

#[test]
fn what_was_not_understood_is_not_said_to_be_here() {
    let world = World::new();
    let mut core = world.loaded();
    let here = |core: &Core| core.understood().map(|position| position.pos);
    let odd = |zone_, pos| world.sign("revocation", Some(zone(zone_)), pos, vec![0xff]);
    assert_eq!(here(&core), Some(10));
    core.take(odd(9, 11));
    assert_eq!(here(&core), Some(11), "of a zone of others");
    assert_eq!(core.wants(false), Wants::Nothing);
    core.take(odd(2, 12));
    core.take(revoke(&world, 13));
    assert_eq!(core.wants(false), Wants::Snapshot);
    assert_eq!(code(&world, &core, &world.mandate(|_| {})), "revoked");
    assert_eq!(here(&core), Some(11), "although later ones were");
    // A snapshot that is not understood either is loaded, but for that zone.
    let mut changes = world.changes();
    changes.push(common::change(pb::change::What::Zone(pb::Zone {
        zone_id: zone(2).to_string(),
        ..pb::Zone::default()
    })));
    core.load(world.snapshot(13, &changes)).unwrap();
    assert_eq!(here(&core), Some(11));
    core.load(world.snapshot(13, &world.changes())).unwrap();
    assert_eq!(here(&core), Some(13));
}

#[test]
fn a_view_taken_before_a_revocation_refuses_too() {
    let world = World::new();
    let mut core = world.loaded();
    let mandate = world.mandate(|_| {});
    let before = world.view(&core);
    core.take(revoke(&world, 11));
    let request = Asked::new().bearer(&mandate).request();
    let id = DecisionId::from_uuid(Uuid::nil());
    let decided = World::decider().decide(id, &request::read(&request), &before, &world.moment());
    assert!(matches!(decided.decision, Decision::Deny(_)));
}

#[test]
fn a_gap_is_asked_for_and_nothing_after_it_counts() {
    let world = World::new();
    let mut core = world.loaded();
    assert_eq!(core.wants(false), Wants::Nothing);
    assert_eq!(core.take(revoke(&world, 13)), Taken::Postponed);
    assert!(matches!(core.wants(false), Wants::Since(held) if held.pos == 10));
    assert_eq!(
        code(&world, &core, &world.mandate(|_| {})),
        "allowed",
        "until it is due"
    );
    core.too_far_behind();
    assert_eq!(core.wants(false), Wants::Snapshot);
}

#[test]
fn a_message_makes_nothing_fresh_because_it_arrived() {
    let world = World::new();
    let mut core = world.loaded();
    let mandate = world.mandate(|_| {});
    let early = world.heartbeat(10);
    world.clock.advance(Duration::from_secs(11));
    assert_eq!(code(&world, &core, &mandate), "authority_stale");
    core.take(early);
    core.read_clock(world.trip());
    assert_eq!(
        code(&world, &core, &mandate),
        "authority_stale",
        "it says when, and that was long ago"
    );
    let change = state(zone(1), 2, &id(7), pb::State::Disabled);
    core.take(world.sign("state", Some(zone(1)), 11, change.encode_to_vec()));
    assert_eq!(
        code(&world, &core, &mandate),
        "authority_stale",
        "a change proves nothing"
    );
    core.take(world.heartbeat(11));
    assert_eq!(code(&world, &core, &mandate), "allowed");
}

#[test]
fn only_producers_are_believed_and_only_in_what_they_may_say() {
    let world = World::new();
    let mut core = world.loaded();
    let stranger = DalekSigner::new(KeyId::parse("stream-1").unwrap(), &[8; 32]);
    let forged = revoke(&world, 11).envelope.sign(&stranger);
    assert_eq!(core.take(forged), Taken::Disbelieved);
    let mut moved = revoke(&world, 11);
    moved.envelope.pos = 12;
    assert_eq!(core.take(moved), Taken::Disbelieved);
    let mut elsewhere = revoke(&world, 11).envelope;
    elsewhere.stream = "caracal.audit.cursors".to_owned();
    assert_eq!(core.take(elsewhere.sign(&world.stream)), Taken::Disbelieved);
    assert_eq!(code(&world, &core, &world.mandate(|_| {})), "allowed");
}

#[test]
fn a_kind_that_carries_another_kinds_change_makes_its_zone_undecidable() {
    let world = World::new();
    let mut core = world.loaded();
    let change = dead(zone(1), pb::ObjectKind::Session, &id(1), later(&world));
    core.take(world.sign("policy", Some(zone(1)), 11, change.encode_to_vec()));
    assert_eq!(
        code(&world, &core, &world.mandate(|_| {})),
        "authority_resync"
    );
    assert_eq!(core.wants(false), Wants::Snapshot);
    core.load(world.snapshot(11, &world.changes())).unwrap();
    assert_eq!(code(&world, &core, &world.mandate(|_| {})), "allowed");
}

#[test]
fn a_snapshot_counts_whole_or_not_at_all() {
    let world = World::new();
    let whole = || world.snapshot(10, &world.changes());
    let refused = |chunks| {
        let mut core = world.core();
        core.read_clock(world.trip());
        let error = core.load(chunks).unwrap_err();
        assert_eq!(
            code(&world, &core, &world.mandate(|_| {})),
            "authority_not_ready"
        );
        error
    };
    assert_eq!(refused(Vec::new()), SnapshotError::NotWhole);
    assert_eq!(refused(whole()[..1].to_vec()), SnapshotError::NotWhole);
    assert_eq!(refused(whole()[1..].to_vec()), SnapshotError::NotWhole);
    assert_eq!(
        refused(whole().into_iter().rev().collect()),
        SnapshotError::NotWhole
    );
    let doubled = whole()
        .into_iter()
        .flat_map(|chunk| [chunk.clone(), chunk])
        .collect();
    assert_eq!(refused(doubled), SnapshotError::NotWhole);
    let mut mixed = whole();
    mixed[1] = world.snapshot(11, &world.changes()).remove(1);
    assert_eq!(refused(mixed), SnapshotError::NotWhole);
    let mut forged = whole();
    forged[1].seal.signature[0] ^= 1;
    assert_eq!(refused(forged), SnapshotError::NotBelieved);
}

#[test]
fn a_new_epoch_refuses_until_its_snapshot_and_keeps_what_was_revoked() {
    let mut world = World::new();
    let mut core = world.loaded();
    let (one, two) = (
        world.mandate(|_| {}),
        world.mandate(|claims| claims["jti"] = id(300).into()),
    );
    let change = dead(zone(1), pb::ObjectKind::Mandate, &id(100), later(&world));
    core.take(world.sign("revocation", Some(zone(1)), 11, change.encode_to_vec()));
    assert_eq!(
        (code(&world, &core, &one), code(&world, &core, &two)),
        ("revoked", "allowed")
    );

    // An older copy of the database: it knows nothing of the revocation.
    world.epoch = Epoch([2; 16]);
    assert_eq!(core.take(world.heartbeat(3)), Taken::Postponed);
    assert_eq!(code(&world, &core, &two), "authority_resync");
    assert_eq!(core.wants(false), Wants::Snapshot);
    core.load(world.snapshot(3, &world.changes())).unwrap();
    assert_eq!(
        (code(&world, &core, &one), code(&world, &core, &two)),
        ("revoked", "allowed")
    );
}

#[test]
fn a_held_state_goes_with_a_snapshot_that_does_not_have_it_and_a_cut_off_does_not() {
    let world = World::new();
    let mut core = world.loaded();
    let mandate = world.mandate(|_| {});
    let disabled = state(zone(1), 5, &id(9), pb::State::Disabled);
    core.take(world.sign("state", Some(zone(1)), 11, disabled.encode_to_vec()));
    assert_eq!(code(&world, &core, &mandate), "disabled");
    core.load(world.snapshot(12, &world.changes())).unwrap();
    assert_eq!(code(&world, &core, &mandate), "allowed", "never permanent");
    let cut = cut_off(
        zone(1),
        pb::ObjectKind::Application,
        &id(9),
        world.clock.now().as_second(),
    );
    core.take(world.sign("cutoff", Some(zone(1)), 13, cut.encode_to_vec()));
    core.load(world.snapshot(14, &world.changes())).unwrap();
    assert_eq!(code(&world, &core, &mandate), "revoked", "it only rises");
}

#[test]
fn an_older_state_does_not_undo_a_newer_one() {
    let world = World::new();
    let mut changes = world.changes();
    changes.push(state(zone(1), 7, &id(9), pb::State::Disabled));
    // The snapshot was ahead of its position: the change it already has comes once more, and an older one.
    let mut core = world.loaded_with(&changes);
    let older = state(zone(1), 6, &id(9), pb::State::Active);
    assert_eq!(
        core.take(world.sign("state", Some(zone(1)), 11, older.encode_to_vec())),
        Taken::Applied
    );
    assert_eq!(code(&world, &core, &world.mandate(|_| {})), "disabled");
    let newer = state(zone(1), 8, &id(9), pb::State::Active);
    core.take(world.sign("state", Some(zone(1)), 12, newer.encode_to_vec()));
    assert_eq!(code(&world, &core, &world.mandate(|_| {})), "allowed");
}

#[test]
fn a_removed_key_takes_its_cached_mandates_with_it() {
    let world = World::new();
    let mut core = world.loaded();
    let mandate = world.mandate(|_| {});
    assert_eq!(code(&world, &core, &mandate), "allowed");
    let removed = common::versioned(
        2,
        pb::change::What::Key(pb::SigningKey {
            zone_id: zone(1).to_string(),
            kid: "zone-1".to_owned(),
            state: "distrusted".to_owned(),
            ..pb::SigningKey::default()
        }),
    );
    core.take(world.sign("key", Some(zone(1)), 11, removed.encode_to_vec()));
    assert_eq!(code(&world, &core, &mandate), "key_unknown");
}

#[test]
fn a_policy_that_came_later_decides_about_mandates_that_came_before() {
    let world = World::new();
    let mut core = world.loaded();
    let mandate = world.mandate(|_| {});
    assert_eq!(code(&world, &core, &mandate), "allowed");
    let mut tighter = common::policy();
    tighter["restrict"]["resources"][common::RESOURCE] = "incident".into();
    let change = common::policy_change(zone(1), 2, &tighter);
    core.take(world.sign("policy", Some(zone(1)), 11, change.encode_to_vec()));
    assert_eq!(code(&world, &core, &mandate), "resource_restricted");
}

#[test]
fn dead_ids_are_forgotten_when_nothing_alive_can_carry_them() {
    let world = World::new();
    let mut core = world.loaded();
    let until = world.clock.now().as_second() + 5;
    let change = dead(zone(1), pb::ObjectKind::Mandate, &id(100), until);
    core.take(world.sign("revocation", Some(zone(1)), 11, change.encode_to_vec()));
    let held = |core: &Core| world.view(core).zones[&zone(1)].revocations().len();
    assert_eq!(held(&core), 1);
    core.sweep(world.clock.now());
    assert_eq!(held(&core), 1);
    world.clock.advance(Duration::from_secs(6));
    core.sweep(world.clock.now());
    assert_eq!(held(&core), 0);
}

/// What may come: changes of a history of forty, in any order, heartbeats, snapshots, new epochs.
#[derive(Clone, Debug)]
enum Step {
    Change(u64),
    Heartbeat(u64),
    Snapshot(u64),
    NewEpoch(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (10_u64..40).prop_map(Step::Change),
        2 => (10_u64..40).prop_map(Step::Heartbeat),
        1 => (10_u64..40).prop_map(Step::Snapshot),
        1 => (10_u64..40).prop_map(Step::NewEpoch),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    /// Change `n` kills mandate `n`. However its messages come, memory that can be decided from has
    /// every mandate up to its position dead, and what was dead once never passes again.
    #[test]
    fn no_order_of_messages_brings_back_what_was_revoked(steps in proptest::collection::vec(step(), 1..60)) {
        let mut world = World::new();
        let mut core = world.loaded();
        let change = |world: &World, n: u64| dead(zone(1), pb::ObjectKind::Mandate, &id(1_000 + n), later(world));
        let mandates: Vec<String> = (10..40).map(|n| world.mandate(|claims| claims["jti"] = id(1_000 + n).into())).collect();
        let mut ever = std::collections::BTreeSet::new();
        for step in steps {
            match step {
                Step::Change(n) => {
                    let message = world.sign("revocation", Some(zone(1)), n, change(&world, n).encode_to_vec());
                    if core.take(message) == Taken::Applied {
                        ever.insert(n);
                    }
                }
                Step::Heartbeat(n) => {
                    core.take(world.heartbeat(n));
                }
                Step::Snapshot(n) => {
                    let mut changes = world.changes();
                    changes.extend((11..=n).map(|n| change(&world, n)));
                    if core.load(world.snapshot(n, &changes)).is_ok() {
                        ever.extend(11..=n);
                    }
                }
                Step::NewEpoch(n) => {
                    world.epoch = Epoch([world.epoch.0[0].wrapping_add(1); 16]);
                    core.take(world.heartbeat(n));
                }
            }
            if let Some(held) = core.position() {
                for n in 11..=held.pos.min(39) {
                    // Positions below one that was reached in an older epoch need not be ours.
                    prop_assert!(ever.contains(&n) || held.epoch != Epoch([1; 16]));
                }
            }
        }
        for n in ever.into_iter().filter(|n| (10..40).contains(n)) {
            let mandate = &mandates[usize::try_from(n - 10).unwrap()];
            prop_assert_ne!(code(&world, &core, mandate), "allowed", "mandate {} passes again", n);
        }
    }
}
