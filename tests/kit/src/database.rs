//! Databases: each test has one of its own, copied from a template that was migrated once per cluster.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use engines::{Durability, Leash, Postgres};
use migrations::{MIGRATIONS, Migration, Role};
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection, PgPool};

use crate::folder::folder;

const PATIENCE: Duration = Duration::from_mins(1);
/// Databases of tests ask nobody for a password; `initdb` wants one.
const PASSWORD: &str = "scratch";

/// A database of a test's own. It goes when the last of its clones does.
#[derive(Debug, Clone)]
pub struct TestDb {
    /// Its name.
    pub name: String,
    /// Its address, without a user.
    pub url: String,
    superuser: PgConnectOptions,
    _dropped: std::sync::Arc<Dropped>,
}

impl TestDb {
    /// A pool that is logged in as a role.
    pub async fn pool(&self, role: &str) -> PgPool {
        connected(self.options(role)).await
    }

    /// A pool of the superuser: for arranging and for breaking things.
    pub async fn superuser(&self) -> PgPool {
        connected(self.superuser.clone()).await
    }

    /// How to log in as a role.
    pub fn options(&self, role: &str) -> PgConnectOptions {
        self.url
            .parse::<PgConnectOptions>()
            .expect("the database's address")
            .username(role)
    }
}

async fn connected(options: PgConnectOptions) -> PgPool {
    PgPoolOptions::new()
        .max_connections(8)
        .connect_with(options)
        .await
        .expect("logging in")
}

/// Removes the database, from a thread of its own: a test's runtime may be gone by then.
#[derive(Debug)]
struct Dropped {
    admin: PgConnectOptions,
    name: String,
}

impl Drop for Dropped {
    fn drop(&mut self) {
        let (admin, name) = (self.admin.clone(), self.name.clone());
        let removed = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()?;
            runtime.block_on(async {
                let mut connection = PgConnection::connect_with(&admin).await?;
                let drop = format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)");
                connection.execute(AssertSqlSafe(drop)).await?;
                connection.close().await?;
                anyhow::Ok(())
            })
        });
        // The cluster ends with the process anyway, or is somebody's who can see what is left.
        let _ = removed.join();
    }
}

/// A fresh database with the whole schema.
pub async fn database() -> TestDb {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let base = cluster();
    let admin: PgConnectOptions = base.parse().expect("the cluster's address");
    let admin = admin.database("postgres");
    let template = template(&admin, base).await;
    let name = format!(
        "test_{}_{}",
        std::process::id(),
        NUMBER.fetch_add(1, Ordering::Relaxed)
    );
    let mut connection = connect(&admin).await;
    for statement in [
        format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)"),
        format!("CREATE DATABASE {name} TEMPLATE {template} OWNER caracal_owner"),
        // What is granted on a database is not copied with it.
        format!("REVOKE ALL ON DATABASE {name} FROM PUBLIC"),
        format!(
            "GRANT CONNECT ON DATABASE {name} TO {}",
            Role::ALL.map(Role::name).join(", ")
        ),
    ] {
        connection
            .execute(AssertSqlSafe(statement))
            .await
            .expect("making a database");
    }
    connection.close().await.expect("leaving");
    TestDb {
        url: address(base, &name),
        superuser: admin.clone().database(&name),
        _dropped: std::sync::Arc::new(Dropped {
            admin,
            name: name.clone(),
        }),
        name,
    }
}

/// The superuser's address of the cluster.
fn cluster() -> &'static str {
    static CLUSTER: OnceLock<String> = OnceLock::new();
    static LEASH: OnceLock<Leash> = OnceLock::new();
    CLUSTER.get_or_init(|| {
        if let Ok(url) = std::env::var("CARACAL_TEST_DATABASE_URL") {
            return url;
        }
        let user = engines::unprivileged().expect("an account to run as");
        let folder = folder(user.as_ref());
        let postgres = Postgres::new(
            &crate::tools(),
            &folder,
            &folder,
            user.as_ref(),
            Durability::Scratch,
        )
        .expect("a PostgreSQL");
        postgres.initialise(PASSWORD).expect("a cluster");
        let leash = Leash::start(&postgres.launch(&folder.join("log")), "INT", true)
            .expect("starting PostgreSQL");
        postgres.wait_ready(PATIENCE).expect("PostgreSQL");
        LEASH.set(leash).expect("one cluster a process");
        postgres.superuser_url("postgres", PASSWORD)
    })
}

