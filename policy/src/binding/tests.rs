use std::collections::BTreeMap;

use mandate::canonical;
use proptest::prelude::*;

use super::*;
use crate::fixture::{RESOURCE, binding, change, resource, resource_uri, uuid, zone_id, zone_row};
use crate::snapshot::{Change, What, ZoneState};

const HOSTS: [&str; 2] = ["a.example", "b.example"];
const PREFIXES: [&str; 5] = ["/", "/v1", "/v1/x", "/v10", "/v2"];
const PATHS: [&str; 8] = [
    "/", "/v1", "/v1/", "/v1/x", "/v1/xy", "/v1/x/z", "/v10/x", "/v2",
];

fn rows(zone: u32) -> [Change; 2] {
    [
        change(zone, 1, What::Zone(zone_row(zone, ZoneState::Ready))),
        change(zone, 1, What::Resource(resource(zone, RESOURCE))),
    ]
}

fn ingress() -> AttachmentName {
    AttachmentName::parse("ingress").unwrap()
}

fn selected(snapshot: &Snapshot, reach: &[u32], host: &str, path: &str) -> Option<BindingId> {
    let reachable = |id: ZoneId| reach.iter().any(|number| zone_id(*number) == id);
    let (host, path) = (
        canonical::host(host.as_bytes()).unwrap(),
        canonical::path(path.as_bytes()).unwrap(),
    );
    match select(snapshot, &ingress(), reachable, &host, &path) {
        Ok(found) => Some(found.binding.id),
        Err(denial) => {
            assert_eq!(denial, Denial::Refused(Refused::NoBinding));
            None
        }
    }
}

fn places(list: &[(u32, u32, &str, &str)]) -> Snapshot {
    let bindings = list.iter().map(|(zone, number, host, prefix)| {
        change(*zone, 1, What::Binding(binding(*number, &[host], prefix)))
    });
    let changes: Vec<Change> = rows(1).into_iter().chain(rows(2)).chain(bindings).collect();
    Snapshot::new().apply(&changes)
}

fn id(number: u32) -> BindingId {
    BindingId::from_uuid(uuid(number))
}

#[test]
fn the_longest_prefix_of_whole_segments_is_selected() {
    let snapshot = places(&[
        (1, 1, "a.example", "/"),
        (1, 2, "a.example", "/v1"),
        (1, 3, "a.example", "/v1/x"),
    ]);
    for (path, expected) in [
        ("/", 1),
        ("/v1", 2),
        ("/v1/y", 2),
        ("/v10", 1),
        ("/v1/x", 3),
        ("/v1/x/z", 3),
        ("/v1/xy", 2),
    ] {
        assert_eq!(
            selected(&snapshot, &[1], "a.example", path),
            Some(id(expected)),
            "{path}"
        );
    }
    assert_eq!(selected(&snapshot, &[1], "b.example", "/"), None);
    assert_eq!(
        selected(&snapshot, &[], "a.example", "/"),
        None,
        "a zone out of reach"
    );
}

#[test]
fn the_client_chooses_only_within_the_attachment() {
    let mut elsewhere = binding(1, &["a.example"], "/");
    elsewhere.attachment = AttachmentName::parse("mesh").unwrap();
    let snapshot = places(&[]).apply([&change(1, 1, What::Binding(elsewhere))]);
    assert_eq!(selected(&snapshot, &[1], "a.example", "/"), None);
}

#[test]
fn two_zones_at_one_place_are_refused_and_so_is_one_below_the_other() {
    let same = places(&[(1, 1, "a.example", "/v1"), (2, 2, "a.example", "/v1")]);
    assert_eq!(selected(&same, &[1, 2], "a.example", "/v1"), None);
    assert_eq!(
        selected(&same, &[2], "a.example", "/v1"),
        Some(id(2)),
        "only one is in reach"
    );
    let below = places(&[(1, 1, "a.example", "/"), (2, 2, "a.example", "/v1")]);
    assert_eq!(selected(&below, &[1, 2], "a.example", "/v1/x"), None);
    assert_eq!(selected(&below, &[1, 2], "a.example", "/v2"), Some(id(1)));
    let beside = places(&[(1, 1, "a.example", "/v1"), (2, 2, "a.example", "/v2")]);
    assert_eq!(selected(&beside, &[1, 2], "a.example", "/v2"), Some(id(2)));
}

#[test]
fn a_binding_without_its_resource_is_none() {
    let snapshot = places(&[(1, 1, "a.example", "/")]);
    let mut gone = resource(1, RESOURCE);
    gone.active = false;
    let without = snapshot.apply([&change(1, 2, What::Resource(gone))]);
    assert_eq!(selected(&without, &[1], "a.example", "/"), None);
    let again = without.apply([&change(1, 1, What::Resource(resource(1, RESOURCE)))]);
    assert_eq!(
        selected(&again, &[1], "a.example", "/"),
        None,
        "nothing older brings it back"
    );
    let made_anew = without.apply([&change(1, 1, What::Resource(resource(5, RESOURCE)))]);
    assert_eq!(
        selected(&made_anew, &[1], "a.example", "/"),
        Some(id(1)),
        "another row of the same identifier"
    );
}

