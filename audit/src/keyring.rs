//! The keys of the chains: one a zone and key epoch, sealed under the zone's key, which is sealed under our root key.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use chassis::Rng;
use chassis::crypto::{Holder, Purpose, RootKek, SealContext, ZoneKek};
use chassis::db::ZoneTx;
use chassis::secrets::Key32;
use jiff::Timestamp;
use ledger::chain::ChainKey;
use mandate::id::ZoneId;

use crate::error::Error;
use crate::store::keys;

/// The key epoch that a ledger begins with.
pub(crate) const FIRST_EPOCH: i32 = 1;
/// The version of a zone's key; one so far.
const KEK_VERSION: i32 = 1;
/// Keys held in memory; then all are forgotten and read again.
const MOST: usize = 16_384;

/// Opens chain keys.
pub(crate) struct Keyring {
    root: RootKek,
    rng: Rng,
    open: Mutex<HashMap<(ZoneId, i32), Arc<ChainKey>>>,
}

impl Keyring {
    pub(crate) fn new(root: RootKek, rng: Rng) -> Self {
        Self {
            root,
            rng,
            open: Mutex::default(),
        }
    }

    /// The key of a ledger's epoch.
    pub(crate) async fn open(&self, tx: &mut ZoneTx, epoch: i32) -> Result<Arc<ChainKey>, Error> {
        let place = (tx.zone(), epoch);
        if let Some(key) = self.held().get(&place) {
            return Ok(Arc::clone(key));
        }
        let missing = || Error::internal(format!("the chain key of epoch {epoch} is missing"));
        let kek = self.zone_kek(tx).await?.ok_or_else(missing)?;
        let sealed = keys::chain_key(tx, epoch).await?.ok_or_else(missing)?;
        let key = kek
            .open(&context(&epoch.to_string(), epoch), &sealed)
            .map_err(Error::internal)?;
        let key = Arc::new(ChainKey::new(*key.expose()));
        let mut held = self.held();
        if held.len() >= MOST {
            held.clear();
        }
        held.insert(place, Arc::clone(&key));
        Ok(key)
    }

    /// Makes the first key of a ledger. It is not remembered here: the transaction may not commit.
    pub(crate) async fn create(
        &self,
        tx: &mut ZoneTx,
        now: Timestamp,
    ) -> Result<Arc<ChainKey>, Error> {
        let kek = if let Some(kek) = self.zone_kek(tx).await? {
            kek
        } else {
            let version = u64::from(KEK_VERSION.unsigned_abs());
            let (kek, sealed) = self
                .root
                .create_zone(tx.zone(), version, &self.rng)
                .map_err(Error::internal)?;
            keys::insert_zone_key(tx, Holder::Audit.as_str(), KEK_VERSION, &sealed, now).await?;
            kek
        };
        let key = Key32::new(self.rng.bytes());
        let place = FIRST_EPOCH.to_string();
        let sealed = kek
            .seal(&context(&place, FIRST_EPOCH), &key, &self.rng)
            .map_err(Error::internal)?;
        keys::insert_chain_key(tx, FIRST_EPOCH, &sealed, now).await?;
        Ok(Arc::new(ChainKey::new(*key.expose())))
    }

    async fn zone_kek(&self, tx: &mut ZoneTx) -> Result<Option<ZoneKek>, Error> {
        let version = u64::from(KEK_VERSION.unsigned_abs());
        let sealed = keys::zone_key(tx, Holder::Audit.as_str(), KEK_VERSION).await?;
        sealed
            .map(|sealed| self.root.open_zone(tx.zone(), version, &sealed))
            .transpose()
            .map_err(Error::internal)
    }

    fn held(&self) -> std::sync::MutexGuard<'_, HashMap<(ZoneId, i32), Arc<ChainKey>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn context(row: &str, epoch: i32) -> SealContext<'_> {
    SealContext {
        purpose: Purpose::LedgerChain,
        row,
        version: u64::from(epoch.unsigned_abs()),
    }
}

impl fmt::Debug for Keyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keyring").finish_non_exhaustive()
    }
}
