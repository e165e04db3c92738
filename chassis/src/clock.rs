//! The only place where time is read.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use jiff::Timestamp;

/// Tells the time. Clones tell the same time.
#[derive(Clone, Debug)]
pub enum Clock {
    /// The machine's.
    System(SystemClock),
    /// One that a test moves by hand.
    Test(TestClock),
}

impl Clock {
    /// The machine's clock.
    pub fn system() -> Self {
        Self::System(SystemClock::new())
    }

    /// The time of day.
    pub fn now(&self) -> Timestamp {
        match self {
            Self::System(clock) => clock.now(),
            Self::Test(clock) => clock.now(),
        }
    }

    /// Time since an arbitrary start; never falls, whatever is done to the time of day.
    pub fn monotonic(&self) -> Duration {
        match self {
            Self::System(clock) => clock.monotonic(),
            Self::Test(clock) => clock.monotonic(),
        }
    }
}

impl From<TestClock> for Clock {
    fn from(clock: TestClock) -> Self {
        Self::Test(clock)
    }
}

impl From<SystemClock> for Clock {
    fn from(clock: SystemClock) -> Self {
        Self::System(clock)
    }
}

/// The machine's clock.
#[derive(Clone, Copy, Debug)]
pub struct SystemClock {
    start: Instant,
}

impl SystemClock {
    /// The machine's clock. Every one of a process counts its monotonic time from the same start.
    pub fn new() -> Self {
        static START: OnceLock<Instant> = OnceLock::new();
        Self {
            start: *START.get_or_init(Instant::now),
        }
    }

    /// The time of day. A clock set before 1970 or after 9999 reads as that limit: it is then so
    /// wrong that everything bounded by time refuses.
    pub fn now(&self) -> Timestamp {
        #[expect(
            clippy::disallowed_methods,
            reason = "this is the one reader of the clock"
        )]
        let now = SystemTime::now();
        match now.duration_since(UNIX_EPOCH) {
            Ok(since) => i128::try_from(since.as_nanos())
                .ok()
                .and_then(|nanoseconds| Timestamp::from_nanosecond(nanoseconds).ok())
                .unwrap_or(Timestamp::MAX),
            Err(_) => Timestamp::UNIX_EPOCH,
        }
    }

    /// Time since the process first asked.
    pub fn monotonic(&self) -> Duration {
        self.start.elapsed()
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

/// A clock that stands still until it is moved. Clones share one time.
#[derive(Clone, Debug)]
pub struct TestClock {
    shared: Arc<TestTime>,
}

#[derive(Debug)]
struct TestTime {
    wall: AtomicI64,
    monotonic: AtomicI64,
}

impl TestClock {
    /// Starts at `start`.
    pub fn new(start: Timestamp) -> Self {
        let wall = AtomicI64::new(nanoseconds(start));
        Self {
            shared: Arc::new(TestTime {
                wall,
                monotonic: AtomicI64::new(0),
            }),
        }
    }

    /// The time of day.
    pub fn now(&self) -> Timestamp {
        let wall = self.shared.wall.load(Ordering::SeqCst);
        Timestamp::from_nanosecond(i128::from(wall)).unwrap_or(Timestamp::MAX)
    }

    /// Time since this clock was made.
    pub fn monotonic(&self) -> Duration {
        let elapsed = self.shared.monotonic.load(Ordering::SeqCst);
        Duration::from_nanos(u64::try_from(elapsed).unwrap_or(0))
    }

    /// Lets time pass, on both scales.
    pub fn advance(&self, by: Duration) {
        let by = i64::try_from(by.as_nanos()).unwrap_or(i64::MAX);
        self.shared.wall.fetch_add(by, Ordering::SeqCst);
        self.shared.monotonic.fetch_add(by, Ordering::SeqCst);
    }

    /// Sets the time of day, as an operator or a bad time server would: monotonic time goes on.
    pub fn set(&self, wall: Timestamp) {
        self.shared.wall.store(nanoseconds(wall), Ordering::SeqCst);
    }
}

fn nanoseconds(at: Timestamp) -> i64 {
    i64::try_from(at.as_nanosecond()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clones_of_a_test_clock_share_one_time() {
        let clock = TestClock::new(Timestamp::UNIX_EPOCH);
        let other = Clock::from(clock.clone());
        clock.advance(Duration::from_secs(3));
        assert_eq!(other.now().as_second(), 3);
        assert_eq!(other.monotonic(), Duration::from_secs(3));
    }

    #[test]
    fn setting_the_time_of_day_leaves_monotonic_time_alone() {
        let clock = TestClock::new(Timestamp::UNIX_EPOCH);
        clock.advance(Duration::from_secs(9));
        clock.set(Timestamp::UNIX_EPOCH);
        assert_eq!(clock.now(), Timestamp::UNIX_EPOCH);
        assert_eq!(clock.monotonic(), Duration::from_secs(9));
    }

    #[test]
    fn the_system_clock_reads_a_time_after_this_was_written() {
        assert!(SystemClock::new().now().as_second() > 1_700_000_000);
    }
}
