//! What should not be: cases in the database, a gauge for the alert, a note for whoever asks whether we are ready.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use chassis::Readiness;
use chassis::crypto::sha256;
use chassis::db::OperatorStore;
use mandate::id::{JournalId, ZoneId};
use prometheus_client::metrics::gauge::Gauge;
use uuid::Uuid;

use crate::error::Error;
use crate::name_of;
use crate::store::tamper;

/// Cases of one zone on their way into the database. The same finding is the same case, however often it is found.
#[derive(Debug)]
pub(crate) struct Cases {
    zone: ZoneId,
    rows: Vec<(Uuid, Option<u64>, String)>,
}

impl Cases {
    pub(crate) fn new(zone: ZoneId) -> Self {
        Self {
            zone,
            rows: Vec::new(),
        }
    }

    /// Another event than the stored one has the same place.
    pub(crate) fn conflict(&mut self, journal: JournalId, counter: u64) {
        self.found(
            None,
            format!("journal {journal} has two events with counter {counter}"),
        );
    }

    /// An event that was taken is not stored.
    pub(crate) fn missing(&mut self, journal: JournalId, counter: u64) {
        self.found(
            None,
            format!("counter {counter} of journal {journal} was taken and is missing"),
        );
    }

    /// A finding of a verification.
    pub(crate) fn found(&mut self, seq: Option<u64>, what: String) {
        let place = seq.map_or_else(String::new, |seq| seq.to_string());
        let digest = sha256(format!("{}\0{place}\0{what}", self.zone).as_bytes());
        let head = digest.first_chunk::<16>().copied().unwrap_or_default();
        let id = uuid::Builder::from_custom_bytes(head).into_uuid();
        if !self.rows.iter().any(|(known, _, _)| *known == id) {
            self.rows.push((id, seq, what));
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    pub(crate) fn into_rows(self) -> Vec<(Uuid, Option<u64>, String)> {
        self.rows
    }
}

/// A number and the link there.
type Seen = (u64, [u8; 32]);

/// The furthest heads this process has seen: a ledger that is behind them was rewound.
#[derive(Clone, Debug, Default)]
pub(crate) struct Heads(Arc<Mutex<HashMap<ZoneId, Seen>>>);

impl Heads {
    /// A head was committed or verified.
    pub(crate) fn saw(&self, zone: ZoneId, seq: u64, link: [u8; 32]) {
        let mut heads = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let known = heads.entry(zone).or_insert((seq, link));
        if seq > known.0 {
            *known = (seq, link);
        }
    }

    /// The furthest head of a zone.
    pub(crate) fn of(&self, zone: ZoneId) -> Option<Seen> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(&zone)
            .copied()
    }

    /// The zones.
    pub(crate) fn zones(&self) -> Vec<ZoneId> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .keys()
            .copied()
            .collect()
    }
}

/// Tells how many cases are open.
#[derive(Clone, Debug)]
pub(crate) struct Alarm {
    gauge: Gauge,
    readiness: Readiness,
    store: OperatorStore,
}

impl Alarm {
    pub(crate) fn new(gauge: Gauge, readiness: Readiness, store: OperatorStore) -> Self {
        Self {
            gauge,
            readiness,
            store,
        }
    }

    /// Looks how many there are.
    pub(crate) async fn look(&self) -> Result<(), Error> {
        let mut tx = self.store.begin_view().await?;
        let (cases, oldest) = tamper::count(&mut tx).await?;
        tx.rollback().await?;
        self.gauge.set(cases);
        let note = oldest.map(|(zone, seq)| {
            let zone = name_of(ZoneId::from_uuid(zone));
            let place = seq.map_or_else(String::new, |seq| format!(" seq {seq}"));
            format!("open: {cases} tamper cases, the oldest in zone {zone}{place}")
        });
        self.readiness.note("tamper", note);
        Ok(())
    }
}
