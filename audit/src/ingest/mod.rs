//! From the streams into the ledgers. One holder a partition, fenced; one transaction a batch and zone; then the
//! producers are told how far they are safe.

pub(crate) mod append;
pub(crate) mod plan;
pub(crate) mod publish;
pub(crate) mod screen;

use std::collections::BTreeMap;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use chassis::Dependency;
use chassis::redis::RedisError;
use chassis::streams::{self, Entry, EntryId, Reader};
use mandate::id::ZoneId;
use tokio_util::sync::CancellationToken;

use self::append::{AppendError, Appended, Appender};
use self::publish::Publisher;
use self::screen::{Candidate, Poison, Trust};
use crate::error::Error;
use crate::metrics::{Metrics, Reason};
use crate::store::leases::{self, Lease};
use crate::tamper::Alarm;

/// Entries of one batch.
const BATCH: usize = 1024;
/// Entries that are screened in one go; several goes run side by side.
const SCREEN: usize = 256;
/// How long one read waits.
const BLOCK: Duration = Duration::from_millis(500);
/// How long what arrives is gathered while there is much: a transaction costs the same for one event as for fifty.
/// The first event after a rest does not wait.
const GATHER: Duration = Duration::from_millis(50);
/// How soon a lease is asked for again.
const ASK: Duration = Duration::from_millis(500);
/// The first and the longest pause before a batch is tried again.
const PAUSES: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(2));

/// Reads partitions.
#[derive(Clone, Debug)]
pub(crate) struct Ingest {
    pub(crate) holder: String,
    pub(crate) appender: Arc<Appender>,
    pub(crate) publisher: Publisher,
    pub(crate) trust: Arc<Trust>,
    pub(crate) metrics: Metrics,
    pub(crate) alarm: Alarm,
    pub(crate) postgres: Dependency,
    pub(crate) redis: Dependency,
}

/// What was read at once.
#[derive(Debug)]
struct Batch {
    /// Evidence, by ledger.
    zones: BTreeMap<ZoneId, Vec<Candidate>>,
    /// What is none.
    dead: Vec<(Entry, Poison)>,
    /// The place behind all of it.
    behind: EntryId,
    /// Whether it is as much as is read at once: more is waiting.
    full: bool,
}

/// Why reading a partition ended.
#[derive(Debug)]
struct Lost;

/// One partition's reading.
#[derive(Debug)]
struct Reading {
    partition: u32,
    ingest: Ingest,
}

impl Ingest {
    /// Reads a partition until `soft`: takes the partition's lease when it is free, and follows the stream for as long as it holds.
    pub(crate) async fn run(self, partition: u32, soft: CancellationToken) {
        Reading {
            partition,
            ingest: self,
        }
        .run(soft)
        .await;
    }
}

impl Deref for Reading {
    type Target = Ingest;

    fn deref(&self) -> &Ingest {
        &self.ingest
    }
}

impl Reading {
    async fn run(&self, soft: CancellationToken) {
        while !soft.is_cancelled() {
            let lease = tokio::select! {
                () = soft.cancelled() => return,
                lease = self.acquire() => lease,
            };
            tokio::select! {
                () = soft.cancelled() => {
                    self.release(&lease).await;
                    return;
                }
                Lost = self.follow(&lease) => {
                    self.metrics.fenced.inc();
                    tracing::warn!(partition = self.partition, "somebody else reads this partition now");
                }
            }
        }
    }

    async fn acquire(&self) -> Lease {
        let partition = i32::try_from(self.partition).unwrap_or(i32::MAX);
        loop {
            let (now, until) = (self.appender.clock.now(), self.appender.until());
            let pool = self.appender.store.pool();
            let asked = leases::acquire(pool, partition, &self.holder, now, until).await;
            self.postgres.observe(&asked);
            match asked {
                Ok(Some(lease)) => return lease,
                Ok(None) => {}
                Err(error) => self.tell("a lease cannot be taken", &error),
            }
            tokio::time::sleep(ASK).await;
        }
    }

