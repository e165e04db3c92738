//! Walks ledgers and says what is not as it was written. Changes nothing but the list of tamper cases.

pub(crate) mod examine;
pub(crate) mod report;
mod walker;

use std::fmt::Write as _;
use std::sync::Arc;

use chassis::clock::Clock;
use chassis::db::{OperatorStore, Store, ZoneTx};
use jiff::Timestamp;
use ledger::chain;
use mandate::id::ZoneId;

use self::examine::examine_all;
use self::report::{Findings, HeadReport, Layer, Report, ZoneReport};
use self::walker::{Links, Walker};
use crate::error::Error;
use crate::ingest::append::Appender;
use crate::ingest::screen::Trust;
use crate::keyring::FIRST_EPOCH;
use crate::metrics::Metrics;
use crate::store::{cursors, events, heads, tamper};
use crate::tamper::{Alarm, Cases};
use crate::{name_of, zone_of};

/// Events read at once.
const PAGE: i64 = 2_048;

/// Verifies ledgers.
#[derive(Debug)]
pub(crate) struct Sweep {
    pub(crate) appender: Arc<Appender>,
    pub(crate) operator: OperatorStore,
    pub(crate) trust: Arc<Trust>,
    pub(crate) clock: Clock,
    pub(crate) metrics: Metrics,
    pub(crate) alarm: Alarm,
}

impl Sweep {
    /// Verifies one ledger, or all there are or were.
    pub(crate) async fn verify(&self, only: Option<ZoneId>) -> Result<Report, Error> {
        let known = self.zones().await?;
        let zones = match only {
            Some(zone) if known.contains(&zone) => vec![zone],
            Some(_) => return Err(Error::NotFound("ledger")),
            None => known,
        };
        let mut reports = Vec::with_capacity(zones.len());
        for zone in zones {
            let report = self.zone(zone).await?;
            if !report.findings.is_empty() {
                self.open_cases(zone, &report).await?;
            }
            reports.push(report);
        }
        self.alarm.look().await?;
        Ok(Report::of(reports))
    }

    /// Every ledger of which anything is left, or was seen by this process.
    async fn zones(&self) -> Result<Vec<ZoneId>, Error> {
        let mut tx = self.operator.begin_view().await?;
        let mut zones = heads::zones(&mut tx).await?;
        tx.rollback().await?;
        zones.extend(self.appender.heads.zones());
        zones.sort_unstable();
        zones.dedup();
        Ok(zones)
    }

    /// Walks one ledger, in one view of the database.
    async fn zone(&self, zone: ZoneId) -> Result<ZoneReport, Error> {
        // Before the view: what was seen by now must be in it.
        let seen = self.appender.heads.of(zone);
        let store: &Store = &self.appender.store;
        let mut tx = store.begin_view(zone).await?;
        let head = heads::get(&mut tx).await?;
        let marks = cursors::all(&mut tx).await?;
        let epoch = head.map_or(FIRST_EPOCH, |head| head.key_epoch);
        let key = self.appender.keyring.open(&mut tx, epoch).await;
        let origin = chain::origin(zone_of(zone), 0);
        let links = key.as_ref().ok().map(|key| Links {
            key,
            origin: &origin,
            epoch: epoch.unsigned_abs(),
        });
        let mut walker = Walker::new(links, seen);
        self.walk(&mut tx, zone, &mut walker).await?;
        tx.rollback().await?;
        let (events, mut findings) = walker.finish(head.as_ref(), &marks);
        if let Err(error) = key {
            key_finding(error, events, &mut findings)?;
        }
        if let Some(head) = head.filter(|_| findings.is_empty()) {
            self.appender.heads.saw(zone, head.seq, head.link);
        }
        let head = head.map(|head| HeadReport {
            seq: head.seq,
            link: hex(&head.link),
        });
        Ok(ZoneReport::new(name_of(zone), events, head, findings))
    }

    async fn walk(
        &self,
        tx: &mut ZoneTx,
        zone: ZoneId,
        walker: &mut Walker<'_>,
    ) -> Result<(), Error> {
        let mut page = events::walk(tx, None, PAGE).await?;
        while let Some(last) = page.last() {
            let behind: (u64, Timestamp) = (last.seq, last.appended_at);
            self.metrics
                .verified
                .inc_by(u64::try_from(page.len()).unwrap_or(0));
            let next = events::walk(tx, Some(behind), PAGE);
            let (next, examined) = tokio::join!(next, examine_all(&self.trust, zone, page));
            for (stored, examined) in &examined? {
                walker.step(stored, examined);
            }
            page = next?;
        }
        Ok(())
    }

    async fn open_cases(&self, zone: ZoneId, report: &ZoneReport) -> Result<(), Error> {
        let mut cases = Cases::new(zone);
        for finding in &report.findings {
            cases.found(Some(finding.seq), finding.what.clone());
        }
        let mut tx = self.appender.store.begin(zone).await?;
        let opened = tamper::open(&mut tx, &cases.into_rows(), self.clock.now()).await?;
        tx.commit().await?;
        if opened > 0 {
            tracing::error!(
                zone = report.zone,
                cases = opened,
                "tamper cases were opened"
            );
        }
        Ok(())
    }
}

/// A chain whose key is gone or does not open is a finding; a database that does not answer is not.
fn key_finding(error: Error, events: u64, findings: &mut Findings) -> Result<(), Error> {
    let Error::Internal(source) = error else {
        return Err(error);
    };
    if events > 0 {
        findings.add(
            Layer::Chain,
            1,
            format!("the chain cannot be verified: {source}"),
        );
    }
    Ok(())
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(
        String::with_capacity(bytes.len().saturating_mul(2)),
        |mut text, byte| {
            // Writing to a String does not fail.
            let _written = write!(text, "{byte:02x}");
            text
        },
    )
}
