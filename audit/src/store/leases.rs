//! Who reads which partition. A table of the deployment's, not of a zone's.

use chassis::db::Pool;
use chassis::streams::EntryId;
use jiff::Timestamp;
use sqlx::PgConnection;

use super::time;
use crate::error::Error;

/// The right to append what comes by a partition, until somebody has a higher term.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Lease {
    pub(crate) partition: i32,
    pub(crate) term: i64,
    /// Where the last holder had come to.
    pub(crate) position: EntryId,
}

/// Takes a partition's lease if nobody holds it.
pub(crate) async fn acquire(
    pool: &Pool,
    partition: i32,
    holder: &str,
    now: Timestamp,
    until: Timestamp,
) -> Result<Option<Lease>, Error> {
    sqlx::query!(
        "INSERT INTO stream_positions (partition, redis_id, term)
         VALUES ($1, '0-0', 0)
         ON CONFLICT (partition) DO NOTHING",
        partition,
    )
    .execute(pool.inner())
    .await?;
    let row = sqlx::query!(
        "UPDATE stream_positions
            SET term = term + 1, holder = $2, lease_until = $3
          WHERE partition = $1
            AND (lease_until IS NULL OR lease_until <= $4)
         RETURNING term, redis_id",
        partition,
        holder,
        time(until) as _,
        time(now) as _,
    )
    .fetch_optional(pool.inner())
    .await?;
    Ok(row.map(|row| Lease {
        partition,
        term: row.term,
        position: row.redis_id.parse().unwrap_or(EntryId::START),
    }))
}

/// Keeps the lease, and moves the position when there is a new one; false when somebody else has the lease. Whatever
/// the transaction does is then done under this term or not at all.
pub(crate) async fn hold(
    connection: &mut PgConnection,
    lease: &Lease,
    until: Timestamp,
    position: Option<EntryId>,
) -> Result<bool, Error> {
    let position = position.map(|id| id.to_string());
    let held = sqlx::query!(
        "UPDATE stream_positions
            SET lease_until = $3, redis_id = COALESCE($4, redis_id)
          WHERE partition = $1
            AND term = $2",
        lease.partition,
        lease.term,
        time(until) as _,
        position,
    )
    .execute(connection)
    .await?;
    Ok(held.rows_affected() == 1)
}