    /// Lets others have the partition at once.
    async fn release(&self, lease: &Lease) {
        let now = self.appender.clock.now();
        if let Ok(mut connection) = self.appender.store.pool().inner().acquire().await {
            // Not released, it runs out.
            let _released = leases::hold(&mut connection, lease, now, None).await;
        }
    }

    async fn follow(&self, lease: &Lease) -> Lost {
        let client = self.publisher.client();
        let stream = streams::audit_events(self.partition);
        let mut reader = Reader::new(client, stream, lease.position)
            .batch(BATCH)
            .block(BLOCK);
        let mut batch: Option<Batch> = None;
        loop {
            let gathered = batch.as_ref().is_none_or(|batch| batch.full);
            let pause = if gathered { Duration::ZERO } else { GATHER };
            // While one batch is appended the next one is read and screened.
            let (kept, next) =
                tokio::join!(self.take(lease, batch), self.fetch(&mut reader, pause));
            if let Err(lost) = kept {
                return lost;
            }
            batch = next;
        }
    }

    /// Reads and screens the next batch after a pause; none when there was none in time or the stream cannot be read.
    async fn fetch(&self, reader: &mut Reader, pause: Duration) -> Option<Batch> {
        if !pause.is_zero() {
            tokio::time::sleep(pause).await;
        }
        let read = reader.next().await;
        self.redis.observe(&read);
        match read {
            Ok(entries) if entries.is_empty() => None,
            Ok(entries) => {
                let (behind, full) = (reader.position(), entries.len() >= BATCH);
                let (zones, dead) = self.screen(entries).await;
                Some(Batch {
                    zones,
                    dead,
                    behind,
                    full,
                })
            }
            Err(error) => {
                tracing::debug!(error = error.to_string(), "the stream cannot be read");
                None
            }
        }
    }

    /// Keeps the lease while there is nothing to append.
    async fn keep(&self, lease: &Lease) -> Result<(), Lost> {
        let held = async {
            let mut connection = self.appender.store.pool().inner().acquire().await?;
            leases::hold(&mut connection, lease, self.appender.until(), None).await
        };
        let held = held.await;
        self.postgres.observe(&held);
        match held {
            Ok(true) => Ok(()),
            Ok(false) => Err(Lost),
            Err(error) => {
                self.tell("a lease cannot be kept", &error);
                Ok(())
            }
        }
    }

    /// Takes a batch: what is no evidence to the dead letters, the rest into its ledgers. Ends when all of it is
    /// where it belongs. An outage is waited for, never counted against an entry.
    async fn take(&self, lease: &Lease, batch: Option<Batch>) -> Result<(), Lost> {
        let Some(Batch {
            zones,
            dead,
            behind,
            full: _,
        }) = batch
        else {
            return self.keep(lease).await;
        };
        self.bury(dead).await;
        let mut zones = zones.into_iter().peekable();
        if zones.peek().is_none() {
            return self.pass(lease, behind).await;
        }
        while let Some((zone, batch)) = zones.next() {
            // With the last zone's part all of the batch is in; the position moves with it.
            let position = zones.peek().is_none().then_some(behind);
            let appended = self.append(lease, zone, &batch, position).await?;
            match appended {
                Some(appended) => self.account(zone, &appended).await,
                None if position.is_some() => self.pass(lease, behind).await?,
                None => {}
            }
        }
        self.publisher.trim(self.partition, behind).await;
        Ok(())
    }

    /// Appends a zone's part, trying until the database does it. None when the zone's ledger cannot be continued: its
    /// events stay with their producers.
    async fn append(
        &self,
        lease: &Lease,
        zone: ZoneId,
        batch: &[Candidate],
        position: Option<EntryId>,
    ) -> Result<Option<Appended>, Lost> {
        let mut pause = PAUSES.0;
        loop {
            let appended = self.appender.append(lease, zone, batch, position).await;
            match appended {
                Ok(appended) => {
                    self.postgres.up();
                    return Ok(Some(appended));
                }
                Err(AppendError::Fenced) => return Err(Lost),
                Err(AppendError::Zone(error)) => {
                    self.metrics.refused_zones.inc();
                    let (zone, error) = (crate::name_of(zone), error.to_string());
                    tracing::error!(zone, error, "a ledger cannot be continued");
                    return Ok(None);
                }
                Err(AppendError::Later(error)) => {
                    self.postgres.down(error.to_string());
                    tracing::warn!(error = error.to_string(), "a batch has to wait");
                }
            }
            tokio::time::sleep(pause).await;
            pause = pause.saturating_mul(2).min(PAUSES.1);
        }
    }

