//! Signed messages on streams of Redis or Valkey.
//!
//! A stream can lose everything, repeat itself and be written by a stranger. What is published here has its source
//! elsewhere (an outbox, a journal), and what is read here is believed for its signature only. That Redis is down is a
//! value, never a panic and never an endless wait.

mod reader;
#[cfg(test)]
mod tests;

use std::fmt;
use std::num::NonZeroU32;
use std::str::FromStr;

use ledger::envelope::SignedEnvelope;
use mandate::id::ZoneId;
use wire::convert::envelope_to_bytes;

use crate::crypto::sha256;
use crate::redis::{Client, RedisError};

pub use reader::{Entry, Reader};

/// Every change that can alter a decision.
pub const AUTHORITY: &str = "caracal.authority";
/// How far evidence is committed.
pub const AUDIT_CURSORS: &str = "caracal.audit.cursors";
/// The field of an entry that holds the envelope.
pub(crate) const FIELD: &str = "e";

/// The stream of one partition of evidence.
pub fn audit_events(partition: u32) -> String {
    format!("caracal.audit.events.{partition}")
}

/// The partition of a zone's evidence. What has no zone is in the first.
pub fn partition_of(zone: Option<ZoneId>, partitions: NonZeroU32) -> u32 {
    let Some(zone) = zone else { return 0 };
    let hash = sha256(zone.as_uuid().as_bytes());
    let head = hash.first_chunk().copied().unwrap_or_default();
    // The remainder is below the divisor.
    u32::from_be_bytes(head)
        .checked_rem(partitions.get())
        .unwrap_or(0)
}

/// The id of an entry: order within one life of a stream, and nothing else.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EntryId {
    /// Milliseconds, as the server counts them.
    pub ms: u64,
    /// Which one of that millisecond.
    pub seq: u64,
}

impl EntryId {
    /// Before every entry.
    pub const START: Self = Self { ms: 0, seq: 0 };
}

impl fmt::Display for EntryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.ms, self.seq)
    }
}

/// A text that is no entry id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("is not the id of a stream entry")]
pub struct NotAnEntryId;

impl FromStr for EntryId {
    type Err = NotAnEntryId;

    fn from_str(text: &str) -> Result<Self, NotAnEntryId> {
        let (ms, seq) = text.split_once('-').unwrap_or((text, "0"));
        Ok(Self {
            ms: ms.parse().map_err(|_| NotAnEntryId)?,
            seq: seq.parse().map_err(|_| NotAnEntryId)?,
        })
    }
}

/// What a publication may cut off the old end of its stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trim {
    /// Nothing.
    Nothing,
    /// About everything but this many entries.
    MaxLen(u64),
    /// About everything older than this many milliseconds since the Unix epoch.
    OlderThan(u64),
}

/// Adds messages to a stream, in order and in one round trip, and gives their ids. After an error any number of the
/// first ones may have been added.
pub async fn publish(
    client: &Client,
    stream: &str,
    messages: impl IntoIterator<Item = SignedEnvelope>,
    trim: Trim,
) -> Result<Vec<EntryId>, RedisError> {
    let bodies = messages.into_iter().map(envelope_to_bytes);
    publish_bytes(client, bodies.map(|body| (stream, body)), trim).await
}

/// The same for bytes at hand, to several streams.
pub(crate) async fn publish_bytes(
    client: &Client,
    messages: impl IntoIterator<Item = (impl AsRef<str>, Vec<u8>)>,
    trim: Trim,
) -> Result<Vec<EntryId>, RedisError> {
    let mut pipeline = ::redis::pipe();
    for (stream, body) in messages {
        let command = pipeline.cmd("XADD").arg(stream.as_ref());
        match trim {
            Trim::Nothing => command,
            Trim::MaxLen(most) => command.arg("MAXLEN").arg("~").arg(most),
            Trim::OlderThan(ms) => command.arg("MINID").arg("~").arg(ms),
        }
        .arg("*")
        .arg(FIELD)
        .arg(body);
    }
    if pipeline.is_empty() {
        return Ok(Vec::new());
    }
    let ids: Vec<String> = client.pipe(&pipeline).await?;
    Ok(ids.iter().filter_map(|id| id.parse().ok()).collect())
}
