//! Publishing what was numbered, in order. Redis may be away: then it is tried again, and readers
//! ask for what follows their position instead. What is sent are the stored bytes, so that whoever
//! repeats them repeats the same.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use chassis::BoxError;
use chassis::crypto::EventKey;
use chassis::redis::Client;
use jiff::{SignedDuration, Timestamp};
use ledger::envelope::{Envelope, Epoch, EventSigner, Producers};
use sqlx::PgPool;
use tokio::sync::mpsc;
use wire::convert::{Heartbeat, envelope_to_bytes};

use crate::sequencer::heartbeat::Numbered;
use crate::sequencer::streams::{self, HighWater};
use crate::sequencer::{PRODUCER, STREAM};
use crate::store::positions;

/// The most positions sent in one round trip.
const BATCH: i64 = 256;
/// The pause after a failure.
const PAUSE: Duration = Duration::from_millis(100);

/// What the numbering hands over.
#[derive(Clone, Debug)]
pub(crate) struct Publisher {
    pub(crate) pool: PgPool,
    pub(crate) redis: Client,
    pub(crate) signer: Arc<EventKey>,
    pub(crate) producers: Arc<Producers>,
    /// How long entries stay in the stream.
    pub(crate) keep: SignedDuration,
    pub(crate) clock: chassis::Clock,
    /// Set when the stream is ahead of the database.
    pub(crate) ahead: Arc<AtomicBool>,
}

/// How far the stream is.
#[derive(Clone, Copy, Debug)]
struct Sent {
    epoch: Epoch,
    pos: u64,
}

/// A heartbeat of a position, signed.
pub(crate) fn heartbeat(
    epoch: Epoch,
    pos: u64,
    as_of: Timestamp,
    signer: &dyn EventSigner,
) -> Vec<u8> {
    envelope_to_bytes(heartbeat_envelope(epoch, pos, as_of, signer).sign(signer))
}

/// The same, not yet as bytes.
pub(crate) fn heartbeat_envelope(
    epoch: Epoch,
    pos: u64,
    as_of: Timestamp,
    signer: &dyn EventSigner,
) -> Envelope {
    Envelope {
        stream: STREAM.to_owned(),
        kind: "heartbeat".to_owned(),
        zone: None,
        epoch,
        pos,
        producer: PRODUCER.to_owned(),
        counter: pos,
        at: crate::delta::nanoseconds(as_of),
        payload: Heartbeat { pos, as_of }.to_payload(),
        kid: signer.kid().clone(),
    }
}

impl Publisher {
    /// Publishes what comes until nothing can come any more.
    pub(crate) async fn run(self, mut incoming: mpsc::Receiver<Numbered>) {
        let mut sent: Option<Sent> = None;
        while let Some(mut numbered) = incoming.recv().await {
            let mut positions = std::mem::take(&mut numbered.positions);
            // What waits is taken together; the newest heartbeat says it all.
            while let Ok(next) = incoming.try_recv() {
                if next.epoch != numbered.epoch {
                    positions.clear();
                }
                numbered = next;
                positions.append(&mut numbered.positions);
            }
            numbered.positions = positions;
            match self.send(&mut sent, numbered).await {
                Ok(()) => {}
                Err(error) => {
                    // The stream may have lost what was sent; it says itself how far it is.
                    sent = None;
                    let error = error.to_string();
                    tracing::warn!(error, "publishing to caracal.authority failed");
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }

    async fn send(&self, sent: &mut Option<Sent>, numbered: Numbered) -> Result<(), BoxError> {
        let held = match *sent {
            Some(held) if held.epoch == numbered.epoch => held,
            _ => self.resume(&numbered).await?,
        };
        let mut next = held.pos;
        let mut rest = numbered.positions.as_slice();
        if let Some((first, _)) = rest.first()
            && *first > next.saturating_add(1)
        {
            next = self.fill(next, first.saturating_sub(1)).await?;
        } else if rest.is_empty() && numbered.pos > next {
            next = self.fill(next, numbered.pos).await?;
        }
        while let Some((pos, _)) = rest.first()
            && *pos <= next
        {
            rest = rest.get(1..).unwrap_or_default();
        }
        let beat = heartbeat(
            numbered.epoch,
            numbered.pos,
            numbered.as_of,
            self.signer.as_ref(),
        );
        let mut entries: Vec<(&str, &[u8])> = rest
            .iter()
            .map(|(_, bytes)| (STREAM, bytes.as_slice()))
            .collect();
        entries.push((STREAM, &beat));
        streams::append(&self.redis, &entries, self.keep, self.clock.now()).await?;
        *sent = Some(Sent {
            epoch: numbered.epoch,
            pos: numbered.pos,
        });
        Ok(())
    }

    /// Where the stream goes on: after what it holds of this epoch. Of another epoch, or of none,
    /// nothing is repeated: readers start over from a snapshot, or ask for what they miss.
    async fn resume(&self, numbered: &Numbered) -> Result<Sent, BoxError> {
        let first = numbered
            .positions
            .first()
            .map_or(numbered.pos, |(pos, _)| pos.saturating_sub(1));
        let held = streams::high_water(&self.redis, STREAM, &self.producers).await?;
        let pos = match held {
            Some(HighWater { epoch, pos }) if epoch == numbered.epoch => {
                if pos > numbered.pos {
                    self.ahead.store(true, Ordering::Relaxed);
                }
                pos.min(first)
            }
            Some(_) | None => first,
        };
        Ok(Sent {
            epoch: numbered.epoch,
            pos,
        })
    }

    /// Sends what lies between from the table.
    async fn fill(&self, after: u64, until: u64) -> Result<u64, BoxError> {
        let mut next = after;
        while next < until {
            let mut connection = self.pool.acquire().await?;
            let rows = positions::after(&mut connection, i64::try_from(next)?, BATCH).await?;
            drop(connection);
            let mut entries: Vec<(&str, &[u8])> = Vec::with_capacity(rows.len());
            let mut last = next;
            for row in &rows {
                let pos = u64::try_from(row.pos)?;
                if pos <= until {
                    entries.push((STREAM, &row.envelope));
                    last = pos;
                }
            }
            if entries.is_empty() {
                // Pruned, or of an epoch that is over.
                return Ok(until);
            }
            streams::append(&self.redis, &entries, self.keep, self.clock.now()).await?;
            next = last;
        }
        Ok(next)
    }
}
