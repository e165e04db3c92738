//! The outbox's evidence: each event of a committed change gets the outbox journal's id and the
//! zone's next counter, is signed, and is sent until the ledger says it has it. Only then does its
//! row go.

use std::collections::BTreeMap;
use std::sync::Arc;

use chassis::redis::{Client, RedisError};
use jiff::{SignedDuration, Timestamp};
use ledger::envelope::{Envelope, Epoch, EventSigner, Producers};
use ledger::event::Event;
use mandate::id::{JournalId, ZoneId};
use sha2::{Digest, Sha256};
use sqlx::{PgConnection, PgPool};
use uuid::Uuid;
use wire::convert::{Cursor, envelope_from_bytes, envelope_to_bytes};

use crate::error::Error;
use crate::sequencer::streams;

/// The most rows numbered in one transaction.
const BATCH: i64 = 512;
/// The most rows of a zone that are sent again at a time.
const AGAIN: i64 = 512;
/// Where the ledger says how far it is.
pub(crate) const CURSORS: &str = "caracal.audit.cursors";
/// The service part of the outbox journal's producer name.
const OUTBOX: &str = "outbox";

/// A numbered event: its zone and its signed bytes.
#[derive(Clone, Debug)]
pub(crate) struct Numbered {
    pub(crate) zone: ZoneId,
    pub(crate) bytes: Vec<u8>,
}

struct Row {
    zone_id: Uuid,
    id: i64,
    kind: String,
    payload: Vec<u8>,
}

/// Numbers committed events; None when the term is not ours any more. The flag says whether more
/// may be waiting.
pub(crate) async fn number(
    pool: &PgPool,
    term: i64,
    partitions: u32,
    signer: &dyn EventSigner,
) -> Result<Option<(Vec<Numbered>, bool)>, Error> {
    if !waiting(pool).await? {
        return Ok(Some((Vec::new(), false)));
    }
    let mut tx = pool.begin().await?;
    // No lock on the term: should another sequencer number the same rows, the counters' locks put
    // one after the other, and the later finds rows that are numbered already and undoes its own.
    let Some(held) = sqlx::query!(
        r#"
        SELECT outbox_journal_id
        FROM deployment
        WHERE term = $1
        "#,
        term,
    )
    .fetch_optional(&mut *tx)
    .await?
    else {
        return Ok(None);
    };
    let rows = unnumbered(&mut tx).await?;
    if rows.is_empty() {
        return Ok(Some((Vec::new(), false)));
    }
    let more = i64::try_from(rows.len()).unwrap_or(BATCH) >= BATCH;
    let journal = JournalId::from_uuid(held.outbox_journal_id);
    let mut next = counters(&mut tx, journal, &rows).await?;
    let mut counters = Vec::with_capacity(rows.len());
    let mut numbered = Vec::with_capacity(rows.len());
    for row in &rows {
        let counter = next
            .get_mut(&row.zone_id)
            .ok_or_else(|| Error::internal("a zone of the outbox has no counter"))?;
        numbered.push(sign(row, journal, *counter, partitions, signer)?);
        counters.push(i64::try_from(*counter).map_err(Error::internal)?);
        *counter = counter.saturating_add(1);
    }
    store(&mut tx, &rows, &counters, &numbered).await?;
    tx.commit().await?;
    Ok(Some((numbered, more)))
}

async fn waiting(pool: &PgPool) -> Result<bool, Error> {
    let waiting = sqlx::query_scalar!(
        r#"
        SELECT EXISTS (
            SELECT 1
            FROM outbox
            WHERE lane = 'audit' AND pos IS NULL
        ) AS "waiting!"
        "#,
    )
    .fetch_one(pool)
    .await?;
    Ok(waiting)
}

async fn unnumbered(connection: &mut PgConnection) -> Result<Vec<Row>, Error> {
    let rows = sqlx::query_as!(
        Row,
        r#"
        SELECT zone_id, id, kind, payload
        FROM outbox
        WHERE lane = 'audit' AND pos IS NULL
        ORDER BY id
        LIMIT $1
        "#,
        BATCH,
    )
    .fetch_all(connection)
    .await?;
    Ok(rows)
}

