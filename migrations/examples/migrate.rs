//! Makes the roles and brings a database's schema up to date: `migrate URL`, as a superuser.

use std::str::FromStr as _;

use anyhow::Context as _;
use sqlx::postgres::PgConnectOptions;
use sqlx::{Connection as _, PgConnection};

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let url = std::env::args().nth(1).context("usage: migrate URL")?;
    let options = PgConnectOptions::from_str(&url).context("parsing the address")?;
    let mut cluster = PgConnection::connect_with(&options.clone().database("postgres"))
        .await
        .context("connecting to the cluster")?;
    migrations::bootstrap(&mut cluster, &[])
        .await
        .context("making the roles")?;
    let mut database = PgConnection::connect_with(&options)
        .await
        .context("connecting to the database")?;
    migrations::migrate(&mut database)
        .await
        .context("migrating")?;
    Ok(())
}
