//! Whether our clock may be trusted with issuing: compared with the database's at the start and
//! every 30 seconds. More than two seconds apart, nothing is minted.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use chassis::clock::Clock;
use chassis::db::{DbError, Pool, Skew};
use chassis::{Dependency, Readiness};
use tokio_util::sync::CancellationToken;

use crate::error::Unavailable;

/// The most our clock may differ.
const MOST: Duration = Duration::from_secs(2);
/// How often it is compared.
const EVERY: Duration = Duration::from_secs(30);
/// A comparison older than this counts no more: four in a row were missed.
const STALE: Duration = Duration::from_mins(2);
/// How soon a comparison that failed is tried again.
const AGAIN: Duration = Duration::from_secs(1);

/// What the last comparison said. Clones share it.
#[derive(Clone, Debug)]
pub(crate) struct Agreement {
    clock: Clock,
    /// Monotonic milliseconds until which the last good comparison counts; 0: none.
    good_until_ms: Arc<AtomicU64>,
    dependency: Dependency,
}

impl Agreement {
    /// Nothing compared yet: nothing may be minted.
    pub(crate) fn new(clock: Clock, readiness: &Readiness) -> Self {
        let dependency = readiness.need("clock");
        Self {
            clock,
            good_until_ms: Arc::new(AtomicU64::new(0)),
            dependency,
        }
    }

    /// Refuses while clocks disagree or were not compared lately.
    pub(crate) fn require(&self) -> Result<(), Unavailable> {
        let until = self.good_until_ms.load(Ordering::Acquire);
        if milliseconds(self.clock.monotonic()) < until {
            Ok(())
        } else {
            Err(Unavailable::ClockSkew)
        }
    }

    /// Takes note of a comparison.
    pub(crate) fn note(&self, skew: Skew) {
        if skew.most <= MOST {
            let until = self.clock.monotonic().saturating_add(STALE);
            self.good_until_ms
                .store(milliseconds(until), Ordering::Release);
            self.dependency.up();
        } else if skew.round_trip <= MOST {
            self.good_until_ms.store(0, Ordering::Release);
            self.dependency
                .down(format!("{}ms from the database's", skew.most.as_millis()));
        }
        // Otherwise the answer took so long that it shows nothing; the last one counts on.
    }

    /// Compares once.
    pub(crate) async fn compare(&self, pool: &Pool) -> Result<(), DbError> {
        let mut connection = pool.inner().acquire().await?;
        self.note(Skew::measure(&mut connection, &self.clock).await?);
        Ok(())
    }

    /// Compares until told to stop.
    pub(crate) async fn keep(self, pool: Pool, stop: CancellationToken) {
        loop {
            let pause = match self.compare(&pool).await {
                Ok(()) if self.require().is_ok() => EVERY,
                Ok(()) => AGAIN,
                Err(error) => {
                    tracing::warn!(error = %error, "comparing clocks failed");
                    AGAIN
                }
            };
            if self.require().is_err() {
                self.dependency.down("clocks disagree or were not compared");
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(pause) => {}
            }
        }
    }
}

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use chassis::clock::TestClock;
    use jiff::Timestamp;

    use super::*;

    fn skew(most_ms: u64, round_trip_ms: u64) -> Skew {
        Skew {
            most: Duration::from_millis(most_ms),
            round_trip: Duration::from_millis(round_trip_ms),
        }
    }

    fn agreement() -> (Agreement, TestClock, Readiness) {
        let clock = TestClock::new(Timestamp::UNIX_EPOCH);
        let readiness = Readiness::new();
        (
            Agreement::new(clock.clone().into(), &readiness),
            clock,
            readiness,
        )
    }

    #[test]
    fn mints_only_after_a_comparison_that_agrees() {
        let (agreement, _, readiness) = agreement();
        assert!(agreement.require().is_err() && !readiness.is_ready());
        agreement.note(skew(1999, 3));
        assert!(agreement.require().is_ok() && readiness.is_ready());
        agreement.note(skew(2001, 3));
        assert!(agreement.require().is_err() && !readiness.is_ready());
    }

    #[test]
    fn a_slow_answer_shows_nothing_and_an_old_one_counts_no_more() {
        let (agreement, clock, _) = agreement();
        agreement.note(skew(10, 3));
        agreement.note(skew(9000, 9000));
        assert!(agreement.require().is_ok());
        clock.advance(Duration::from_secs(121));
        assert!(agreement.require().is_err());
    }
}
