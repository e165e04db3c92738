//! Enforcement points that have registered, and how far they are.

use jiff::Timestamp;
use jiff_sqlx::ToSqlx;
use sqlx::PgConnection;

use crate::error::Error;

/// A reader.
#[derive(Clone, Debug)]
pub(crate) struct Reader {
    pub(crate) name: String,
    pub(crate) service: String,
    pub(crate) epoch: Vec<u8>,
    pub(crate) pos: i64,
    pub(crate) bound_ms: i32,
    pub(crate) seen_at: jiff_sqlx::Timestamp,
}

/// Registers a reader, or says how far it is by now.
pub(crate) async fn ack(connection: &mut PgConnection, reader: &Reader) -> Result<(), Error> {
    sqlx::query!(
        r#"
        INSERT INTO readers (reader, service, epoch, pos, bound_ms, seen_at)
        VALUES ($1, $2, $3, $4, $5, $6)
        ON CONFLICT (reader) DO UPDATE
        SET service = EXCLUDED.service, epoch = EXCLUDED.epoch, pos = EXCLUDED.pos,
            bound_ms = EXCLUDED.bound_ms, seen_at = EXCLUDED.seen_at
        "#,
        reader.name,
        reader.service,
        reader.epoch,
        reader.pos,
        reader.bound_ms,
        reader.seen_at as _,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Every reader seen since `since`.
pub(crate) async fn list(
    connection: &mut PgConnection,
    since: Timestamp,
) -> Result<Vec<Reader>, Error> {
    let readers = sqlx::query_as!(
        Reader,
        r#"
        SELECT reader AS name, service, epoch, pos, bound_ms, seen_at
        FROM readers
        WHERE seen_at >= $1
        ORDER BY reader
        LIMIT 10000
        "#,
        since.to_sqlx() as _,
    )
    .fetch_all(connection)
    .await?;
    Ok(readers)
}

/// The highest position any reader has applied in this epoch.
pub(crate) async fn highest(connection: &mut PgConnection, epoch: &[u8]) -> Result<i64, Error> {
    let highest = sqlx::query_scalar!(
        r#"
        SELECT coalesce(max(pos), 0) AS "highest!"
        FROM readers
        WHERE epoch = $1
        "#,
        epoch,
    )
    .fetch_one(connection)
    .await?;
    Ok(highest)
}

/// Forgets readers that have been silent since `before`.
pub(crate) async fn prune(connection: &mut PgConnection, before: Timestamp) -> Result<u64, Error> {
    let pruned = sqlx::query!(
        r#"
        DELETE FROM readers
        WHERE seen_at < $1
        "#,
        before.to_sqlx() as _,
    )
    .execute(connection)
    .await?;
    Ok(pruned.rows_affected())
}