/// Takes as many counters of each zone as it has rows; gives the first of each. They begin at 1.
async fn counters(
    connection: &mut PgConnection,
    journal: JournalId,
    rows: &[Row],
) -> Result<BTreeMap<Uuid, u64>, Error> {
    let mut wanted: BTreeMap<Uuid, i64> = BTreeMap::new();
    for row in rows {
        let count = wanted.entry(row.zone_id).or_default();
        *count = count.saturating_add(1);
    }
    let (zones, counts): (Vec<Uuid>, Vec<i64>) = wanted.into_iter().unzip();
    let taken = sqlx::query!(
        r#"
        INSERT INTO outbox_counters AS held (zone_id, journal_id, next)
        SELECT wanted.zone_id, $1, wanted.count + 1
        FROM unnest($2::uuid[], $3::bigint[]) AS wanted(zone_id, count)
        ON CONFLICT (zone_id, journal_id) DO UPDATE
        SET next = held.next + EXCLUDED.next - 1
        RETURNING zone_id, next
        "#,
        journal.as_uuid(),
        &zones,
        &counts,
    )
    .fetch_all(connection)
    .await?;
    let counts: BTreeMap<Uuid, i64> = zones.into_iter().zip(counts).collect();
    taken
        .into_iter()
        .map(|row| {
            let count = counts.get(&row.zone_id).copied().unwrap_or_default();
            let first = u64::try_from(row.next.saturating_sub(count)).map_err(Error::internal)?;
            Ok((row.zone_id, first))
        })
        .collect()
}

fn sign(
    row: &Row,
    journal: JournalId,
    counter: u64,
    partitions: u32,
    signer: &dyn EventSigner,
) -> Result<Numbered, Error> {
    let zone = ZoneId::from_uuid(row.zone_id);
    let mut event = Event::decode(&row.payload)
        .map_err(|_| Error::bad_row("outbox", format_args!("{zone} {}", row.id)))?;
    event.journal_id = journal;
    event.counter = counter;
    let envelope = Envelope {
        stream: stream(zone, partitions),
        kind: row.kind.clone(),
        zone: Some(zone),
        // No position of this journal depends on an epoch; its bytes must not either.
        epoch: Epoch([0; 16]),
        pos: 0,
        producer: format!("{OUTBOX}@{journal}"),
        counter,
        at: event.at_ns,
        payload: event.encode(),
        kid: signer.kid().clone(),
    };
    Ok(Numbered {
        zone,
        bytes: envelope_to_bytes(envelope.sign(signer)),
    })
}

/// The row keeps its counter and, from now on, the signed bytes.
async fn store(
    connection: &mut PgConnection,
    rows: &[Row],
    counters: &[i64],
    numbered: &[Numbered],
) -> Result<(), Error> {
    let zones: Vec<Uuid> = rows.iter().map(|row| row.zone_id).collect();
    let ids: Vec<i64> = rows.iter().map(|row| row.id).collect();
    let payloads: Vec<Vec<u8>> = numbered.iter().map(|event| event.bytes.clone()).collect();
    let updated = sqlx::query!(
        r#"
        UPDATE outbox AS o
        SET pos = numbered.pos, payload = numbered.payload
        FROM unnest($1::uuid[], $2::bigint[], $3::bigint[], $4::bytea[])
             AS numbered(zone_id, id, pos, payload)
        WHERE o.zone_id = numbered.zone_id AND o.id = numbered.id AND o.pos IS NULL
        "#,
        &zones,
        &ids,
        counters,
        &payloads,
    )
    .execute(connection)
    .await?;
    if usize::try_from(updated.rows_affected()).ok() == Some(rows.len()) {
        Ok(())
    } else {
        Err(Error::internal(
            "rows of the outbox were numbered by somebody else",
        ))
    }
}

/// The stream of a zone's evidence: its first four hash bytes choose the partition.
pub(crate) fn stream(zone: ZoneId, partitions: u32) -> String {
    let hash: [u8; 32] = Sha256::digest(zone.as_uuid().as_bytes()).into();
    let [a, b, c, d, ..] = hash;
    let partition = u32::from_be_bytes([a, b, c, d])
        .checked_rem(partitions)
        .unwrap_or(0);
    format!("caracal.audit.events.{partition}")
}

/// Numbered events that the ledger has not confirmed, in each zone's order.
pub(crate) async fn unconfirmed(pool: &PgPool) -> Result<Vec<Numbered>, Error> {
    let rows = sqlx::query!(
        r#"
        SELECT held.zone_id, held.payload
        FROM (SELECT zone_id, pos, payload,
                     row_number() OVER (PARTITION BY zone_id ORDER BY id) AS place
              FROM outbox
              WHERE lane = 'audit' AND pos IS NOT NULL) AS held
        WHERE held.place <= $1
        ORDER BY held.zone_id, held.place
        "#,
        AGAIN,
    )
    .fetch_all(pool)
    .await?;
    let numbered = rows.into_iter().map(|row| Numbered {
        zone: ZoneId::from_uuid(row.zone_id),
        bytes: row.payload,
    });
    Ok(numbered.collect())
}

/// Sends events to their streams.
pub(crate) async fn publish(
    redis: &Client,
    events: &[Numbered],
    partitions: u32,
    keep: SignedDuration,
    now: Timestamp,
) -> Result<(), RedisError> {
    for chunk in events.chunks(256) {
        let streams: Vec<String> = chunk
            .iter()
            .map(|event| stream(event.zone, partitions))
            .collect();
        let entries: Vec<(&str, &[u8])> = streams
            .iter()
            .zip(chunk)
            .map(|(stream, event)| (stream.as_str(), event.bytes.as_slice()))
            .collect();
        streams::append(redis, &entries, keep, now).await?;
    }
    Ok(())
}

