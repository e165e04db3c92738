//! What the keeper reads and writes: zones without a key, across zones, and then one zone at a
//! time its first key.

use chassis::db::{OperatorTx, ZoneTx};
use jiff::Timestamp;
use jiff_sqlx::ToSqlx;
use mandate::id::{KeyId, ZoneId};

use crate::store::StoreError;
use crate::store::keys::HOLDER;

/// The most zones looked at in one round.
const AT_ONCE: i64 = 64;

/// A zone that became ready, as enforcement points are told of it.
#[derive(Debug)]
pub(crate) struct Ready {
    /// Its name.
    pub name: String,
    /// `iss`.
    pub issuer: String,
    /// How old a decision's state may be.
    pub freshness_bound_ms: i32,
    /// The zone's new version.
    pub version: i64,
}

/// Zones that wait for their first key.
pub(crate) async fn waiting(tx: &mut OperatorTx) -> Result<Vec<ZoneId>, StoreError> {
    let zones = sqlx::query_scalar!(
        r#"
        SELECT zone_id
        FROM zones
        WHERE state = 'provisioning'
        ORDER BY zone_id
        LIMIT $1
        "#,
        AT_ONCE,
    )
    .fetch_all(tx.as_mut())
    .await?;
    Ok(zones.into_iter().map(ZoneId::from_uuid).collect())
}

/// Takes the exclusive lock of the zone's anchor: two keepers make one key.
pub(crate) async fn lock(tx: &mut ZoneTx) -> Result<(), StoreError> {
    sqlx::query!(
        r#"SELECT pg_advisory_xact_lock(anchor_lock_key($1, 'zone', $1::uuid::text))::text AS "locked?""#,
        tx.zone().as_uuid(),
    )
    .fetch_one(tx.as_mut())
    .await?;
    Ok(())
}

/// Adds the zone's sealing key.
pub(crate) async fn insert_zone_key(
    tx: &mut ZoneTx,
    version: i32,
    sealed: &[u8],
    now: Timestamp,
) -> Result<(), StoreError> {
    sqlx::query!(
        r#"
        INSERT INTO zone_keys (zone_id, holder, version, sealed, created_at)
        VALUES ($1, $2, $3, $4, $5)
        "#,
        tx.zone().as_uuid(),
        HOLDER,
        version,
        sealed,
        now.to_sqlx() as _,
    )
    .execute(tx.as_mut())
    .await?;
    Ok(())
}

/// Adds the zone's first signing key, active at once: nobody can hold anything signed by another.
pub(crate) async fn insert_signing_key(
    tx: &mut ZoneTx,
    kid: &KeyId,
    public_key: &[u8],
    sealed: &[u8],
    now: Timestamp,
) -> Result<(), StoreError> {
    sqlx::query!(
        r#"
        INSERT INTO signing_keys
               (zone_id, kid, alg, public_key, sealed, state, created_at)
        VALUES ($1, $2, 'ES256', $3, $4, 'active', $5)
        "#,
        tx.zone().as_uuid(),
        kid.as_str(),
        public_key,
        sealed,
        now.to_sqlx() as _,
    )
    .execute(tx.as_mut())
    .await?;
    Ok(())
}

/// Makes the zone ready; nothing when it is not waiting any more.
pub(crate) async fn mark_ready(
    tx: &mut ZoneTx,
    now: Timestamp,
) -> Result<Option<Ready>, StoreError> {
    let ready = sqlx::query_as!(
        Ready,
        r#"
        UPDATE zones
        SET state = 'ready', version = version + 1, updated_at = $2
        WHERE zone_id = $1 AND state = 'provisioning'
        RETURNING name, issuer, freshness_bound_ms, version
        "#,
        tx.zone().as_uuid(),
        now.to_sqlx() as _,
    )
    .fetch_optional(tx.as_mut())
    .await?;
    Ok(ready)
}
