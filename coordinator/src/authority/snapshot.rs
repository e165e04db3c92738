//! The whole state at one position, in signed chunks: one transaction with one view of the
//! database. What was committed may be ahead of the position it is named after, never behind.

use jiff::{SignedDuration, Timestamp};
use ledger::envelope::Envelope;
use mandate::id::ZoneId;
use prost::Message;
use uuid::Uuid;
use wire::pb::caracal::authority::v1 as pb;
use wire::pb::caracal::envelope::v1 as envelope;

use crate::api::path;
use crate::app::App;
use crate::delta::{self, Delta, nanoseconds};
use crate::error::Error;
use crate::sequencer::{PRODUCER, STREAM, epoch_of};
use crate::store::positions::{self, Deployment};
use crate::store::snapshot;

/// The most changes in a chunk, and the most bytes of them.
const CHUNK: usize = 1_000;
const CHUNK_BYTES: usize = 1024 * 1024;
/// No mandate is older than this, and no cut-off before that refuses anything that is not expired.
const CUT_OFFS_FOR: SignedDuration = SignedDuration::from_hours(2);

/// Reads and signs it.
pub(super) async fn read(app: &App, zone_ids: &[String]) -> Result<Vec<envelope::Envelope>, Error> {
    let zones = zone_ids
        .iter()
        .map(|text| path::uuid(text).ok_or_else(|| Error::invalid("zone_ids", "are UUIDs")))
        .collect::<Result<Vec<Uuid>, Error>>()?;
    let mut tx = app.snapshots.begin_view().await?;
    let deployment = super::known(positions::deployment(tx.as_mut()).await?)?;
    let as_of = deployment.as_of.to_jiff();
    let oldest = as_of
        .saturating_sub(CUT_OFFS_FOR)
        .map_or(0, Timestamp::as_second);
    let mut changes = Vec::new();
    for row in snapshot::zones(tx.as_mut(), &zones).await? {
        let zone = ZoneId::from_uuid(row.id);
        changes.push(delta::zone(&row));
        changes.extend(snapshot::keys(tx.as_mut(), zone).await?);
        changes.extend(snapshot::resources(tx.as_mut(), zone).await?);
        changes.extend(snapshot::bindings(tx.as_mut(), zone).await?);
        changes.extend(snapshot::policy(tx.as_mut(), zone).await?);
        changes.extend(snapshot::revocations(tx.as_mut(), zone, as_of, oldest).await?);
    }
    drop(tx);
    sign(app, &deployment, chunks(changes))
}

/// At least one chunk, even of nothing.
fn chunks(changes: Vec<Delta>) -> Vec<Vec<pb::Change>> {
    let mut chunks = vec![Vec::new()];
    let mut bytes = 0_usize;
    for delta in changes {
        let size = delta.change.encoded_len();
        let full = chunks.last().is_some_and(|chunk: &Vec<pb::Change>| {
            chunk.len() >= CHUNK || (!chunk.is_empty() && bytes.saturating_add(size) > CHUNK_BYTES)
        });
        if full {
            chunks.push(Vec::new());
            bytes = 0;
        }
        bytes = bytes.saturating_add(size);
        if let Some(chunk) = chunks.last_mut() {
            chunk.push(delta.change);
        }
    }
    chunks
}

fn sign(
    app: &App,
    deployment: &Deployment,
    parts: Vec<Vec<pb::Change>>,
) -> Result<Vec<envelope::Envelope>, Error> {
    let epoch = epoch_of(&deployment.epoch)?;
    let pos = u64::try_from(deployment.pos).map_err(Error::internal)?;
    let as_of_ns = nanoseconds(deployment.as_of.to_jiff());
    let key = app.stream_key.as_ref();
    let last = parts.len().saturating_sub(1);
    let mut envelopes = Vec::with_capacity(parts.len());
    for (index, changes) in parts.into_iter().enumerate() {
        let number = u32::try_from(index).map_err(Error::internal)?;
        let part = pb::SnapshotPart {
            index: number,
            last: index == last,
            as_of_ns,
            changes,
        };
        let envelope = Envelope {
            stream: STREAM.to_owned(),
            kind: "snapshot".to_owned(),
            zone: None,
            epoch,
            pos,
            producer: PRODUCER.to_owned(),
            counter: u64::from(number),
            at: as_of_ns,
            payload: part.encode_to_vec(),
            kid: ledger::envelope::EventSigner::kid(key).clone(),
        };
        envelopes.push(envelope.sign(key).into());
    }
    Ok(envelopes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changes(count: usize, name: usize) -> Vec<Delta> {
        let zone = pb::Zone {
            name: "n".repeat(name),
            ..Default::default()
        };
        let what = Some(pb::change::What::Zone(zone));
        let change = pb::Change { version: 1, what };
        vec![
            Delta {
                kind: "zone",
                change
            };
            count
        ]
    }

    #[test]
    fn chunks_are_bounded_by_number_and_by_bytes_and_lose_nothing() {
        assert_eq!(chunks(Vec::new()).len(), 1);
        assert_eq!(chunks(changes(1_000, 1)).len(), 1);
        assert_eq!(chunks(changes(1_001, 1)).len(), 2);
        let large = chunks(changes(5, 600_000));
        assert_eq!(large.len(), 5);
        assert_eq!(large.iter().map(Vec::len).sum::<usize>(), 5);
    }
}
