//! The one sequencer: it gives committed changes dense positions, says twice a second how far the
//! database was complete, and publishes both. Which coordinator does it is a lease in Postgres with
//! a term; every write names the term.
//!
//! Not here: who reads the positions (`authority`), what the changes say (`delta`).

pub(crate) mod audit_lane;
pub(crate) mod epoch;
pub(crate) mod heartbeat;
pub(crate) mod publish;
pub(crate) mod streams;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use chassis::crypto::EventKey;
use chassis::redis::Client;
use chassis::{BoxError, Clock, Dependency, Rng, outbox};
use jiff::SignedDuration;
use ledger::envelope::{Epoch, Producers};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use sqlx::PgPool;
use sqlx::postgres::PgListener;
use tokio::sync::{Notify, mpsc};
use tokio_util::sync::CancellationToken;

use crate::store::{positions, readers};
use audit_lane::Cursors;
use heartbeat::{Numbered, Step};
use publish::Publisher;

pub(crate) use heartbeat::epoch as epoch_of;
pub(crate) use publish::heartbeat_envelope;

/// The stream of changes that can alter a decision.
pub(crate) const STREAM: &str = "caracal.authority";
/// Who signs it.
pub(crate) const PRODUCER: &str = "coordinator";

/// How long a lease is held without being renewed.
const LEASE: SignedDuration = SignedDuration::from_secs(3);
/// How often somebody without the lease asks for it.
const ASK: Duration = Duration::from_millis(500);
/// How often the database's completeness is committed.
const BEAT: Duration = Duration::from_millis(500);
/// How often the outbox is looked at without being woken.
const POLL: Duration = Duration::from_millis(20);
/// How often evidence is looked for: nobody waits for it, and what has come together is sent together.
const GATHER: Duration = Duration::from_millis(100);
/// How often the ledger's cursors are read while something is unconfirmed.
const CURSOR_POLL: Duration = Duration::from_millis(50);
/// Without progress of the ledger for this long, what it has not confirmed is sent again.
const AGAIN: Duration = Duration::from_secs(5);
/// How often it is looked whether somebody is ahead of the database.
const EPOCH_CHECK: Duration = Duration::from_secs(1);
/// How often old positions are forgotten.
const PRUNE: Duration = Duration::from_secs(10);
/// The pause after a failure of the database.
const PAUSE: Duration = Duration::from_millis(100);
/// Readers not heard of for this long are forgotten.
const READER_GONE: SignedDuration = SignedDuration::from_hours(24);

/// What the sequencer is set to.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// How many partitions evidence has.
    pub(crate) partitions: u32,
    /// How long positions are kept in Postgres.
    pub(crate) keep_positions: SignedDuration,
    /// How long entries stay in streams.
    pub(crate) keep_entries: SignedDuration,
}

/// What is counted.
#[derive(Clone, Debug, Default)]
pub(crate) struct Metrics {
    leads: Gauge,
    position: Gauge,
    numbered: Counter,
    evidence: Counter,
    epochs: Counter,
}

impl Metrics {
    /// Registers them.
    pub(crate) fn register(registry: &mut prometheus_client::registry::Registry) -> Self {
        let metrics = Self::default();
        registry.register(
            "sequencer_leads",
            "1 while this one sequences",
            metrics.leads.clone(),
        );
        registry.register(
            "sequencer_position",
            "The highest position",
            metrics.position.clone(),
        );
        registry.register(
            "sequencer_changes",
            "Changes numbered",
            metrics.numbered.clone(),
        );
        registry.register(
            "sequencer_evidence",
            "Events numbered",
            metrics.evidence.clone(),
        );
        registry.register("sequencer_epochs", "Epochs opened", metrics.epochs.clone());
        metrics
    }
}

/// Everything it works with.
#[derive(Clone, Debug)]
pub(crate) struct Sequencer {
    pub(crate) pool: PgPool,
    pub(crate) redis: Client,
    pub(crate) stream_key: Arc<EventKey>,
    pub(crate) outbox_key: Arc<EventKey>,
    pub(crate) producers: Arc<Producers>,
    pub(crate) clock: Clock,
    pub(crate) rng: Rng,
    pub(crate) settings: Settings,
    pub(crate) readiness: Dependency,
    pub(crate) metrics: Metrics,
    /// The highest position this process gave, and its epoch.
    pub(crate) given: Arc<Mutex<Option<(Epoch, u64)>>>,
}

impl Sequencer {
    /// Sequences whenever it holds the lease, until `soft`.
    pub(crate) async fn run(self, soft: CancellationToken) {
        let holder = self.rng.uuid_v7(self.clock.now()).to_string();
        loop {
            let term = tokio::select! {
                () = soft.cancelled() => return,
                term = self.candidate(&holder) => term,
            };
            tracing::info!(term, "sequencing");
            self.metrics.leads.set(1);
            tokio::select! {
                () = soft.cancelled() => {}
                () = self.lead(term) => {}
            }
            self.metrics.leads.set(0);
            if soft.is_cancelled() {
                if let Err(error) = heartbeat::release(&self.pool, term).await {
                    tracing::warn!(error, "the sequencer's lease was left to run out");
                }
                return;
            }
            tracing::warn!(term, "not sequencing any more");
        }
    }

