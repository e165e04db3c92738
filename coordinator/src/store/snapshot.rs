//! Everything an enforcement point must know, across zones, read in one snapshot of the database
//! as the role that may see that and nothing else.

use jiff::Timestamp;
use jiff_sqlx::ToSqlx;
use mandate::id::ZoneId;
use sqlx::PgConnection;
use sqlx::types::Json;
use uuid::Uuid;

use crate::delta::{self, Delta};
use crate::error::Error;
use crate::store::anchors::AnchorKind;
use crate::store::bindings::Binding;
use crate::store::policies::ActivePolicy;
use crate::store::resources::{Operation, Resource};
use crate::store::signing_keys::PublicKey;
use crate::store::zones::Zone;

/// Zones, all of them when `ids` is empty.
pub(crate) async fn zones(connection: &mut PgConnection, ids: &[Uuid]) -> Result<Vec<Zone>, Error> {
    let zones = sqlx::query_as!(
        Zone,
        r#"
        SELECT zone_id AS id, name, issuer, state, freshness_bound_ms, version, created_at,
               updated_at
        FROM zones
        WHERE cardinality($1::uuid[]) = 0 OR zone_id = ANY($1)
        ORDER BY zone_id
        "#,
        ids,
    )
    .fetch_all(connection)
    .await?;
    Ok(zones)
}

/// The keys of a zone that verify.
pub(crate) async fn keys(connection: &mut PgConnection, zone: ZoneId) -> Result<Vec<Delta>, Error> {
    let keys = sqlx::query_as!(
        PublicKey,
        r#"
        SELECT kid, alg, public_key AS public, state, version
        FROM signing_keys
        WHERE zone_id = $1 AND state IN ('pending', 'active', 'retired')
        ORDER BY kid
        "#,
        zone.as_uuid(),
    )
    .fetch_all(connection)
    .await?;
    Ok(keys.iter().map(|key| delta::key(zone, key)).collect())
}

/// The resources of a zone.
pub(crate) async fn resources(
    connection: &mut PgConnection,
    zone: ZoneId,
) -> Result<Vec<Delta>, Error> {
    let resources = sqlx::query_as!(
        Resource,
        r#"
        SELECT id, identifier, name, scopes, operations AS "operations: Json<Vec<Operation>>",
               upstream, 'active' AS "state!", version, created_at
        FROM resources
        WHERE zone_id = $1
        ORDER BY id
        "#,
        zone.as_uuid(),
    )
    .fetch_all(connection)
    .await?;
    Ok(resources
        .iter()
        .map(|resource| delta::resource(zone, resource))
        .collect())
}

/// The bindings of a zone.
pub(crate) async fn bindings(
    connection: &mut PgConnection,
    zone: ZoneId,
) -> Result<Vec<Delta>, Error> {
    let bindings = sqlx::query_as!(
        Binding,
        r#"
        SELECT b.id, b.attachment, r.identifier AS resource, b.hosts, b.path_prefix,
               b.upstream_clusters, b.public_url, b.evidence, b.max_hops, b.forward_mandate,
               b.state, b.version, b.created_at
        FROM bindings AS b
        JOIN resources AS r ON r.zone_id = b.zone_id AND r.id = b.resource_id
        WHERE b.zone_id = $1
        ORDER BY b.id
        "#,
        zone.as_uuid(),
    )
    .fetch_all(connection)
    .await?;
    Ok(bindings
        .iter()
        .map(|binding| delta::binding(zone, binding))
        .collect())
}

/// The active policy of a zone.
pub(crate) async fn policy(
    connection: &mut PgConnection,
    zone: ZoneId,
) -> Result<Option<Delta>, Error> {
    let active = sqlx::query_as!(
        ActivePolicy,
        r#"
        SELECT p.id, p.number, p.content_sha256, p.canonical, h.version AS head_version
        FROM policy_heads AS h
        JOIN policies AS p ON p.zone_id = h.zone_id AND p.id = h.active_id
        WHERE h.zone_id = $1
        "#,
        zone.as_uuid(),
    )
    .fetch_optional(connection)
    .await?;
    Ok(active.map(|policy| delta::policy(zone, &policy)))
}

/// What a zone holds against mandates that may still live: the dead until their time, cut-offs
/// above `cut_off_after_s`, and every state that is not `active`.
pub(crate) async fn revocations(
    connection: &mut PgConnection,
    zone: ZoneId,
    now: Timestamp,
    cut_off_after_s: i64,
) -> Result<Vec<Delta>, Error> {
    let rows = sqlx::query!(
        r#"
        SELECT kind, id, state, not_before_s, dead_until, version
        FROM anchors
        WHERE zone_id = $1
          AND (dead_until > $2 OR not_before_s > $3 OR state <> 'active')
          AND kind <> 'policy'
        ORDER BY kind, id
        "#,
        zone.as_uuid(),
        now.to_sqlx() as _,
        cut_off_after_s,
    )
    .fetch_all(connection)
    .await?;
    let mut deltas = Vec::with_capacity(rows.len());
    for row in rows {
        let kind = AnchorKind::parse(&row.kind)
            .ok_or_else(|| Error::bad_row("anchors", format_args!("{zone} {}", row.kind)))?;
        if let Some(until) = row
            .dead_until
            .map(jiff_sqlx::Timestamp::to_jiff)
            .filter(|at| *at > now)
        {
            deltas.push(delta::dead(zone, kind, &row.id, until, row.version));
        }
        if row.not_before_s > cut_off_after_s {
            deltas.push(delta::cut_off(
                zone,
                kind,
                &row.id,
                row.not_before_s,
                row.version,
            ));
        }
        if row.state != "active" && kind != AnchorKind::Zone {
            deltas.push(delta::state(zone, kind, &row.id, &row.state, row.version));
        }
    }
    Ok(deltas)
}
