//! Policy versions in memory. They are immutable, so the id of the active one says it all; that it
//! is still the active one is asked again under the locks of the mint.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use chassis::db::ZoneTx;
use mandate::id::{PolicyVersionId, ZoneId};
use policy::PolicyError;
use policy::rego::Evaluator;

use crate::error::{Error, Unavailable};
use crate::store::policies;
use crate::token::law::ZoneLaw;

/// The newest version of each zone that was asked for.
#[derive(Debug)]
pub(crate) struct Laws {
    evaluator: Evaluator,
    limit: usize,
    held: Mutex<HashMap<ZoneId, Arc<ZoneLaw>>>,
}

impl Laws {
    /// Nothing loaded; at most `limit` zones are held.
    pub(crate) fn new(limit: usize) -> Result<Self, PolicyError> {
        Ok(Self {
            evaluator: Evaluator::new()?,
            limit,
            held: Mutex::new(HashMap::new()),
        })
    }

    /// A version of the transaction's zone.
    pub(super) async fn of(
        &self,
        tx: &mut ZoneTx,
        version: PolicyVersionId,
    ) -> Result<Arc<ZoneLaw>, Error> {
        let zone = tx.zone();
        let held = self.with(|held| held.get(&zone).cloned());
        if let Some(law) = held.filter(|law| law.version() == version) {
            return Ok(law);
        }
        let row = policies::read(tx, version)
            .await?
            .ok_or_else(|| broken(format!("policy {version} is active but not there")))?;
        let law = ZoneLaw::load(
            &self.evaluator,
            version,
            &row.canonical,
            &row.content_sha256,
        );
        let law = Arc::new(law.map_err(broken)?);
        self.with(|held| {
            if held.len() >= self.limit && !held.contains_key(&zone) {
                // Any will do: what is asked for again is loaded again.
                let any = held.keys().next().copied();
                any.and_then(|any| held.remove(&any));
            }
            held.insert(zone, Arc::clone(&law));
        });
        Ok(law)
    }

    fn with<T>(&self, act: impl FnOnce(&mut HashMap<ZoneId, Arc<ZoneLaw>>) -> T) -> T {
        act(&mut self.held.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

fn broken(why: impl Into<crate::error::BoxError>) -> Error {
    Unavailable::PolicyBroken(why.into()).into()
}
