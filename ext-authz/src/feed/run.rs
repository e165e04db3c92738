//! Moves messages: from the stream and from coordinators to memory, and memory to those who decide.
//!
//! A coordinator that does not answer never holds up the stream, nor the other way round: each call
//! is in flight beside everything else, one of a kind at a time.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use chassis::streams::Entry;
use chassis::{Clock, Dependency, Lifecycle, Rng};
use futures::future::{BoxFuture, FutureExt as _};
use ledger::envelope::SignedEnvelope;
use policy::Denial;
use tokio::sync::{mpsc, watch};
use wire::pb::caracal::authority::v1 as pb;
use wire::pb::caracal::envelope::v1 as envelope;

use super::age::RoundTrip;
use super::core::{Core, Taken, Wants};
use super::source::{Ack, Source, SourceError};
use super::stream;
use crate::config;
use crate::decide::View;
use crate::filter::{Hub, Stand};
use crate::metrics::{FeedMetrics, How, News};

/// The pause after a call that brought nothing: this long, then twice as long, up to a bound.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// How often what nobody announces is looked at.
const TICK: Duration = Duration::from_millis(100);

/// How often dead ids whose time is over are forgotten.
const SWEEP: Duration = Duration::from_secs(30);

/// The bound that is reported while no zone says another.
const DEFAULT_BOUND: Duration = Duration::from_secs(10);

/// Batches of the stream that may wait.
const BACKLOG: usize = 64;

/// What the feed is made of.
#[derive(Debug)]
pub struct Parts {
    /// Memory.
    pub core: Core,
    /// The coordinators.
    pub source: Arc<Source>,
    /// Where the stream is.
    pub redis: chassis::redis::Client,
    /// Intervals.
    pub config: config::Authority,
    /// What the coordinator knows this process by.
    pub reader: String,
    /// Time.
    pub clock: Clock,
    /// Jitter.
    pub rng: Rng,
    /// Whether memory can be decided from.
    pub dependency: Dependency,
    /// What is counted.
    pub metrics: FeedMetrics,
    /// The filters that are told.
    pub hub: Arc<Hub>,
    /// How far all filters are, while there is one.
    pub filters: watch::Receiver<Option<Ack>>,
}

/// Memory, for those who decide.
pub type Shared = Arc<ArcSwap<View>>;

/// Starts the feed's tasks.
pub fn start(parts: Parts, shared: Shared, lifecycle: &Lifecycle) {
    let (news, incoming) = mpsc::channel(BACKLOG);
    let (acks, positions) = watch::channel(None);
    let reading = stream::read(parts.redis.clone(), lifecycle.clone(), news);
    lifecycle.spawn("feed_stream", reading);
    let acknowledging = acknowledge(
        Arc::clone(&parts.source),
        parts.reader.clone(),
        parts.config.ack_every,
        positions,
        lifecycle.clone(),
    );
    lifecycle.spawn("feed_ack", acknowledging);
    // A reader of its own: it stays behind where a filter does, also while this process starts again.
    let acknowledging = acknowledge(
        Arc::clone(&parts.source),
        format!("{}/filters", parts.reader),
        parts.config.ack_every,
        parts.filters.clone(),
        lifecycle.clone(),
    );
    lifecycle.spawn("filter_ack", acknowledging);
    let feed = Feed {
        calls: Calls::default(),
        confirmed: parts.clock.monotonic(),
        swept: parts.clock.monotonic(),
        parts,
        shared,
        acks,
        incoming,
    };
    lifecycle.spawn("feed", feed.run(lifecycle.clone()));
}

/// What a call brought.
enum Brought {
    Since(Box<Result<pb::SinceResponse, SourceError>>),
    Snapshot(Result<Vec<envelope::Envelope>, SourceError>),
}

/// Calls in flight, and when the next may be made.
#[derive(Default)]
struct Calls {
    catching_up: Option<BoxFuture<'static, Brought>>,
    reading_clock: Option<BoxFuture<'static, Result<RoundTrip, SourceError>>>,
    failures: u32,
    not_before: Duration,
    clock_read: Option<Duration>,
    clock_not_before: Duration,
}

struct Feed {
    parts: Parts,
    shared: Shared,
    acks: watch::Sender<Option<Ack>>,
    incoming: mpsc::Receiver<Vec<Entry>>,
    calls: Calls,
    /// When memory was last confirmed or moved.
    confirmed: Duration,
    swept: Duration,
}

