//! The one write of a mint: shared locks on everything it rests on, and in a later statement the
//! record, if all of it still stands.

use chassis::db::ZoneTx;
use jiff::Timestamp;
use jiff_sqlx::ToSqlx;
use mandate::id::{ApplicationId, PolicyVersionId, RecordId, SessionId};
use sqlx::types::Json;

use crate::error::Gone;
use crate::store::StoreError;
use crate::store::client::Stored;

/// One object a mint rests on.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Anchor {
    /// Its kind, as the `anchors` table spells it.
    pub kind: &'static str,
    /// Its id there.
    pub id: String,
    /// Whether there must be a row; otherwise one appears when it is first revoked.
    pub required: bool,
}

/// What is to be recorded.
#[derive(Debug)]
pub(crate) struct Record<'a> {
    /// `sid`.
    pub id: RecordId,
    /// `root_sid`.
    pub root: RecordId,
    /// What it was narrowed from.
    pub parent: Option<RecordId>,
    /// Whose it is, and the version that was decided on.
    pub application: (ApplicationId, i64),
    /// The session it is for, and the version that was decided on.
    pub session: Option<(SessionId, i64)>,
    /// The resources that were decided on, as they were stored.
    pub resources: &'a Stored,
    /// `session`, `gateway` or `resource`.
    pub usage: &'static str,
    /// When the mandate ends.
    pub expires_at: Timestamp,
    /// The policy version it was decided under.
    pub policy: PolicyVersionId,
    /// `iat` of what it was narrowed from: a cut-off at or after it stops this mint.
    pub subject_iat: Option<i64>,
    /// The evidence, encoded and signed by us.
    pub event: &'a [u8],
    /// Its kind.
    pub event_kind: &'a str,
    /// Now.
    pub now: Timestamp,
}

/// What came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Recorded; the highest cut-off of what it rests on.
    Recorded {
        /// Seconds; `iat` must be above it.
        not_before_s: i64,
    },
    /// Something it rests on is gone.
    Gone(Gone),
    /// Another policy is active by now, or what was decided on has another version: decide again.
    Changed,
}

/// Takes the shared lock of every anchor, in the order of the locks' keys.
pub(crate) async fn lock(tx: &mut ZoneTx, anchors: &[Anchor]) -> Result<(), StoreError> {
    let (kinds, ids, _) = columns(anchors);
    sqlx::query!(
        r#"
        SELECT pg_advisory_xact_lock_shared(sorted.key)::text AS "locked?"
        FROM (
            SELECT DISTINCT anchor_lock_key($1, anchor.kind, anchor.id) AS key
            FROM unnest($2::text[], $3::text[]) AS anchor(kind, id)
            ORDER BY key
        ) AS sorted
        "#,
        tx.zone().as_uuid(),
        &kinds,
        &ids,
    )
    .fetch_all(tx.as_mut())
    .await?;
    Ok(())
}

