//! Wiring, and nothing else.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use chassis::crypto::EventKey;
use chassis::evidence::Shipper;
use chassis::journal::{Journal, JournalConfig};
use chassis::redis::Client;
use chassis::{App, Failure, Lifecycle, ops};
use policy::rego::Evaluator;
use tokio::sync::Semaphore;
use uuid::Uuid;

use crate::api::check::{Check, Parts};
use crate::api::serve;
use crate::config::{Config, Evidence};
use crate::decide::{Decider, View};
use crate::evidence::{Desk, take_back};
use crate::feed::core::Core;
use crate::feed::memory::Memory;
use crate::feed::run::{self as feed, Shared};
use crate::feed::source::Source;
use crate::filter::{FilterServer, Hub, Sessions, watch, write_snapshots};
use crate::metrics::{FeedMetrics, FilterMetrics, Metrics};
use crate::refusals::Refusals;

/// Starts the service: its tasks run on the lifecycle.
pub async fn run(config: Config, app: App) -> Result<(), Failure> {
    let bound = serve::bind(&config.check.listen).await?;
    ops::serve(&config.ops, &app.lifecycle, &app.readiness, &app.metrics).await?;
    let journal = open_journal(&config, &app).await?;
    let redis = Client::open(&config.redis)?;
    Shipper::new(
        journal.clone(),
        redis.clone(),
        config.producers.clone(),
        app.clock.clone(),
    )
    .counted(&app.metrics)
    .spawn(&app.lifecycle);
    let memory: Shared = Arc::new(ArcSwap::from_pointee(View::empty()));
    let hub = start_feed(&config, &app, redis, Arc::clone(&memory))?;
    let metrics = Metrics::new(&app.metrics);
    let refusals = Refusals::new(config.evidence.refusals_kinds);
    let (desk, withdrawals) = Desk::new(
        journal,
        refusals,
        metrics.clone(),
        app.readiness.need("journal"),
    );
    let desk = Arc::new(desk);
    app.lifecycle.spawn(
        "withdrawals",
        take_back(Arc::clone(&desk), withdrawals, app.lifecycle.clone()),
    );
    app.lifecycle.spawn(
        "refusals",
        flush(
            Arc::clone(&desk),
            config.evidence.clone(),
            config.check.lame_duck,
            app.lifecycle.clone(),
        ),
    );
    let filters = start_filters(&config, &app, hub, Arc::clone(&desk), Arc::clone(&memory));
    let check = Check::new(Parts {
        decider: Decider::new(config.attachments),
        memory,
        desk,
        deadline: config.check.deadline,
        slots: Semaphore::new(config.check.max_in_flight),
        clock: app.clock.clone(),
        rng: app.rng.clone(),
        metrics,
    });
    serve::serve(
        bound,
        check,
        filters,
        &config.check,
        app.readiness.clone(),
        &app.lifecycle,
    );
    Ok(())
}

async fn open_journal(config: &Config, app: &App) -> Result<Journal, Failure> {
    let Evidence {
        dir,
        durability,
        max_bytes,
        reserve_bytes,
        zone_percent,
        partitions,
        ..
    } = config.evidence.clone();
    let signer =
        EventKey::new(config.evidence.kid.clone(), &config.event_key).map_err(Failure::internal)?;
    let journal = JournalConfig {
        dir,
        service: app.service,
        durability,
        max_bytes,
        reserve: reserve_bytes,
        zone_percent,
        partitions,
    };
    Journal::open(
        journal,
        app.clock.clone(),
        app.rng.clone(),
        Arc::new(signer),
    )
    .await
    .map_err(Failure::internal)
}

/// The name the coordinator knows this reader by. It outlives the process: a restart is no new reader
/// that somebody would wait for besides the old one.
fn reader(dir: &Path, app: &App) -> Result<String, Failure> {
    let file = dir.join("reader");
    let held = std::fs::read_to_string(&file).unwrap_or_default();
    let id = if let Ok(id) = Uuid::try_parse(held.trim()) {
        id
    } else {
        let id = app.rng.uuid_v7(app.clock.now());
        std::fs::write(&file, id.to_string())?;
        id
    };
    Ok(format!("{}/{id}", app.service))
}

fn start_feed(
    config: &Config,
    app: &App,
    redis: Client,
    memory: Shared,
) -> Result<Arc<Hub>, Failure> {
    let zones = || config.attachments.values().flatten().copied();
    let evaluator = Evaluator::new().map_err(Failure::internal)?;
    let held = Memory::new(zones(), config.cache, evaluator);
    let (hub, ends) = Hub::new(
        config.attachments.clone(),
        config.filter,
        app.clock.clone(),
        FilterMetrics::new(&app.metrics),
    );
    let hub = Arc::new(hub);
    let writing = write_snapshots(Arc::clone(&hub), ends.jobs, app.lifecycle.clone());
    app.lifecycle.spawn("filter_snapshots", writing);
    let parts = feed::Parts {
        core: Core::new(config.producers.clone(), held),
        source: Arc::new(Source::open(
            &config.authority,
            &config.service_token,
            zones(),
        )?),
        redis,
        config: config.authority.clone(),
        reader: reader(&config.evidence.dir, app)?,
        clock: app.clock.clone(),
        rng: app.rng.clone(),
        dependency: app.readiness.need("authority"),
        metrics: FeedMetrics::new(&app.metrics),
        hub: Arc::clone(&hub),
        filters: ends.reach,
    };
    feed::start(parts, memory, &app.lifecycle);
    Ok(hub)
}

fn start_filters(
    config: &Config,
    app: &App,
    hub: Arc<Hub>,
    desk: Arc<Desk>,
    memory: Shared,
) -> FilterServer {
    let sessions = Sessions {
        hub,
        desk,
        memory,
        clock: app.clock.clone(),
        lifecycle: app.lifecycle.clone(),
        lame_duck: config.check.lame_duck,
    };
    app.lifecycle.spawn("filters", watch(sessions.clone()));
    FilterServer::new(sessions, config.filter.max_report_bytes)
}

/// Writes down counted refusals at each window's end, and once more after the last answer.
async fn flush(desk: Arc<Desk>, evidence: Evidence, lame_duck: Duration, lifecycle: Lifecycle) {
    while !lifecycle.soft().is_cancelled() {
        tokio::select! {
            () = lifecycle.soft().cancelled() => {}
            () = tokio::time::sleep(evidence.refusals_every) => desk.flush().await,
        }
    }
    tokio::time::sleep(lame_duck.saturating_add(Duration::from_millis(500))).await;
    desk.flush().await;
}
