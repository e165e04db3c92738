//! One event by itself: is it evidence, and do its columns say what it says. The part that takes time.

use std::sync::Arc;

use ledger::envelope::{Checker, SignedEnvelope};
use ledger::leaf_hash;
use mandate::id::{JournalId, ZoneId};

use crate::columns::Columns;
use crate::error::Error;
use crate::ingest::screen::{Poison, Trust, event_of};
use crate::store::events::Stored;
use crate::zone_of;

/// Events examined in one go; several goes run side by side.
const GO: usize = 512;

/// What one event is by itself.
#[derive(Clone, Debug)]
pub(crate) struct Examined {
    pub(crate) hash: [u8; 32],
    /// Why the leaf is no evidence.
    pub(crate) poison: Option<Poison>,
    /// A column that differs.
    pub(crate) difference: Option<&'static str>,
    /// Its place in its journal, as the leaf has it.
    pub(crate) place: Option<(JournalId, u64)>,
}

/// Examines an event of a ledger.
pub(crate) fn examine(
    trust: &Trust,
    checker: &mut Checker<'_>,
    ledger: ZoneId,
    stored: &Stored,
) -> Examined {
    let hash = leaf_hash(&stored.leaf);
    let nothing = |poison| Examined {
        hash,
        poison: Some(poison),
        difference: None,
        place: None,
    };
    let Ok(signed) = SignedEnvelope::from_leaf_bytes(&stored.leaf) else {
        return nothing(Poison::Malformed);
    };
    let event = match event_of(&signed) {
        Ok(event) => event,
        Err(poison) => return nothing(poison),
    };
    let difference = match Columns::of(&event) {
        _ if event.zone != zone_of(ledger) => Some("zone_id"),
        Ok(columns) => columns.difference(&stored.columns),
        Err(_) => Some("leaf"),
    };
    let believed = checker
        .leaf(&signed)
        .map_err(Poison::from)
        .and_then(|_| trust.believe_writer(&signed, &event));
    Examined {
        hash,
        poison: believed.err(),
        difference,
        place: Some((event.journal_id, event.counter)),
    }
}

/// Examines many, on several threads; in the same order.
pub(crate) async fn examine_all(
    trust: &Arc<Trust>,
    ledger: ZoneId,
    events: Vec<Stored>,
) -> Result<Vec<(Stored, Examined)>, Error> {
    let mut goes = Vec::new();
    let mut rest = events;
    while !rest.is_empty() {
        let later = rest.split_off(rest.len().min(GO));
        let go = std::mem::replace(&mut rest, later);
        let trust = Arc::clone(trust);
        goes.push(tokio::task::spawn_blocking(move || {
            let mut checker = trust.checker();
            let examined = go.into_iter().map(|stored| {
                let examined = examine(&trust, &mut checker, ledger, &stored);
                (stored, examined)
            });
            examined.collect::<Vec<_>>()
        }));
    }
    let mut all = Vec::new();
    for go in goes {
        all.extend(go.await.map_err(Error::internal)?);
    }
    Ok(all)
}
