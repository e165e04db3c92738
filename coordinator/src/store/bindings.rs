//! Bindings: where a resource is reached.

use chassis::db::ZoneTx;
use jiff::Timestamp;
use jiff_sqlx::ToSqlx;
use uuid::Uuid;

use crate::error::{Conflict, Error};
use crate::store::is_duplicate;

/// A binding.
#[derive(Clone, Debug)]
pub(crate) struct Binding {
    pub(crate) id: Uuid,
    pub(crate) attachment: String,
    /// The resource's identifier.
    pub(crate) resource: String,
    pub(crate) hosts: Vec<String>,
    pub(crate) path_prefix: String,
    pub(crate) upstream_clusters: Vec<String>,
    pub(crate) public_url: String,
    pub(crate) evidence: String,
    pub(crate) max_hops: i32,
    pub(crate) forward_mandate: String,
    pub(crate) state: String,
    pub(crate) version: i64,
    pub(crate) created_at: jiff_sqlx::Timestamp,
}

/// What a binding is made of.
#[derive(Clone, Debug)]
pub(crate) struct BindingValues<'a> {
    pub(crate) resource_id: Uuid,
    pub(crate) attachment: &'a str,
    pub(crate) hosts: &'a [String],
    pub(crate) path_prefix: &'a str,
    pub(crate) upstream_clusters: &'a [String],
    pub(crate) public_url: &'a str,
    pub(crate) evidence: &'a str,
    pub(crate) max_hops: i32,
    pub(crate) forward_mandate: &'a str,
}

/// Adds a binding and the places it holds.
pub(crate) async fn insert(
    tx: &mut ZoneTx,
    id: Uuid,
    values: &BindingValues<'_>,
    now: Timestamp,
) -> Result<(), Error> {
    sqlx::query!(
        r#"
        INSERT INTO bindings
               (zone_id, id, attachment, resource_id, hosts, path_prefix, upstream_clusters,
                public_url, evidence, max_hops, forward_mandate, state, version, created_at,
                updated_at)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, 'active', 1, $12, $12)
        "#,
        tx.zone().as_uuid(),
        id,
        values.attachment,
        values.resource_id,
        values.hosts,
        values.path_prefix,
        values.upstream_clusters,
        values.public_url,
        values.evidence,
        values.max_hops,
        values.forward_mandate,
        now.to_sqlx() as _,
    )
    .execute(tx.as_mut())
    .await?;
    hold(tx, id, values).await
}

/// Replaces what a binding is made of, if it is still at `version`.
pub(crate) async fn update(
    tx: &mut ZoneTx,
    id: Uuid,
    version: i64,
    values: &BindingValues<'_>,
    now: Timestamp,
) -> Result<(), Error> {
    let updated = sqlx::query!(
        r#"
        UPDATE bindings
        SET attachment = $4, resource_id = $5, hosts = $6, path_prefix = $7,
            upstream_clusters = $8, public_url = $9, evidence = $10, max_hops = $11,
            forward_mandate = $12, version = version + 1, updated_at = $13
        WHERE zone_id = $1 AND id = $2 AND version = $3
        "#,
        tx.zone().as_uuid(),
        id,
        version,
        values.attachment,
        values.resource_id,
        values.hosts,
        values.path_prefix,
        values.upstream_clusters,
        values.public_url,
        values.evidence,
        values.max_hops,
        values.forward_mandate,
        now.to_sqlx() as _,
    )
    .execute(tx.as_mut())
    .await?;
    if updated.rows_affected() != 1 {
        return Err(Error::PreconditionFailed);
    }
    sqlx::query!(
        r#"
        DELETE FROM binding_hosts
        WHERE zone_id = $1 AND binding_id = $2
        "#,
        tx.zone().as_uuid(),
        id,
    )
    .execute(tx.as_mut())
    .await?;
    hold(tx, id, values).await
}

async fn hold(tx: &mut ZoneTx, id: Uuid, values: &BindingValues<'_>) -> Result<(), Error> {
    sqlx::query!(
        r#"
        INSERT INTO binding_hosts (zone_id, attachment, host, path_prefix, binding_id)
        SELECT $1, $2, host, $4, $5
        FROM unnest($3::text[]) AS host
        "#,
        tx.zone().as_uuid(),
        values.attachment,
        values.hosts,
        values.path_prefix,
        id,
    )
    .execute(tx.as_mut())
    .await
    .map_err(|error| {
        if is_duplicate(&error, "binding_hosts") {
            Error::Conflict(Conflict::Binding)
        } else {
            error.into()
        }
    })?;
    Ok(())
}

/// Moves a binding to another state; false when it is in it already or not there.
pub(crate) async fn set_state(
    tx: &mut ZoneTx,
    id: Uuid,
    state: &str,
    now: Timestamp,
) -> Result<bool, Error> {
    let updated = sqlx::query!(
        r#"
        UPDATE bindings
        SET state = $3, version = version + 1, updated_at = $4
        WHERE zone_id = $1 AND id = $2 AND state <> $3
        "#,
        tx.zone().as_uuid(),
        id,
        state,
        now.to_sqlx() as _,
    )
    .execute(tx.as_mut())
    .await?;
    Ok(updated.rows_affected() == 1)
}

/// One binding.
pub(crate) async fn get(tx: &mut ZoneTx, id: Uuid) -> Result<Binding, Error> {
    sqlx::query_as!(
        Binding,
        r#"
        SELECT b.id, b.attachment, r.identifier AS resource, b.hosts, b.path_prefix,
               b.upstream_clusters, b.public_url, b.evidence, b.max_hops, b.forward_mandate,
               b.state, b.version, b.created_at
        FROM bindings AS b
        JOIN resources AS r ON r.zone_id = b.zone_id AND r.id = b.resource_id
        WHERE b.zone_id = $1 AND b.id = $2
        "#,
        tx.zone().as_uuid(),
        id,
    )
    .fetch_optional(tx.as_mut())
    .await?
    .ok_or(Error::NotFound("binding"))
}

/// Bindings in the order of their ids.
pub(crate) async fn list(tx: &mut ZoneTx, after: Uuid, limit: i64) -> Result<Vec<Binding>, Error> {
    let bindings = sqlx::query_as!(
        Binding,
        r#"
        SELECT b.id, b.attachment, r.identifier AS resource, b.hosts, b.path_prefix,
               b.upstream_clusters, b.public_url, b.evidence, b.max_hops, b.forward_mandate,
               b.state, b.version, b.created_at
        FROM bindings AS b
        JOIN resources AS r ON r.zone_id = b.zone_id AND r.id = b.resource_id
        WHERE b.zone_id = $1 AND b.id > $2
        ORDER BY b.id
        LIMIT $3
        "#,
        tx.zone().as_uuid(),
        after,
        limit,
    )
    .fetch_all(tx.as_mut())
    .await?;
    Ok(bindings)
}
