//! Receipts for idempotency keys: what was answered to the first request under a key. Keys are
//! stored as digests; answers never hold a secret.

use chassis::db::ZoneTx;
use jiff::Timestamp;
use jiff_sqlx::ToSqlx;
use serde_json::Value;

use crate::error::Error;

/// What a key was used for before.
#[derive(Debug)]
pub(crate) struct Receipt {
    pub(crate) request_digest: Vec<u8>,
    pub(crate) status: i32,
    pub(crate) body: Option<Value>,
}

/// Claims a key for this transaction. False when another request holds it; if that one is still
/// running, this waits for its end.
pub(crate) async fn claim(
    tx: &mut ZoneTx,
    key: &[u8],
    request: &[u8],
    now: Timestamp,
) -> Result<bool, Error> {
    let inserted = sqlx::query!(
        r#"
        INSERT INTO idempotency_receipts (zone_id, key_digest, request_digest, status, created_at)
        VALUES ($1, $2, $3, 0, $4)
        ON CONFLICT (zone_id, key_digest) DO NOTHING
        "#,
        tx.zone().as_uuid(),
        key,
        request,
        now.to_sqlx() as _,
    )
    .execute(tx.as_mut())
    .await?;
    Ok(inserted.rows_affected() == 1)
}

/// The receipt of a key.
pub(crate) async fn get(tx: &mut ZoneTx, key: &[u8]) -> Result<Option<Receipt>, Error> {
    let receipt = sqlx::query_as!(
        Receipt,
        r#"
        SELECT request_digest, status, body
        FROM idempotency_receipts
        WHERE zone_id = $1 AND key_digest = $2
        "#,
        tx.zone().as_uuid(),
        key,
    )
    .fetch_optional(tx.as_mut())
    .await?;
    Ok(receipt)
}

/// Writes the answer into a claimed receipt.
pub(crate) async fn settle(
    tx: &mut ZoneTx,
    key: &[u8],
    status: u16,
    body: &Value,
) -> Result<(), Error> {
    sqlx::query!(
        r#"
        UPDATE idempotency_receipts
        SET status = $3, body = $4
        WHERE zone_id = $1 AND key_digest = $2
        "#,
        tx.zone().as_uuid(),
        key,
        i32::from(status),
        body,
    )
    .execute(tx.as_mut())
    .await?;
    Ok(())
}
