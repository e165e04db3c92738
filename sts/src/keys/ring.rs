//! Zones' keys in memory: read when first asked for, read again when they grow old, not used when
//! they are too old. One reader a zone at a time.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use chassis::clock::Clock;
use chassis::crypto::RootKek;
use chassis::db::Store;
use mandate::id::ZoneId;
use tokio::sync::Semaphore;

use crate::config;
use crate::error::{Error, Refusal};
use crate::keys::ZoneKeys;
use crate::store::keys;

/// A zone that was not there is not looked for again within this time.
const ABSENT_FOR: Duration = Duration::from_millis(200);
/// Zones never seen before that are looked for at once: a stranger can name any number of them.
const STRANGERS: usize = 4;

/// Zones' keys in memory.
#[derive(Debug)]
pub(crate) struct Ring {
    store: Store,
    root: Arc<RootKek>,
    clock: Clock,
    limits: config::Keys,
    strangers: Semaphore,
    held: Mutex<HashMap<ZoneId, Held>>,
}

#[derive(Clone, Debug)]
struct Held {
    /// None: there was no such zone.
    keys: Option<Arc<ZoneKeys>>,
    asked_at: Duration,
    gate: Arc<tokio::sync::Mutex<()>>,
}

impl Ring {
    /// Nothing held.
    pub(crate) fn new(
        store: Store,
        root: Arc<RootKek>,
        clock: Clock,
        limits: config::Keys,
    ) -> Self {
        Self {
            store,
            root,
            clock,
            limits,
            strangers: Semaphore::new(STRANGERS),
            held: Mutex::new(HashMap::new()),
        }
    }

    /// A zone's keys, no older than the configured age.
    pub(crate) async fn zone(&self, zone: ZoneId) -> Result<Arc<ZoneKeys>, Error> {
        let Some(held) = self.held(zone) else {
            let _turn = self
                .strangers
                .acquire()
                .await
                .map_err(|closed| Error::dependency("keys", closed))?;
            return match self.held(zone) {
                Some(held) => self.still(zone, held).await,
                None => self.read(zone).await,
            };
        };
        self.still(zone, held).await
    }

    /// Forgets a zone's keys, so that the next request reads them again; false when they were read
    /// a moment ago and reading them again would tell nothing new.
    pub(crate) fn forget(&self, zone: ZoneId) -> bool {
        let now = self.clock.monotonic();
        self.with(|held| {
            let old = held
                .get(&zone)
                .is_some_and(|slot| now.saturating_sub(slot.asked_at) >= ABSENT_FOR);
            if old {
                held.remove(&zone);
            }
            old
        })
    }

    async fn still(&self, zone: ZoneId, held: Held) -> Result<Arc<ZoneKeys>, Error> {
        let age = self.clock.monotonic().saturating_sub(held.asked_at);
        let Some(keys) = held.keys else {
            if age < ABSENT_FOR {
                return Err(Refusal::ZoneUnknown.into());
            }
            let _turn = self
                .strangers
                .acquire()
                .await
                .map_err(|closed| Error::dependency("keys", closed))?;
            return self.read(zone).await;
        };
        if age < self.limits.refresh {
            return Ok(keys);
        }
        let usable = age < self.limits.max_age;
        // One request reads; the others go on with what is held, unless that is too old.
        let _turn = match held.gate.try_lock() {
            Ok(turn) => turn,
            Err(_) if usable => return Ok(keys),
            Err(_) => held.gate.lock().await,
        };
        if let Some(newer) = self.held(zone)
            && newer.asked_at > held.asked_at
            && let Some(newer) = newer.keys
        {
            return Ok(newer);
        }
        match self.read(zone).await {
            Err(Error::Unavailable(_)) if usable => Ok(keys),
            read => read,
        }
    }

    async fn read(&self, zone: ZoneId) -> Result<Arc<ZoneKeys>, Error> {
        let read_at = self.clock.monotonic();
        let mut tx = self.store.begin(zone).await?;
        let row = keys::zone(&mut tx).await?;
        let Some(row) = row else {
            self.hold(zone, None, read_at);
            return Err(Refusal::ZoneUnknown.into());
        };
        let rows = keys::signing_keys(&mut tx).await?;
        tx.rollback().await?;
        let opened = ZoneKeys::open(zone, row, rows, &self.root);
        let keys = Arc::new(opened.map_err(|error| Error::dependency("keys", error))?);
        self.hold(zone, Some(Arc::clone(&keys)), read_at);
        Ok(keys)
    }

    fn held(&self, zone: ZoneId) -> Option<Held> {
        self.with(|held| held.get(&zone).cloned())
    }

    fn hold(&self, zone: ZoneId, keys: Option<Arc<ZoneKeys>>, asked_at: Duration) {
        self.with(|held| {
            if let Some(slot) = held.get_mut(&zone) {
                slot.keys = keys;
                slot.asked_at = asked_at;
                return;
            }
            if held.len() >= self.limits.zones {
                held.retain(|_, slot| slot.keys.is_some());
            }
            if held.len() >= self.limits.zones
                && let Some(oldest) = held
                    .iter()
                    .min_by_key(|(_, slot)| slot.asked_at)
                    .map(|(zone, _)| *zone)
            {
                held.remove(&oldest);
            }
            held.insert(
                zone,
                Held {
                    keys,
                    asked_at,
                    gate: Arc::default(),
                },
            );
        });
    }

    fn with<T>(&self, act: impl FnOnce(&mut HashMap<ZoneId, Held>) -> T) -> T {
        act(&mut self.held.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
