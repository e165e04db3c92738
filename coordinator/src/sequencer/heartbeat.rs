//! Numbering: committed changes get dense positions, and the same transaction says how far the
//! database was complete, and when.
//!
//! `as_of` is the database's clock, read before the statement that looks for unnumbered rows: every
//! change committed before it is at or below the position. A transaction that could not number all
//! it saw leaves `as_of` alone.

use chassis::BoxError;
use jiff::{SignedDuration, Timestamp};
use jiff_sqlx::ToSqlx;
use ledger::envelope::{Envelope, Epoch, EventSigner};
use mandate::id::ZoneId;
use sqlx::{PgConnection, PgPool};
use uuid::Uuid;
use wire::convert::envelope_to_bytes;

use crate::error::Error;
use crate::sequencer::{PRODUCER, STREAM};

/// The most rows numbered in one transaction.
const BATCH: i64 = 512;

/// What one transaction did.
#[derive(Debug)]
pub(crate) enum Step {
    /// The term is not ours any more.
    Deposed,
    /// Numbered these, possibly none.
    Numbered(Numbered),
}

/// What was numbered.
#[derive(Clone, Debug)]
pub(crate) struct Numbered {
    /// The epoch numbered in.
    pub(crate) epoch: Epoch,
    /// The highest position there is.
    pub(crate) pos: u64,
    /// Complete up to here.
    pub(crate) as_of: Timestamp,
    /// The new positions with their signed bytes, in order.
    pub(crate) positions: Vec<(u64, Vec<u8>)>,
    /// Whether unnumbered rows may be left.
    pub(crate) more: bool,
}

struct Row {
    zone_id: Uuid,
    id: i64,
    kind: String,
    payload: Vec<u8>,
    created_at: jiff_sqlx::Timestamp,
}

