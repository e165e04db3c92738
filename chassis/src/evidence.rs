//! Carries evidence from the journal to the ledger: onto the streams, and back comes how far the ledger has it. What the
//! ledger has is freed; what does not arrive is sent again. XADD proves nothing: only a signed cursor does.

mod flow;
#[cfg(test)]
mod tests;

use std::time::Duration;

use ledger::envelope::Producers;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use tokio_util::sync::CancellationToken;
use wire::convert::{Cursor, envelope_to_bytes};

use crate::clock::Clock;
use crate::journal::{Journal, JournalError, Place, Record};
use crate::lifecycle::Lifecycle;
use crate::metrics::Registry;
use crate::redis::{Client, RedisError};
use crate::streams::{self, Entry, EntryId, Reader, Trim};

use flow::Flows;

/// The kind of a cursor's envelope.
pub const CURSOR: &str = "cursor";
/// Whatever has been sent and is not acknowledged: not more than this is under way.
const WINDOW: u64 = 32 * 1024;
/// How often progress is looked at.
const TICK: Duration = Duration::from_millis(500);
/// How long what is written is gathered before the next is sent, unless this much was waiting. The first event after a
/// rest does not wait.
const GATHER: Duration = Duration::from_millis(20);
const ENOUGH: usize = 256;
/// How long what is left may take to leave once the process ends.
const PARTING: Duration = Duration::from_secs(2);
/// Between attempts while Redis is down.
const PAUSE: Duration = Duration::from_millis(250);

/// Ships a journal.
#[derive(Debug)]
pub struct Shipper {
    journal: Journal,
    client: Client,
    trusted: Producers,
    clock: Clock,
    metrics: Metrics,
}

#[derive(Clone, Debug, Default)]
struct Metrics {
    bytes: Gauge,
    unacknowledged: Gauge,
    sent: Counter,
    sent_again: Counter,
    refused_cursors: Counter,
}

impl Metrics {
    fn new(registry: &Registry) -> Self {
        let metrics = Self::default();
        registry.register(|registry| {
            registry.register(
                "journal_bytes",
                "Bytes of the journal",
                metrics.bytes.clone(),
            );
            registry.register(
                "journal_unacknowledged_events",
                "Events that the ledger has not been heard to have",
                metrics.unacknowledged.clone(),
            );
            registry.register(
                "journal_sent_events",
                "Events put onto streams",
                metrics.sent.clone(),
            );
            registry.register(
                "journal_sent_again",
                "Times that events had to be sent again",
                metrics.sent_again.clone(),
            );
            registry.register(
                "journal_refused_cursors",
                "Cursors that were not believed",
                metrics.refused_cursors.clone(),
            );
        });
        metrics
    }
}

impl Shipper {
    /// Ships `journal`; believes cursors of `trusted` producers.
    pub fn new(journal: Journal, client: Client, trusted: Producers, clock: Clock) -> Self {
        Self {
            journal,
            client,
            trusted,
            clock,
            metrics: Metrics::default(),
        }
    }

    /// Counts in `registry`.
    #[must_use]
    pub fn counted(mut self, registry: &Registry) -> Self {
        self.metrics = Metrics::new(registry);
        self
    }

    /// Runs as tasks of the lifecycle until the soft token; then gives what is left a moment to leave. Nothing is lost
    /// when it does not: it lies on disk.
    pub fn spawn(self, lifecycle: &Lifecycle) {
        let soft = lifecycle.soft().clone();
        lifecycle.spawn("evidence", async move { self.run(soft).await });
    }