impl Feed {
    async fn run(mut self, lifecycle: Lifecycle) {
        loop {
            self.call();
            tokio::select! {
                biased;
                () = lifecycle.soft().cancelled() => return,
                Some(entries) = self.incoming.recv() => self.hear(&entries),
                brought = waiting(&mut self.calls.catching_up) => {
                    self.calls.catching_up = None;
                    self.bring(brought);
                }
                trip = waiting(&mut self.calls.reading_clock) => {
                    self.calls.reading_clock = None;
                    self.read_clock(trip);
                }
                () = tokio::time::sleep(TICK) => {}
            }
            self.publish();
        }
    }

    /// Makes the calls that are due.
    fn call(&mut self) {
        let now = self.parts.clock.monotonic();
        if self.parts.core.clock_contradicted(now) {
            self.calls.clock_read = None;
        }
        let due = self
            .calls
            .clock_read
            .is_none_or(|read| now.saturating_sub(read) >= self.parts.config.clock_every);
        if due && self.calls.reading_clock.is_none() && now >= self.calls.clock_not_before {
            let (source, clock) = (Arc::clone(&self.parts.source), self.parts.clock.clone());
            self.calls.reading_clock = Some(async move { source.clock(&clock).await }.boxed());
        }
        if self.calls.catching_up.is_some() || now < self.calls.not_before {
            return;
        }
        let silent = now.saturating_sub(self.confirmed) >= self.parts.config.silence;
        let source = Arc::clone(&self.parts.source);
        self.calls.catching_up = match self.parts.core.wants(silent) {
            Wants::Nothing => None,
            Wants::Since(position) => {
                Some(async move { Brought::Since(Box::new(source.since(position).await)) }.boxed())
            }
            Wants::Snapshot => {
                Some(async move { Brought::Snapshot(source.snapshot().await) }.boxed())
            }
        };
    }

    /// Takes what the stream brought.
    fn hear(&mut self, entries: &[Entry]) {
        for entry in entries {
            match entry.envelope() {
                Ok(message) if self.parts.core.is_past(&message) => {}
                Ok(message) => self.take(message, How::Stream),
                Err(_) => {
                    self.parts.metrics.disbelieved.inc();
                }
            }
        }
    }

    fn take(&mut self, message: SignedEnvelope, how: How) {
        match self.parts.core.take(message) {
            Taken::Applied => {
                self.confirmed = self.parts.clock.monotonic();
                self.parts
                    .metrics
                    .changes
                    .get_or_create(&News { how })
                    .inc();
            }
            Taken::Disbelieved => {
                self.parts.metrics.disbelieved.inc();
            }
            Taken::Known | Taken::Postponed => {}
        }
    }

    /// Takes what a coordinator brought.
    fn bring(&mut self, brought: Brought) {
        let before = self.confirmed;
        let result = match brought {
            Brought::Since(answer) => answer
                .map(|answer| self.catch_up(answer))
                .map_err(|error| error.to_string()),
            Brought::Snapshot(Ok(chunks)) => self.load(chunks),
            Brought::Snapshot(Err(error)) => Err(error.to_string()),
        };
        if let Err(error) = result {
            self.parts.metrics.failures.inc();
            tracing::warn!(error, "memory could not be brought up to date");
        }
        // What moved nothing is not worth asking again at once, whether it failed or not.
        let pause = if self.confirmed > before {
            self.calls.failures = 0;
            FIRST_PAUSE / 5
        } else {
            self.pause()
        };
        self.calls.not_before = self.parts.clock.monotonic().saturating_add(pause);
    }

    /// Longer after each call in a row that brought nothing, and never the same for two readers.
    fn pause(&mut self) -> Duration {
        let doubled = FIRST_PAUSE.saturating_mul(1_u32 << self.calls.failures.min(6));
        self.calls.failures = self.calls.failures.saturating_add(1);
        doubled
            .min(LONGEST_PAUSE)
            .mul_f64(0.5 + self.parts.rng.fraction() / 2.0)
    }

    fn catch_up(&mut self, answer: pb::SinceResponse) {
        if answer.snapshot_required {
            self.parts.core.too_far_behind();
            return;
        }
        self.parts.core.caught_up();
        for message in answer.deltas.into_iter().chain(answer.heartbeat) {
            match SignedEnvelope::try_from(message) {
                Ok(message) => self.take(message, How::Since),
                Err(_) => {
                    self.parts.metrics.disbelieved.inc();
                }
            }
        }
    }