/// The database's clock.
pub(crate) async fn database_clock(connection: &mut PgConnection) -> Result<Timestamp, Error> {
    let now = sqlx::query_scalar!(r#"SELECT clock_timestamp() AS "now!""#)
        .fetch_one(connection)
        .await?;
    Ok(now.to_jiff())
}

/// Numbers what is committed, renews the lease, commits the heartbeat: one transaction.
pub(crate) async fn step(
    pool: &PgPool,
    term: i64,
    lease: SignedDuration,
    signer: &dyn EventSigner,
) -> Result<Step, Error> {
    let mut tx = pool.begin().await?;
    let as_of = database_clock(&mut tx).await?;
    let Some(held) = sqlx::query!(
        r#"
        SELECT epoch, pos, as_of
        FROM deployment
        WHERE term = $1
        FOR NO KEY UPDATE
        "#,
        term,
    )
    .fetch_optional(&mut *tx)
    .await?
    else {
        return Ok(Step::Deposed);
    };
    let epoch = epoch(&held.epoch)?;
    let rows = unnumbered(&mut tx).await?;
    let more = i64::try_from(rows.len()).unwrap_or(BATCH) >= BATCH;
    let first = u64::try_from(held.pos)
        .map_err(Error::internal)?
        .saturating_add(1);
    let mut positions = Vec::with_capacity(rows.len());
    for (pos, row) in (first..).zip(&rows) {
        positions.push((pos, sign(row, epoch, pos, signer)));
    }
    let pos = positions
        .last()
        .map_or(first.saturating_sub(1), |(pos, _)| *pos);
    store(&mut tx, &rows, &positions).await?;
    let as_of = if more {
        held.as_of.to_jiff()
    } else {
        as_of.max(held.as_of.to_jiff())
    };
    let lease_until = as_of.saturating_add(lease).map_err(Error::internal)?;
    sqlx::query!(
        r#"
        UPDATE deployment
        SET pos = $2, as_of = $3, lease_until = greatest(lease_until, $4)
        WHERE term = $1
        "#,
        term,
        i64::try_from(pos).map_err(Error::internal)?,
        as_of.to_sqlx() as _,
        lease_until.to_sqlx() as _,
    )
    .execute(&mut *tx)
    .await?;
    tx.commit().await?;
    Ok(Step::Numbered(Numbered {
        epoch,
        pos,
        as_of,
        positions,
        more,
    }))
}

async fn unnumbered(connection: &mut PgConnection) -> Result<Vec<Row>, Error> {
    let rows = sqlx::query_as!(
        Row,
        r#"
        SELECT zone_id, id, kind, payload, created_at
        FROM outbox
        WHERE lane = 'authority' AND pos IS NULL
        ORDER BY id
        LIMIT $1
        "#,
        BATCH,
    )
    .fetch_all(connection)
    .await?;
    Ok(rows)
}

/// The row as a signed message. Nothing in it but the position is chosen here, so that who repeats
/// it repeats the same bytes.
fn sign(row: &Row, epoch: Epoch, pos: u64, signer: &dyn EventSigner) -> Vec<u8> {
    let envelope = Envelope {
        stream: STREAM.to_owned(),
        kind: row.kind.clone(),
        zone: Some(ZoneId::from_uuid(row.zone_id)),
        epoch,
        pos,
        producer: PRODUCER.to_owned(),
        counter: pos,
        at: crate::delta::nanoseconds(row.created_at.to_jiff()),
        payload: row.payload.clone(),
        kid: signer.kid().clone(),
    };
    envelope_to_bytes(envelope.sign(signer))
}

/// Stores the positions and takes the rows out of the outbox.
async fn store(
    connection: &mut PgConnection,
    rows: &[Row],
    positions: &[(u64, Vec<u8>)],
) -> Result<(), Error> {
    if rows.is_empty() {
        return Ok(());
    }
    let numbers = positions
        .iter()
        .map(|(pos, _)| i64::try_from(*pos))
        .collect::<Result<Vec<_>, _>>()
        .map_err(Error::internal)?;
    let envelopes: Vec<Vec<u8>> = positions.iter().map(|(_, bytes)| bytes.clone()).collect();
    let zones: Vec<Uuid> = rows.iter().map(|row| row.zone_id).collect();
    let ids: Vec<i64> = rows.iter().map(|row| row.id).collect();
    let times: Vec<jiff_sqlx::Timestamp> = rows.iter().map(|row| row.created_at).collect();
    sqlx::query!(
        r#"
        INSERT INTO positions (pos, zone_id, outbox_id, envelope, created_at)
        SELECT *
        FROM unnest($1::bigint[], $2::uuid[], $3::bigint[], $4::bytea[], $5::timestamptz[])
        "#,
        &numbers,
        &zones,
        &ids,
        &envelopes,
        &times as _,
    )
    .execute(&mut *connection)
    .await?;
    let deleted = sqlx::query!(
        r#"
        DELETE FROM outbox AS o
        USING unnest($1::uuid[], $2::bigint[]) AS done(zone_id, id)
        WHERE o.zone_id = done.zone_id AND o.id = done.id
        "#,
        &zones,
        &ids,
    )
    .execute(connection)
    .await?;
    if usize::try_from(deleted.rows_affected()).ok() == Some(rows.len()) {
        Ok(())
    } else {
        Err(Error::internal(
            "numbered rows of the outbox could not be taken out of it",
        ))
    }
}

/// An epoch as the table holds it.
pub(crate) fn epoch(bytes: &[u8]) -> Result<Epoch, Error> {
    <[u8; 16]>::try_from(bytes)
        .map(Epoch)
        .map_err(|_| Error::bad_row("deployment", "epoch"))
}

/// Takes the lease if nobody holds it; gives the new term.
pub(crate) async fn acquire(
    pool: &PgPool,
    holder: &str,
    lease: SignedDuration,
) -> Result<Option<i64>, BoxError> {
    let mut tx = pool.begin().await?;
    let now = database_clock(&mut tx).await?;
    let until = now.saturating_add(lease)?;
    let term = sqlx::query_scalar!(
        r#"
        UPDATE deployment
        SET term = term + 1, holder = $1, lease_until = $2
        WHERE lease_until IS NULL OR lease_until < $3
        RETURNING term
        "#,
        holder,
        until.to_sqlx() as _,
        now.to_sqlx() as _,
    )
    .fetch_optional(&mut *tx)
    .await?;
    tx.commit().await?;
    Ok(term)
}

/// Lets the lease run out at once, for whoever waits for it.
pub(crate) async fn release(pool: &PgPool, term: i64) -> Result<(), BoxError> {
    sqlx::query!(
        r#"
        UPDATE deployment
        SET lease_until = as_of, holder = NULL
        WHERE term = $1
        "#,
        term,
    )
    .execute(pool)
    .await?;
    Ok(())
}

/// Whether anything is not numbered yet.
pub(crate) async fn waiting(pool: &PgPool) -> Result<bool, Error> {
    let waiting = sqlx::query_scalar!(
        r#"
        SELECT EXISTS (
            SELECT 1
            FROM outbox
            WHERE lane = 'authority' AND pos IS NULL
        ) AS "waiting!"
        "#,
    )
    .fetch_one(pool)
    .await?;
    Ok(waiting)
}
