//! What a coordinator stands on: a database of its own and a Valkey database of its own.

use std::collections::BTreeMap;
use std::time::Duration;

use chassis::config::Redis;
use chassis::redis::Client;
use sqlx::postgres::PgPoolOptions;
use sqlx::{PgPool, Postgres, Transaction};

/// Engines that several coordinators of one deployment may share.
#[derive(Clone)]
pub(super) struct Engines {
    pub(super) superuser: PgPool,
    database: kit::TestDb,
    pools: BTreeMap<&'static str, PgPool>,
    redis: Client,
    pub(super) redis_url: String,
}

/// Empty engines.
pub(super) async fn start() -> Engines {
    let database = kit::database().await;
    let mut pools = BTreeMap::new();
    for role in migrations::Role::ALL {
        let options = database.options(role.name());
        let pool = PgPoolOptions::new()
            .max_connections(6)
            .connect_lazy_with(options);
        pools.insert(role.name(), pool);
    }
    let superuser = database.superuser().await;
    let redis_url = kit::valkey_url();
    Engines {
        superuser,
        database,
        pools,
        redis: client(&redis_url),
        redis_url,
    }
}

fn client(url: &str) -> Client {
    Client::open(&Redis::at(url, Duration::from_secs(2)).unwrap()).unwrap()
}

impl Engines {
    /// The same database, and a Redis that does not answer.
    pub(super) fn without_redis(mut self) -> Self {
        self.redis = client("redis://127.0.0.1:1");
        self
    }

    pub(super) fn pool(&self, role: &str) -> PgPool {
        self.pools[role].clone()
    }

    /// The database's address, without a user.
    pub(super) fn database_url(&self) -> String {
        self.database.url.clone()
    }

    pub(super) fn redis(&self) -> Client {
        self.redis.clone()
    }

    /// A transaction on a zone as a role.
    pub(super) async fn begin(&self, role: &str, zone: &str) -> Transaction<'static, Postgres> {
        let mut tx = self.pools[role].begin().await.unwrap();
        sqlx::query("SELECT set_config('caracal.zone_id', $1, true)")
            .bind(zone)
            .execute(&mut *tx)
            .await
            .unwrap();
        tx
    }
}
