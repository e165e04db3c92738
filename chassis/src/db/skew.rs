//! How far this machine's clock is from the database's.

use std::time::Duration;

use jiff::Timestamp;
use sqlx::PgConnection;

use super::error::DbError;
use crate::clock::Clock;

/// The database's time of day.
pub async fn database_time(connection: &mut PgConnection) -> Result<Timestamp, DbError> {
    let now: jiff_sqlx::Timestamp = sqlx::query_scalar("SELECT clock_timestamp()")
        .fetch_one(connection)
        .await?;
    Ok(now.to_jiff())
}

/// A comparison of two clocks by one round trip.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Skew {
    /// The difference lies at most this far from zero, whichever way the time was spent on the way.
    pub most: Duration,
    /// How long the round trip took.
    pub round_trip: Duration,
}

impl Skew {
    /// Asks the database.
    pub async fn measure(connection: &mut PgConnection, clock: &Clock) -> Result<Self, DbError> {
        let (before, started) = (clock.now(), clock.monotonic());
        let database = database_time(connection).await?;
        let round_trip = clock.monotonic().saturating_sub(started);
        Ok(Self::of(before, round_trip, database))
    }

    /// From the time before the question, how long it took, and the answer.
    pub fn of(before: Timestamp, round_trip: Duration, database: Timestamp) -> Self {
        let early = before.duration_since(database).unsigned_abs();
        let after = before.checked_add(round_trip).unwrap_or(before);
        let late = after.duration_since(database).unsigned_abs();
        Self {
            most: early.max(late),
            round_trip,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_the_pessimistic_end_of_the_round_trip() {
        let at = |ms: i64| Timestamp::from_millisecond(1_000_000 + ms).unwrap();
        let round_trip = Duration::from_millis(100);
        assert_eq!(
            Skew::of(at(0), round_trip, at(30)).most,
            Duration::from_millis(70)
        );
        assert_eq!(
            Skew::of(at(0), round_trip, at(900)).most,
            Duration::from_millis(900)
        );
        assert_eq!(
            Skew::of(at(0), round_trip, at(-900)).most,
            Duration::from_secs(1)
        );
    }
}