    /// Asks for the lease until it has it.
    async fn candidate(&self, holder: &str) -> i64 {
        loop {
            match self.ask(holder).await {
                Ok(Some(term)) => {
                    self.readiness.up();
                    return term;
                }
                // Somebody else sequences: that is as good.
                Ok(None) => self.readiness.up(),
                Err(error) => {
                    self.readiness.down(error.to_string());
                    tracing::warn!(error, "asking for the sequencer's lease failed");
                }
            }
            tokio::time::sleep(ASK).await;
        }
    }

    async fn ask(&self, holder: &str) -> Result<Option<i64>, BoxError> {
        epoch::ensure(&self.pool, &self.rng, self.clock.now()).await?;
        heartbeat::acquire(&self.pool, holder, LEASE).await
    }

    /// Sequences under a term until it is deposed.
    pub(crate) async fn lead(&self, term: i64) {
        let ahead = Arc::new(AtomicBool::new(true));
        if self.check_epoch(term, &ahead).await.is_err() {
            // The database went away at once; the lease will tell who goes on.
            tokio::time::sleep(PAUSE).await;
        }
        let (sender, receiver) = mpsc::channel(1024);
        let publisher = Publisher {
            pool: self.pool.clone(),
            redis: self.redis.clone(),
            signer: Arc::clone(&self.stream_key),
            producers: Arc::clone(&self.producers),
            keep: self.settings.keep_entries,
            clock: self.clock.clone(),
            ahead: Arc::clone(&ahead),
        };
        let wake = Notify::new();
        tokio::select! {
            () = self.number(term, &sender, &wake, &ahead) => {}
            () = publisher.run(receiver) => {}
            () = self.listen(&wake) => {}
            () = self.evidence(term) => {}
        }
    }

