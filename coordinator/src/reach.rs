//! Where a change has arrived. A reader has it when it says so, or when it has been silent for so
//! long that it refuses everything by itself.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use mandate::id::ZoneId;
use prost::Message;
use uuid::Uuid;
use wire::pb::caracal::authority::v1::{Change, change::What};
use wire::pb::caracal::envelope::v1::Envelope;

use crate::app::App;
use crate::error::Error;
use crate::store::clock;
use crate::store::positions::{self, Deployment};
use crate::store::readers::{self, Reader};

/// Beyond its bound, a reader has refused for this long before it is counted as silent.
const GRACE: SignedDuration = SignedDuration::from_secs(1);
/// A reader not heard of for this long is not one any more.
const GONE: SignedDuration = SignedDuration::from_hours(1);
/// How often it is looked.
const PAUSE: Duration = Duration::from_millis(10);

/// How a reader stands to a position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// It has applied it.
    Applied,
    /// It has not, as far as is known.
    Behind,
    /// It refuses by itself.
    Silent,
}

impl Standing {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Applied => "applied",
            Self::Behind => "behind",
            Self::Silent => "silent",
        }
    }
}

/// One reader.
#[derive(Clone, Debug)]
pub(crate) struct Reached {
    pub(crate) name: String,
    pub(crate) service: String,
    pub(crate) pos: u64,
    pub(crate) seen_at: Timestamp,
    pub(crate) standing: Standing,
}

/// Where a change has arrived.
#[derive(Clone, Debug)]
pub(crate) struct Reach {
    /// The change's position; none while it is not numbered.
    pub(crate) pos: Option<u64>,
    /// Whether it was numbered at all, even if its position was pruned.
    numbered: bool,
    pub(crate) readers: Vec<Reached>,
}

impl Reach {
    /// Whether every reader has it.
    pub(crate) fn everywhere(&self) -> bool {
        self.numbered
            && self
                .readers
                .iter()
                .all(|reader| reader.standing != Standing::Behind)
    }
}

/// How a reader stands to a position, at a time of the database.
pub(crate) fn standing(reader: &Reader, epoch: &[u8], pos: i64, now: Timestamp) -> Standing {
    if reader.epoch == epoch && reader.pos >= pos {
        return Standing::Applied;
    }
    let bound = SignedDuration::from_millis(i64::from(reader.bound_ms)).saturating_add(GRACE);
    if now.duration_since(reader.seen_at.to_jiff()) > bound {
        Standing::Silent
    } else {
        Standing::Behind
    }
}

async fn look(app: &App, pos: Option<i64>, numbered: bool) -> Result<Reach, Error> {
    let mut connection = app.global.acquire().await?;
    let now = clock::now(&mut connection).await?;
    let deployment = deployment(app).await?;
    let since = now.saturating_sub(GONE).map_err(Error::internal)?;
    let readers = readers::list(&mut connection, since).await?;
    // A pruned position is below every one that is held.
    let wanted = match (pos, numbered) {
        (Some(pos), _) => pos,
        (None, true) => 0,
        (None, false) => i64::MAX,
    };
    let readers = readers
        .into_iter()
        .map(|reader| Reached {
            standing: standing(&reader, &deployment.epoch, wanted, now),
            pos: u64::try_from(reader.pos).unwrap_or(0),
            seen_at: reader.seen_at.to_jiff(),
            name: reader.name,
            service: reader.service,
        })
        .collect();
    Ok(Reach {
        pos: pos.and_then(|pos| u64::try_from(pos).ok()),
        numbered,
        readers,
    })
}

async fn deployment(app: &App) -> Result<Deployment, Error> {
    let mut connection = app.global.acquire().await?;
    positions::deployment(&mut connection)
        .await?
        .ok_or_else(|| Error::Unavailable {
            dependency: "sequencer",
            source: "no sequencer has run yet".into(),
        })
}

/// Waits until a change, by its id in the outbox, is everywhere, or until `patience` is over.
pub(crate) async fn wait(
    app: &App,
    zone: ZoneId,
    outbox_id: i64,
    patience: Duration,
) -> Result<Reach, Error> {
    let until = app.clock.monotonic().saturating_add(patience);
    loop {
        let mut connection = app.global.acquire().await?;
        let pos = positions::of_outbox(&mut connection, zone.as_uuid(), outbox_id).await?;
        drop(connection);
        let over = app.clock.monotonic() >= until;
        if pos.is_some() || over {
            let reach = look(app, pos, pos.is_some()).await?;
            if reach.everywhere() || over {
                return Ok(reach);
            }
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Where a zone's active policy version has arrived.
pub(crate) async fn of_policy(app: &App, zone: ZoneId, version: Uuid) -> Result<Reach, Error> {
    let version = version.to_string();
    let mut connection = app.global.acquire().await?;
    let newest = positions::newest_of_zone(&mut connection, zone.as_uuid(), 4096).await?;
    drop(connection);
    let pos = newest
        .iter()
        .find(|position| activates(&position.envelope, &version))
        .map(|position| position.pos);
    let numbered = match pos {
        Some(_) => true,
        None => !waits_in_outbox(app, zone).await?,
    };
    look(app, pos, numbered).await
}

fn activates(envelope: &[u8], version: &str) -> bool {
    let change = Envelope::decode(envelope)
        .ok()
        .and_then(|envelope| Change::decode(envelope.payload.as_slice()).ok());
    matches!(change.and_then(|change| change.what), Some(What::Policy(policy)) if policy.version_id == version)
}

async fn waits_in_outbox(app: &App, zone: ZoneId) -> Result<bool, Error> {
    let mut tx = app.store.begin(zone).await?;
    let waits = sqlx::query_scalar!(
        r#"
        SELECT EXISTS (
            SELECT 1
            FROM outbox
            WHERE zone_id = $1 AND lane = 'authority' AND kind = 'policy' AND pos IS NULL
        ) AS "waits!"
        "#,
        zone.as_uuid(),
    )
    .fetch_one(tx.as_mut())
    .await?;
    Ok(waits)
}

#[cfg(test)]
mod tests {
    use jiff_sqlx::ToSqlx;

    use super::*;

    fn check(epoch: u8, pos: i64, silent_ms: i64) -> Standing {
        let now = Timestamp::from_second(1_000_000).unwrap();
        let seen = now
            .saturating_sub(SignedDuration::from_millis(silent_ms))
            .unwrap();
        let reader = Reader {
            name: "ext-authz-1".to_owned(),
            service: "ext-authz".to_owned(),
            epoch: vec![epoch; 16],
            pos,
            bound_ms: 10_000,
            seen_at: seen.to_sqlx(),
        };
        standing(&reader, &[1; 16], 7, now)
    }

    #[test]
    fn a_reader_has_it_when_it_says_so_or_was_silent_beyond_its_bound() {
        assert_eq!(check(1, 7, 0), Standing::Applied);
        assert_eq!(check(1, 6, 0), Standing::Behind);
        assert_eq!(check(2, 9, 0), Standing::Behind);
        assert_eq!(check(1, 6, 11_000), Standing::Behind);
        assert_eq!(check(1, 6, 11_001), Standing::Silent);
        assert_eq!(check(2, 9, 11_001), Standing::Silent);
    }
}
