//! Wiring: what the coordinator works with, and how it starts.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use chassis::config;
use chassis::crypto::{EventKey, MacKey};
use chassis::db::{OperatorStore, Pool, Store, ZoneTx};
use chassis::preflight::Preflight;
use chassis::redis::Client;
use chassis::{Clock, Failure, Rng, grpc, http, ops};
use jiff::{SignedDuration, Timestamp};
use mandate::id::ZoneId;
use policy::rego::Evaluator;
use secrecy::SecretString;
use sqlx::PgPool;
use tonic::service::interceptor::InterceptedService;
use wire::pb::caracal::authority::v1::authority_server::AuthorityServer;

use crate::api::limit::Limiter;
use crate::api::{self, policies};
use crate::authority::Service;
use crate::config::{Config, OPERATING, RETAINING, SEQUENCING, SERVING, SNAPSHOTS};
use crate::delta::hexadecimal;
use crate::error::Error;
use crate::retention::{self, Retention};
use crate::sequencer::{Metrics, Sequencer, Settings};
use crate::store::zones;
use crate::sweeper::Sweeper;

/// How long dependencies may take to come up.
const PATIENCE: Duration = Duration::from_secs(30);
/// The schema versions this build works with: what it needs, and what may still be added to it.
const SCHEMA: std::ops::RangeInclusive<i64> = 5..=99;
/// The longest mandate, the clocks' leeway, and a minute: after that no mandate carries the id.
const LONGEST_MANDATE: SignedDuration = SignedDuration::from_secs(60 * 60 + 30 + 60);

/// Everything the handlers work with.
#[derive(Debug)]
pub(crate) struct App {
    pub(crate) store: Store,
    pub(crate) operator: OperatorStore,
    pub(crate) snapshots: OperatorStore,
    /// The global tables, as the role that serves requests.
    pub(crate) global: PgPool,
    pub(crate) clock: Clock,
    pub(crate) rng: Rng,
    pub(crate) event_key: Arc<EventKey>,
    pub(crate) stream_key: Arc<EventKey>,
    pub(crate) pepper: MacKey,
    pub(crate) bootstrap_token: SecretString,
    pub(crate) evaluator: Evaluator,
    pub(crate) callers: Limiter<String>,
    pub(crate) failures: Limiter<IpAddr>,
    pub(crate) config: Limits,
}

/// What the handlers keep of the configuration.
#[derive(Clone, Debug)]
pub(crate) struct Limits {
    pub(crate) issuer_base: String,
    pub(crate) max_session_ttl: Duration,
    pub(crate) http: config::Http,
}

impl App {
    /// A transaction on a zone that exists.
    pub(crate) async fn begin_known(&self, zone: ZoneId) -> Result<ZoneTx, Error> {
        let mut tx = self.store.begin(zone).await?;
        zones::get(&mut tx).await?;
        Ok(tx)
    }

    /// The digest under which an idempotency key's receipt is kept.
    pub(crate) fn receipt_key(&self, caller: &str, key: &str) -> [u8; 32] {
        let caller_length = u64::try_from(caller.len())
            .unwrap_or(u64::MAX)
            .to_be_bytes();
        let parts: [&[u8]; 4] = [
            b"caracal-receipt-v1\0",
            &caller_length,
            caller.as_bytes(),
            key.as_bytes(),
        ];
        self.pepper.tag(&parts)
    }

    /// What the ledger names a subject by.
    pub(crate) fn pseudonym(&self, zone: ZoneId, subject: &str) -> String {
        let zone = zone.as_uuid();
        let parts: [&[u8]; 3] = [b"caracal-subject-v1\0", zone.as_bytes(), subject.as_bytes()];
        let tag = self.pepper.tag(&parts);
        hexadecimal(tag.get(..16).unwrap_or_default())
    }
}

/// Until when an id that dies now may still be carried by a mandate.
pub(crate) fn dead_until(now: Timestamp) -> Timestamp {
    now.saturating_add(LONGEST_MANDATE)
        .unwrap_or(Timestamp::MAX)
}

/// The pools, one a role.
#[derive(Clone, Debug)]
pub(crate) struct Pools {
    pub(crate) serving: Pool,
    pub(crate) operating: Pool,
    pub(crate) sequencing: Pool,
    pub(crate) snapshots: Pool,
    pub(crate) retaining: Pool,
}

impl Pools {
    async fn connect(database: &config::Database) -> Result<Self, Failure> {
        Ok(Self {
            serving: Pool::connect(database, SERVING, PATIENCE).await?,
            operating: Pool::connect(database, OPERATING, PATIENCE).await?,
            sequencing: Pool::connect(database, SEQUENCING, PATIENCE).await?,
            snapshots: Pool::connect(database, SNAPSHOTS, PATIENCE).await?,
            retaining: Pool::connect(database, RETAINING, PATIENCE).await?,
        })
    }
}

