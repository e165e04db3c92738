//! How old memory is, by the database's clock read on ours.
//!
//! A heartbeat says when, by the database's clock, everything committed stood at or below a
//! position. Round trips to that clock say where such a moment lies on our monotonic clock: never
//! exactly, so the earliest moment it can have been is taken. Memory is thus at least as fresh as it
//! claims to be, and a message that arrives late makes nothing young.

use std::collections::VecDeque;
use std::time::Duration;

/// Round trips held. The most pessimistic of them counts, so one slow answer costs freshness for a
/// few rounds and never gains any.
const HELD: usize = 3;

/// A mapping older than this is not used.
pub const MOST_AGE: Duration = Duration::from_mins(10);

/// A wall clock further from the database's than this is not one to check `exp` with.
pub const MOST_SKEW: Duration = Duration::from_secs(1);

/// Clocks run apart by at most one in this many: 500 ppm.
const DRIFT: i64 = 2_000;

/// One reading of the database's clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RoundTrip {
    /// Our monotonic clock before asking.
    pub sent: Duration,
    /// Our monotonic clock after the answer.
    pub received: Duration,
    /// The database's clock, read somewhere in between.
    pub database_ns: i64,
}

/// Where moments of the database's clock lie on our monotonic clock.
#[derive(Clone, Debug, Default)]
pub struct ClockMap {
    trips: VecDeque<RoundTrip>,
}

impl ClockMap {
    /// Takes a reading.
    pub fn observe(&mut self, trip: RoundTrip) {
        if self.trips.len() >= HELD {
            self.trips.pop_front();
        }
        self.trips.push_back(trip);
    }

    /// Forgets every reading: the clock it was of is another one now.
    pub fn forget(&mut self) {
        self.trips.clear();
    }

    /// When the newest reading was taken.
    pub fn read_at(&self) -> Option<Duration> {
        self.trips.back().map(|trip| trip.sent)
    }

    /// The age of memory that was complete at `as_of_ns` of the database's clock.
    ///
    /// None without a reading, and where the readings contradict it: a moment that lies in our
    /// future by more than they can be wrong is one of another clock.
    pub fn date(&self, as_of_ns: i64, now: Duration) -> Option<Freshness> {
        let newest = self.trips.back()?;
        let earliest = self
            .trips
            .iter()
            .map(|trip| earliest(trip, as_of_ns, now))
            .min()?;
        let now_ns = nanoseconds(now);
        if earliest > now_ns.saturating_add(nanoseconds(MOST_SKEW)) {
            return None;
        }
        Some(Freshness {
            complete_at_ns: earliest.min(now_ns),
            newest: *newest,
        })
    }
}

/// The earliest moment of our clock at which the database's can have shown `as_of_ns`.
fn earliest(trip: &RoundTrip, as_of_ns: i64, now: Duration) -> i64 {
    let age = nanoseconds(now.saturating_sub(trip.sent));
    nanoseconds(trip.sent)
        .saturating_add(as_of_ns.saturating_sub(trip.database_ns))
        .saturating_sub(age / DRIFT)
}

fn nanoseconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX)
}

/// Since when memory is complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Freshness {
    complete_at_ns: i64,
    newest: RoundTrip,
}

impl Freshness {
    /// How old memory is; none where that cannot be told any more.
    pub fn age(&self, now: Duration, wall_ns: i64) -> Option<Duration> {
        if now.saturating_sub(self.newest.sent) > MOST_AGE || !self.agrees(now, wall_ns) {
            return None;
        }
        let age = nanoseconds(now).saturating_sub(self.complete_at_ns);
        Some(Duration::from_nanos(u64::try_from(age).unwrap_or(0)))
    }

    /// Whether memory is young enough for a zone's bound.
    pub fn within(&self, bound: Duration, now: Duration, wall_ns: i64) -> bool {
        self.age(now, wall_ns).is_some_and(|age| age <= bound)
    }

    /// Since when, on our monotonic clock.
    pub fn complete_at(&self) -> Duration {
        Duration::from_nanos(u64::try_from(self.complete_at_ns).unwrap_or(0))
    }

