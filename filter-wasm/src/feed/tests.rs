#![expect(
    clippy::arithmetic_side_effects,
    clippy::unchecked_time_subtraction,
    reason = "tests"
)]

use std::time::Duration;

use jiff::Timestamp;
use wire::pb::caracal::authority::v1 as authority;

use super::*;
use crate::fixture;
use crate::worker::Seed;

struct Case {
    worker: Worker,
    moment: Moment,
}

impl Case {
    fn new() -> Self {
        let config = Config::parse(fixture::config("enforce").as_bytes()).unwrap();
        Self {
            worker: Worker::new(&config, Seed([5; 40])),
            moment: Moment {
                now: Timestamp::from_second(fixture::START).unwrap(),
                monotonic: Duration::from_secs(100),
            },
        }
    }

    fn on(&mut self, input: Input<'_>) -> Turn {
        self.worker.feed(input, &self.moment)
    }

    fn opened() -> Self {
        let mut case = Self::new();
        assert_eq!(case.on(Input::Tick).acts, [Act::Open]);
        case.on(Input::Opened);
        case
    }

    fn loaded() -> Self {
        let mut case = Self::opened();
        case.on(Input::Message(&fixture::snapshot(
            1,
            10,
            fixture::changes(),
        )));
        case
    }

    fn pong(&mut self, pos: u64, age_ms: u32) -> Turn {
        let t_ns = i64::try_from(self.moment.monotonic.as_nanos()).unwrap();
        self.on(Input::Message(&fixture::pong(1, pos, t_ns, age_ms)))
    }

    fn later(&mut self, by: Duration) {
        self.moment.monotonic += by;
    }

    fn age(&self) -> Option<Duration> {
        self.worker.memory.age(self.moment.monotonic)
    }
}

fn messages(turn: &Turn) -> Vec<up::What> {
    let message = |act: &Act| match act {
        Act::Send(message) => Some(fixture::said(message)),
        Act::Open | Act::Reset => None,
    };
    turn.acts.iter().filter_map(message).collect()
}

#[test]
fn a_session_begins_with_who_the_filter_is() {
    let mut case = Case::new();
    assert_eq!(case.on(Input::Tick).acts, [Act::Open]);
    assert!(case.on(Input::Tick).acts.is_empty(), "one at a time");
    let turn = case.on(Input::Opened);
    let said = messages(&turn);
    let [up::What::Hello(hello)] = said.as_slice() else {
        panic!("{turn:?}")
    };
    assert_eq!((hello.attachment.as_str(), hello.protocol), ("ingress", 1));
    assert_eq!(
        (hello.vm.clone(), hello.zone_ids.clone()),
        ("05".repeat(16), vec![fixture::ZONE.to_owned()])
    );
}

#[test]
fn a_snapshot_in_parts_counts_when_it_is_whole() {
    let mut case = Case::opened();
    let part = |last, pos, changes| {
        let what = down::What::Snapshot(pb::Snapshot {
            epoch: vec![1; 16],
            pos,
            last,
            changes,
        });
        pb::Down { what: Some(what) }.encode_to_vec()
    };
    let (first, second) = fixture::changes().split_at(2).to_owned_pair();
    let turn = case.on(Input::Message(&part(false, 10, first.clone())));
    assert!(turn.acts.is_empty() && case.worker.memory.phase() == Phase::Empty);
    let turn = case.on(Input::Message(&part(true, 10, second)));
    let said = messages(&turn);
    let [up::What::Ack(ack), up::What::Ping(_)] = said.as_slice() else {
        panic!("{turn:?}")
    };
    assert_eq!(
        (ack.epoch.clone(), ack.pos, turn.changed),
        (vec![1; 16], 10, true)
    );
    assert_eq!(case.worker.memory.phase(), Phase::Held);
    case.on(Input::Message(&part(false, 12, first.clone())));
    let turn = case.on(Input::Message(&part(true, 13, first)));
    assert_eq!(turn.acts, [Act::Reset], "parts of two snapshots");
    assert_eq!(case.worker.memory.phase(), Phase::Resync);
}

trait ToOwnedPair<T> {
    fn to_owned_pair(self) -> (Vec<T>, Vec<T>);
}

impl<T: Clone> ToOwnedPair<T> for (&[T], &[T]) {
    fn to_owned_pair(self) -> (Vec<T>, Vec<T>) {
        (self.0.to_vec(), self.1.to_vec())
    }
}