    /// Numbers whenever it is woken, every poll that finds something, and for every heartbeat.
    async fn number(
        &self,
        term: i64,
        sender: &mpsc::Sender<Numbered>,
        wake: &Notify,
        ahead: &AtomicBool,
    ) {
        let mut beat = tokio::time::interval(BEAT);
        let mut poll = tokio::time::interval(POLL);
        let mut check = tokio::time::interval(EPOCH_CHECK);
        let mut prune = tokio::time::interval(PRUNE);
        for interval in [&mut beat, &mut poll, &mut check, &mut prune] {
            interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        }
        loop {
            let done = tokio::select! {
                () = wake.notified() => self.step(term, sender).await,
                _ = beat.tick() => self.step(term, sender).await,
                _ = poll.tick() => self.poll(term, sender).await,
                _ = check.tick() => self.check_epoch(term, ahead).await.map(|()| true),
                _ = prune.tick() => self.prune().await.map(|()| true),
            };
            match done {
                Ok(true) => self.readiness.up(),
                Ok(false) => return,
                Err(error) => {
                    self.readiness.down(error.to_string());
                    tracing::warn!(error, "sequencing failed; trying again");
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }

    async fn poll(&self, term: i64, sender: &mpsc::Sender<Numbered>) -> Result<bool, BoxError> {
        if heartbeat::waiting(&self.pool).await? {
            self.step(term, sender).await
        } else {
            Ok(true)
        }
    }

    /// Numbers until nothing is left. False when deposed.
    async fn step(&self, term: i64, sender: &mpsc::Sender<Numbered>) -> Result<bool, BoxError> {
        loop {
            let step = heartbeat::step(&self.pool, term, LEASE, self.stream_key.as_ref()).await?;
            let Step::Numbered(numbered) = step else {
                return Ok(false);
            };
            if self.fell(&numbered) {
                // What was numbered a second time goes with the old epoch: readers load a snapshot.
                self.open_epoch(term, epoch::Reason::Fell).await?;
                continue;
            }
            let more = numbered.more;
            self.metrics
                .position
                .set(i64::try_from(numbered.pos).unwrap_or(i64::MAX));
            let count = u64::try_from(numbered.positions.len()).unwrap_or(0);
            self.metrics.numbered.inc_by(count);
            // A full channel means that Redis is behind; the publisher fills in from the table.
            let _full = sender.try_send(numbered);
            if !more {
                return Ok(true);
            }
        }
    }

    async fn check_epoch(&self, term: i64, ahead: &AtomicBool) -> Result<(), BoxError> {
        let stream = if ahead.load(Ordering::Relaxed) {
            match streams::high_water(&self.redis, STREAM, &self.producers).await {
                Ok(held) => {
                    ahead.store(false, Ordering::Relaxed);
                    held
                }
                // Asked again with the next check: the publisher finds out too.
                Err(_) => None,
            }
        } else {
            None
        };
        if let Some(reason) = epoch::needs(&self.pool, stream.as_ref()).await? {
            self.open_epoch(term, reason).await?;
        }
        Ok(())
    }

    async fn open_epoch(&self, term: i64, reason: epoch::Reason) -> Result<(), BoxError> {
        epoch::open(&self.pool, term, &self.rng, self.clock.now()).await?;
        self.metrics.epochs.inc();
        tracing::warn!(?reason, "opened a new epoch");
        Ok(())
    }

    /// Whether the database numbered anew what this process had already given: it became an older copy of itself
    /// under our hands. Notes what was given.
    fn fell(&self, numbered: &Numbered) -> bool {
        let mut given = self.given.lock().unwrap_or_else(PoisonError::into_inner);
        let began = numbered
            .positions
            .first()
            .map_or(numbered.pos, |(pos, _)| pos.saturating_sub(1));
        let fell = given.is_some_and(|(epoch, pos)| epoch == numbered.epoch && began < pos);
        *given = Some((numbered.epoch, numbered.pos));
        fell
    }

    async fn prune(&self) -> Result<(), BoxError> {
        let mut connection = self.pool.acquire().await?;
        let now = heartbeat::database_clock(&mut connection).await?;
        let before = now.saturating_sub(self.settings.keep_positions)?;
        positions::prune(&mut connection, before, 10_000).await?;
        readers::prune(&mut connection, now.saturating_sub(READER_GONE)?).await?;
        Ok(())
    }

    /// Wakes the numbering for every notification. Without notifications the poll finds it too.
    async fn listen(&self, wake: &Notify) {
        loop {
            match self.listen_once(wake).await {
                Ok(()) => {}
                Err(error) => {
                    let error = error.to_string();
                    tracing::warn!(error, "listening for notifications failed; polling goes on");
                }
            }
            tokio::time::sleep(ASK).await;
        }
    }

    async fn listen_once(&self, wake: &Notify) -> Result<(), sqlx::Error> {
        let mut listener = PgListener::connect_with(&self.pool).await?;
        listener.listen(outbox::CHANNEL).await?;
        loop {
            listener.recv().await?;
            wake.notify_one();
        }
    }

    /// Numbers and sends evidence, and lets go of what the ledger confirms.
    async fn evidence(&self, term: i64) {
        let mut cursors = Cursors::new(
            self.pool.clone(),
            self.redis.clone(),
            Arc::clone(&self.producers),
        );
        let mut state = Evidence {
            again: true,
            open: true,
            progress: self.clock.monotonic(),
        };
        let mut poll = tokio::time::interval(GATHER);
        poll.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut cursor_at = Duration::ZERO;
        loop {
            poll.tick().await;
            if let Err(error) = self.evidence_round(term, &mut state).await {
                let error = error.to_string();
                tracing::warn!(error, "sending evidence failed; trying again");
                state.again = true;
                tokio::time::sleep(PAUSE).await;
            }
            let now = self.clock.monotonic();
            if state.open && now >= cursor_at {
                cursor_at = now.saturating_add(CURSOR_POLL);
                if let Ok(freed) = cursors.round().await
                    && freed > 0
                {
                    state.progress = now;
                }
                if now.saturating_sub(state.progress) > AGAIN {
                    state.again = true;
                    state.progress = now;
                }
            }
        }
    }

    async fn evidence_round(&self, term: i64, state: &mut Evidence) -> Result<(), BoxError> {
        let keep = self.settings.keep_entries;
        let partitions = self.settings.partitions;
        if state.again {
            let held = audit_lane::unconfirmed(&self.pool).await?;
            state.open = !held.is_empty();
            audit_lane::publish(&self.redis, &held, partitions, keep, self.clock.now()).await?;
            state.again = false;
        }
        loop {
            let signer = self.outbox_key.as_ref();
            let Some((numbered, more)) =
                audit_lane::number(&self.pool, term, partitions, signer).await?
            else {
                return Ok(());
            };
            if !numbered.is_empty() {
                if !state.open {
                    state.open = true;
                    state.progress = self.clock.monotonic();
                }
                self.metrics
                    .evidence
                    .inc_by(u64::try_from(numbered.len()).unwrap_or(0));
                let now = self.clock.now();
                audit_lane::publish(&self.redis, &numbered, partitions, keep, now).await?;
            }
            if !more {
                return Ok(());
            }
        }
    }
}

/// How far evidence is.
#[derive(Debug)]
struct Evidence {
    /// Whether everything unconfirmed is to be sent again.
    again: bool,
    /// Whether anything is unconfirmed.
    open: bool,
    /// When the ledger confirmed something last.
    progress: Duration,
}
