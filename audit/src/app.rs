//! Wiring, and nothing else.

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use chassis::config::Http;
use chassis::crypto::{Holder, RootKek};
use chassis::db::{OperatorStore, Pool, Store};
use chassis::http::{bind, govern, serve};
use chassis::preflight::Preflight;
use chassis::{App, Failure, ops, redis};
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;

use crate::api::{self, Desk};
use crate::config::{Config, OPERATOR, READER, WRITER};
use crate::ingest::Ingest;
use crate::ingest::append::Appender;
use crate::ingest::publish::Publisher;
use crate::ingest::screen::Trust;
use crate::keyring::Keyring;
use crate::metrics::Metrics;
use crate::sweep::Sweep;
use crate::tamper::{Alarm, Heads};

/// How long the start waits for what it needs.
const PATIENCE: Duration = Duration::from_secs(30);
/// How often open tamper cases are counted.
const LOOK: Duration = Duration::from_secs(10);
/// Schema versions that this build works with.
const SCHEMA: RangeInclusive<i64> = 4..=99;

/// Brings the service up: connects, binds, spawns its tasks.
pub async fn run(config: Config, app: App) -> Result<(), Failure> {
    let listener = bind(config.http.listen).await?;
    let pools = Pools::connect(&config).await?;
    let client = redis::Client::connect(&config.redis, PATIENCE).await?;
    let mut preflight = Preflight::new(app.mode);
    for pool in [&pools.writer, &pools.reader, &pools.operator] {
        preflight.postgres(&config.database, pool, SCHEMA).await?;
    }
    preflight.redis(&config.redis, &client).await?;
    preflight.finish()?;

    let (ops, partitions) = (config.ops.clone(), config.partitions.get());
    // The outer bound is that of a verification; searches have their own.
    let timeout = config.verify_timeout.max(config.http.timeout);
    let http = Http {
        timeout,
        ..config.http.clone()
    };
    let (desk, ingest) = assemble(config, &app, pools, client)?;
    let soft = app.lifecycle.soft();
    for partition in 0..partitions {
        app.lifecycle
            .spawn("ingest", ingest.clone().run(partition, soft.clone()));
    }
    app.lifecycle
        .spawn("alarm", watch(ingest.alarm, soft.clone()));
    ops::serve(&ops, &app.lifecycle, &app.readiness, &app.metrics).await?;
    let router = govern(api::router(desk), &http, app.clock.clone(), app.rng.clone());
    serve(&app.lifecycle, "http", listener, router);
    Ok(())
}

/// Everything that is running later.
fn assemble(
    config: Config,
    app: &App,
    pools: Pools,
    client: redis::Client,
) -> Result<(Arc<Desk>, Ingest), Failure> {
    let metrics = Metrics::new(&app.metrics);
    let operator = OperatorStore::new(pools.operator);
    let alarm = Alarm::new(
        metrics.tamper_open.clone(),
        app.readiness.clone(),
        operator.clone(),
    );
    let root = RootKek::new(Holder::Audit, &config.root_key).map_err(Failure::internal)?;
    let keyring = Keyring::new(root, app.rng.clone());
    let store = Store::new(pools.writer);
    let clock = app.clock.clone();
    let appender = Arc::new(Appender::new(
        store,
        keyring,
        clock.clone(),
        Heads::default(),
    ));
    let trust = Arc::new(Trust {
        producers: config.producers,
        partitions: config.partitions,
    });
    let ingest = Ingest {
        holder: app.rng.uuid_v7(clock.now()).to_string(),
        appender: Arc::clone(&appender),
        publisher: Publisher::new(client, Arc::new(config.signer), clock.clone()),
        trust: Arc::clone(&trust),
        metrics: metrics.clone(),
        alarm: alarm.clone(),
        postgres: app.readiness.need("postgres"),
        redis: app.readiness.need("redis"),
    };
    let sweep = Sweep {
        appender,
        operator: operator.clone(),
        trust,
        clock: clock.clone(),
        metrics,
        alarm,
    };
    let desk = Desk {
        token: config.token,
        reader: Store::new(pools.reader),
        operator,
        sweep,
        verifying: Mutex::new(()),
        limits: api::Limits::new(config.calls_per_second, config.failures_per_second),
        clock,
        timeout: config.http.timeout,
    };
    Ok((Arc::new(desk), ingest))
}

/// One pool a role.
struct Pools {
    writer: Pool,
    reader: Pool,
    operator: Pool,
}

impl Pools {
    async fn connect(config: &Config) -> Result<Self, Failure> {
        Ok(Self {
            writer: Pool::connect(&config.database, WRITER, PATIENCE).await?,
            reader: Pool::connect(&config.database, READER, PATIENCE).await?,
            operator: Pool::connect(&config.database, OPERATOR, PATIENCE).await?,
        })
    }
}

/// Counts open tamper cases now and then: another replica may have opened some.
async fn watch(alarm: Alarm, stop: CancellationToken) {
    while !stop.is_cancelled() {
        if let Err(error) = alarm.look().await {
            tracing::warn!(
                error = error.to_string(),
                "the open cases cannot be counted"
            );
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(LOOK) => {}
        }
    }
}
