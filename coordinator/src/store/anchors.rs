//! One row for each object that can be revoked: its state, its cut-off, whether it is dead. Mints
//! hold shared locks on the rows they rest on; whoever changes one holds its exclusive lock, and
//! reads or writes only in a later statement.

use chassis::db::ZoneTx;
use jiff::Timestamp;
use jiff_sqlx::ToSqlx;

use crate::error::Error;

/// What an anchor stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum AnchorKind {
    /// A zone.
    Zone,
    /// A zone's active policy.
    Policy,
    /// An application.
    Application,
    /// A subject.
    Subject,
    /// A resource, by identifier.
    Resource,
    /// A session.
    Session,
    /// A delegation.
    Delegation,
    /// An authority record, `sid`.
    Record,
    /// A mandate, `jti`.
    Mandate,
    /// A signing key, `kid`.
    Key,
}

impl AnchorKind {
    /// As the table spells it.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Zone => "zone",
            Self::Policy => "policy",
            Self::Application => "application",
            Self::Subject => "subject",
            Self::Resource => "resource",
            Self::Session => "session",
            Self::Delegation => "delegation",
            Self::Record => "record",
            Self::Mandate => "mandate",
            Self::Key => "key",
        }
    }

    /// Reads the table's spelling.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        [
            Self::Zone,
            Self::Policy,
            Self::Application,
            Self::Subject,
            Self::Resource,
            Self::Session,
            Self::Delegation,
            Self::Record,
            Self::Mandate,
            Self::Key,
        ]
        .into_iter()
        .find(|kind| kind.as_str() == text)
    }
}

/// An anchor as it stands.
#[derive(Clone, Debug)]
pub(crate) struct Anchor {
    pub(crate) kind: String,
    pub(crate) id: String,
    pub(crate) state: String,
    pub(crate) not_before_s: i64,
    pub(crate) dead_until: Option<jiff_sqlx::Timestamp>,
}

/// Takes the exclusive lock of one anchor, whether or not it has a row yet.
pub(crate) async fn lock(tx: &mut ZoneTx, kind: AnchorKind, id: &str) -> Result<(), Error> {
    sqlx::query!(
        r#"SELECT pg_advisory_xact_lock(anchor_lock_key($1, $2, $3))::text AS "locked?""#,
        tx.zone().as_uuid(),
        kind.as_str(),
        id,
    )
    .fetch_one(tx.as_mut())
    .await?;
    Ok(())
}

/// Takes the shared locks of several anchors, in the order of the locks' keys.
pub(crate) async fn lock_shared(
    tx: &mut ZoneTx,
    anchors: &[(AnchorKind, String)],
) -> Result<(), Error> {
    let (kinds, ids) = columns(anchors);
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

/// The rows of several anchors; those without one are missing.
pub(crate) async fn read(
    tx: &mut ZoneTx,
    anchors: &[(AnchorKind, String)],
) -> Result<Vec<Anchor>, Error> {
    let (kinds, ids) = columns(anchors);
    let rows = sqlx::query_as!(
        Anchor,
        r#"
        SELECT anchor.kind, anchor.id, anchor.state, anchor.not_before_s, anchor.dead_until
        FROM unnest($2::text[], $3::text[]) AS asked(kind, id)
        JOIN anchors AS anchor
          ON anchor.zone_id = $1 AND anchor.kind = asked.kind AND anchor.id = asked.id
        "#,
        tx.zone().as_uuid(),
        &kinds,
        &ids,
    )
    .fetch_all(tx.as_mut())
    .await?;
    Ok(rows)
}

/// Adds the anchor of a new object.
pub(crate) async fn insert(tx: &mut ZoneTx, kind: AnchorKind, id: &str) -> Result<(), Error> {
    sqlx::query!(
        r#"
        INSERT INTO anchors (zone_id, kind, id)
        VALUES ($1, $2, $3)
        "#,
        tx.zone().as_uuid(),
        kind.as_str(),
        id,
    )
    .execute(tx.as_mut())
    .await?;
    Ok(())
}

/// Moves an anchor from one of `from` to `to`; gives its new version. None when it has no row or
/// is in no such state.
pub(crate) async fn set_state(
    tx: &mut ZoneTx,
    kind: AnchorKind,
    id: &str,
    from: &[&str],
    to: &str,
) -> Result<Option<i64>, Error> {
    let from: Vec<String> = from.iter().map(|state| (*state).to_owned()).collect();
    let version = sqlx::query_scalar!(
        r#"
        UPDATE anchors
        SET state = $5, version = version + 1
        WHERE zone_id = $1 AND kind = $2 AND id = $3 AND state = ANY($4)
        RETURNING version
        "#,
        tx.zone().as_uuid(),
        kind.as_str(),
        id,
        &from,
        to,
    )
    .fetch_optional(tx.as_mut())
    .await?;
    Ok(version)
}

/// Counts a change of what an anchor stands for, where that is not in the anchor itself.
pub(crate) async fn touch(tx: &mut ZoneTx, kind: AnchorKind, id: &str) -> Result<(), Error> {
    sqlx::query!(
        r#"
        UPDATE anchors
        SET version = version + 1
        WHERE zone_id = $1 AND kind = $2 AND id = $3
        "#,
        tx.zone().as_uuid(),
        kind.as_str(),
        id,
    )
    .execute(tx.as_mut())
    .await?;
    Ok(())
}

/// A cut-off that was written.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CutOff {
    pub(crate) not_before_s: i64,
    pub(crate) version: i64,
}

