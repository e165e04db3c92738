//! Redis, as the sequencer uses it: appending signed bytes in order, and reading back how far the
//! stream is. All of it can be lost: positions lie in Postgres.

use chassis::redis::{Client, RedisError};
use jiff::{SignedDuration, Timestamp};
use ledger::envelope::{Epoch, Producers};
use redis::streams::{StreamRangeReply, StreamReadReply};
use wire::convert::envelope_from_bytes;

use crate::sequencer::PRODUCER;

/// The one field of an entry: the signed envelope.
const FIELD: &str = "e";
/// How many of the newest entries are looked at for one of ours.
const LOOK_BACK: usize = 64;

/// The newest message of ours in the stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct HighWater {
    /// Its epoch.
    pub(crate) epoch: Epoch,
    /// Its position.
    pub(crate) pos: u64,
}

/// Appends messages in order, in one round trip, and lets entries older than `keep` go.
pub(crate) async fn append(
    redis: &Client,
    entries: &[(&str, &[u8])],
    keep: SignedDuration,
    now: Timestamp,
) -> Result<(), RedisError> {
    let oldest = now
        .saturating_sub(keep)
        .map_or(0, |at| at.as_millisecond().max(0));
    let mut pipeline = redis::pipe();
    for (stream, bytes) in entries {
        pipeline
            .cmd("XADD")
            .arg(*stream)
            .arg("MINID")
            .arg("~")
            .arg(oldest)
            .arg("*")
            .arg(FIELD)
            .arg(*bytes)
            .ignore();
    }
    redis.pipe(&pipeline).await
}

/// The newest message that coordinators signed; None when there is none among the last entries.
/// Entries of anybody else are passed over: they are not ours to judge.
pub(crate) async fn high_water(
    redis: &Client,
    stream: &str,
    producers: &Producers,
) -> Result<Option<HighWater>, RedisError> {
    let mut command = redis::cmd("XREVRANGE");
    command
        .arg(stream)
        .arg("+")
        .arg("-")
        .arg("COUNT")
        .arg(LOOK_BACK);
    let reply: StreamRangeReply = redis.call(&command).await?;
    for entry in &reply.ids {
        let Some(bytes) = entry.get::<Vec<u8>>(FIELD) else {
            continue;
        };
        let Ok(signed) = envelope_from_bytes(&bytes) else {
            continue;
        };
        let Ok(verified) = signed.verify(producers) else {
            continue;
        };
        let envelope = verified.envelope();
        if envelope.producer == PRODUCER && envelope.stream == stream {
            return Ok(Some(HighWater {
                epoch: envelope.epoch,
                pos: envelope.pos,
            }));
        }
    }
    Ok(None)
}

/// Entries of a stream after an id, and the id to go on from. Does not block.
pub(crate) async fn read_after(
    redis: &Client,
    stream: &str,
    after: &str,
    count: usize,
) -> Result<(Vec<Vec<u8>>, Option<String>), RedisError> {
    let mut command = redis::cmd("XREAD");
    command
        .arg("COUNT")
        .arg(count)
        .arg("STREAMS")
        .arg(stream)
        .arg(after);
    let reply: Option<StreamReadReply> = redis.call(&command).await?;
    let mut entries = Vec::new();
    let mut last = None;
    for key in reply.into_iter().flat_map(|reply| reply.keys) {
        for entry in key.ids {
            if let Some(bytes) = entry.get::<Vec<u8>>(FIELD) {
                entries.push(bytes);
            }
            last = Some(entry.id);
        }
    }
    Ok((entries, last))
}

/// The id of the newest entry; None when the stream is empty or gone.
pub(crate) async fn newest_id(redis: &Client, stream: &str) -> Result<Option<String>, RedisError> {
    let mut command = redis::cmd("XREVRANGE");
    command.arg(stream).arg("+").arg("-").arg("COUNT").arg(1);
    let reply: StreamRangeReply = redis.call(&command).await?;
    Ok(reply.ids.into_iter().next().map(|entry| entry.id))
}
