//! The events.

use chassis::db::{Pool, ZoneTx};
use jiff::Timestamp;
use mandate::id::JournalId;
use uuid::Uuid;

use super::{hash, signed, time, unsigned};
use crate::columns::Columns;
use crate::error::Error;

/// An event with its place.
#[derive(Debug)]
pub(crate) struct Placed<'a> {
    pub(crate) seq: u64,
    pub(crate) link: [u8; 32],
    pub(crate) leaf: &'a [u8],
    pub(crate) columns: &'a Columns,
}

/// An event as it is stored.
#[derive(Clone, Debug)]
pub(crate) struct Stored {
    pub(crate) seq: u64,
    pub(crate) appended_at: Timestamp,
    pub(crate) link: [u8; 32],
    pub(crate) leaf: Vec<u8>,
    pub(crate) columns: Columns,
}

/// Makes the partition that holds `at`, if there is none.
pub(crate) async fn make_partition(pool: &Pool, at: Timestamp) -> Result<(), Error> {
    sqlx::query!("SELECT audit_make_partition($1)", time(at) as _)
        .execute(pool.inner())
        .await?;
    Ok(())
}

/// One column after the other, as the statement wants them.
#[derive(Default)]
struct Sheaf {
    seqs: Vec<i64>,
    journals: Vec<Uuid>,
    counters: Vec<i64>,
    kinds: Vec<String>,
    ats: Vec<jiff_sqlx::Timestamp>,
    decisions: Vec<Option<String>>,
    codes: Vec<Option<String>>,
    decision_ids: Vec<Option<Uuid>>,
    request_ids: Vec<Option<String>>,
    applications: Vec<Option<Uuid>>,
    sessions: Vec<Option<Uuid>>,
    resources: Vec<Option<String>>,
    operations: Vec<Option<String>>,
    jtis: Vec<Option<Uuid>>,
    sids: Vec<Option<Uuid>>,
    policies: Vec<Option<Uuid>>,
    counts: Vec<Option<i64>>,
    /// Lists of lists are no arrays; a text a row is.
    samples: Vec<Option<String>>,
    links: Vec<Vec<u8>>,
    leaves: Vec<Vec<u8>>,
}

