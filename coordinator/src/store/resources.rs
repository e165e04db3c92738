//! Resources and their operations.

use chassis::db::ZoneTx;
use jiff::Timestamp;
use jiff_sqlx::ToSqlx;
use serde::{Deserialize, Serialize};
use sqlx::types::Json;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::error::{Conflict, Error};
use crate::store::is_duplicate;

/// What may be done with a resource, and the scopes it takes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Operation {
    /// An HTTP method.
    #[schema(example = "GET")]
    pub(crate) method: String,
    /// A path template, below the binding's prefix included.
    #[schema(example = "/v1/invoices/{id}")]
    pub(crate) template: String,
    /// The scopes needed, all of them.
    pub(crate) scopes: Vec<String>,
}

/// A resource.
#[derive(Clone, Debug)]
pub(crate) struct Resource {
    pub(crate) id: Uuid,
    pub(crate) identifier: String,
    pub(crate) name: String,
    pub(crate) scopes: Vec<String>,
    pub(crate) operations: Json<Vec<Operation>>,
    pub(crate) upstream: Option<String>,
    pub(crate) state: String,
    pub(crate) version: i64,
    pub(crate) created_at: jiff_sqlx::Timestamp,
}

/// What a resource is made of.
#[derive(Clone, Debug)]
pub(crate) struct ResourceValues<'a> {
    pub(crate) name: &'a str,
    pub(crate) scopes: &'a [String],
    pub(crate) operations: &'a [Operation],
    pub(crate) upstream: Option<&'a str>,
}

/// Adds a resource; its anchor is the caller's to add.
pub(crate) async fn insert(
    tx: &mut ZoneTx,
    id: Uuid,
    identifier: &str,
    values: &ResourceValues<'_>,
    now: Timestamp,
) -> Result<(), Error> {
    sqlx::query!(
        r#"
        INSERT INTO resources
               (zone_id, id, identifier, name, scopes, operations, upstream, version, created_at,
                updated_at)
        VALUES ($1, $2, $3, $4, $5, $6, $7, 1, $8, $8)
        "#,
        tx.zone().as_uuid(),
        id,
        identifier,
        values.name,
        values.scopes,
        Json(values.operations) as _,
        values.upstream,
        now.to_sqlx() as _,
    )
    .execute(tx.as_mut())
    .await
    .map_err(|error| {
        if is_duplicate(&error, "resources") {
            Error::Conflict(Conflict::Identifier)
        } else {
            error.into()
        }
    })?;
    Ok(())
}

/// Replaces what a resource is made of, if it is still at `version`.
pub(crate) async fn update(
    tx: &mut ZoneTx,
    id: Uuid,
    version: i64,
    values: &ResourceValues<'_>,
    now: Timestamp,
) -> Result<(), Error> {
    let updated = sqlx::query!(
        r#"
        UPDATE resources
        SET name = $4, scopes = $5, operations = $6, upstream = $7, version = version + 1,
            updated_at = $8
        WHERE zone_id = $1 AND id = $2 AND version = $3
        "#,
        tx.zone().as_uuid(),
        id,
        version,
        values.name,
        values.scopes,
        Json(values.operations) as _,
        values.upstream,
        now.to_sqlx() as _,
    )
    .execute(tx.as_mut())
    .await?;
    if updated.rows_affected() == 1 {
        Ok(())
    } else {
        Err(Error::PreconditionFailed)
    }
}

/// One resource by id.
pub(crate) async fn get(tx: &mut ZoneTx, id: Uuid) -> Result<Resource, Error> {
    sqlx::query_as!(
        Resource,
        r#"
        SELECT r.id, r.identifier, r.name, r.scopes,
               r.operations AS "operations: Json<Vec<Operation>>",
               r.upstream, anchor.state, r.version, r.created_at
        FROM resources AS r
        JOIN anchors AS anchor
          ON anchor.zone_id = r.zone_id AND anchor.kind = 'resource' AND anchor.id = r.identifier
        WHERE r.zone_id = $1 AND r.id = $2
        "#,
        tx.zone().as_uuid(),
        id,
    )
    .fetch_optional(tx.as_mut())
    .await?
    .ok_or(Error::NotFound("resource"))
}

/// The id of a resource by its identifier.
pub(crate) async fn find(tx: &mut ZoneTx, identifier: &str) -> Result<Option<Uuid>, Error> {
    let id = sqlx::query_scalar!(
        r#"
        SELECT id
        FROM resources
        WHERE zone_id = $1 AND identifier = $2
        "#,
        tx.zone().as_uuid(),
        identifier,
    )
    .fetch_optional(tx.as_mut())
    .await?;
    Ok(id)
}

/// Resources in the order of their ids.
pub(crate) async fn list(tx: &mut ZoneTx, after: Uuid, limit: i64) -> Result<Vec<Resource>, Error> {
    let resources = sqlx::query_as!(
        Resource,
        r#"
        SELECT r.id, r.identifier, r.name, r.scopes,
               r.operations AS "operations: Json<Vec<Operation>>",
               r.upstream, anchor.state, r.version, r.created_at
        FROM resources AS r
        JOIN anchors AS anchor
          ON anchor.zone_id = r.zone_id AND anchor.kind = 'resource' AND anchor.id = r.identifier
        WHERE r.zone_id = $1 AND r.id > $2
        ORDER BY r.id
        LIMIT $3
        "#,
        tx.zone().as_uuid(),
        after,
        limit,
    )
    .fetch_all(tx.as_mut())
    .await?;
    Ok(resources)
}
