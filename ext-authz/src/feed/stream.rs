//! Reads `caracal.authority`, the quick way of news. It may stall, repeat itself, lose everything or
//! be lost: what it brings is only ever a hint that is checked against positions.

use std::time::Duration;

use chassis::redis::{Client, Dedicated, RedisError};
use prost::Message as _;
use tokio::sync::mpsc;
use wire::pb::caracal::envelope::v1::Envelope;

use chassis::Lifecycle;

/// The stream.
pub const STREAM: &str = "caracal.authority";

/// How long one read waits.
const BLOCK: Duration = Duration::from_millis(1_000);

/// Entries of one read.
const BATCH: usize = 512;

/// How long to wait after a failure.
const PAUSE: Duration = Duration::from_millis(200);

/// A reading of the stream: ids, each with its fields.
type Entries = Vec<(String, Vec<(String, Vec<u8>)>)>;

/// Reads until the soft token, and hands on what it reads.
pub async fn read(client: Client, lifecycle: Lifecycle, news: mpsc::Sender<Vec<Envelope>>) {
    let soft = lifecycle.soft().clone();
    loop {
        tokio::select! {
            () = soft.cancelled() => return,
            ended = follow(&client, &news) => match ended {
                Ok(()) => return,
                Err(error) => {
                    let error = error.to_string();
                    tracing::warn!(error, stream = STREAM, "the stream is lost; changes are asked for instead");
                }
            },
        }
        tokio::select! {
            () = soft.cancelled() => return,
            () = tokio::time::sleep(PAUSE) => {}
        }
    }
}

/// Follows the stream on one connection. Ends well only when nobody listens any more.
async fn follow(client: &Client, news: &mpsc::Sender<Vec<Envelope>>) -> Result<(), RedisError> {
    let mut connection = client.dedicated(BLOCK).await?;
    // Ids order this connection's reading and nothing else: after a flush they may start anew, so
    // each connection begins at the end, and what lies before it is asked for by position.
    let mut last = newest(&mut connection).await?;
    let mut quiet = 0_u32;
    loop {
        let entries = after(&mut connection, &last).await?;
        let Some((id, _)) = entries.last() else {
            quiet = quiet.saturating_add(1);
            if quiet >= 2 {
                // Silent for longer than heartbeats are apart: ids may have fallen below ours.
                last = newest(&mut connection).await?;
                quiet = 0;
            }
            continue;
        };
        quiet = 0;
        last.clone_from(id);
        let envelopes: Vec<Envelope> = entries
            .iter()
            .filter_map(|(_, fields)| envelope(fields))
            .collect();
        if !envelopes.is_empty() && news.send(envelopes).await.is_err() {
            return Ok(());
        }
    }
}

async fn newest(connection: &mut Dedicated) -> Result<String, RedisError> {
    let command = redis::cmd("XREVRANGE")
        .arg(STREAM)
        .arg("+")
        .arg("-")
        .arg("COUNT")
        .arg(1)
        .to_owned();
    let entries: Entries = connection.call(&command).await?;
    Ok(entries
        .into_iter()
        .next()
        .map_or_else(|| "0".to_owned(), |(id, _)| id))
}

async fn after(connection: &mut Dedicated, last: &str) -> Result<Entries, RedisError> {
    let command = redis::cmd("XREAD")
        .arg("COUNT")
        .arg(BATCH)
        .arg("BLOCK")
        .arg(u64::try_from(BLOCK.as_millis()).unwrap_or(1_000))
        .arg("STREAMS")
        .arg(STREAM)
        .arg(last)
        .to_owned();
    let streams: Option<Vec<(String, Entries)>> = connection.call(&command).await?;
    Ok(streams
        .into_iter()
        .flatten()
        .flat_map(|(_, entries)| entries)
        .collect())
}

/// The envelope of an entry. What is none is passed over: whoever can write to the stream can write
/// anything, and the signature is what counts.
fn envelope(fields: &[(String, Vec<u8>)]) -> Option<Envelope> {
    let (_, bytes) = fields.iter().find(|(name, _)| name == "e")?;
    Envelope::decode(bytes.as_slice()).ok()
}