/// The parts of a coordinator, wired but not started.
pub(crate) struct Parts {
    pub(crate) app: Arc<App>,
    pub(crate) sequencer: Sequencer,
    pub(crate) sweeper: Sweeper,
    pub(crate) retention: Retention,
}

/// Wires the parts.
pub(crate) fn wire(
    config: Config,
    pools: Pools,
    redis: Client,
    process: &chassis::App,
) -> Result<Parts, Failure> {
    let signed =
        |duration: Duration| SignedDuration::try_from(duration).unwrap_or(SignedDuration::MAX);
    let event_key = Arc::new(config.event_key);
    let stream_key = Arc::new(config.stream_key);
    let store = Store::new(pools.serving.clone());
    let retention = Retention {
        store: OperatorStore::new(pools.retaining),
        keep: config.retention,
        metrics: process.metrics.register(retention::Metrics::register),
    };
    let operator = OperatorStore::new(pools.operating);
    let sequencer = Sequencer {
        pool: pools.sequencing.inner().clone(),
        redis,
        stream_key: Arc::clone(&stream_key),
        outbox_key: Arc::new(config.outbox_key),
        producers: Arc::new(config.producers),
        clock: process.clock.clone(),
        rng: process.rng.clone(),
        settings: Settings {
            partitions: config.sequencer.partitions,
            keep_positions: signed(config.sequencer.keep_positions),
            keep_entries: signed(config.sequencer.keep_entries),
        },
        readiness: process.readiness.need("sequencer"),
        metrics: process.metrics.register(Metrics::register),
        given: Arc::default(),
    };
    let app = App {
        operator: operator.clone(),
        snapshots: OperatorStore::new(pools.snapshots),
        global: pools.serving.inner().clone(),
        store,
        clock: process.clock.clone(),
        rng: process.rng.clone(),
        event_key,
        stream_key,
        pepper: MacKey::new(&config.pepper),
        bootstrap_token: config.bootstrap_token,
        evaluator: policies::evaluator().map_err(Failure::internal)?,
        callers: Limiter::new(config.calls),
        failures: Limiter::new(config.failures),
        config: Limits {
            issuer_base: config.issuer_base,
            max_session_ttl: config.max_session_ttl,
            http: config.http,
        },
    };
    let app = Arc::new(app);
    let sweeper = Sweeper {
        app: Arc::clone(&app),
        every: config.sweep_every,
    };
    Ok(Parts {
        app,
        sequencer,
        sweeper,
        retention,
    })
}

/// Brings the coordinator up and leaves its tasks on the lifecycle.
pub async fn run(config: Config, process: chassis::App) -> Result<(), Failure> {
    let postgres = process.readiness.need("postgres");
    let pools = Pools::connect(&config.database).await?;
    let redis = Client::open(&config.redis)?;
    let mut preflight = Preflight::new(process.mode);
    for pool in [
        &pools.serving,
        &pools.operating,
        &pools.sequencing,
        &pools.snapshots,
        &pools.retaining,
    ] {
        preflight.postgres(&config.database, pool, SCHEMA).await?;
    }
    preflight.listening(&pools.sequencing).await?;
    preflight.redis(&config.redis, &redis).await?;
    preflight.finish()?;
    postgres.up();

    let (grpc_at, ops_config) = (config.grpc, config.ops.clone());
    let service_token = grpc::ServiceToken::new(config.service_token.clone());
    let listener = http::bind(config.http.listen).await?;
    let grpc_listener = http::bind(grpc_at).await?;
    let lifecycle = &process.lifecycle;
    let parts = wire(config, pools, redis, &process)?;
    ops::serve(&ops_config, lifecycle, &process.readiness, &process.metrics).await?;
    let soft = lifecycle.soft().clone();
    lifecycle.spawn("sequencer", parts.sequencer.run(soft.clone()));
    lifecycle.spawn("sweeper", parts.sweeper.run(soft.clone()));
    lifecycle.spawn("retention", parts.retention.run(soft));

    let router = authority(Arc::clone(&parts.app), service_token);
    grpc::serve(lifecycle, "authority", grpc_listener, router);

    let limits = parts.app.config.http.clone();
    let router = api::router(parts.app);
    let router = http::govern(router, &limits, process.clock.clone(), process.rng.clone());
    http::serve(lifecycle, "api", listener, router);
    Ok(())
}

/// The service of enforcement points, for holders of the service token.
pub(crate) fn authority(
    app: Arc<App>,
    token: grpc::ServiceToken,
) -> tonic::transport::server::Router {
    let authority = AuthorityServer::new(Service::new(app));
    tonic::transport::Server::builder()
        .concurrency_limit_per_connection(64)
        .add_service(InterceptedService::new(authority, token))
}