    /// Counts, tells the producers, rings.
    async fn account(&self, zone: ZoneId, appended: &Appended) {
        let count = |number: usize| u64::try_from(number).unwrap_or(u64::MAX);
        self.metrics.appended.inc_by(count(appended.events));
        self.metrics.repeated.inc_by(count(appended.repeated));
        self.metrics.early.inc_by(count(appended.early));
        if appended.cases > 0 {
            let zone = crate::name_of(zone);
            tracing::error!(zone, cases = appended.cases, "tamper cases were opened");
            if let Err(error) = self.alarm.look().await {
                self.tell("the open cases cannot be counted", &error);
            }
        }
        // Not told, the producers send again, and are told then.
        if let Err(error) = self.publisher.cursors(zone, &appended.marks).await {
            tracing::warn!(
                error = error.to_string(),
                "producers cannot be told what is committed"
            );
        }
    }

    /// Moves the position over a batch of which nothing is to be appended.
    async fn pass(&self, lease: &Lease, behind: EntryId) -> Result<(), Lost> {
        let mut pause = PAUSES.0;
        loop {
            let held = async {
                let mut connection = self.appender.store.pool().inner().acquire().await?;
                leases::hold(&mut connection, lease, self.appender.until(), Some(behind)).await
            };
            match held.await {
                Ok(true) => return Ok(()),
                Ok(false) => return Err(Lost),
                Err(error) => self.tell("the position cannot be moved", &error),
            }
            tokio::time::sleep(pause).await;
            pause = pause.saturating_mul(2).min(PAUSES.1);
        }
    }

    /// Screens entries on several threads; keeps the order within each zone.
    async fn screen(
        &self,
        entries: Vec<Entry>,
    ) -> (BTreeMap<ZoneId, Vec<Candidate>>, Vec<(Entry, Poison)>) {
        let mut parts = Vec::new();
        let mut rest = entries;
        while !rest.is_empty() {
            let later = rest.split_off(rest.len().min(SCREEN));
            let (part, trust, partition) = (
                std::mem::replace(&mut rest, later),
                Arc::clone(&self.trust),
                self.partition,
            );
            parts.push(tokio::task::spawn_blocking(move || {
                let mut checker = trust.checker();
                let screened = part.into_iter().map(|entry| {
                    let verdict = trust.screen(&mut checker, &entry, partition);
                    (entry, verdict)
                });
                screened.collect::<Vec<_>>()
            }));
        }
        let mut zones: BTreeMap<ZoneId, Vec<Candidate>> = BTreeMap::new();
        let mut dead = Vec::new();
        for part in parts {
            // A part that is lost to a panic comes again: its producers are never told that it is committed.
            for (entry, verdict) in part.await.unwrap_or_default() {
                match verdict {
                    Ok(candidate) => zones.entry(candidate.zone).or_default().push(candidate),
                    Err(poison) => dead.push((entry, poison)),
                }
            }
        }
        (zones, dead)
    }

    /// Puts what is no evidence where an operator can look at it; waits for Redis if it has to.
    async fn bury(&self, dead: Vec<(Entry, Poison)>) {
        for (entry, poison) in &dead {
            self.metrics
                .dead
                .get_or_create(&Reason { reason: *poison })
                .inc();
            let id = entry.id.to_string();
            tracing::warn!(
                partition = self.partition,
                id,
                code = poison.code(),
                "an entry is no evidence"
            );
        }
        while let Err(error) = self.publisher.bury(self.partition, &dead).await {
            self.redis.observe(&Err::<(), &RedisError>(&error));
            tokio::time::sleep(PAUSES.1).await;
        }
    }

    fn tell(&self, what: &'static str, error: &Error) {
        tracing::warn!(
            partition = self.partition,
            error = error.to_string(),
            "{what}"
        );
    }
}