/// Records the mint if every anchor stands. Must be its own statement after [`lock`]: only a
/// statement begun after the locks were granted sees what a revocation committed before.
#[expect(clippy::too_many_lines, reason = "one statement, which must stay one")]
pub(crate) async fn record(
    tx: &mut ZoneTx,
    anchors: &[Anchor],
    record: &Record<'_>,
) -> Result<Outcome, StoreError> {
    let (kinds, ids, required) = columns(anchors);
    let row = sqlx::query!(
        r#"
        WITH asked AS (
            SELECT a.kind, a.id, a.required
            FROM unnest($2::text[], $3::text[], $4::bool[]) AS a(kind, id, required)
        ), held AS (
            SELECT asked.kind,
                   asked.required,
                   anchor.state,
                   anchor.dead_until,
                   anchor.not_before_s
            FROM asked
            LEFT JOIN anchors AS anchor
                   ON anchor.zone_id = $1 AND anchor.kind = asked.kind AND anchor.id = asked.id
        ), verdict AS (
            SELECT coalesce(bool_or(
                       (required AND state IS NULL)
                       OR dead_until IS NOT NULL
                       OR (kind IN ('zone', 'application', 'subject') AND not_before_s >= $5)
                       OR state NOT IN ('active', 'suspended', 'disabled', 'archived')
                   ), FALSE) AS revoked,
                   coalesce(bool_or(state = 'suspended'), FALSE) AS suspended,
                   coalesce(bool_or(state = 'disabled'), FALSE) AS disabled,
                   coalesce(bool_or(state = 'archived'), FALSE) AS archived,
                   coalesce(max(not_before_s), 0) AS not_before_s
            FROM held
        ), standing AS (
            SELECT 1 AS one
            FROM verdict
            JOIN policy_heads AS head ON head.zone_id = $1 AND head.active_id = $6
            WHERE NOT (revoked OR suspended OR disabled OR archived)
              AND ($7::uuid IS NULL OR EXISTS (
                    SELECT 1
                    FROM sessions AS s
                    WHERE s.zone_id = $1
                      AND s.id = $7
                      AND s.application_id = $8
                      AND s.version = $18
                      AND s.state = 'active'
                      AND s.expires_at >= $9))
              AND EXISTS (
                    SELECT 1
                    FROM applications AS a
                    WHERE a.zone_id = $1 AND a.id = $8 AND a.version = $17)
              AND NOT EXISTS (
                    SELECT 1
                    FROM jsonb_each($19::jsonb) AS decided(identifier, scopes)
                    LEFT JOIN resources AS r
                           ON r.zone_id = $1 AND r.identifier = decided.identifier
                    WHERE to_jsonb(r.scopes) IS DISTINCT FROM decided.scopes)
        ), recorded AS (
            INSERT INTO authority_records
                   (zone_id, id, root_id, parent_id, application_id, session_id, usage,
                    expires_at, created_at)
            SELECT $1, $10, $11, $12::uuid, $8, $7, $13, $9, $14
            FROM standing
            RETURNING id
        ), anchored AS (
            INSERT INTO anchors (zone_id, kind, id)
            SELECT $1, 'record', recorded.id::text
            FROM recorded
        ), evidence AS (
            INSERT INTO outbox (zone_id, lane, kind, payload, created_at)
            SELECT $1, 'audit', $15, $16, $14
            FROM recorded
        )
        SELECT verdict.revoked AS "revoked!",
               verdict.suspended AS "suspended!",
               verdict.disabled AS "disabled!",
               verdict.archived AS "archived!",
               verdict.not_before_s AS "not_before_s!",
               EXISTS (SELECT 1 FROM recorded) AS "recorded!"
        FROM verdict
        "#,
        tx.zone().as_uuid(),
        &kinds,
        &ids,
        &required,
        record.subject_iat,
        record.policy.as_uuid(),
        record.session.map(|(session, _)| session.as_uuid()),
        record.application.0.as_uuid(),
        record.expires_at.to_sqlx() as _,
        record.id.as_uuid(),
        record.root.as_uuid(),
        record.parent.map(RecordId::as_uuid),
        record.usage,
        record.now.to_sqlx() as _,
        record.event_kind,
        record.event,
        record.application.1,
        record.session.map(|(_, version)| version),
        Json(record.resources) as _,
    )
    .fetch_one(tx.as_mut())
    .await?;
    Ok(if row.recorded {
        Outcome::Recorded {
            not_before_s: row.not_before_s,
        }
    } else if row.revoked {
        Outcome::Gone(Gone::Revoked)
    } else if row.archived {
        Outcome::Gone(Gone::Archived)
    } else if row.disabled {
        Outcome::Gone(Gone::Disabled)
    } else if row.suspended {
        Outcome::Gone(Gone::Suspended)
    } else {
        Outcome::Changed
    })
}

fn columns(anchors: &[Anchor]) -> (Vec<String>, Vec<String>, Vec<bool>) {
    let kinds = anchors
        .iter()
        .map(|anchor| anchor.kind.to_owned())
        .collect();
    let ids = anchors.iter().map(|anchor| anchor.id.clone()).collect();
    let required = anchors.iter().map(|anchor| anchor.required).collect();
    (kinds, ids, required)
}
