//! What goes back onto the streams: how far evidence is committed, and what was none.

use std::collections::HashMap;
use std::sync::Arc;

use chassis::clock::Clock;
use chassis::crypto::EventKey;
use chassis::evidence::CURSOR;
use chassis::redis::{Client, RedisError};
use chassis::streams::{self, AUDIT_CURSORS, Entry, EntryId, Trim};
use ledger::envelope::{Envelope, Epoch, EventSigner as _, SignedEnvelope};
use mandate::id::{JournalId, ZoneId};
use wire::convert::Cursor;

use super::screen::Poison;
use crate::store::cursors::Mark;
use crate::zone_of;

/// The stream of what is no evidence.
pub(crate) const DEAD: &str = "caracal.audit.dead";
/// How many dead letters are kept, and how many cursors.
const MOST_DEAD: u64 = 10_000;
const MOST_CURSORS: u64 = 100_000;
/// Our name as a producer.
const SERVICE: &str = "audit";

/// Publishes under our signature.
#[derive(Clone, Debug)]
pub(crate) struct Publisher {
    client: Client,
    key: Arc<EventKey>,
    clock: Clock,
}

impl Publisher {
    pub(crate) fn new(client: Client, key: Arc<EventKey>, clock: Clock) -> Self {
        Self { client, key, clock }
    }

    pub(crate) fn client(&self) -> Client {
        self.client.clone()
    }

    /// Tells producers how far each journal is committed in a ledger.
    pub(crate) async fn cursors(
        &self,
        ledger: ZoneId,
        marks: &HashMap<JournalId, Mark>,
    ) -> Result<(), RedisError> {
        let zone = zone_of(ledger);
        let at = i64::try_from(self.clock.now().as_nanosecond()).unwrap_or(i64::MAX);
        let messages = marks.iter().map(|(journal, mark)| {
            let cursor = Cursor {
                journal: *journal,
                zone,
                counter: mark.counter,
                hash: mark.hash,
            };
            let envelope = Envelope {
                stream: AUDIT_CURSORS.to_owned(),
                kind: CURSOR.to_owned(),
                zone,
                epoch: Epoch([0; 16]),
                pos: 0,
                producer: SERVICE.to_owned(),
                counter: 0,
                at,
                payload: cursor.to_payload(),
                kid: self.key.kid().clone(),
            };
            envelope.sign(&*self.key)
        });
        let messages: Vec<SignedEnvelope> = messages.collect();
        streams::publish(
            &self.client,
            AUDIT_CURSORS,
            messages,
            Trim::MaxLen(MOST_CURSORS),
        )
        .await?;
        Ok(())
    }

    /// Keeps entries that are no evidence, with the reason.
    pub(crate) async fn bury(
        &self,
        partition: u32,
        dead: &[(Entry, Poison)],
    ) -> Result<(), RedisError> {
        if dead.is_empty() {
            return Ok(());
        }
        let mut pipeline = redis::pipe();
        for (entry, poison) in dead {
            pipeline
                .cmd("XADD")
                .arg(DEAD)
                .arg("MAXLEN")
                .arg("~")
                .arg(MOST_DEAD)
                .arg("*")
                .arg("stream")
                .arg(streams::audit_events(partition))
                .arg("id")
                .arg(entry.id.to_string())
                .arg("code")
                .arg(poison.code())
                .arg("e")
                .arg(&entry.bytes)
                .ignore();
        }
        self.client.pipe(&pipeline).await
    }

    /// Drops what is behind the position: it is committed, or comes again.
    pub(crate) async fn trim(&self, partition: u32, behind: EntryId) {
        let command = redis::cmd("XTRIM")
            .arg(streams::audit_events(partition))
            .arg("MINID")
            .arg("~")
            .arg(behind.to_string())
            .to_owned();
        if let Err(error) = self.client.call::<i64>(&command).await {
            tracing::debug!(error = error.to_string(), "the stream cannot be trimmed");
        }
    }
}
