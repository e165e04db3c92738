//! Reports on their way into the journal: each once, in order, and what is missing shows.

use std::time::Duration;

use ledger::event::{Event, EventKind};
use mandate::id::AttachmentName;
use wire::pb::caracal::filter::v1 as pb;

use super::hello::{Hello, VmId};
use super::hub::Lost;
use super::report::{Ground, Report};
use super::session::Sessions;
use super::vm::Filed;

/// The pause before the journal is tried again.
const PAUSE: Duration = Duration::from_millis(500);

/// How often it is looked who is gone.
const WATCH: Duration = Duration::from_secs(1);

impl Sessions {
    /// Writes an event down, as often as it takes; false when the process is ending.
    async fn append(&self, event: Event) -> bool {
        loop {
            // The desk says why where it does not.
            if self.desk.append(event.clone()).await.is_ok() {
                return true;
            }
            tokio::select! {
                () = self.lifecycle.soft().cancelled() => return false,
                () = tokio::time::sleep(PAUSE) => {}
            }
        }
    }
}

/// Brings a report into the journal, once. The number through which all are there, or none when the process is
/// ending.
pub(super) async fn file(
    serving: Sessions,
    hello: Hello,
    report: pb::Refusals,
    filed: Filed,
) -> Option<u64> {
    let mut through = filed.lock().await;
    // Another process may have acknowledged some meanwhile.
    *through = (*through).max(hello.through_seq);
    if report.seq <= *through {
        return Some(*through);
    }
    let expected = through.saturating_add(1);
    if report.seq > expected {
        if !serving.gap(&hello, expected, report.seq).await {
            return None;
        }
        *through = report.seq.saturating_sub(1);
    }
    for event in serving.read(&hello, &report).events {
        if !serving.append(event).await {
            return None;
        }
    }
    *through = report.seq;
    Some(*through)
}

impl Sessions {
    fn read(&self, hello: &Hello, report: &pb::Refusals) -> Report {
        let view = self.memory.load();
        let ground = Ground {
            vm: hello.vm,
            attachment: &hello.attachment,
            zones: self.hub.zones(&hello.attachment),
            view: &view,
            now: self.clock.now(),
        };
        let read = Report::read(report, &ground);
        for why in &read.refused {
            self.hub.metrics().items_refused.inc();
            tracing::warn!(vm = %hello.vm, seq = report.seq, why, "a filter's report was not understood");
        }
        read
    }

    /// Puts on record which filters went away or fell silent and did not come back.
    pub async fn report_lost(&self) {
        for lost in self.hub.lost() {
            let Lost {
                vm,
                attachment,
                made,
                through,
            } = lost;
            let detail = format!("gone; it made at least {made} reports, {through} arrived");
            self.missing(vm, &attachment, &detail).await;
        }
    }

    /// Reports that never came.
    async fn gap(&self, hello: &Hello, expected: u64, came: u64) -> bool {
        let detail = format!("report {came} came where {expected} was expected");
        self.missing(hello.vm, &hello.attachment, &detail).await
    }

    /// Puts on record that what a filter refused may be missing.
    async fn missing(&self, vm: VmId, attachment: &AttachmentName, detail: &str) -> bool {
        self.hub.metrics().lost.inc();
        tracing::warn!(%vm, %attachment, detail, "refusals of a filter may be missing");
        let at_ns = i64::try_from(self.clock.now().as_nanosecond()).unwrap_or(i64::MAX);
        for zone in self.hub.zones(attachment) {
            let mut event = Event::new(EventKind::Refusals, at_ns);
            event.zone = Some(*zone);
            event.code = Some("vm_lost".to_owned());
            event.actor = Some(format!("filter/{vm}"));
            event.detail = Some(detail.to_owned());
            if !self.append(event).await {
                return false;
            }
        }
        true
    }
}

/// Puts on record, until the soft token, which filters went away or fell silent and did not come back.
pub async fn watch(sessions: Sessions) {
    while !sessions.lifecycle.soft().is_cancelled() {
        tokio::select! {
            () = sessions.lifecycle.soft().cancelled() => return,
            () = tokio::time::sleep(WATCH) => {}
        }
        sessions.report_lost().await;
    }
}