    /// Runs until `soft`.
    pub async fn run(self, soft: CancellationToken) {
        let parting = async {
            soft.cancelled().await;
            let left = async {
                while self.journal.usage().unacknowledged > 0 {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            };
            let _left = tokio::time::timeout(PARTING, left).await;
        };
        tokio::select! {
            () = self.send() => {}
            () = self.listen() => {}
            () = parting => {}
        }
    }

    /// Sends what is written, in order, and again what the ledger does not get.
    async fn send(&self) {
        let mut news = self.journal.news();
        let mut place = Place::default();
        let mut flows = Flows::default();
        let mut looked = self.clock.monotonic();
        let mut down = false;
        loop {
            let now = self.clock.monotonic();
            if now.saturating_sub(looked) >= TICK {
                looked = now;
                self.measure();
                if flows.rewind_stalled(&self.journal, now) {
                    self.metrics.sent_again.inc();
                    place = Place::default();
                }
            }
            let free = flows.under_way(&self.journal) < WINDOW;
            let step = if free {
                self.step(&mut place, &mut flows).await
            } else {
                Ok(None)
            };
            match step {
                Ok(Some(sent)) => {
                    down = false;
                    if (1..ENOUGH).contains(&sent) {
                        tokio::time::sleep(GATHER).await;
                    }
                }
                // Nothing to do until something is written or acknowledged, or time has passed.
                Ok(None) => {
                    let _news = tokio::time::timeout(TICK, news.changed()).await;
                }
                Err(Halt::Redis(error)) => {
                    if !std::mem::replace(&mut down, true) {
                        let error = error.to_string();
                        tracing::warn!(error, "evidence stays in the journal for now");
                    }
                    // What was under way may be gone with the server.
                    flows.rewind_all();
                    place = Place::default();
                    tokio::time::sleep(PAUSE).await;
                }
                Err(Halt::Journal(error)) => {
                    tracing::error!(error = error.to_string(), "a segment cannot be read");
                    place = place.next_segment();
                    tokio::time::sleep(TICK).await;
                }
            }
        }
    }

    /// Sends the next records and gives their number. None when there is nothing left to read.
    async fn step(&self, place: &mut Place, flows: &mut Flows) -> Result<Option<usize>, Halt> {
        let Some((records, behind)) = self.journal.read(*place).await? else {
            return Ok(None);
        };
        let due: Vec<Record> = records
            .into_iter()
            .filter(|record| {
                let known = self
                    .journal
                    .acknowledged(record.lane)
                    .max(flows.sent(record.lane));
                record.counter > known
            })
            .collect();
        let lanes: Vec<_> = due
            .iter()
            .map(|record| (record.lane, record.counter))
            .collect();
        let messages = due.into_iter().map(|record| {
            let stream = record.envelope.envelope.stream.clone();
            (stream, envelope_to_bytes(record.envelope))
        });
        let ids = streams::publish_bytes(&self.client, messages, Trim::Nothing).await?;
        let sent = ids.len();
        self.metrics.sent.inc_by(u64::try_from(sent).unwrap_or(0));
        let now = self.clock.monotonic();
        for (lane, counter) in lanes {
            flows.note_sent(lane, counter, now);
        }
        *place = behind;
        Ok(Some(sent))
    }

    fn measure(&self) {
        let usage = self.journal.usage();
        self.metrics
            .bytes
            .set(i64::try_from(usage.bytes).unwrap_or(i64::MAX));
        self.metrics
            .unacknowledged
            .set(i64::try_from(usage.unacknowledged).unwrap_or(i64::MAX));
    }

    /// Listens for how far the ledger has come.
    async fn listen(&self) {
        let client = self.client.clone();
        let mut reader = Reader::new(client, streams::AUDIT_CURSORS, EntryId::START);
        loop {
            match reader.next().await {
                Ok(entries) => entries.iter().for_each(|entry| self.heard(entry)),
                Err(error) => {
                    tracing::debug!(error = error.to_string(), "no cursors for now");
                }
            }
        }
    }

    fn heard(&self, entry: &Entry) {
        let cursor = match self.cursor(entry) {
            Ok(Some(cursor)) => cursor,
            Ok(None) => return,
            Err(reason) => {
                self.metrics.refused_cursors.inc();
                tracing::warn!(
                    id = entry.id.to_string(),
                    reason,
                    "a cursor is not believed"
                );
                return;
            }
        };
        let lane = (cursor.journal, cursor.zone);
        if let Err(error) = self.journal.acknowledge(lane, cursor.counter, &cursor.hash) {
            self.metrics.refused_cursors.inc();
            tracing::error!(
                error = error.to_string(),
                "the ledger contradicts the journal"
            );
        }
    }

    /// The cursor of an entry, if it is about us. Most are about others: those cost no look at a signature.
    fn cursor(&self, entry: &Entry) -> Result<Option<Cursor>, String> {
        let signed = entry.envelope().map_err(|error| error.to_string())?;
        let envelope = &signed.envelope;
        if envelope.kind != CURSOR || envelope.stream != streams::AUDIT_CURSORS {
            return Err(format!(
                "it is a message of kind {} for {}",
                envelope.kind, envelope.stream
            ));
        }
        let cursor = Cursor::from_payload(&envelope.payload).map_err(|error| error.to_string())?;
        if !self.journal.holds(cursor.journal) {
            return Ok(None);
        }
        signed
            .check(&self.trusted)
            .map_err(|error| error.to_string())?;
        Ok(Some(cursor))
    }
}

/// Why sending stopped for now.
#[derive(Debug, thiserror::Error)]
enum Halt {
    #[error(transparent)]
    Redis(#[from] RedisError),
    #[error(transparent)]
    Journal(#[from] JournalError),
}
