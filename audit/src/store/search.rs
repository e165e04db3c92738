//! Finding events. What a column can decide is decided here; what only the leaf knows, by whoever asked.

use chassis::db::{OperatorTx, ZoneTx};
use jiff::Timestamp;
use mandate::id::ZoneId;
use sqlx::PgConnection;
use uuid::Uuid;

use super::{hash, signed, time, unsigned};
use crate::error::Error;

/// What is looked for. A row may match by one of its samples: then only its leaf tells.
#[derive(Clone, Debug, Default)]
pub(crate) struct Filter {
    pub(crate) request_id: Option<String>,
    pub(crate) decision_id: Option<Uuid>,
    pub(crate) code: Option<String>,
    pub(crate) kind: Option<String>,
    pub(crate) decision: Option<String>,
    pub(crate) application: Option<Uuid>,
    pub(crate) session: Option<Uuid>,
    pub(crate) resource: Option<String>,
    pub(crate) jti: Option<Uuid>,
    pub(crate) sid: Option<Uuid>,
    pub(crate) since: Option<Timestamp>,
    pub(crate) until: Option<Timestamp>,
}

/// A place in the order of answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct After {
    pub(crate) zone: ZoneId,
    pub(crate) seq: u64,
}

/// A row that may be an answer.
#[derive(Debug)]
pub(crate) struct Hit {
    pub(crate) zone: ZoneId,
    pub(crate) seq: u64,
    pub(crate) appended_at: Timestamp,
    pub(crate) link: [u8; 32],
    pub(crate) leaf: Vec<u8>,
}

struct Row {
    zone_id: Uuid,
    seq: i64,
    appended_at: jiff_sqlx::Timestamp,
    link: Vec<u8>,
    leaf: Vec<u8>,
}

impl TryFrom<Row> for Hit {
    type Error = Error;

    fn try_from(row: Row) -> Result<Self, Error> {
        Ok(Self {
            zone: ZoneId::from_uuid(row.zone_id),
            seq: unsigned(row.seq)?,
            appended_at: row.appended_at.to_jiff(),
            link: hash(&row.link)?,
            leaf: row.leaf,
        })
    }
}

/// Every search has other filters: a plan made for all of them would be bad for each.
async fn plan_for_values(connection: &mut PgConnection) -> Result<(), Error> {
    sqlx::query!("SET LOCAL plan_cache_mode = 'force_custom_plan'")
        .execute(connection)
        .await?;
    Ok(())
}

/// Rows of the transaction's zone, in the order of the chain.
pub(crate) async fn in_zone(
    tx: &mut ZoneTx,
    filter: &Filter,
    after: u64,
    most: i64,
) -> Result<Vec<Hit>, Error> {
    plan_for_values(tx.as_mut()).await?;
    let zone = tx.zone().as_uuid();
    let rows = sqlx::query_as!(
        Row,
        "SELECT zone_id, seq, appended_at, link, leaf
           FROM audit_events
          WHERE zone_id = $1
            AND seq > $2
            AND ($4::text IS NULL OR request_id = $4 OR sample_ids IS NOT NULL)
            AND ($5::uuid IS NULL OR decision_id = $5 OR (sample_ids IS NOT NULL AND $5 = ANY(sample_ids)))
            AND ($6::text IS NULL OR code = $6)
            AND ($7::text IS NULL OR kind = $7)
            AND ($8::text IS NULL OR decision = $8)
            AND ($9::uuid IS NULL OR application_id = $9)
            AND ($10::uuid IS NULL OR session_id = $10)
            AND ($11::text IS NULL OR resource = $11)
            AND ($12::uuid IS NULL OR jti = $12)
            AND ($13::uuid IS NULL OR sid = $13)
            AND ($14::timestamptz IS NULL OR at >= $14)
            AND ($15::timestamptz IS NULL OR at < $15)
          ORDER BY seq
          LIMIT $3",
        zone,
        signed(after)?,
        most,
        filter.request_id.as_deref(),
        filter.decision_id,
        filter.code.as_deref(),
        filter.kind.as_deref(),
        filter.decision.as_deref(),
        filter.application,
        filter.session,
        filter.resource.as_deref(),
        filter.jti,
        filter.sid,
        filter.since.map(time) as _,
        filter.until.map(time) as _,
    )
    .fetch_all(tx.as_mut())
    .await?;
    rows.into_iter().map(Hit::try_from).collect()
}

/// Rows of all zones, by zone and the order of its chain.
pub(crate) async fn everywhere(
    tx: &mut OperatorTx,
    filter: &Filter,
    after: After,
    most: i64,
) -> Result<Vec<Hit>, Error> {
    plan_for_values(tx.as_mut()).await?;
    let rows = sqlx::query_as!(
        Row,
        "SELECT zone_id, seq, appended_at, link, leaf
           FROM audit_events
          WHERE (zone_id, seq) > ($1, $2)
            AND ($4::text IS NULL OR request_id = $4 OR sample_ids IS NOT NULL)
            AND ($5::uuid IS NULL OR decision_id = $5 OR (sample_ids IS NOT NULL AND $5 = ANY(sample_ids)))
            AND ($6::text IS NULL OR code = $6)
            AND ($7::text IS NULL OR kind = $7)
            AND ($8::text IS NULL OR decision = $8)
            AND ($9::uuid IS NULL OR application_id = $9)
            AND ($10::uuid IS NULL OR session_id = $10)
            AND ($11::text IS NULL OR resource = $11)
            AND ($12::uuid IS NULL OR jti = $12)
            AND ($13::uuid IS NULL OR sid = $13)
            AND ($14::timestamptz IS NULL OR at >= $14)
            AND ($15::timestamptz IS NULL OR at < $15)
          ORDER BY zone_id, seq
          LIMIT $3",
        after.zone.as_uuid(),
        signed(after.seq)?,
        most,
        filter.request_id.as_deref(),
        filter.decision_id,
        filter.code.as_deref(),
        filter.kind.as_deref(),
        filter.decision.as_deref(),
        filter.application,
        filter.session,
        filter.resource.as_deref(),
        filter.jti,
        filter.sid,
        filter.since.map(time) as _,
        filter.until.map(time) as _,
    )
    .fetch_all(tx.as_mut())
    .await?;
    rows.into_iter().map(Hit::try_from).collect()
}
