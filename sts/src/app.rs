//! Wiring, and nothing else.

use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use chassis::config::Http;
use chassis::crypto::{EventKey, Holder, MacKey, RootKek};
use chassis::db::{OperatorStore, Pool, Store};
use chassis::evidence::Shipper;
use chassis::http::{bind, govern, serve};
use chassis::journal::{Journal, JournalConfig};
use chassis::preflight::Preflight;
use chassis::{App, Dependency, Failure, ops, redis};
use ledger::envelope::EventSigner;
use sqlx::Connection;
use tokio_util::sync::CancellationToken;

use crate::api::{self, Desk};
use crate::config::{Config, KEEPING, SERVING};
use crate::keys::keeper::Keeper;
use crate::keys::ring::Ring;
use crate::limit::Failures;
use crate::metrics::Metrics;
use crate::mint::evidence::Evidence;
use crate::mint::{Laws, Mint};
use crate::skew::Agreement;
use crate::token::form::MAX_BODY;

/// How long the start waits for what it needs.
const PATIENCE: Duration = Duration::from_secs(30);
/// How soon Postgres is asked again whether it answers.
const PULSE: Duration = Duration::from_secs(2);
/// Schema versions that this build works with: what it needs is in the first; later ones only add.
const SCHEMA: RangeInclusive<i64> = 4..=1_000;

/// Brings the service up: connects, binds, spawns its tasks.
pub async fn run(config: Config, app: App) -> Result<(), Failure> {
    let listener = bind(config.http.listen).await?;
    let parts = assemble(&config, &app).await?;
    let Parts {
        desk,
        keeper,
        shipper,
        serving,
    } = parts;
    let stop = app.lifecycle.soft();
    let agreement = desk.mint.agreement.clone();
    app.lifecycle
        .spawn("clock", agreement.keep(serving.clone(), stop.clone()));
    let every = config.keys.provision_every;
    let keeping = app.readiness.need("keeper");
    app.lifecycle
        .spawn("keeper", keeper.keep(every, keeping, stop.clone()));
    shipper.spawn(&app.lifecycle);
    let (counting, every) = (Arc::clone(&desk), config.evidence.refusals_every);
    let soft = stop.clone();
    app.lifecycle.spawn("refusals", async move {
        counting.evidence.keep(every, soft).await;
    });
    let postgres = app.readiness.need("postgres");
    app.lifecycle
        .spawn("postgres", pulse(serving, postgres, stop.clone()));

    ops::serve(&config.ops, &app.lifecycle, &app.readiness, &app.metrics).await?;
    // Handlers bound the body themselves, so that a refusal has the form that OAuth gives it.
    let http = Http {
        max_body_bytes: usize::MAX,
        ..config.http
    };
    let router = govern(api::router(desk), &http, app.clock.clone(), app.rng.clone());
    serve(&app.lifecycle, "http", listener, router);
    Ok(())
}

/// Everything that is running later.
struct Parts {
    desk: Arc<Desk>,
    keeper: Keeper,
    shipper: Shipper,
    serving: Pool,
}

/// What is at the other end.
struct Connections {
    serving: Pool,
    keeping: Pool,
    redis: redis::Client,
}

async fn assemble(config: &Config, app: &App) -> Result<Parts, Failure> {
    let Connections {
        serving,
        keeping,
        redis,
    } = connect(config, app).await?;
    let root = RootKek::new(Holder::Sts, &config.root_key).map_err(Failure::internal)?;
    let root = Arc::new(root);
    let journal = journal(config, app).await?;
    let trusted = config.producers.clone();
    let shipper = Shipper::new(journal.clone(), redis, trusted, app.clock.clone());
    let evidence = Evidence::new(
        journal,
        app.clock.clone(),
        Metrics::new(&app.metrics),
        app.readiness.need("journal"),
        config.evidence.refusals_kinds,
    );
    let desk = Desk {
        mint: mint(config, app, &serving, &root).await?,
        evidence,
        trusted_proxies: config.trusted_proxies.clone(),
        jwks_max_age: config.keys.jwks_max_age,
        max_body: config.http.max_body_bytes.min(MAX_BODY),
    };
    let keeper = Keeper {
        zones: OperatorStore::new(keeping.clone()),
        store: Store::new(keeping),
        root,
        events: Arc::clone(&config.event_key),
        clock: app.clock.clone(),
        rng: app.rng.clone(),
    };
    Ok(Parts {
        desk: Arc::new(desk),
        keeper,
        shipper: shipper.counted(&app.metrics),
        serving,
    })
}

async fn connect(config: &Config, app: &App) -> Result<Connections, Failure> {
    let serving = Pool::connect(&config.database, SERVING, PATIENCE).await?;
    let keeping = Pool::connect(&config.database, KEEPING, PATIENCE).await?;
    let redis = redis::Client::connect(&config.redis, PATIENCE).await?;
    let mut preflight = Preflight::new(app.mode);
    for pool in [&serving, &keeping] {
        preflight.postgres(&config.database, pool, SCHEMA).await?;
    }
    preflight.redis(&config.redis, &redis).await?;
    preflight.finish()?;
    Ok(Connections {
        serving,
        keeping,
        redis,
    })
}

async fn journal(config: &Config, app: &App) -> Result<Journal, Failure> {
    let kept = &config.evidence;
    let settings = JournalConfig::new(
        &kept.dir,
        "sts",
        kept.durability,
        kept.max_bytes,
        kept.reserve_bytes,
    );
    let settings = JournalConfig {
        partitions: kept.partitions,
        ..settings
    };
    let signer: Arc<dyn EventSigner> = Arc::<EventKey>::clone(&config.event_key);
    Journal::open(settings, app.clock.clone(), app.rng.clone(), signer)
        .await
        .map_err(Failure::internal)
}

async fn mint(
    config: &Config,
    app: &App,
    serving: &Pool,
    root: &Arc<RootKek>,
) -> Result<Mint, Failure> {
    let agreement = Agreement::new(app.clock.clone(), &app.readiness);
    let compared = agreement.compare(serving).await;
    compared.map_err(|error| Failure::dependency("postgres", error))?;
    let store = Store::new(serving.clone());
    let ring = Ring::new(
        store.clone(),
        Arc::clone(root),
        app.clock.clone(),
        config.keys.clone(),
    );
    Ok(Mint {
        store,
        ring,
        laws: Laws::new(config.keys.zones).map_err(Failure::internal)?,
        pepper: MacKey::new(&config.pepper),
        events: Arc::clone(&config.event_key),
        agreement,
        failures: Mutex::new(Failures::new(config.failures)),
        bench: Mint::bench(),
        clock: app.clock.clone(),
        rng: app.rng.clone(),
    })
}

/// Whether Postgres answers.
async fn pulse(pool: Pool, dependency: Dependency, stop: CancellationToken) {
    loop {
        let mut answered = pool.inner().acquire().await;
        if let Ok(connection) = &mut answered {
            dependency.observe(&connection.ping().await);
        } else {
            dependency.observe(&answered);
        }
        drop(answered);
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(PULSE) => {}
        }
    }
}
