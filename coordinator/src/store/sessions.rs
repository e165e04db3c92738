//! Sessions: one governed run of an agent each.

use chassis::db::ZoneTx;
use jiff::Timestamp;
use jiff_sqlx::ToSqlx;
use uuid::Uuid;

use crate::error::Error;

/// A session.
#[derive(Clone, Debug)]
pub(crate) struct Session {
    pub(crate) id: Uuid,
    pub(crate) application_id: Uuid,
    pub(crate) kind: String,
    pub(crate) labels: Vec<String>,
    pub(crate) ceiling: Option<Vec<String>>,
    pub(crate) resources: Option<Vec<String>>,
    pub(crate) state: String,
    pub(crate) started_at: jiff_sqlx::Timestamp,
    pub(crate) expires_at: jiff_sqlx::Timestamp,
    pub(crate) ended_at: Option<jiff_sqlx::Timestamp>,
    pub(crate) version: i64,
}

/// A session to be.
#[derive(Debug)]
pub(crate) struct NewSession<'a> {
    pub(crate) id: Uuid,
    pub(crate) application_id: Uuid,
    pub(crate) labels: &'a [String],
    pub(crate) ceiling: Option<&'a [String]>,
    pub(crate) resources: Option<&'a [String]>,
    pub(crate) started_at: Timestamp,
    pub(crate) expires_at: Timestamp,
}

/// Starts a root session and adds its anchor.
pub(crate) async fn insert(tx: &mut ZoneTx, new: &NewSession<'_>) -> Result<(), Error> {
    sqlx::query!(
        r#"
        WITH started AS (
            INSERT INTO sessions
                   (zone_id, id, application_id, kind, labels, ceiling, resources, state,
                    started_at, expires_at, root_id, depth, version)
            VALUES ($1, $2, $3, 'task', $4, $5, $6, 'active', $7, $8, $2, 0, 1)
            RETURNING id
        )
        INSERT INTO anchors (zone_id, kind, id)
        SELECT $1, 'session', started.id::text
        FROM started
        "#,
        tx.zone().as_uuid(),
        new.id,
        new.application_id,
        new.labels,
        new.ceiling,
        new.resources,
        new.started_at.to_sqlx() as _,
        new.expires_at.to_sqlx() as _,
    )
    .execute(tx.as_mut())
    .await?;
    Ok(())
}

/// One session.
pub(crate) async fn get(tx: &mut ZoneTx, id: Uuid) -> Result<Session, Error> {
    sqlx::query_as!(
        Session,
        r#"
        SELECT id, application_id, kind, labels, ceiling, resources, state, started_at, expires_at,
               ended_at, version
        FROM sessions
        WHERE zone_id = $1 AND id = $2
        "#,
        tx.zone().as_uuid(),
        id,
    )
    .fetch_optional(tx.as_mut())
    .await?
    .ok_or(Error::NotFound("session"))
}

/// Sessions in the order of their ids, of one application if one is named.
pub(crate) async fn list(
    tx: &mut ZoneTx,
    application: Option<Uuid>,
    after: Uuid,
    limit: i64,
) -> Result<Vec<Session>, Error> {
    let sessions = sqlx::query_as!(
        Session,
        r#"
        SELECT id, application_id, kind, labels, ceiling, resources, state, started_at, expires_at,
               ended_at, version
        FROM sessions
        WHERE zone_id = $1
          AND id > $2
          AND ($3::uuid IS NULL OR application_id = $3)
        ORDER BY id
        LIMIT $4
        "#,
        tx.zone().as_uuid(),
        after,
        application,
        limit,
    )
    .fetch_all(tx.as_mut())
    .await?;
    Ok(sessions)
}

/// Moves a session from one of `from` to `to`; false when it is in none of them.
pub(crate) async fn set_state(
    tx: &mut ZoneTx,
    id: Uuid,
    from: &[&str],
    to: &str,
    ended_at: Option<Timestamp>,
) -> Result<bool, Error> {
    let from: Vec<String> = from.iter().map(|state| (*state).to_owned()).collect();
    let updated = sqlx::query!(
        r#"
        UPDATE sessions
        SET state = $4, ended_at = coalesce($5, ended_at), version = version + 1
        WHERE zone_id = $1 AND id = $2 AND state = ANY($3)
        "#,
        tx.zone().as_uuid(),
        id,
        &from,
        to,
        ended_at.map(ToSqlx::to_sqlx) as _,
    )
    .execute(tx.as_mut())
    .await?;
    Ok(updated.rows_affected() == 1)
}

/// Marks sessions whose time has run out, at most `limit` of them, and gives their ids. Rows that
/// somebody else is changing are left for the next round.
pub(crate) async fn expire(
    tx: &mut ZoneTx,
    now: Timestamp,
    limit: i64,
) -> Result<Vec<Uuid>, Error> {
    let ids = sqlx::query_scalar!(
        r#"
        UPDATE sessions
        SET state = 'expired', ended_at = expires_at, version = version + 1
        WHERE zone_id = $1
          AND id IN (SELECT s.id
                     FROM sessions AS s
                     WHERE s.zone_id = $1
                       AND s.state IN ('active', 'suspended')
                       AND s.expires_at <= $2
                     ORDER BY s.expires_at
                     LIMIT $3
                     FOR UPDATE SKIP LOCKED)
        RETURNING id
        "#,
        tx.zone().as_uuid(),
        now.to_sqlx() as _,
        limit,
    )
    .fetch_all(tx.as_mut())
    .await?;
    Ok(ids)
}