#[test]
fn an_assertion_of_the_resource_is_one_and_the_same() {
    let snapshot = places(&[(1, 1, "a.example", "/")]);
    let (host, path) = (
        canonical::host(b"a.example").unwrap(),
        canonical::path(b"/v1/invoices/1").unwrap(),
    );
    let found = select(&snapshot, &ingress(), |_| true, &host, &path).unwrap();
    let same = resource_uri(RESOURCE);
    let same = same.as_str().as_bytes();
    let refused = Err(Denial::Refused(Refused::ResourceAssertion));
    assert_eq!(found.assert_resource(&[]), Ok(()));
    assert_eq!(found.assert_resource(&[same]), Ok(()));
    assert_eq!(found.assert_resource(&[same, same]), refused);
    assert_eq!(
        found.assert_resource(&[b"https://INVOICES.example/api"]),
        refused
    );
    assert_eq!(found.assert_resource(&[b""]), refused);
    assert_eq!(
        found.operation("GET", &path).unwrap().scopes.to_string(),
        "read"
    );
    assert_eq!(
        found.operation("DELETE", &path),
        Err(Denial::Refused(Refused::NoRule))
    );
}

/// One state of one binding.
#[derive(Debug, Clone)]
struct State {
    zone: u32,
    number: u32,
    version: u64,
    hosts: Vec<usize>,
    prefix: usize,
    active: bool,
}

fn states() -> impl Strategy<Value = Vec<State>> {
    let state = (
        1..=2_u32,
        0..4_u32,
        1..6_u64,
        prop::collection::vec(0..HOSTS.len(), 1..3),
        0..PREFIXES.len(),
        any::<bool>(),
    );
    prop::collection::vec(state, 0..16).prop_map(|states| {
        let each = states
            .into_iter()
            .map(|(zone, number, version, hosts, prefix, active)| {
                // Ids are one zone's: odd ones of the first, even ones of the second.
                let number = number.wrapping_mul(2).wrapping_add(zone);
                State {
                    zone,
                    number,
                    version,
                    hosts,
                    prefix,
                    active,
                }
            });
        each.collect()
    })
}

fn covers_naively(prefix: &str, path: &str) -> bool {
    let segments = |text: &str| {
        text.split('/')
            .skip(1)
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    prefix == "/" || segments(path).starts_with(&segments(prefix))
}

/// The binding of a request, by looking at all of them.
fn naive(held: &BTreeMap<u32, State>, reach: &[u32], host: &str, path: &str) -> Option<BindingId> {
    let covering: Vec<&State> = held
        .values()
        .filter(|state| state.active && reach.contains(&state.zone))
        .filter(|state| state.hosts.iter().any(|index| HOSTS[*index] == host))
        .filter(|state| covers_naively(PREFIXES[state.prefix], path))
        .collect();
    let length = |state: &State| PREFIXES[state.prefix].len();
    let longest = covering.iter().map(|state| length(state)).max()?;
    let zones: std::collections::BTreeSet<u32> = covering.iter().map(|state| state.zone).collect();
    let at: Vec<&&State> = covering
        .iter()
        .filter(|state| length(state) == longest)
        .collect();
    match (zones.len(), at.as_slice()) {
        (1, [only]) => Some(id(only.number)),
        _ => None,
    }
}

proptest! {
    #[test]
    fn selection_agrees_with_looking_at_every_binding(
        states in states(),
        reach in prop::sample::subsequence(vec![1_u32, 2], 0..=2),
    ) {
        let mut held: BTreeMap<u32, State> = BTreeMap::new();
        let mut snapshot = places(&[]);
        for state in states {
            let hosts: Vec<&str> = state.hosts.iter().map(|index| HOSTS[*index]).collect();
            let mut at = binding(state.number, &hosts, PREFIXES[state.prefix]);
            at.hosts.sort();
            at.hosts.dedup();
            at.active = state.active;
            snapshot = snapshot.apply([&change(state.zone, state.version, What::Binding(at))]);
            let newer = held.get(&state.number).is_none_or(|before| state.version > before.version);
            if newer {
                held.insert(state.number, state);
            }
        }
        for host in HOSTS {
            for path in PATHS {
                prop_assert_eq!(
                    selected(&snapshot, &reach, host, path),
                    naive(&held, &reach, host, path),
                    "{} {}", host, path
                );
            }
        }
    }

    #[test]
    fn the_newest_version_stands_in_any_order(order in Just(vec![1_u64, 2, 3, 4]).prop_shuffle()) {
        let mut snapshot = places(&[]);
        for version in order {
            let at = binding(1, &["a.example"], &format!("/{version}"));
            snapshot = snapshot.apply([&change(1, version, What::Binding(at))]);
        }
        for version in 1..=4_u64 {
            let found = selected(&snapshot, &[1], "a.example", &format!("/{version}"));
            prop_assert_eq!(found.is_some(), version == 4);
        }
    }

    #[test]
    fn a_prefix_covers_whole_segments(prefix in "(/[ab]{1,2}){1,2}", path in "(/[ab]{1,2}){1,3}/?") {
        prop_assert_eq!(covers(&prefix, &path), covers_naively(&prefix, &path));
        prop_assert!(covers("/", &path));
    }
}
