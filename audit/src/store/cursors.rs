//! How far each journal is in each zone: the one record of what was taken already.

use std::collections::HashMap;

use chassis::db::ZoneTx;
use mandate::id::JournalId;
use uuid::Uuid;

use super::{hash, signed, unsigned};
use crate::error::Error;

/// The last event of a journal in a zone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mark {
    pub(crate) counter: u64,
    pub(crate) hash: [u8; 32],
}

/// The marks of some journals in the transaction's zone.
pub(crate) async fn of(
    tx: &mut ZoneTx,
    journals: &[Uuid],
) -> Result<HashMap<JournalId, Mark>, Error> {
    let zone = tx.zone().as_uuid();
    let rows = sqlx::query!(
        "SELECT journal_id, counter, hash
           FROM journal_cursors
          WHERE zone_id = $1
            AND journal_id = ANY($2)",
        zone,
        journals,
    )
    .fetch_all(tx.as_mut())
    .await?;
    rows.into_iter()
        .map(|row| {
            let mark = Mark {
                counter: unsigned(row.counter)?,
                hash: hash(&row.hash)?,
            };
            Ok((JournalId::from_uuid(row.journal_id), mark))
        })
        .collect()
}

/// All marks of the transaction's zone.
pub(crate) async fn all(tx: &mut ZoneTx) -> Result<HashMap<JournalId, Mark>, Error> {
    let zone = tx.zone().as_uuid();
    let rows = sqlx::query!(
        "SELECT journal_id, counter, hash
           FROM journal_cursors
          WHERE zone_id = $1",
        zone,
    )
    .fetch_all(tx.as_mut())
    .await?;
    rows.into_iter()
        .map(|row| {
            let mark = Mark {
                counter: unsigned(row.counter)?,
                hash: hash(&row.hash)?,
            };
            Ok((JournalId::from_uuid(row.journal_id), mark))
        })
        .collect()
}

/// Moves marks up; false when one was not where it was seen.
pub(crate) async fn advance(
    tx: &mut ZoneTx,
    moved: &[(JournalId, u64, Mark)],
) -> Result<bool, Error> {
    let zone = tx.zone().as_uuid();
    let mut journals = Vec::with_capacity(moved.len());
    let (mut before, mut after, mut hashes) = (Vec::new(), Vec::new(), Vec::new());
    for (journal, from, to) in moved {
        journals.push(journal.as_uuid());
        before.push(signed(*from)?);
        after.push(signed(to.counter)?);
        hashes.push(to.hash.to_vec());
    }
    // A mark that is not there yet is at 0.
    let done = sqlx::query!(
        "INSERT INTO journal_cursors AS mark (zone_id, journal_id, counter, hash)
         SELECT $1, moved.journal_id, moved.after, moved.hash
           FROM UNNEST($2::uuid[], $3::bigint[], $4::bigint[], $5::bytea[])
                AS moved (journal_id, before, after, hash)
         ON CONFLICT (zone_id, journal_id) DO UPDATE
            SET counter = EXCLUDED.counter, hash = EXCLUDED.hash
          WHERE mark.counter = (SELECT was.before
                                  FROM UNNEST($2::uuid[], $3::bigint[]) AS was (journal_id, before)
                                 WHERE was.journal_id = mark.journal_id)",
        zone,
        &journals,
        &before,
        &after,
        &hashes,
    )
    .execute(tx.as_mut())
    .await?;
    Ok(usize::try_from(done.rows_affected()).is_ok_and(|rows| rows == moved.len()))
}
