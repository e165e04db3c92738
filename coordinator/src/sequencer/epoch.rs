//! Which history of the database positions belong to. A copy that is older than what was already
//! told, or another cluster, gets a new epoch: whoever holds the old one starts over.

use chassis::rng::Rng;
use jiff::Timestamp;
use jiff_sqlx::ToSqlx;
use sqlx::{PgConnection, PgPool};

use crate::error::Error;
use crate::sequencer::streams::HighWater;
use crate::store::positions::{self, Deployment};
use crate::store::readers;

/// The cluster behind the connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Cluster {
    /// Made by `initdb`.
    pub(crate) system_identifier: String,
    /// Rises when a standby is promoted or an archive is recovered.
    pub(crate) timeline: i32,
}

/// Why a new epoch was opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reason {
    /// Another cluster, or another timeline of it.
    Cluster,
    /// The stream holds newer positions of ours than the database.
    Stream,
    /// A reader has applied positions the database does not have.
    Reader,
    /// The database numbers again what the sequencer had already numbered.
    Fell,
}

/// What the cluster says of itself.
pub(crate) async fn cluster(connection: &mut PgConnection) -> Result<Cluster, Error> {
    let row = sqlx::query!(
        r#"
        SELECT (SELECT system_identifier::text FROM pg_control_system()) AS "identifier!",
               substr(pg_walfile_name(pg_current_wal_insert_lsn()), 1, 8) AS "timeline!"
        "#,
    )
    .fetch_one(connection)
    .await?;
    let timeline = i32::from_str_radix(&row.timeline, 16).map_err(Error::internal)?;
    Ok(Cluster {
        system_identifier: row.identifier,
        timeline,
    })
}

/// Makes the deployment's row if there is none yet.
pub(crate) async fn ensure(pool: &PgPool, rng: &Rng, now: Timestamp) -> Result<(), Error> {
    let mut connection = pool.acquire().await?;
    if positions::deployment(&mut connection).await?.is_some() {
        return Ok(());
    }
    let cluster = cluster(&mut connection).await?;
    sqlx::query!(
        r#"
        INSERT INTO deployment
               (epoch, system_identifier, timeline, pos, as_of, term, outbox_journal_id)
        VALUES ($1, $2, $3, 0, $4, 0, $5)
        ON CONFLICT DO NOTHING
        "#,
        &rng.bytes::<16>(),
        cluster.system_identifier,
        cluster.timeline,
        now.to_sqlx() as _,
        rng.uuid_v7(now),
    )
    .execute(&mut *connection)
    .await?;
    Ok(())
}

/// Whether the deployment needs a new epoch, and why. Pure but for the readers' row.
pub(crate) fn needed(
    deployment: &Deployment,
    cluster: &Cluster,
    stream: Option<&HighWater>,
    reader: i64,
) -> Option<Reason> {
    if deployment.system_identifier != cluster.system_identifier
        || deployment.timeline != cluster.timeline
    {
        return Some(Reason::Cluster);
    }
    let ahead = |pos: u64| i64::try_from(pos).is_ok_and(|pos| pos > deployment.pos);
    if stream.is_some_and(|held| held.epoch.0.as_slice() != deployment.epoch || ahead(held.pos)) {
        return Some(Reason::Stream);
    }
    (reader > deployment.pos).then_some(Reason::Reader)
}

/// Looks whether a new epoch is needed. `stream` is the newest message of ours there.
pub(crate) async fn needs(
    pool: &PgPool,
    stream: Option<&HighWater>,
) -> Result<Option<Reason>, Error> {
    let mut connection = pool.acquire().await?;
    let cluster = cluster(&mut connection).await?;
    let Some(deployment) = positions::deployment(&mut connection).await? else {
        return Ok(None);
    };
    let reader = readers::highest(&mut connection, &deployment.epoch).await?;
    Ok(needed(&deployment, &cluster, stream, reader))
}

/// Opens a new epoch: new bits, a new journal for the outbox's evidence, no position to catch up
/// from. Positions go on counting.
pub(crate) async fn open(pool: &PgPool, term: i64, rng: &Rng, now: Timestamp) -> Result<(), Error> {
    let mut tx = pool.begin().await?;
    let cluster = cluster(&mut tx).await?;
    let updated = sqlx::query!(
        r#"
        UPDATE deployment
        SET epoch = $2, system_identifier = $3, timeline = $4, outbox_journal_id = $5
        WHERE term = $1
        "#,
        term,
        &rng.bytes::<16>(),
        cluster.system_identifier,
        cluster.timeline,
        rng.uuid_v7(now),
    )
    .execute(&mut *tx)
    .await?;
    if updated.rows_affected() == 1 {
        sqlx::query!("DELETE FROM positions")
            .execute(&mut *tx)
            .await?;
    }
    tx.commit().await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use jiff_sqlx::ToSqlx;
    use ledger::envelope::Epoch;

    use super::*;

    fn deployment() -> Deployment {
        Deployment {
            epoch: vec![7; 16],
            system_identifier: "42".to_owned(),
            timeline: 1,
            pos: 100,
            as_of: Timestamp::UNIX_EPOCH.to_sqlx(),
        }
    }

    fn check(
        system: &str,
        timeline: i32,
        stream: Option<(u8, u64)>,
        reader: i64,
    ) -> Option<Reason> {
        let cluster = Cluster {
            system_identifier: system.to_owned(),
            timeline,
        };
        let stream = stream.map(|(epoch, pos)| HighWater {
            epoch: Epoch([epoch; 16]),
            pos,
        });
        needed(&deployment(), &cluster, stream.as_ref(), reader)
    }

    #[test]
    fn goes_on_where_nothing_is_ahead() {
        assert_eq!(check("42", 1, None, 0), None);
        assert_eq!(check("42", 1, Some((7, 100)), 100), None);
        assert_eq!(check("42", 1, Some((7, 3)), 3), None);
    }

    #[test]
    fn starts_over_for_another_cluster_or_whoever_is_ahead() {
        assert_eq!(check("43", 1, None, 0), Some(Reason::Cluster));
        assert_eq!(check("42", 2, None, 0), Some(Reason::Cluster));
        assert_eq!(check("42", 1, Some((7, 101)), 0), Some(Reason::Stream));
        assert_eq!(check("42", 1, Some((8, 1)), 0), Some(Reason::Stream));
        assert_eq!(check("42", 1, None, 101), Some(Reason::Reader));
    }
}
