//! What is over and kept long enough is removed: answers to idempotency keys, records of mandates, and what was
//! revoked of them. Bounded steps, by age, as a role that can do nothing else; any number of replicas may run it.
//!
//! Not here: evidence, which only its own retention may let go of (`audit`).

use std::time::Duration;

use chassis::db::OperatorStore;
use jiff::Timestamp;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::registry::Registry;
use tokio_util::sync::CancellationToken;

use crate::error::Error;
use crate::store::clock;
use crate::store::forgotten::{self, Kind};

/// The most rows removed in one transaction.
const BATCH: i64 = 1_000;

/// How long what is over is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Keep {
    /// How often it is looked.
    pub(crate) every: Duration,
    /// Receipts, from when they were given.
    pub(crate) receipts: Duration,
    /// Records and revoked mandates, from when no mandate can carry their id.
    pub(crate) records: Duration,
}

/// What is counted.
#[derive(Clone, Debug, Default)]
pub(crate) struct Metrics {
    forgotten: Counter,
}

impl Metrics {
    /// Registers them.
    pub(crate) fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        registry.register(
            "retention_rows",
            "Rows removed because they were kept long enough",
            metrics.forgotten.clone(),
        );
        metrics
    }
}

/// Removes.
#[derive(Clone, Debug)]
pub(crate) struct Retention {
    pub(crate) store: OperatorStore,
    pub(crate) keep: Keep,
    pub(crate) metrics: Metrics,
}

impl Retention {
    /// Removes until `soft`.
    pub(crate) async fn run(self, soft: CancellationToken) {
        let mut every = tokio::time::interval(self.keep.every);
        every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = soft.cancelled() => return,
                _ = every.tick() => {}
            }
            tokio::select! {
                () = soft.cancelled() => return,
                round = self.round() => if let Err(error) = round {
                    let error = error.to_string();
                    tracing::warn!(error, "removing what is over failed; trying again");
                }
            }
        }
    }

    /// One round: everything that may go by now.
    pub(crate) async fn round(&self) -> Result<(), Error> {
        let mut tx = self.store.begin_view().await?;
        let now = clock::now(tx.as_mut()).await?;
        drop(tx);
        for (kind, keep) in [
            (Kind::Receipts, self.keep.receipts),
            (Kind::Records, self.keep.records),
            (Kind::Dead, self.keep.records),
        ] {
            let before = now.checked_sub(keep).map_err(Error::internal)?;
            while self.step(kind, before).await? {}
        }
        Ok(())
    }

    /// True when there may be more.
    async fn step(&self, kind: Kind, before: Timestamp) -> Result<bool, Error> {
        let mut tx = self.store.begin().await?;
        let removed = forgotten::remove(&mut tx, kind, before, BATCH).await?;
        tx.commit().await?;
        self.metrics
            .forgotten
            .inc_by(u64::try_from(removed).unwrap_or(0));
        Ok(removed >= BATCH)
    }
}
