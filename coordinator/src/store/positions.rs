//! The deployment's row and the numbered changes.

use jiff::Timestamp;
use jiff_sqlx::ToSqlx;
use sqlx::PgConnection;
use uuid::Uuid;

use crate::error::Error;

/// The deployment as it stands.
#[derive(Clone, Debug)]
pub(crate) struct Deployment {
    pub(crate) epoch: Vec<u8>,
    pub(crate) system_identifier: String,
    pub(crate) timeline: i32,
    pub(crate) pos: i64,
    pub(crate) as_of: jiff_sqlx::Timestamp,
}

/// A numbered change.
#[derive(Clone, Debug)]
pub(crate) struct Position {
    pub(crate) pos: i64,
    pub(crate) envelope: Vec<u8>,
}

/// The deployment; None before a sequencer has run for the first time.
pub(crate) async fn deployment(connection: &mut PgConnection) -> Result<Option<Deployment>, Error> {
    let deployment = sqlx::query_as!(
        Deployment,
        r#"
        SELECT epoch, system_identifier, timeline, pos, as_of
        FROM deployment
        "#,
    )
    .fetch_optional(connection)
    .await?;
    Ok(deployment)
}

/// What was numbered after `pos`, in order.
pub(crate) async fn after(
    connection: &mut PgConnection,
    pos: i64,
    limit: i64,
) -> Result<Vec<Position>, Error> {
    let positions = sqlx::query_as!(
        Position,
        r#"
        SELECT pos, envelope
        FROM positions
        WHERE pos > $1
        ORDER BY pos
        LIMIT $2
        "#,
        pos,
        limit,
    )
    .fetch_all(connection)
    .await?;
    Ok(positions)
}

/// Under which position an outbox row of a zone was numbered; None while it is not, or when it was
/// pruned since.
pub(crate) async fn of_outbox(
    connection: &mut PgConnection,
    zone: Uuid,
    outbox_id: i64,
) -> Result<Option<i64>, Error> {
    let pos = sqlx::query_scalar!(
        r#"
        SELECT pos
        FROM positions
        WHERE zone_id = $1 AND outbox_id = $2
        "#,
        zone,
        outbox_id,
    )
    .fetch_optional(connection)
    .await?;
    Ok(pos)
}

/// The newest numbered changes of a zone, newest first.
pub(crate) async fn newest_of_zone(
    connection: &mut PgConnection,
    zone: Uuid,
    limit: i64,
) -> Result<Vec<Position>, Error> {
    let positions = sqlx::query_as!(
        Position,
        r#"
        SELECT pos, envelope
        FROM positions
        WHERE zone_id = $1
        ORDER BY pos DESC
        LIMIT $2
        "#,
        zone,
        limit,
    )
    .fetch_all(connection)
    .await?;
    Ok(positions)
}

/// Forgets what was numbered before `before`, at most `limit` rows.
pub(crate) async fn prune(
    connection: &mut PgConnection,
    before: Timestamp,
    limit: i64,
) -> Result<u64, Error> {
    let pruned = sqlx::query!(
        r#"
        DELETE FROM positions
        WHERE pos IN (SELECT p.pos
                      FROM positions AS p
                      WHERE p.created_at < $1
                      ORDER BY p.pos
                      LIMIT $2)
        "#,
        before.to_sqlx() as _,
        limit,
    )
    .execute(connection)
    .await?;
    Ok(pruned.rows_affected())
}
