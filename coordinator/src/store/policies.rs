//! Policy versions, immutable, and the one that is active.

use chassis::db::ZoneTx;
use jiff::Timestamp;
use jiff_sqlx::ToSqlx;
use uuid::Uuid;

use crate::error::{Conflict, Error};
use crate::store::is_duplicate;

/// A version, without its data.
#[derive(Clone, Debug)]
pub(crate) struct Version {
    pub(crate) id: Uuid,
    pub(crate) number: i32,
    pub(crate) content_sha256: Vec<u8>,
    pub(crate) active: bool,
    pub(crate) created_at: jiff_sqlx::Timestamp,
    pub(crate) created_by: String,
}

/// A version's canonical bytes and their hash.
#[derive(Clone, Debug)]
pub(crate) struct Content {
    pub(crate) canonical: Vec<u8>,
    pub(crate) content_sha256: Vec<u8>,
}

/// The active version.
#[derive(Clone, Debug)]
pub(crate) struct ActivePolicy {
    pub(crate) id: Uuid,
    pub(crate) number: i32,
    pub(crate) content_sha256: Vec<u8>,
    pub(crate) canonical: Vec<u8>,
    pub(crate) head_version: i64,
}

/// A version to be.
#[derive(Debug)]
pub(crate) struct NewVersion<'a> {
    pub(crate) id: Uuid,
    pub(crate) data: &'a serde_json::Value,
    pub(crate) canonical: &'a [u8],
    pub(crate) content_sha256: &'a [u8],
    pub(crate) by: &'a str,
    pub(crate) now: Timestamp,
}

/// Adds a version under the zone's next number, and gives that.
pub(crate) async fn insert(tx: &mut ZoneTx, new: &NewVersion<'_>) -> Result<i32, Error> {
    sqlx::query_scalar!(
        r#"
        INSERT INTO policies
               (zone_id, id, number, data, canonical, content_sha256, created_at, created_by)
        SELECT $1, $2, coalesce(max(number), 0) + 1, $3, $4, $5, $6, $7
        FROM policies
        WHERE zone_id = $1
        RETURNING number
        "#,
        tx.zone().as_uuid(),
        new.id,
        new.data,
        new.canonical,
        new.content_sha256,
        new.now.to_sqlx() as _,
        new.by,
    )
    .fetch_one(tx.as_mut())
    .await
    .map_err(|error| {
        if is_duplicate(&error, "policies") {
            Error::Conflict(Conflict::Policy)
        } else {
            error.into()
        }
    })
}

/// One version.
pub(crate) async fn get(tx: &mut ZoneTx, id: Uuid) -> Result<Version, Error> {
    sqlx::query_as!(
        Version,
        r#"
        SELECT p.id, p.number, p.content_sha256, p.created_at, p.created_by,
               EXISTS (SELECT 1
                       FROM policy_heads AS h
                       WHERE h.zone_id = p.zone_id AND h.active_id = p.id) AS "active!"
        FROM policies AS p
        WHERE p.zone_id = $1 AND p.id = $2
        "#,
        tx.zone().as_uuid(),
        id,
    )
    .fetch_optional(tx.as_mut())
    .await?
    .ok_or(Error::NotFound("policy version"))
}

/// What a version says.
pub(crate) async fn content(tx: &mut ZoneTx, id: Uuid) -> Result<Content, Error> {
    sqlx::query_as!(
        Content,
        r#"
        SELECT canonical, content_sha256
        FROM policies
        WHERE zone_id = $1 AND id = $2
        "#,
        tx.zone().as_uuid(),
        id,
    )
    .fetch_optional(tx.as_mut())
    .await?
    .ok_or(Error::NotFound("policy version"))
}

/// Versions in the order of their ids.
pub(crate) async fn list(tx: &mut ZoneTx, after: Uuid, limit: i64) -> Result<Vec<Version>, Error> {
    let versions = sqlx::query_as!(
        Version,
        r#"
        SELECT p.id, p.number, p.content_sha256, p.created_at, p.created_by,
               EXISTS (SELECT 1
                       FROM policy_heads AS h
                       WHERE h.zone_id = p.zone_id AND h.active_id = p.id) AS "active!"
        FROM policies AS p
        WHERE p.zone_id = $1 AND p.id > $2
        ORDER BY p.id
        LIMIT $3
        "#,
        tx.zone().as_uuid(),
        after,
        limit,
    )
    .fetch_all(tx.as_mut())
    .await?;
    Ok(versions)
}

/// Makes a version the active one; gives the head's new version.
pub(crate) async fn activate(tx: &mut ZoneTx, id: Uuid) -> Result<i64, Error> {
    let version = sqlx::query_scalar!(
        r#"
        INSERT INTO policy_heads (zone_id, active_id, version)
        VALUES ($1, $2, 1)
        ON CONFLICT (zone_id) DO UPDATE
        SET active_id = EXCLUDED.active_id, version = policy_heads.version + 1
        RETURNING version
        "#,
        tx.zone().as_uuid(),
        id,
    )
    .fetch_one(tx.as_mut())
    .await?;
    Ok(version)
}

/// The active version, if any.
pub(crate) async fn active(tx: &mut ZoneTx) -> Result<Option<ActivePolicy>, Error> {
    let active = sqlx::query_as!(
        ActivePolicy,
        r#"
        SELECT p.id, p.number, p.content_sha256, p.canonical, h.version AS head_version
        FROM policy_heads AS h
        JOIN policies AS p ON p.zone_id = h.zone_id AND p.id = h.active_id
        WHERE h.zone_id = $1
        "#,
        tx.zone().as_uuid(),
    )
    .fetch_optional(tx.as_mut())
    .await?;
    Ok(active)
}
