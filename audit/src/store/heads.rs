//! The ends of the chains.

use chassis::db::{OperatorTx, ZoneTx};
use jiff::Timestamp;
use mandate::id::ZoneId;

use super::{hash, signed, time, unsigned};
use crate::error::Error;

/// The log of a zone; there is one so far.
const LOG: i32 = 0;

/// The end of a chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    /// The number of the last event; 0 before the first.
    pub(crate) seq: u64,
    /// Its link.
    pub(crate) link: [u8; 32],
    /// The epoch of the key that made it.
    pub(crate) key_epoch: i32,
    /// When it was appended.
    pub(crate) appended_at: Timestamp,
}

/// The head of the transaction's zone.
pub(crate) async fn get(tx: &mut ZoneTx) -> Result<Option<Head>, Error> {
    let zone = tx.zone().as_uuid();
    let row = sqlx::query!(
        "SELECT seq, link, key_epoch, updated_at
           FROM ledger_heads
          WHERE zone_id = $1
            AND log = $2",
        zone,
        LOG,
    )
    .fetch_optional(tx.as_mut())
    .await?;
    row.map(|row| {
        Ok(Head {
            seq: unsigned(row.seq)?,
            link: hash(&row.link)?,
            key_epoch: row.key_epoch,
            appended_at: row.updated_at.to_jiff(),
        })
    })
    .transpose()
}

/// Begins a chain.
pub(crate) async fn insert(tx: &mut ZoneTx, head: &Head, term: i64) -> Result<(), Error> {
    let zone = tx.zone().as_uuid();
    sqlx::query!(
        "INSERT INTO ledger_heads (zone_id, log, seq, link, term, key_epoch, updated_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7)",
        zone,
        LOG,
        signed(head.seq)?,
        &head.link,
        term,
        head.key_epoch,
        time(head.appended_at) as _,
    )
    .execute(tx.as_mut())
    .await?;
    Ok(())
}

/// Moves a head from where it was seen; false when it is not there any more.
pub(crate) async fn advance(
    tx: &mut ZoneTx,
    from: &Head,
    to: &Head,
    term: i64,
) -> Result<bool, Error> {
    let zone = tx.zone().as_uuid();
    let moved = sqlx::query!(
        "UPDATE ledger_heads
            SET seq = $3, link = $4, term = $5, key_epoch = $6, updated_at = $7
          WHERE zone_id = $1
            AND log = $2
            AND seq = $8
            AND link = $9",
        zone,
        LOG,
        signed(to.seq)?,
        &to.link,
        term,
        to.key_epoch,
        time(to.appended_at) as _,
        signed(from.seq)?,
        &from.link,
    )
    .execute(tx.as_mut())
    .await?;
    Ok(moved.rows_affected() == 1)
}

/// Every zone of which there is anything: a head, an event or a cursor. One of them alone tells that the others are
/// missing.
pub(crate) async fn zones(tx: &mut OperatorTx) -> Result<Vec<ZoneId>, Error> {
    let zones = sqlx::query_scalar!(
        r#"
        WITH RECURSIVE with_events AS (
            (SELECT zone_id FROM audit_events ORDER BY zone_id LIMIT 1)
            UNION ALL
            SELECT (SELECT e.zone_id FROM audit_events e WHERE e.zone_id > w.zone_id ORDER BY e.zone_id LIMIT 1)
              FROM with_events w
             WHERE w.zone_id IS NOT NULL
        )
        SELECT zone_id AS "zone_id!" FROM with_events WHERE zone_id IS NOT NULL
        UNION
        SELECT zone_id FROM ledger_heads
        UNION
        SELECT zone_id FROM journal_cursors
        ORDER BY 1
        "#
    )
    .fetch_all(tx.as_mut())
    .await?;
    Ok(zones.into_iter().map(ZoneId::from_uuid).collect())
}