/// Makes the template once per cluster and schema: whoever holds the lock does.
async fn template(admin: &PgConnectOptions, base: &str) -> String {
    let digest = MIGRATIONS
        .iter()
        .flat_map(Migration::sha256)
        .fold(0_u64, |sum, byte| sum.rotate_left(9) ^ u64::from(byte));
    let name = format!("caracal_template_{digest:016x}");
    let mut connection = connect(admin).await;
    connection
        .execute("SELECT pg_advisory_lock(hashtextextended('caracal.kit', 0))")
        .await
        .expect("the template's lock");
    let made: bool = sqlx::query_scalar(
        "SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1 AND datistemplate)",
    )
    .bind(&name)
    .fetch_one(&mut connection)
    .await
    .expect("looking for the template");
    if !made {
        make(admin, base, &mut connection, &name).await;
    }
    connection.close().await.expect("leaving");
    name
}

async fn make(admin: &PgConnectOptions, base: &str, connection: &mut PgConnection, name: &str) {
    let password = password(base);
    let passwords: Vec<(Role, &str)> = Role::ALL
        .into_iter()
        .zip(std::iter::repeat(password.as_deref().unwrap_or(PASSWORD)))
        .collect();
    migrations::bootstrap(connection, &passwords)
        .await
        .expect("making the roles");
    let drop = format!("DROP DATABASE IF EXISTS {name}");
    connection
        .execute(AssertSqlSafe(drop))
        .await
        .expect("dropping half a template");
    migrations::create_database(connection, name)
        .await
        .expect("making the template");
    let mut inside = connect(&admin.clone().database(name)).await;
    migrations::migrate(&mut inside).await.expect("migrating");
    inside.close().await.expect("leaving the template");
    let done = format!("ALTER DATABASE {name} WITH IS_TEMPLATE true ALLOW_CONNECTIONS false");
    connection
        .execute(AssertSqlSafe(done))
        .await
        .expect("marking the template");
}

async fn connect(options: &PgConnectOptions) -> PgConnection {
    PgConnection::connect_with(options)
        .await
        .expect("connecting as superuser")
}

/// The address of another database of the cluster, without the user. The roles have the superuser's password where
/// there is one, so that it stays.
fn address(base: &str, name: &str) -> String {
    let (scheme, rest) = base.split_once("://").expect("an address with a scheme");
    let (place, query) = rest.split_once('?').unwrap_or((rest, ""));
    let authority = place.split('/').next().unwrap_or_default();
    let host = authority
        .rsplit_once('@')
        .map_or(authority, |(_, host)| host);
    let mut pairs: Vec<String> = query
        .split('&')
        .filter(|pair| !pair.is_empty() && !pair.starts_with("user="))
        .map(str::to_owned)
        .collect();
    if let Some(password) = password(base).filter(|_| !query.contains("password=")) {
        pairs.push(format!("password={password}"));
    }
    let query = if pairs.is_empty() {
        String::new()
    } else {
        format!("?{}", pairs.join("&"))
    };
    format!("{scheme}://{host}/{name}{query}")
}

/// The password in an address.
fn password(base: &str) -> Option<String> {
    let rest = base.split_once("://").map_or(base, |(_, rest)| rest);
    let (place, query) = rest.split_once('?').unwrap_or((rest, ""));
    if let Some(password) = query
        .split('&')
        .find_map(|pair| pair.strip_prefix("password="))
    {
        return Some(password.to_owned());
    }
    let authority = place.split('/').next().unwrap_or_default();
    let (user, _) = authority.rsplit_once('@')?;
    user.split_once(':')
        .map(|(_, password)| password.to_owned())
}

#[cfg(test)]
mod tests {
    use super::{address, password};

    fn check(base: &str, expected: &str) {
        assert_eq!(address(base, "t"), expected);
    }

    #[test]
    fn an_address_loses_its_user_and_keeps_its_place_and_password() {
        check(
            "postgres:///postgres?host=/s&port=5432&user=postgres",
            "postgres:///t?host=/s&port=5432",
        );
        check(
            "postgres:///postgres?host=/s&user=a&password=b",
            "postgres:///t?host=/s&password=b",
        );
        check(
            "postgres://a:b@localhost:5433/x",
            "postgres://localhost:5433/t?password=b",
        );
        check("postgresql://a@localhost/x", "postgresql://localhost/t");
        assert_eq!(password("postgres://localhost/x"), None);
    }

    #[tokio::test]
    async fn two_tests_have_two_databases_and_each_role_its_own_login() {
        let (one, other) = tokio::join!(super::database(), super::database());
        assert_ne!(one.name, other.name);
        for role in migrations::Role::ALL {
            let pool = one.pool(role.name()).await;
            let name: String = sqlx::query_scalar("SELECT current_user::text")
                .fetch_one(&pool)
                .await
                .unwrap();
            assert_eq!(name, role.name());
            pool.close().await;
        }
    }

    #[tokio::test]
    async fn a_database_goes_with_its_test() {
        let (db, keeper) = tokio::join!(super::database(), super::database());
        let name = db.name.clone();
        drop(db);
        let there: bool =
            sqlx::query_scalar("SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1)")
                .bind(&name)
                .fetch_one(&keeper.superuser().await)
                .await
                .unwrap();
        assert!(!there);
    }
}