#[test]
fn memory_is_as_old_as_it_was_said_to_be_when_we_asked() {
    let mut case = Case::loaded();
    assert_eq!(case.age(), None, "nobody said so far");
    let asked = i64::try_from(case.moment.monotonic.as_nanos()).unwrap();
    case.later(Duration::from_millis(300));
    case.on(Input::Message(&fixture::pong(1, 10, asked, 400)));
    assert_eq!(case.age(), Some(Duration::from_millis(700)));
    case.later(Duration::from_secs(2));
    assert_eq!(case.age(), Some(Duration::from_millis(2_700)));
    let ahead = asked + 60_000_000_000;
    case.on(Input::Message(&fixture::pong(1, 10, ahead, 0)));
    assert_eq!(
        case.age(),
        Some(Duration::from_millis(2_700)),
        "an echo of what was not asked"
    );
    case.pong(10, u32::MAX);
    assert!(
        case.age().unwrap() > Duration::from_hours(24),
        "ext-authz itself is stale"
    );
}

#[test]
fn a_pong_before_the_snapshot_of_its_stream_says_nothing() {
    let mut case = Case::opened();
    case.pong(10, 0);
    assert_eq!(case.age(), None);
    let mut case = Case::loaded();
    case.pong(10, 0);
    case.on(Input::Closed);
    case.later(Duration::from_secs(5));
    case.on(Input::Tick);
    case.on(Input::Opened);
    assert!(case.pong(10, 0).acts.is_empty());
    assert_eq!(
        case.age(),
        Some(Duration::from_secs(5)),
        "it is of the stream before"
    );
}

#[test]
fn another_history_or_what_is_not_understood_starts_anew() {
    let unknown = pb::Down { what: None }.encode_to_vec();
    for (word, message) in [
        ("another epoch", fixture::deltas(2, 11, vec![])),
        ("a position that fell", fixture::deltas(1, 9, vec![])),
        ("another epoch by pong", fixture::pong(2, 10, 0, 0)),
        ("a position that fell by pong", fixture::pong(1, 9, 0, 0)),
        ("garbage", vec![0xff; 8]),
        ("nothing", unknown),
        (
            "a change of nobody knows which zone",
            fixture::deltas(1, 11, vec![Change::default()]),
        ),
    ] {
        let mut case = Case::loaded();
        case.pong(10, 0);
        let turn = case.on(Input::Message(&message));
        assert_eq!(turn.acts.last(), Some(&Act::Reset), "{word}");
        assert_eq!(case.worker.memory.phase(), Phase::Resync, "{word}");
        assert_eq!(case.age(), None, "{word}");
        assert!(
            case.on(Input::Tick).acts.is_empty(),
            "{word}: after a pause"
        );
        case.later(Duration::from_secs(3));
        assert_eq!(case.on(Input::Tick).acts, [Act::Open], "{word}");
    }
}

#[test]
fn what_is_not_understood_of_a_zone_leaves_the_others_as_they_are() {
    let odd = |zone: &str| {
        let mut odd = fixture::zone(1, 0.try_into().unwrap());
        if let Some(authority::change::What::Zone(row)) = &mut odd.what {
            zone.clone_into(&mut row.zone_id);
        }
        odd
    };
    let mut case = Case::loaded();
    case.pong(10, 0);
    let of_others = fixture::deltas(1, 11, vec![odd(&fixture::id(3))]);
    let turn = case.on(Input::Message(&of_others));
    assert!(matches!(messages(&turn)[..], [up::What::Ack(_)]));

    let turn = case.on(Input::Message(&fixture::deltas(
        1,
        12,
        vec![odd(fixture::ZONE)],
    )));
    assert_eq!(turn.acts, [Act::Reset], "and nothing is acknowledged");
    assert_eq!(case.worker.memory.phase(), Phase::Held);
    assert_eq!(case.age(), Some(Duration::ZERO));
    let zone = mandate::id::ZoneId::parse(fixture::ZONE).unwrap();
    let bound = Duration::from_secs(10);
    let now = case.moment.monotonic;
    let held = case.worker.memory.zone(zone, bound, now);
    assert_eq!(held.err(), Some(policy::Unavailable::Resync));

    // A snapshot that is not understood either is no reason to start anew, and none to say that it was.
    let reopened = |case: &mut Case, changes| {
        case.later(Duration::from_secs(3));
        assert_eq!(case.on(Input::Tick).acts, [Act::Open]);
        case.on(Input::Opened);
        case.on(Input::Message(&fixture::snapshot(1, 12, changes)))
    };
    let mut changes = fixture::changes();
    changes.push(odd(fixture::ZONE));
    let turn = reopened(&mut case, changes);
    assert!(matches!(messages(&turn)[..], [up::What::Ping(_)]));
    case.on(Input::Closed);
    let turn = reopened(&mut case, fixture::changes());
    assert!(matches!(
        messages(&turn)[..],
        [up::What::Ack(_), up::What::Ping(_)]
    ));
    assert_eq!(case.age(), Some(Duration::from_secs(6)), "no older for it");
    let now = case.moment.monotonic;
    assert!(case.worker.memory.zone(zone, bound, now).is_ok());
}