/// Raises an anchor's cut-off above every `iat` given out in the zone so far: to `at_least`, or one
/// more than the highest cut-off of the zone when that lies ahead, because mandates are dated after
/// it. None when the anchor has no row and `create` is not said.
pub(crate) async fn cut_off(
    tx: &mut ZoneTx,
    kind: AnchorKind,
    id: &str,
    at_least: i64,
    create: bool,
) -> Result<Option<CutOff>, Error> {
    if create {
        ensure(tx, kind, id).await?;
    }
    let row = sqlx::query!(
        r#"
        UPDATE anchors
        SET not_before_s = greatest($4, (
                SELECT coalesce(max(ahead.not_before_s) + 1, 0)
                FROM anchors AS ahead
                WHERE ahead.zone_id = $1 AND ahead.not_before_s >= $4)),
            version = version + 1
        WHERE zone_id = $1 AND kind = $2 AND id = $3
        RETURNING not_before_s, version
        "#,
        tx.zone().as_uuid(),
        kind.as_str(),
        id,
        at_least,
    )
    .fetch_optional(tx.as_mut())
    .await?;
    Ok(row.map(|row| CutOff {
        not_before_s: row.not_before_s,
        version: row.version,
    }))
}

/// Declares an anchor dead; gives its new version. None when it has no row and `create` is not said.
pub(crate) async fn kill(
    tx: &mut ZoneTx,
    kind: AnchorKind,
    id: &str,
    until: Timestamp,
    create: bool,
) -> Result<Option<i64>, Error> {
    if create {
        ensure(tx, kind, id).await?;
    }
    let version = sqlx::query_scalar!(
        r#"
        UPDATE anchors
        SET dead_until = greatest(dead_until, $4), version = version + 1
        WHERE zone_id = $1 AND kind = $2 AND id = $3
        RETURNING version
        "#,
        tx.zone().as_uuid(),
        kind.as_str(),
        id,
        until.to_sqlx() as _,
    )
    .fetch_optional(tx.as_mut())
    .await?;
    Ok(version)
}

async fn ensure(tx: &mut ZoneTx, kind: AnchorKind, id: &str) -> Result<(), Error> {
    sqlx::query!(
        r#"
        INSERT INTO anchors (zone_id, kind, id)
        VALUES ($1, $2, $3)
        ON CONFLICT (zone_id, kind, id) DO NOTHING
        "#,
        tx.zone().as_uuid(),
        kind.as_str(),
        id,
    )
    .execute(tx.as_mut())
    .await?;
    Ok(())
}

fn columns(anchors: &[(AnchorKind, String)]) -> (Vec<String>, Vec<String>) {
    anchors
        .iter()
        .map(|(kind, id)| (kind.as_str().to_owned(), id.clone()))
        .unzip()
}

#[cfg(test)]
mod tests {
    use super::AnchorKind;

    #[test]
    fn kinds_read_back_as_they_are_spelt() {
        for kind in [
            "zone",
            "policy",
            "application",
            "subject",
            "resource",
            "session",
        ] {
            assert_eq!(AnchorKind::parse(kind).unwrap().as_str(), kind);
        }
        for kind in ["delegation", "record", "mandate", "key"] {
            assert_eq!(AnchorKind::parse(kind).unwrap().as_str(), kind);
        }
        assert!(AnchorKind::parse("Zone").is_none());
    }
}