/// Reads the ledger's cursors and takes the rows they confirm out of the outbox. Gives how many.
#[derive(Debug)]
pub(crate) struct Cursors {
    pub(crate) pool: PgPool,
    pub(crate) redis: Client,
    pub(crate) producers: Arc<Producers>,
    after: String,
}

impl Cursors {
    /// Starts a little before the newest cursor: older ones were confirmed or will be again.
    pub(crate) fn new(pool: PgPool, redis: Client, producers: Arc<Producers>) -> Self {
        Self {
            pool,
            redis,
            producers,
            after: "0-0".to_owned(),
        }
    }

    /// One round.
    pub(crate) async fn round(&mut self) -> Result<u64, chassis::BoxError> {
        let (entries, last) = streams::read_after(&self.redis, CURSORS, &self.after, 1_000).await?;
        if let Some(last) = last {
            self.after = last;
        } else if self.was_flushed().await? {
            "0-0".clone_into(&mut self.after);
        }
        let mut newest: BTreeMap<(Uuid, Uuid), u64> = BTreeMap::new();
        for bytes in &entries {
            if let Some((zone, journal, counter)) = self.cursor(bytes) {
                let held = newest.entry((zone, journal)).or_default();
                *held = counter.max(*held);
            }
        }
        let mut freed = 0_u64;
        for ((zone, journal), counter) in newest {
            freed = freed.saturating_add(free(&self.pool, zone, journal, counter).await?);
        }
        Ok(freed)
    }

    /// Whether the stream's ids have fallen below where we are.
    async fn was_flushed(&self) -> Result<bool, RedisError> {
        let newest = streams::newest_id(&self.redis, CURSORS).await?;
        Ok(match newest {
            Some(newest) => id_parts(&newest) < id_parts(&self.after),
            None => self.after != "0-0",
        })
    }

    fn cursor(&self, bytes: &[u8]) -> Option<(Uuid, Uuid, u64)> {
        let verified = envelope_from_bytes(bytes)
            .ok()?
            .verify(&self.producers)
            .ok()?;
        let envelope = verified.envelope();
        if envelope.kind != "cursor" || envelope.stream != CURSORS {
            return None;
        }
        let cursor = Cursor::from_payload(&envelope.payload).ok()?;
        Some((
            cursor.zone?.as_uuid(),
            cursor.journal.as_uuid(),
            cursor.counter,
        ))
    }
}

fn id_parts(id: &str) -> (u64, u64) {
    let (milliseconds, sequence) = id.split_once('-').unwrap_or((id, "0"));
    (
        milliseconds.parse().unwrap_or(0),
        sequence.parse().unwrap_or(0),
    )
}

/// Takes the confirmed rows of a zone out. A row belongs to the journal that its signed bytes name:
/// the deployment's journal may have changed since it was numbered.
pub(crate) async fn free(
    pool: &PgPool,
    zone: Uuid,
    journal: Uuid,
    counter: u64,
) -> Result<u64, Error> {
    let counter = i64::try_from(counter).unwrap_or(i64::MAX);
    let rows = sqlx::query!(
        r#"
        SELECT id, payload
        FROM outbox
        WHERE zone_id = $1 AND lane = 'audit' AND pos <= $2
        ORDER BY id
        LIMIT 10000
        "#,
        zone,
        counter,
    )
    .fetch_all(pool)
    .await?;
    let producer = format!("{OUTBOX}@{journal}");
    let ids: Vec<i64> = rows
        .iter()
        .filter(|row| {
            envelope_from_bytes(&row.payload)
                .is_ok_and(|signed| signed.envelope.producer == producer)
        })
        .map(|row| row.id)
        .collect();
    if ids.is_empty() {
        return Ok(0);
    }
    let deleted = sqlx::query!(
        r#"
        DELETE FROM outbox
        WHERE zone_id = $1 AND lane = 'audit' AND id = ANY($2)
        "#,
        zone,
        &ids,
    )
    .execute(pool)
    .await?;
    Ok(deleted.rows_affected())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_compare_by_their_numbers() {
        assert!(id_parts("9-1") < id_parts("10-0"));
        assert!(id_parts("10-2") < id_parts("10-10"));
    }

    #[test]
    fn a_zone_has_one_of_the_partitions() {
        let zone = ZoneId::from_uuid(Uuid::from_u128(1));
        assert_eq!(stream(zone, 4), stream(zone, 4));
        assert_eq!(stream(zone, 1), "caracal.audit.events.0");
        let partitions: std::collections::BTreeSet<String> = (0..100)
            .map(|n| stream(ZoneId::from_uuid(Uuid::from_u128(n)), 4))
            .collect();
        assert_eq!(partitions.len(), 4);
    }
}