impl Sheaf {
    fn of(events: &[Placed<'_>]) -> Result<Self, Error> {
        let mut sheaf = Self::default();
        for event in events {
            sheaf.push(event)?;
        }
        Ok(sheaf)
    }

    fn push(&mut self, event: &Placed<'_>) -> Result<(), Error> {
        let columns = event.columns.clone();
        self.seqs.push(signed(event.seq)?);
        self.journals.push(columns.journal_id);
        self.counters.push(columns.counter);
        self.kinds.push(columns.kind);
        self.ats.push(time(columns.at));
        self.decisions.push(columns.decision);
        self.codes.push(columns.code);
        self.decision_ids.push(columns.decision_id);
        self.request_ids.push(columns.request_id);
        self.applications.push(columns.application_id);
        self.sessions.push(columns.session_id);
        self.resources.push(columns.resource);
        self.operations.push(columns.operation);
        self.jtis.push(columns.jti);
        self.sids.push(columns.sid);
        self.policies.push(columns.policy_version);
        self.counts.push(columns.count);
        self.samples.push(columns.sample_ids.map(|ids| {
            let ids: Vec<String> = ids.iter().map(Uuid::to_string).collect();
            ids.join(",")
        }));
        self.links.push(event.link.to_vec());
        self.leaves.push(event.leaf.to_vec());
        Ok(())
    }
}

/// Appends events, in one statement.
pub(crate) async fn insert(
    tx: &mut ZoneTx,
    events: &[Placed<'_>],
    at: Timestamp,
) -> Result<(), Error> {
    let zone = tx.zone().as_uuid();
    let sheaf = Sheaf::of(events)?;
    let done = sqlx::query!(
        "INSERT INTO audit_events (zone_id, seq, appended_at, journal_id, counter, kind, at, decision, code,
                                   decision_id, request_id, application_id, session_id, resource, operation,
                                   jti, sid, policy_version, count, sample_ids, link, leaf)
         SELECT $1, seq, $2, journal_id, counter, kind, at, decision, code,
                decision_id, request_id, application_id, session_id, resource, operation,
                jti, sid, policy_version, count, string_to_array(samples, ',')::uuid[], link, leaf
           FROM UNNEST($3::bigint[], $4::uuid[], $5::bigint[], $6::text[], $7::timestamptz[], $8::text[],
                       $9::text[], $10::uuid[], $11::text[], $12::uuid[], $13::uuid[], $14::text[], $15::text[],
                       $16::uuid[], $17::uuid[], $18::uuid[], $19::bigint[], $20::text[], $21::bytea[],
                       $22::bytea[])
                AS new (seq, journal_id, counter, kind, at, decision, code, decision_id, request_id,
                        application_id, session_id, resource, operation, jti, sid, policy_version, count,
                        samples, link, leaf)",
        zone,
        time(at) as _,
        &sheaf.seqs,
        &sheaf.journals,
        &sheaf.counters,
        &sheaf.kinds,
        &sheaf.ats as &[jiff_sqlx::Timestamp],
        &sheaf.decisions as &[Option<String>],
        &sheaf.codes as &[Option<String>],
        &sheaf.decision_ids as &[Option<Uuid>],
        &sheaf.request_ids as &[Option<String>],
        &sheaf.applications as &[Option<Uuid>],
        &sheaf.sessions as &[Option<Uuid>],
        &sheaf.resources as &[Option<String>],
        &sheaf.operations as &[Option<String>],
        &sheaf.jtis as &[Option<Uuid>],
        &sheaf.sids as &[Option<Uuid>],
        &sheaf.policies as &[Option<Uuid>],
        &sheaf.counts as &[Option<i64>],
        &sheaf.samples as &[Option<String>],
        &sheaf.links,
        &sheaf.leaves,
    )
    .execute(tx.as_mut())
    .await?;
    if usize::try_from(done.rows_affected()).is_ok_and(|rows| rows == events.len()) {
        Ok(())
    } else {
        Err(Error::internal("fewer events were inserted than given"))
    }
}

/// The leaf hash at a journal's counter.
pub(crate) type Known = (JournalId, u64, [u8; 32]);

/// What is stored of some journals at some times: an event that comes again has the time it had.
pub(crate) async fn at_times(
    tx: &mut ZoneTx,
    journals: &[Uuid],
    times: &[Timestamp],
) -> Result<Vec<Known>, Error> {
    let zone = tx.zone().as_uuid();
    let times: Vec<jiff_sqlx::Timestamp> = times.iter().copied().map(time).collect();
    let rows = sqlx::query!(
        "SELECT journal_id, counter, leaf
           FROM audit_events
          WHERE zone_id = $1
            AND at = ANY($2)
            AND journal_id = ANY($3)",
        zone,
        &times as &[jiff_sqlx::Timestamp],
        journals,
    )
    .fetch_all(tx.as_mut())
    .await?;
    rows.into_iter()
        .map(|row| known(row.journal_id, row.counter, &row.leaf))
        .collect()
}

/// What is stored at a journal's counter. Looks through the whole zone.
pub(crate) async fn at_counter(
    tx: &mut ZoneTx,
    journal: JournalId,
    counter: u64,
) -> Result<Option<Known>, Error> {
    let zone = tx.zone().as_uuid();
    let row = sqlx::query!(
        "SELECT journal_id, counter, leaf
           FROM audit_events
          WHERE zone_id = $1
            AND journal_id = $2
            AND counter = $3
          LIMIT 1",
        zone,
        journal.as_uuid(),
        signed(counter)?,
    )
    .fetch_optional(tx.as_mut())
    .await?;
    row.map(|row| known(row.journal_id, row.counter, &row.leaf))
        .transpose()
}

fn known(journal: Uuid, counter: i64, leaf: &[u8]) -> Result<Known, Error> {
    Ok((
        JournalId::from_uuid(journal),
        unsigned(counter)?,
        ledger::leaf_hash(leaf),
    ))
}

/// Some of the events behind a place, in the order of the chain.
pub(crate) async fn walk(
    tx: &mut ZoneTx,
    behind: Option<(u64, Timestamp)>,
    most: i64,
) -> Result<Vec<Stored>, Error> {
    let zone = tx.zone().as_uuid();
    let (seq, at) = behind.unwrap_or((0, Timestamp::UNIX_EPOCH));
    let rows = sqlx::query!(
        "SELECT seq, appended_at, journal_id, counter, kind, at, decision, code, decision_id, request_id,
                application_id, session_id, resource, operation, jti, sid, policy_version, count, sample_ids,
                link, leaf
           FROM audit_events
          WHERE zone_id = $1
            AND seq >= $2
            AND (seq > $2 OR appended_at > $3)
          ORDER BY seq, appended_at
          LIMIT $4",
        zone,
        signed(seq)?,
        time(at) as _,
        most,
    )
    .fetch_all(tx.as_mut())
    .await?;
    rows.into_iter()
        .map(|row| {
            Ok(Stored {
                seq: unsigned(row.seq)?,
                appended_at: row.appended_at.to_jiff(),
                link: hash(&row.link)?,
                leaf: row.leaf,
                columns: Columns {
                    journal_id: row.journal_id,
                    counter: row.counter,
                    kind: row.kind,
                    at: row.at.to_jiff(),
                    decision: row.decision,
                    code: row.code,
                    decision_id: row.decision_id,
                    request_id: row.request_id,
                    application_id: row.application_id,
                    session_id: row.session_id,
                    resource: row.resource,
                    operation: row.operation,
                    jti: row.jti,
                    sid: row.sid,
                    policy_version: row.policy_version,
                    count: row.count,
                    sample_ids: row.sample_ids,
                },
            })
        })
        .collect()
}