    /// Whether the wall clock agrees with the database's.
    fn agrees(&self, now: Duration, wall_ns: i64) -> bool {
        let skew = nanoseconds(MOST_SKEW);
        let least = self
            .newest
            .database_ns
            .saturating_add(nanoseconds(now.saturating_sub(self.newest.received)));
        let most = self
            .newest
            .database_ns
            .saturating_add(nanoseconds(now.saturating_sub(self.newest.sent)));
        wall_ns >= least.saturating_sub(skew) && wall_ns <= most.saturating_add(skew)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const DATABASE: i64 = 1_800_000_000_000_000_000;

    fn trip(sent_ms: u64, received_ms: u64, database_ms: i64) -> RoundTrip {
        RoundTrip {
            sent: Duration::from_millis(sent_ms),
            received: Duration::from_millis(received_ms),
            database_ns: DATABASE + database_ms * 1_000_000,
        }
    }

    fn at(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    fn wall(ms: i64) -> i64 {
        DATABASE + ms * 1_000_000
    }

    #[test]
    fn without_a_reading_nothing_has_an_age() {
        assert!(ClockMap::default().date(DATABASE, at(0)).is_none());
    }

    #[test]
    fn a_slow_answer_counts_against_us() {
        let mut map = ClockMap::default();
        map.observe(trip(1_000, 1_400, 0));
        let fresh = map.date(wall(0), at(1_400)).unwrap();
        let age = fresh.age(at(1_400), wall(0)).unwrap();
        assert!(age >= at(400) && age < at(402), "{age:?}");
    }

    #[test]
    fn a_database_clock_that_was_set_forward_makes_nothing_young() {
        let mut map = ClockMap::default();
        map.observe(trip(1_000, 1_001, 0));
        assert!(map.date(wall(5_000), at(1_500)).is_none(), "contradicted");
        map.observe(trip(1_500, 1_501, 5_500));
        let fresh = map.date(wall(5_500), at(1_501)).unwrap();
        assert!(fresh.age(at(1_501), wall(5_500)).unwrap() < at(3));
    }

    #[test]
    fn a_wall_clock_off_by_more_than_a_second_is_stale() {
        let mut map = ClockMap::default();
        map.observe(trip(0, 2, 0));
        let fresh = map.date(wall(0), at(2)).unwrap();
        for (offset, usable) in [
            (-1_100, false),
            (-900, true),
            (0, true),
            (900, true),
            (1_100, false),
        ] {
            assert_eq!(
                fresh.age(at(100), wall(100 + offset)).is_some(),
                usable,
                "{offset}"
            );
        }
    }

    #[test]
    fn a_mapping_older_than_ten_minutes_is_stale() {
        let mut map = ClockMap::default();
        map.observe(trip(0, 1, 0));
        let fresh = map.date(wall(599_000), at(599_000)).unwrap();
        assert!(fresh.age(at(599_500), wall(599_500)).is_some());
        assert!(fresh.age(at(600_500), wall(600_500)).is_none());
    }

    proptest! {
        /// Whatever the round trips were, memory is never taken for younger than it is.
        #[test]
        fn memory_is_never_younger_than_the_truth(
            offset in -1_000_000_i64..1_000_000,
            trips in proptest::collection::vec((0_u64..1_000, 0_u64..800, 0_u64..800), 1..6),
            read_ms in 0_u64..6_000,
            later in 0_u64..20_000,
        ) {
            // The truth: the database shows `t + offset` at our moment `t`, in milliseconds.
            let mut map = ClockMap::default();
            let mut now = 10_000;
            for (wait, before, after) in trips {
                now += wait;
                let shown = i64::try_from(now + before).unwrap() + offset;
                map.observe(trip(now, now + before + after, shown));
                now += before + after;
            }
            let as_of = now.saturating_sub(read_ms);
            let shown = wall(i64::try_from(as_of).unwrap() + offset);
            let fresh = map.date(shown, at(now)).unwrap();
            let moment = now + later;
            let wall_now = wall(i64::try_from(moment).unwrap() + offset);
            let age = fresh.age(at(moment), wall_now).unwrap();
            prop_assert!(age >= at(moment - as_of), "{age:?} < {}", moment - as_of);
        }
    }
}
