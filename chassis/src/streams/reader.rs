//! Reading a stream from a position, on a connection of one's own.

use std::time::Duration;

use ::redis::streams::StreamInfoStreamReply;
use ledger::envelope::SignedEnvelope;
use wire::convert::{ConvertError, envelope_from_bytes};

use super::{EntryId, FIELD};
use crate::redis::{Client, Dedicated, RedisError};

const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

type Fields = Vec<(String, Vec<u8>)>;
type Streams = Option<Vec<(String, Vec<(String, Fields)>)>>;

/// An entry of a stream. Nothing about it has been checked.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Its id.
    pub id: EntryId,
    /// The bytes of its message.
    pub bytes: Vec<u8>,
}

impl Entry {
    /// The message in it, if it is one. Its signature is not checked.
    pub fn envelope(&self) -> Result<SignedEnvelope, ConvertError> {
        envelope_from_bytes(&self.bytes)
    }
}

/// Reads a stream. After an error the next call waits a little longer than the last time and connects anew.
#[derive(Debug)]
pub struct Reader {
    client: Client,
    stream: String,
    after: EntryId,
    block: Duration,
    batch: usize,
    connection: Option<Dedicated>,
    pause: Duration,
    failed: bool,
}

impl Reader {
    /// Reads `stream` from behind `after`.
    pub fn new(client: Client, stream: impl Into<String>, after: EntryId) -> Self {
        Self {
            client,
            stream: stream.into(),
            after,
            block: Duration::from_secs(1),
            batch: 512,
            connection: None,
            pause: FIRST_PAUSE,
            failed: false,
        }
    }

    /// Reads at most this many entries at a time.
    #[must_use]
    pub fn batch(mut self, entries: usize) -> Self {
        self.batch = entries.max(1);
        self
    }

    /// Waits at most this long for an entry.
    #[must_use]
    pub fn block(mut self, block: Duration) -> Self {
        self.block = block;
        self
    }

    /// The stream's name.
    pub fn stream(&self) -> &str {
        &self.stream
    }

    /// Where it has come to.
    pub fn position(&self) -> EntryId {
        self.after
    }

    /// The next entries; none when there was none in time. A stream that has been emptied or lost, so that ids we have
    /// seen may come again, is read from its start.
    pub async fn next(&mut self) -> Result<Vec<Entry>, RedisError> {
        if self.failed {
            tokio::time::sleep(self.pause).await;
            self.pause = self.pause.saturating_mul(2).min(LONGEST_PAUSE);
        }
        // Cancelled half-way, the connection is gone with the call and the next one opens another.
        self.failed = true;
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => self.client.dedicated(self.block).await?,
        };
        let entries = self.read(&mut connection).await?;
        if entries.is_empty() && self.newest(&mut connection).await? < self.after {
            tracing::warn!(
                stream = self.stream,
                "the stream has started anew; it is read from its start"
            );
            self.after = EntryId::START;
        }
        if let Some(last) = entries.last() {
            self.after = last.id;
        }
        self.connection = Some(connection);
        self.failed = false;
        self.pause = FIRST_PAUSE;
        Ok(entries)
    }

    async fn read(&self, connection: &mut Dedicated) -> Result<Vec<Entry>, RedisError> {
        let block = u64::try_from(self.block.as_millis())
            .unwrap_or(u64::MAX)
            .max(1);
        let command = ::redis::cmd("XREAD")
            .arg("COUNT")
            .arg(self.batch)
            .arg("BLOCK")
            .arg(block)
            .arg("STREAMS")
            .arg(&self.stream)
            .arg(self.after.to_string())
            .to_owned();
        let streams: Streams = connection.call(&command).await?;
        let entries = streams
            .into_iter()
            .flatten()
            .flat_map(|(_, entries)| entries);
        Ok(entries
            .filter_map(|(id, fields)| {
                // Ids are the server's own; an entry without our field is not a message, but it is one to pass.
                let body = fields.into_iter().find(|(name, _)| name == FIELD);
                let bytes = body.map(|(_, bytes)| bytes).unwrap_or_default();
                id.parse().ok().map(|id| Entry { id, bytes })
            })
            .collect())
    }

    /// The highest id the stream has given out in this life; the start when there is no stream.
    async fn newest(&self, connection: &mut Dedicated) -> Result<EntryId, RedisError> {
        let command = ::redis::cmd("XINFO")
            .arg("STREAM")
            .arg(&self.stream)
            .to_owned();
        match connection.call::<StreamInfoStreamReply>(&command).await {
            Ok(info) => Ok(info.last_generated_id.parse().unwrap_or(EntryId::START)),
            // ERR no such key
            Err(RedisError::Refused(error))
                if error.code() == Some("ERR") || error.code().is_none() =>
            {
                Ok(EntryId::START)
            }
            Err(error) => Err(error),
        }
    }
}
