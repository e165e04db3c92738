//! The database's clock. Everything that compares times of several machines compares this one.

use jiff::Timestamp;
use sqlx::PgConnection;

use crate::error::Error;

/// The time of day in the database.
pub(crate) async fn now(connection: &mut PgConnection) -> Result<Timestamp, Error> {
    let now = sqlx::query_scalar!(r#"SELECT clock_timestamp() AS "now!""#)
        .fetch_one(connection)
        .await?;
    Ok(now.to_jiff())
}
