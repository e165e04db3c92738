//! Tamper cases: opened here, closed by nobody but an operator on the record.

use chassis::db::{OperatorTx, ZoneTx};
use jiff::Timestamp;
use uuid::Uuid;

use super::{signed, time};
use crate::error::Error;

/// Opens cases in the transaction's zone; those that are open already stay as they are. Gives how many are new.
pub(crate) async fn open(
    tx: &mut ZoneTx,
    cases: &[(Uuid, Option<u64>, String)],
    now: Timestamp,
) -> Result<u64, Error> {
    let zone = tx.zone().as_uuid();
    let ids: Vec<Uuid> = cases.iter().map(|(id, _, _)| *id).collect();
    let seqs: Vec<Option<i64>> = cases
        .iter()
        .map(|(_, seq, _)| seq.map(signed).transpose())
        .collect::<Result<_, _>>()?;
    let texts: Vec<String> = cases.iter().map(|(_, _, what)| what.clone()).collect();
    let opened = sqlx::query!(
        "INSERT INTO tamper_cases (zone_id, id, seq, what, opened_at)
         SELECT $1, found.id, found.seq, found.what, $5
           FROM UNNEST($2::uuid[], $3::bigint[], $4::text[]) AS found (id, seq, what)
         ON CONFLICT (zone_id, id) DO NOTHING",
        zone,
        &ids,
        &seqs as &[Option<i64>],
        &texts,
        time(now) as _,
    )
    .execute(tx.as_mut())
    .await?;
    Ok(opened.rows_affected())
}

/// How many cases there are in all zones, and the oldest of them.
pub(crate) async fn count(
    tx: &mut OperatorTx,
) -> Result<(i64, Option<(Uuid, Option<i64>)>), Error> {
    let row = sqlx::query!(
        r#"
        SELECT count(*) OVER () AS "cases!", zone_id, seq
          FROM tamper_cases
         ORDER BY opened_at, zone_id, id
         LIMIT 1
        "#
    )
    .fetch_optional(tx.as_mut())
    .await?;
    Ok(row.map_or((0, None), |row| (row.cases, Some((row.zone_id, row.seq)))))
}
