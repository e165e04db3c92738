//! Messages that leave with the transaction that caused them, or not at all.

use jiff::Timestamp;
use jiff_sqlx::ToSqlx;
use ledger::envelope::EventSigner;
use ledger::event::Event;
use prost::Message;
use wire::pb::caracal::authority::v1::{Change, change::What};

use crate::db::{DbError, ZoneTx};

/// The channel that the sequencer listens on.
pub const CHANNEL: &str = "caracal_outbox";

/// Adds a change of authority to the transaction and wakes the sequencer when it commits. Gives the
/// row's id, by which its position can be asked for later.
pub async fn authority(
    tx: &mut ZoneTx,
    kind: &'static str,
    change: &Change,
    now: Timestamp,
) -> Result<i64, DbError> {
    let (id, _notified) = sqlx::query_as::<_, (i64, Option<String>)>(
        "WITH added AS (
             INSERT INTO outbox (zone_id, lane, kind, payload, created_at)
             VALUES ($1, 'authority', $2, $3, $4)
             RETURNING id
         )
         SELECT id, pg_notify('caracal_outbox', '')::text
           FROM added",
    )
    .bind(tx.zone().as_uuid())
    .bind(kind)
    .bind(change.encode_to_vec())
    .bind(now.to_sqlx())
    .fetch_one(tx.as_mut())
    .await?;
    Ok(id)
}

/// Adds an event of evidence to the transaction, signed by the service that writes it. The
/// sequencer gives it a journal and a counter; the signature covers everything else.
pub async fn audit(
    tx: &mut ZoneTx,
    event: Event,
    signer: &(impl EventSigner + ?Sized),
    now: Timestamp,
) -> Result<(), DbError> {
    let kind = event.kind.as_str();
    let payload = event.sign_origin(signer).encode();
    sqlx::query(
        "INSERT INTO outbox (zone_id, lane, kind, payload, created_at)
         VALUES ($1, 'audit', $2, $3, $4)",
    )
    .bind(tx.zone().as_uuid())
    .bind(kind)
    .bind(payload)
    .bind(now.to_sqlx())
    .execute(tx.as_mut())
    .await?;
    Ok(())
}

/// The kind under which a change travels on `caracal.authority`; nothing when it says nothing.
pub fn kind_of(change: &Change) -> Option<&'static str> {
    Some(match change.what.as_ref()? {
        What::Zone(_) => "zone",
        What::Key(_) => "key",
        What::Resource(_) => "resource",
        What::Binding(_) => "binding",
        What::Policy(_) => "policy",
        What::State(_) => "state",
        What::Dead(_) => "revocation",
        What::CutOff(_) => "cutoff",
    })
}
