//! What nobody asks for: sessions that ran out are marked. Every statement decides by itself, so
//! that any number of replicas may sweep.

use std::sync::Arc;
use std::time::Duration;

use ledger::event::EventKind;
use mandate::id::ZoneId;
use tokio_util::sync::CancellationToken;

use crate::api::change::Change;
use crate::api::principal::Caller;
use crate::app::App;
use crate::error::Error;
use crate::evidence::Evidence;
use crate::store::{clock, sessions, zones};

/// The most sessions of a zone marked in one transaction.
const BATCH: i64 = 500;

/// Sweeps.
#[derive(Clone, Debug)]
pub(crate) struct Sweeper {
    pub(crate) app: Arc<App>,
    pub(crate) every: Duration,
}

impl Sweeper {
    /// Sweeps until `soft`.
    pub(crate) async fn run(self, soft: CancellationToken) {
        let mut every = tokio::time::interval(self.every);
        every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = soft.cancelled() => return,
                _ = every.tick() => {}
            }
            if let Err(error) = self.round().await {
                let error = error.to_string();
                tracing::warn!(error, "sweeping failed; trying again");
            }
        }
    }

    /// One round.
    pub(crate) async fn round(&self) -> Result<(), Error> {
        let mut tx = self.app.operator.begin_view().await?;
        let live = zones::all_live(&mut tx).await?;
        drop(tx);
        for zone in live {
            while self.expire(zone).await? {}
        }
        Ok(())
    }

    /// Marks sessions that ran out. Mandates end with their session at the latest, so enforcement
    /// points need not be told. True when there may be more.
    async fn expire(&self, zone: ZoneId) -> Result<bool, Error> {
        let mut change = Change::begin_unclaimed(&self.app, zone).await?;
        let now = clock::now(change.tx().as_mut()).await?;
        let expired = sessions::expire(change.tx(), now, BATCH).await?;
        if expired.is_empty() {
            return Ok(false);
        }
        let caller = service();
        for id in &expired {
            let text = id.to_string();
            let evidence =
                Evidence::of(EventKind::SessionEnded, "session_expired", "session", &text)
                    .session(*id);
            change.record(&self.app, &caller, evidence).await?;
        }
        change.finish(200, &()).await?;
        Ok(i64::try_from(expired.len()).unwrap_or(BATCH) >= BATCH)
    }
}

fn service() -> Caller {
    Caller {
        name: "service:coordinator".to_owned(),
        request_id: String::new(),
        idempotency_key: None,
        if_match: None,
    }
}
