//! Sealed keys.

use chassis::db::ZoneTx;
use jiff::Timestamp;

use super::time;
use crate::error::Error;

/// A holder's sealed key of the zone.
pub(crate) async fn zone_key(
    tx: &mut ZoneTx,
    holder: &str,
    version: i32,
) -> Result<Option<Vec<u8>>, Error> {
    let zone = tx.zone().as_uuid();
    let sealed = sqlx::query_scalar!(
        "SELECT sealed
           FROM zone_keys
          WHERE zone_id = $1
            AND holder = $2
            AND version = $3",
        zone,
        holder,
        version,
    )
    .fetch_optional(tx.as_mut())
    .await?;
    Ok(sealed)
}

/// Keeps a holder's sealed key of the zone.
pub(crate) async fn insert_zone_key(
    tx: &mut ZoneTx,
    holder: &str,
    version: i32,
    sealed: &[u8],
    now: Timestamp,
) -> Result<(), Error> {
    let zone = tx.zone().as_uuid();
    sqlx::query!(
        "INSERT INTO zone_keys (zone_id, holder, version, sealed, created_at)
         VALUES ($1, $2, $3, $4, $5)",
        zone,
        holder,
        version,
        sealed,
        time(now) as _,
    )
    .execute(tx.as_mut())
    .await?;
    Ok(())
}

/// A sealed chain key.
pub(crate) async fn chain_key(tx: &mut ZoneTx, epoch: i32) -> Result<Option<Vec<u8>>, Error> {
    let zone = tx.zone().as_uuid();
    let sealed = sqlx::query_scalar!(
        "SELECT sealed
           FROM chain_keys
          WHERE zone_id = $1
            AND key_epoch = $2",
        zone,
        epoch,
    )
    .fetch_optional(tx.as_mut())
    .await?;
    Ok(sealed)
}

/// Keeps a sealed chain key.
pub(crate) async fn insert_chain_key(
    tx: &mut ZoneTx,
    epoch: i32,
    sealed: &[u8],
    now: Timestamp,
) -> Result<(), Error> {
    let zone = tx.zone().as_uuid();
    sqlx::query!(
        "INSERT INTO chain_keys (zone_id, key_epoch, sealed, created_at)
         VALUES ($1, $2, $3, $4)",
        zone,
        epoch,
        sealed,
        time(now) as _,
    )
    .execute(tx.as_mut())
    .await?;
    Ok(())
}
