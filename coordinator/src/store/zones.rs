//! Zones.

use chassis::db::{OperatorTx, ZoneTx};
use jiff::Timestamp;
use jiff_sqlx::ToSqlx;
use mandate::id::{Issuer, ZoneId};
use uuid::Uuid;

use crate::error::{Conflict, Error};
use crate::store::is_duplicate;

/// A zone.
#[derive(Clone, Debug)]
pub(crate) struct Zone {
    pub(crate) id: Uuid,
    pub(crate) name: String,
    pub(crate) issuer: String,
    pub(crate) state: String,
    pub(crate) freshness_bound_ms: i32,
    pub(crate) version: i64,
    pub(crate) created_at: jiff_sqlx::Timestamp,
    pub(crate) updated_at: jiff_sqlx::Timestamp,
}

/// A zone to be.
#[derive(Debug)]
pub(crate) struct NewZone<'a> {
    pub(crate) name: &'a str,
    pub(crate) issuer: &'a Issuer,
    pub(crate) freshness_bound_ms: i32,
    pub(crate) now: Timestamp,
}

/// Adds the transaction's own zone, without keys yet.
pub(crate) async fn insert(tx: &mut ZoneTx, new: &NewZone<'_>) -> Result<Zone, Error> {
    sqlx::query_as!(
        Zone,
        r#"
        INSERT INTO zones (zone_id, name, issuer, state, freshness_bound_ms, version, created_at, updated_at)
        VALUES ($1, $2, $3, 'provisioning', $4, 1, $5, $5)
        RETURNING zone_id AS id, name, issuer, state, freshness_bound_ms, version, created_at,
                  updated_at
        "#,
        tx.zone().as_uuid(),
        new.name,
        new.issuer.as_str(),
        new.freshness_bound_ms,
        new.now.to_sqlx() as _,
    )
    .fetch_one(tx.as_mut())
    .await
    .map_err(|error| {
        if is_duplicate(&error, "zones") { Error::Conflict(Conflict::Exists) } else { error.into() }
    })
}

/// The transaction's zone.
pub(crate) async fn get(tx: &mut ZoneTx) -> Result<Zone, Error> {
    sqlx::query_as!(
        Zone,
        r#"
        SELECT zone_id AS id, name, issuer, state, freshness_bound_ms, version, created_at,
               updated_at
        FROM zones
        WHERE zone_id = $1
        "#,
        tx.zone().as_uuid(),
    )
    .fetch_optional(tx.as_mut())
    .await?
    .ok_or(Error::NotFound("zone"))
}

/// Moves the transaction's zone to another state; None when it is in none of `from`.
pub(crate) async fn set_state(
    tx: &mut ZoneTx,
    from: &[&str],
    to: &str,
    now: Timestamp,
) -> Result<Option<Zone>, Error> {
    let from: Vec<String> = from.iter().map(|state| (*state).to_owned()).collect();
    let zone = sqlx::query_as!(
        Zone,
        r#"
        UPDATE zones
        SET state = $3, version = version + 1, updated_at = $4
        WHERE zone_id = $1 AND state = ANY($2)
        RETURNING zone_id AS id, name, issuer, state, freshness_bound_ms, version, created_at,
                  updated_at
        "#,
        tx.zone().as_uuid(),
        &from,
        to,
        now.to_sqlx() as _,
    )
    .fetch_optional(tx.as_mut())
    .await?;
    Ok(zone)
}

/// Zones in the order of their ids, for the operator.
pub(crate) async fn list(tx: &mut OperatorTx, after: Uuid, limit: i64) -> Result<Vec<Zone>, Error> {
    let zones = sqlx::query_as!(
        Zone,
        r#"
        SELECT zone_id AS id, name, issuer, state, freshness_bound_ms, version, created_at,
               updated_at
        FROM zones
        WHERE zone_id > $1
        ORDER BY zone_id
        LIMIT $2
        "#,
        after,
        limit,
    )
    .fetch_all(tx.as_mut())
    .await?;
    Ok(zones)
}

/// Every zone that is not archived.
pub(crate) async fn all_live(tx: &mut OperatorTx) -> Result<Vec<ZoneId>, Error> {
    let zones = sqlx::query_scalar!(
        r#"
        SELECT zone_id
        FROM zones
        WHERE state <> 'archived'
        ORDER BY zone_id
        "#,
    )
    .fetch_all(tx.as_mut())
    .await?;
    Ok(zones.into_iter().map(ZoneId::from_uuid).collect())
}
