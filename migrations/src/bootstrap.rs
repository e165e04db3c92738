//! What a superuser does once: the roles of a cluster, an empty database with its owner.

use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection};

use crate::apply::Error;
use crate::role::Role;

/// Makes the roles that are missing and sets the passwords given. Must be connected to the database `postgres` as a
/// superuser. Safe to repeat, and for several to do at once.
pub async fn bootstrap(
    connection: &mut PgConnection,
    passwords: &[(Role, &str)],
) -> Result<(), Error> {
    let mut tx = connection.begin().await?;
    sqlx::raw_sql(include_str!("bootstrap.sql"))
        .execute(&mut *tx)
        .await?;
    for (role, password) in passwords {
        // A password is no parameter of the statement; the server quotes it for us.
        let statement: String =
            sqlx::query_scalar("SELECT format('ALTER ROLE %I PASSWORD %L', $1::text, $2::text)")
                .bind(role.name())
                .bind(password)
                .fetch_one(&mut *tx)
                .await?;
        tx.execute(AssertSqlSafe(statement)).await?;
    }
    tx.commit().await?;
    Ok(())
}

/// Makes a database that migrations can be applied to, unless there is one. Must be connected to the database
/// `postgres` as a superuser. `name`: lower-case letters, digits, `_`.
pub async fn create_database(connection: &mut PgConnection, name: &str) -> Result<(), Error> {
    if name.is_empty()
        || !name
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
    {
        return Err(Error::Name(name.to_owned()));
    }
    let known: bool =
        sqlx::query_scalar("SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1)")
            .bind(name)
            .fetch_one(&mut *connection)
            .await?;
    if !known {
        let statement = format!(
            "CREATE DATABASE {name} OWNER caracal_owner TEMPLATE template0 ENCODING 'UTF8' LOCALE 'C.UTF-8'"
        );
        connection.execute(AssertSqlSafe(statement)).await?;
    }
    Ok(())
}
