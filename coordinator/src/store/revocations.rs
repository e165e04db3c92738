//! What was revoked, by whom and why.

use chassis::db::ZoneTx;
use jiff::Timestamp;
use jiff_sqlx::ToSqlx;
use uuid::Uuid;

use crate::error::Error;
use crate::store::anchors::AnchorKind;

/// A revocation to be recorded.
#[derive(Debug)]
pub(crate) struct NewRevocation<'a> {
    pub(crate) id: Uuid,
    /// `dead` or `cut_off`.
    pub(crate) kind: &'static str,
    pub(crate) anchor_kind: AnchorKind,
    pub(crate) anchor_id: &'a str,
    pub(crate) reason: &'a str,
    pub(crate) not_before_s: Option<i64>,
    pub(crate) dead_until: Option<Timestamp>,
    pub(crate) by: &'a str,
    pub(crate) committed_at: Timestamp,
}

/// Records one.
pub(crate) async fn insert(tx: &mut ZoneTx, new: &NewRevocation<'_>) -> Result<(), Error> {
    sqlx::query!(
        r#"
        INSERT INTO revocations
               (zone_id, id, kind, anchor_kind, anchor_id, reason, not_before_s, dead_until,
                by_actor, committed_at)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
        "#,
        tx.zone().as_uuid(),
        new.id,
        new.kind,
        new.anchor_kind.as_str(),
        new.anchor_id,
        new.reason,
        new.not_before_s,
        new.dead_until.map(ToSqlx::to_sqlx) as _,
        new.by,
        new.committed_at.to_sqlx() as _,
    )
    .execute(tx.as_mut())
    .await?;
    Ok(())
}

/// A recorded revocation.
#[derive(Clone, Debug)]
pub(crate) struct Revocation {
    pub(crate) id: Uuid,
    pub(crate) kind: String,
    pub(crate) anchor_kind: String,
    pub(crate) anchor_id: String,
    pub(crate) reason: String,
    pub(crate) by_actor: String,
    pub(crate) committed_at: jiff_sqlx::Timestamp,
}

/// Revocations in the order of their ids.
pub(crate) async fn list(
    tx: &mut ZoneTx,
    after: Uuid,
    limit: i64,
) -> Result<Vec<Revocation>, Error> {
    let revocations = sqlx::query_as!(
        Revocation,
        r#"
        SELECT id, kind, anchor_kind, anchor_id, reason, by_actor, committed_at
        FROM revocations
        WHERE zone_id = $1 AND id > $2
        ORDER BY id
        LIMIT $3
        "#,
        tx.zone().as_uuid(),
        after,
        limit,
    )
    .fetch_all(tx.as_mut())
    .await?;
    Ok(revocations)
}
