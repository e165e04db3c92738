//! Removing what was kept long enough, across zones.

use chassis::db::OperatorTx;
use jiff::Timestamp;
use jiff_sqlx::ToSqlx;

use crate::error::Error;

/// What is removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Answers to idempotency keys.
    Receipts,
    /// Records of mandates that have expired, with their anchors.
    Records,
    /// Anchors of single mandates and records that died, once no mandate can carry their id.
    Dead,
}

/// Removes at most `limit` of a kind that were over before a moment; says how many.
pub(crate) async fn remove(
    tx: &mut OperatorTx,
    kind: Kind,
    before: Timestamp,
    limit: i64,
) -> Result<i64, Error> {
    match kind {
        Kind::Receipts => receipts(tx, before, limit).await,
        Kind::Records => records(tx, before, limit).await,
        Kind::Dead => dead(tx, before, limit).await,
    }
}

async fn receipts(tx: &mut OperatorTx, before: Timestamp, limit: i64) -> Result<i64, Error> {
    let removed = sqlx::query!(
        r#"
        DELETE FROM idempotency_receipts
        WHERE (zone_id, key_digest) IN (
            SELECT zone_id, key_digest
            FROM idempotency_receipts
            WHERE created_at < $1
            ORDER BY created_at
            LIMIT $2)
        "#,
        before.to_sqlx() as _,
        limit,
    )
    .execute(tx.as_mut())
    .await?;
    Ok(i64::try_from(removed.rows_affected()).unwrap_or(limit))
}

async fn records(tx: &mut OperatorTx, before: Timestamp, limit: i64) -> Result<i64, Error> {
    let removed = sqlx::query_scalar!(
        r#"
        WITH gone AS (
            DELETE FROM authority_records
            WHERE (zone_id, id) IN (
                SELECT zone_id, id
                FROM authority_records
                WHERE expires_at < $1
                ORDER BY expires_at
                LIMIT $2)
            RETURNING zone_id, id
        ), loose AS (
            DELETE FROM anchors
            USING gone
            WHERE anchors.zone_id = gone.zone_id
              AND anchors.kind = 'record'
              AND anchors.id = gone.id::text
              AND anchors.dead_until IS NULL
        )
        SELECT count(*) AS "removed!"
        FROM gone
        "#,
        before.to_sqlx() as _,
        limit,
    )
    .fetch_one(tx.as_mut())
    .await?;
    Ok(removed)
}

async fn dead(tx: &mut OperatorTx, before: Timestamp, limit: i64) -> Result<i64, Error> {
    let removed = sqlx::query!(
        r#"
        DELETE FROM anchors
        WHERE (zone_id, kind, id) IN (
            SELECT zone_id, kind, id
            FROM anchors
            WHERE kind IN ('mandate', 'record')
              AND dead_until < $1
            ORDER BY dead_until
            LIMIT $2)
        "#,
        before.to_sqlx() as _,
        limit,
    )
    .execute(tx.as_mut())
    .await?;
    Ok(i64::try_from(removed.rows_affected()).unwrap_or(limit))
}
