//! Applications and their secrets.

use chassis::db::ZoneTx;
use jiff::Timestamp;
use jiff_sqlx::ToSqlx;
use uuid::Uuid;

use crate::error::Error;

/// An application.
#[derive(Clone, Debug)]
pub(crate) struct Application {
    pub(crate) id: Uuid,
    pub(crate) name: String,
    pub(crate) labels: Vec<String>,
    pub(crate) max_session_ttl_s: i32,
    pub(crate) session_ceiling: Option<Vec<String>>,
    pub(crate) state: String,
    pub(crate) version: i64,
    pub(crate) created_at: jiff_sqlx::Timestamp,
}

/// An application to be.
#[derive(Debug)]
pub(crate) struct NewApplication<'a> {
    pub(crate) id: Uuid,
    pub(crate) name: &'a str,
    pub(crate) labels: &'a [String],
    pub(crate) max_session_ttl_s: i32,
    pub(crate) session_ceiling: Option<&'a [String]>,
    pub(crate) now: Timestamp,
}

/// Adds an application; its anchor is the caller's to add.
pub(crate) async fn insert(tx: &mut ZoneTx, new: &NewApplication<'_>) -> Result<(), Error> {
    sqlx::query!(
        r#"
        INSERT INTO applications
               (zone_id, id, name, labels, max_session_ttl_s, session_ceiling, version, created_at,
                updated_at)
        VALUES ($1, $2, $3, $4, $5, $6, 1, $7, $7)
        "#,
        tx.zone().as_uuid(),
        new.id,
        new.name,
        new.labels,
        new.max_session_ttl_s,
        new.session_ceiling,
        new.now.to_sqlx() as _,
    )
    .execute(tx.as_mut())
    .await?;
    Ok(())
}

/// One application, with the state of its anchor.
pub(crate) async fn get(tx: &mut ZoneTx, id: Uuid) -> Result<Application, Error> {
    sqlx::query_as!(
        Application,
        r#"
        SELECT a.id, a.name, a.labels, a.max_session_ttl_s, a.session_ceiling, anchor.state,
               a.version, a.created_at
        FROM applications AS a
        JOIN anchors AS anchor
          ON anchor.zone_id = a.zone_id AND anchor.kind = 'application' AND anchor.id = a.id::text
        WHERE a.zone_id = $1 AND a.id = $2
        "#,
        tx.zone().as_uuid(),
        id,
    )
    .fetch_optional(tx.as_mut())
    .await?
    .ok_or(Error::NotFound("application"))
}

/// Applications in the order of their ids.
pub(crate) async fn list(
    tx: &mut ZoneTx,
    after: Uuid,
    limit: i64,
) -> Result<Vec<Application>, Error> {
    let applications = sqlx::query_as!(
        Application,
        r#"
        SELECT a.id, a.name, a.labels, a.max_session_ttl_s, a.session_ceiling, anchor.state,
               a.version, a.created_at
        FROM applications AS a
        JOIN anchors AS anchor
          ON anchor.zone_id = a.zone_id AND anchor.kind = 'application' AND anchor.id = a.id::text
        WHERE a.zone_id = $1 AND a.id > $2
        ORDER BY a.id
        LIMIT $3
        "#,
        tx.zone().as_uuid(),
        after,
        limit,
    )
    .fetch_all(tx.as_mut())
    .await?;
    Ok(applications)
}

/// Adds a secret, known from here on by its HMAC alone.
pub(crate) async fn insert_secret(
    tx: &mut ZoneTx,
    application: Uuid,
    secret: Uuid,
    hmac: &[u8],
    now: Timestamp,
) -> Result<(), Error> {
    sqlx::query!(
        r#"
        INSERT INTO application_secrets (zone_id, application_id, id, hmac, created_at)
        VALUES ($1, $2, $3, $4, $5)
        "#,
        tx.zone().as_uuid(),
        application,
        secret,
        hmac,
        now.to_sqlx() as _,
    )
    .execute(tx.as_mut())
    .await?;
    Ok(())
}

/// How many secrets of an application are accepted now.
pub(crate) async fn count_secrets(
    tx: &mut ZoneTx,
    application: Uuid,
    now: Timestamp,
) -> Result<i64, Error> {
    let count = sqlx::query_scalar!(
        r#"
        SELECT count(*) AS "count!"
        FROM application_secrets
        WHERE zone_id = $1
          AND application_id = $2
          AND revoked_at IS NULL
          AND (expires_at IS NULL OR expires_at > $3)
        "#,
        tx.zone().as_uuid(),
        application,
        now.to_sqlx() as _,
    )
    .fetch_one(tx.as_mut())
    .await?;
    Ok(count)
}

/// Lets every secret that has no end yet run out at `at`.
pub(crate) async fn expire_secrets(
    tx: &mut ZoneTx,
    application: Uuid,
    at: Timestamp,
) -> Result<(), Error> {
    sqlx::query!(
        r#"
        UPDATE application_secrets
        SET expires_at = $3
        WHERE zone_id = $1
          AND application_id = $2
          AND revoked_at IS NULL
          AND (expires_at IS NULL OR expires_at > $3)
        "#,
        tx.zone().as_uuid(),
        application,
        at.to_sqlx() as _,
    )
    .execute(tx.as_mut())
    .await?;
    Ok(())
}