    fn load(&mut self, chunks: Vec<envelope::Envelope>) -> Result<(), String> {
        let chunks: Result<Vec<SignedEnvelope>, _> =
            chunks.into_iter().map(SignedEnvelope::try_from).collect();
        let before = self.parts.core.position();
        let chunks = chunks.map_err(|error| error.to_string())?;
        self.parts
            .core
            .load(chunks)
            .map_err(|error| error.to_string())?;
        self.confirmed = self.parts.clock.monotonic();
        self.parts
            .metrics
            .changes
            .get_or_create(&News { how: How::Snapshot })
            .inc();
        let after = self.parts.core.position();
        if before.map(|held| held.epoch) != after.map(|held| held.epoch) {
            self.parts.metrics.resyncs.inc();
        }
        if let Some(position) = after {
            tracing::info!(feed.epoch = %position.epoch, feed.pos = position.pos, "a snapshot was loaded");
        }
        Ok(())
    }

    fn read_clock(&mut self, trip: Result<RoundTrip, SourceError>) {
        let now = self.parts.clock.monotonic();
        match trip {
            Ok(trip) => {
                self.calls.clock_read = Some(trip.sent);
                self.parts.core.read_clock(trip);
            }
            Err(error) => {
                self.calls.clock_not_before = now.saturating_add(LONGEST_PAUSE / 2);
                self.parts.metrics.failures.inc();
                let error = error.to_string();
                tracing::warn!(error, "the database's clock could not be read");
            }
        }
    }

    /// Shows memory to those who decide, and says how it is.
    fn publish(&mut self) {
        let now = self.parts.clock.monotonic();
        if now.saturating_sub(self.swept) >= SWEEP {
            self.parts.core.sweep(self.parts.clock.now());
            self.parts.hub.sweep(self.parts.clock.now());
            self.swept = now;
        }
        let view = self.parts.core.view(now);
        self.report(&view, now);
        let bound = bound(&view);
        let ack = self
            .parts
            .core
            .understood()
            .map(|position| Ack { position, bound });
        let stand = Stand {
            phase: view.phase,
            position: view.position,
            freshness: view.freshness,
            bound,
        };
        self.shared.store(Arc::new(view));
        self.parts.hub.publish(self.parts.core.news(), stand);
        self.acks.send_if_modified(|held| {
            let changed = *held != ack;
            *held = ack;
            changed
        });
    }

    fn report(&self, view: &View, now: Duration) {
        let wall = self.parts.clock.now();
        let wall_ns = i64::try_from(wall.as_nanosecond()).unwrap_or(i64::MAX);
        let age = view.freshness.and_then(|fresh| fresh.age(now, wall_ns));
        let usable = match (view.usable(), age) {
            (Err(why), _) => Err(Denial::from(why).code()),
            (Ok(()), None) => Err("authority_stale: its age is not known"),
            (Ok(()), Some(age)) if age > bound(view) => Err("authority_stale"),
            (Ok(()), Some(_)) => Ok(()),
        };
        self.parts.dependency.observe(&usable);
        let metrics = &self.parts.metrics;
        metrics.usable.set(i64::from(usable.is_ok()));
        metrics
            .position
            .set(view.position.map_or(0, |position| position.pos));
        let age = age.and_then(|age| i64::try_from(age.as_millis()).ok());
        metrics.age_milliseconds.set(age.unwrap_or(-1));
    }
}

/// The longest that any zone may be decided about without news: after that, silence is refusal.
fn bound(view: &View) -> Duration {
    let bounds = view.snapshot.zones().filter_map(|(_, zone)| zone.zone());
    bounds
        .map(|zone| zone.freshness_bound)
        .max()
        .unwrap_or(DEFAULT_BOUND)
}

/// Waits for a call if one is in flight, else for ever.
async fn waiting<T>(call: &mut Option<BoxFuture<'static, T>>) -> T {
    match call {
        Some(call) => call.await,
        None => std::future::pending().await,
    }
}

/// Says where memory stands: at once when it moved, and again and again.
async fn acknowledge(
    source: Arc<Source>,
    reader: String,
    every: Duration,
    mut positions: watch::Receiver<Option<Ack>>,
    lifecycle: Lifecycle,
) {
    loop {
        tokio::select! {
            () = lifecycle.soft().cancelled() => return,
            changed = positions.changed() => if changed.is_err() { return },
            () = tokio::time::sleep(every) => {}
        }
        let ack = positions.borrow_and_update().clone();
        if let Some(ack) = ack
            && let Err(error) = source.ack(&reader, &ack).await
        {
            let error = error.to_string();
            tracing::debug!(error, "the position was not acknowledged");
            tokio::time::sleep(FIRST_PAUSE).await;
        }
    }
}
