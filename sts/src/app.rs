//! Wiring, and nothing else.

use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use chassis::config::Http;
use chassis::crypto::{Holder, MacKey, RootKek};
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
/// Schema versions that this build works with.
const SCHEMA: RangeInclusive<i64> = 1..=1;

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
        counting.evidence.keep(every, soft).await
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

async fn assemble(config: &Config, app: &App) -> Result<Parts, Failure> {
    let serving = Pool::connect(&config.database, SERVING, PATIENCE).await?;
    let keeping = Pool::connect(&config.database, KEEPING, PATIENCE).await?;
    let redis = redis::Client::connect(&config.redis, PATIENCE).await?;
    let mut preflight = Preflight::new(app.mode);
    preflight
        .postgres(&config.database, &serving, SCHEMA)
        .await?;
    preflight
        .postgres(&config.database, &keeping, SCHEMA)
        .await?;
    preflight.redis(&config.redis, &redis).await?;
    preflight.finish()?;

    let root = Arc::new(RootKek::new(Holder::Sts, &config.root_key).map_err(Failure::internal)?);
    let events = Arc::clone(&config.event_key);
    let kept = &config.evidence;
    let journal = JournalConfig {
        partitions: kept.partitions,
        ..JournalConfig::new(
            &kept.dir,
            "sts",
            kept.durability,
            kept.max_bytes,
            kept.reserve_bytes,
        )
    };
    let (clock, rng) = (app.clock.clone(), app.rng.clone());
    let signer: Arc<dyn EventSigner> = events.clone();
    let journal = Journal::open(journal, clock.clone(), rng.clone(), signer)
        .await
        .map_err(Failure::internal)?;
    let shipper = Shipper::new(
        journal.clone(),
        redis,
        config.producers.clone(),
        clock.clone(),
    )
    .counted(&app.metrics);

    let agreement = Agreement::new(clock.clone(), &app.readiness);
    agreement
        .compare(&serving)
        .await
        .map_err(|error| Failure::dependency("postgres", error))?;
    let store = Store::new(serving.clone());
    let ring = Ring::new(
        store.clone(),
        Arc::clone(&root),
        clock.clone(),
        config.keys.clone(),
    );
    let mint = Mint {
        store,
        ring,
        laws: Laws::new(config.keys.zones).map_err(Failure::internal)?,
        pepper: MacKey::new(&config.pepper),
        events: Arc::clone(&events),
        agreement,
        failures: Mutex::new(Failures::new(config.failures)),
        bench: Mint::bench(),
        clock: clock.clone(),
        rng: rng.clone(),
    };
    let metrics = Metrics::new(&app.metrics);
    let dependency = app.readiness.need("journal");
    let evidence = Evidence::new(
        journal,
        clock.clone(),
        metrics,
        dependency,
        kept.refusals_kinds,
    );
    let desk = Arc::new(Desk {
        mint,
        evidence,
        trusted_proxies: config.trusted_proxies.clone(),
        jwks_max_age: config.keys.jwks_max_age,
        max_body: config.http.max_body_bytes.min(MAX_BODY),
    });
    let (zones, store) = (OperatorStore::new(keeping.clone()), Store::new(keeping));
    let keeper = Keeper {
        zones,
        store,
        root,
        events,
        clock,
        rng,
    };
    Ok(Parts {
        desk,
        keeper,
        shipper,
        serving,
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
