//! One transaction: the events of one zone in one batch, its head, its journals' cursors and the lease, or nothing.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;

use chassis::clock::Clock;
use chassis::db::{DbError, Store, ZoneTx};
use chassis::streams::EntryId;
use jiff::Timestamp;
use ledger::chain::{self, ChainKey, GENESIS};
use mandate::id::{JournalId, ZoneId};
use uuid::Uuid;

use super::plan::{Plan, links, plan};
use super::screen::Candidate;
use crate::columns::storable;
use crate::error::Error;
use crate::keyring::{FIRST_EPOCH, Keyring};
use crate::store::cursors::{self, Mark};
use crate::store::events::{self, Placed};
use crate::store::heads::{self, Head};
use crate::store::leases::{self, Lease};
use crate::store::tamper;
use crate::tamper::{Cases, Heads};
use crate::zone_of;

/// How long a lease lasts after it was last held.
pub(crate) const LEASE: Duration = Duration::from_secs(3);

/// Why a batch was not committed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AppendError {
    /// Somebody else writes here now.
    #[error("somebody else holds the partition")]
    Fenced,
    /// The database cannot do it now: the same batch again, later.
    #[error(transparent)]
    Later(DbError),
    /// This zone's ledger cannot be continued. Other zones can.
    #[error("the zone's ledger cannot be continued: {0}")]
    Zone(Error),
}

impl From<Error> for AppendError {
    fn from(error: Error) -> Self {
        if let Error::Database(database) = error {
            if database.is_transient() {
                return Self::Later(database);
            }
            return Self::Zone(Error::Database(database));
        }
        Self::Zone(error)
    }
}

impl From<DbError> for AppendError {
    fn from(error: DbError) -> Self {
        Self::from(Error::from(error))
    }
}

/// What a batch came to.
#[derive(Debug, Default)]
pub(crate) struct Appended {
    /// How many events are new.
    pub(crate) events: usize,
    /// How many were there before.
    pub(crate) repeated: usize,
    /// How many came too early.
    pub(crate) early: usize,
    /// How many tamper cases are new.
    pub(crate) cases: u64,
    /// Where each journal of the batch is now.
    pub(crate) marks: HashMap<JournalId, Mark>,
}

/// Appends to ledgers.
#[derive(Debug)]
pub(crate) struct Appender {
    pub(crate) store: Store,
    pub(crate) keyring: Keyring,
    pub(crate) clock: Clock,
    pub(crate) heads: Heads,
    months: Mutex<HashSet<(i16, i8)>>,
}

impl Appender {
    pub(crate) fn new(store: Store, keyring: Keyring, clock: Clock, heads: Heads) -> Self {
        Self {
            store,
            keyring,
            clock,
            heads,
            months: Mutex::default(),
        }
    }

    /// When a lease that is held now ends.
    pub(crate) fn until(&self) -> Timestamp {
        let now = self.clock.now();
        now.checked_add(LEASE).unwrap_or(now)
    }

    /// Commits what is new of a zone's part of a batch; with the last zone's, the position behind the batch.
    pub(crate) async fn append(
        &self,
        lease: &Lease,
        zone: ZoneId,
        batch: &[Candidate],
        position: Option<EntryId>,
    ) -> Result<Appended, AppendError> {
        self.make_partitions().await?;
        let mut tx = self.store.begin(zone).await?;
        if !leases::hold(tx.as_mut(), lease, self.until(), position).await? {
            return Err(AppendError::Fenced);
        }
        let journals: BTreeSet<Uuid> = batch
            .iter()
            .map(|candidate| candidate.journal.as_uuid())
            .collect();
        let journals: Vec<Uuid> = journals.into_iter().collect();
        let mut marks = cursors::of(&mut tx, &journals).await?;
        let plan = plan(&marks, batch);
        let mut cases = Cases::new(zone);
        compare(&mut tx, &plan, &mut cases).await?;
        let head = self.extend(&mut tx, &plan, lease).await?;
        let opened = if cases.is_empty() {
            0
        } else {
            tamper::open(&mut tx, &cases.into_rows(), self.clock.now()).await?
        };
        tx.commit().await?;
        if let Some(head) = head {
            self.heads.saw(zone, head.seq, head.link);
        }
        marks.extend(plan.moves.iter().map(|(journal, made)| (*journal, made.to)));
        Ok(Appended {
            events: plan.appends.len(),
            repeated: batch
                .len()
                .saturating_sub(plan.appends.len())
                .saturating_sub(plan.early),
            early: plan.early,
            cases: opened,
            marks,
        })
    }