#[test]
fn one_who_lags_behind_is_not_believed_while_memory_is_fresh() {
    let mut case = Case::loaded();
    case.on(Input::Message(&fixture::deltas(1, 12, vec![])));
    case.pong(12, 0);
    let mut hears = |after: Duration, pos| {
        case.on(Input::Closed);
        case.later(after);
        case.on(Input::Tick);
        case.on(Input::Opened);
        let snapshot = fixture::snapshot(1, pos, fixture::changes());
        let reset = case.on(Input::Message(&snapshot)).acts == [Act::Reset];
        assert_eq!(case.worker.memory.phase(), Phase::Held);
        (reset, case.worker.feed.pos())
    };
    assert_eq!(hears(Duration::from_secs(3), 11), (true, Some(12)));
    assert_eq!(hears(Duration::from_secs(3), 11), (true, Some(12)));
    assert_eq!(hears(Duration::from_secs(5), 11), (false, Some(11)));
    assert_eq!(hears(Duration::from_secs(1), 12), (false, Some(12)));
}

#[test]
fn only_what_can_end_an_exchange_is_a_reason_to_look_at_all_of_them() {
    let mut case = Case::loaded();
    let mut changed = |pos, changes| {
        let deltas = fixture::deltas(1, pos, changes);
        case.on(Input::Message(&deltas)).changed
    };
    assert!(!changed(11, vec![]));
    assert!(!changed(12, vec![fixture::binding(2, "strip")]));
    assert!(changed(13, vec![fixture::revocation()]));
}

#[test]
fn a_snapshot_on_the_same_stream_replaces_rows_and_keeps_what_is_dead() {
    let mut case = Case::loaded();
    case.on(Input::Message(&fixture::deltas(
        1,
        11,
        vec![fixture::revocation()],
    )));
    case.on(Input::Message(&fixture::snapshot(2, 3, fixture::changes())));
    assert_eq!(case.worker.memory.phase(), Phase::Held);
    assert_eq!(case.worker.feed.pos(), Some(3));
    let zone = mandate::id::ZoneId::parse(fixture::ZONE).unwrap();
    assert_eq!(case.worker.memory.revocations(zone).unwrap().len(), 1);
    assert_eq!(case.age(), None, "its age is another's");
}

#[test]
fn a_stream_that_says_nothing_is_given_up_and_opened_again_after_longer_pauses() {
    let mut case = Case::loaded();
    case.later(Duration::from_secs(6));
    assert_eq!(case.on(Input::Tick).acts, [Act::Reset]);
    let mut waited = Vec::new();
    for _ in 0..8 {
        let before = case.moment.monotonic;
        while case.on(Input::Tick).acts.is_empty() {
            case.later(Duration::from_millis(10));
        }
        waited.push(case.moment.monotonic - before);
        case.on(Input::Closed);
    }
    assert!(waited[0] <= Duration::from_millis(110), "{waited:?}");
    assert!(waited[7] >= Duration::from_secs(1), "{waited:?}");
    assert!(waited[7] <= Duration::from_millis(2_010), "{waited:?}");
}

#[test]
fn reports_are_told_until_they_are_acknowledged() {
    use crate::report::Refused;
    let mut case = Case::loaded();
    let refused = Refused {
        decision: mandate::id::DecisionId::parse(fixture::DECISION).unwrap(),
        code: "credential_missing",
        binding: None,
        request_id: "r",
        method: "GET",
        peer: None,
        at: case.moment.now,
    };
    case.worker.reports.count(&refused);
    let told = |turn: &Turn| {
        let seq = |what: &up::What| match what {
            up::What::Refusals(batch) => Some(batch.seq),
            up::What::Hello(_) | up::What::Ping(_) | up::What::Ack(_) => None,
        };
        messages(turn).iter().filter_map(seq).collect::<Vec<_>>()
    };
    assert_eq!(told(&case.on(Input::Tick)), [1]);
    assert_eq!(told(&case.on(Input::Tick)), [0_u64; 0], "once a stream");
    case.on(Input::Closed);
    case.later(Duration::from_secs(3));
    case.on(Input::Tick);
    case.on(Input::Opened);
    assert_eq!(told(&case.on(Input::Tick)), [1], "again on the next");
    case.on(Input::Message(&fixture::up_ack(1)));
    assert!(case.worker.reports.is_empty());
    case.worker.reports.count(&refused);
    assert_eq!(told(&case.on(Input::Tick)), [2], "numbered without a gap");
}