    /// Puts the new events behind the head. Nothing when there is none.
    async fn extend(
        &self,
        tx: &mut ZoneTx,
        plan: &Plan<'_>,
        lease: &Lease,
    ) -> Result<Option<Head>, AppendError> {
        if plan.appends.is_empty() {
            return Ok(None);
        }
        let (from, key) = self.head(tx, lease).await?;
        // Never before the last one: partitions hold a zone's events in one range each.
        let at = storable(self.clock.now()).max(from.appended_at);
        let origin = chain::origin(zone_of(tx.zone()), 0);
        let epoch = from.key_epoch.unsigned_abs();
        let links = links(&key, &origin, epoch, from.seq, &from.link, &plan.appends);
        let placed: Vec<Placed<'_>> = plan
            .appends
            .iter()
            .zip(&links)
            .map(|(candidate, (seq, link))| Placed {
                seq: *seq,
                link: *link,
                leaf: &candidate.leaf,
                columns: &candidate.columns,
            })
            .collect();
        events::insert(tx, &placed, at).await?;
        let (seq, link) = links.last().copied().unwrap_or((from.seq, from.link));
        let to = Head {
            seq,
            link,
            appended_at: at,
            ..from
        };
        if !heads::advance(tx, &from, &to, lease.term).await? {
            return Err(AppendError::Fenced);
        }
        let moved: Vec<(JournalId, u64, Mark)> = plan
            .moves
            .iter()
            .map(|(journal, made)| (*journal, made.from, made.to))
            .collect();
        if !cursors::advance(tx, &moved).await? {
            return Err(AppendError::Fenced);
        }
        Ok(Some(to))
    }

    /// The head and its key; both made when the ledger has none yet.
    async fn head(
        &self,
        tx: &mut ZoneTx,
        lease: &Lease,
    ) -> Result<(Head, std::sync::Arc<ChainKey>), AppendError> {
        if let Some(head) = heads::get(tx).await? {
            let key = self.keyring.open(tx, head.key_epoch).await?;
            return Ok((head, key));
        }
        let now = storable(self.clock.now());
        let head = Head {
            seq: 0,
            link: GENESIS,
            key_epoch: FIRST_EPOCH,
            appended_at: now,
        };
        let key = self.keyring.create(tx, now).await?;
        heads::insert(tx, &head, lease.term).await?;
        Ok((head, key))
    }

    /// Makes sure that there are partitions for now and for tomorrow. Never within a transaction that has looked at
    /// events: making one waits for all of those.
    async fn make_partitions(&self) -> Result<(), Error> {
        let now = self.clock.now();
        for at in [
            now,
            now.checked_add(Duration::from_hours(24)).unwrap_or(now),
        ] {
            let day = at.to_zoned(jiff::tz::TimeZone::UTC);
            let month = (day.year(), day.month());
            if !self.months().contains(&month) {
                events::make_partition(self.store.pool(), at).await?;
                self.months().insert(month);
            }
        }
        Ok(())
    }

    fn months(&self) -> std::sync::MutexGuard<'_, HashSet<(i16, i8)>> {
        self.months.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What came again has to be what is stored. Another event at the same place was signed twice by its producer, or one
/// of the two was changed.
async fn compare(tx: &mut ZoneTx, plan: &Plan<'_>, cases: &mut Cases) -> Result<(), Error> {
    for candidate in &plan.conflicts {
        cases.conflict(candidate.journal, candidate.counter);
    }
    if plan.repeats.is_empty() {
        return Ok(());
    }
    let journals: BTreeSet<Uuid> = plan
        .repeats
        .iter()
        .map(|repeat| repeat.journal.as_uuid())
        .collect();
    let journals: Vec<Uuid> = journals.into_iter().collect();
    let times: BTreeSet<Timestamp> = plan
        .repeats
        .iter()
        .map(|repeat| repeat.columns.at)
        .collect();
    let times: Vec<Timestamp> = times.into_iter().collect();
    let known: HashSet<events::Known> = events::at_times(tx, &journals, &times)
        .await?
        .into_iter()
        .collect();
    for repeat in &plan.repeats {
        if known.contains(&(repeat.journal, repeat.counter, repeat.hash)) {
            continue;
        }
        match events::at_counter(tx, repeat.journal, repeat.counter).await? {
            Some((_, _, hash)) if hash == repeat.hash => {}
            Some(_) => cases.conflict(repeat.journal, repeat.counter),
            None => cases.missing(repeat.journal, repeat.counter),
        }
    }
    Ok(())
}
