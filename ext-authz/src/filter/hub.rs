//! What all filters share: the rows they are told, who they are, and how far they are.
//!
//! The feed puts news in and goes on; a filter that does not keep up is cut off. The lock is held for as long as it
//! takes to hand out pointers: snapshots are written elsewhere.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use chassis::{Clock, Lifecycle};
use jiff::Timestamp;
use ledger::envelope::Epoch;
use mandate::id::{AttachmentName, ZoneId};
use tokio::sync::{mpsc, watch};
use tonic::{Code, Status};

use super::audience::{Audience, DEFAULT_BOUND, Stand};
use super::hello::{Hello, VmId, refusal};
use super::outgoing::Item;
use super::told::{self, Job, Said, Written};
use super::vm::{Joined, Vm};
use crate::config::{self, Attachments};
use crate::feed::core::News;
use crate::feed::source::Ack;
use crate::feed::tracker::{Phase, Position};
use crate::metrics::FilterMetrics;

/// VMs that are gone are remembered as long as there are no more than this many times those allowed.
const REMEMBERED: usize = 4;

/// The pause after a snapshot could not be written.
const AGAIN: Duration = Duration::from_secs(1);

/// An age that is none.
const NO_AGE: u32 = u32::MAX;

/// A VM that went away and did not come back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Lost {
    /// Which.
    pub vm: VmId,
    /// What it enforced.
    pub attachment: AttachmentName,
    /// The highest report it is known to have made.
    pub made: u64,
    /// The highest of them in the journal.
    pub through: u64,
}

/// Snapshots to be written, for [`write_snapshots`].
#[derive(Debug)]
pub struct Jobs(mpsc::UnboundedReceiver<Job>);

/// What a hub gives to others.
#[derive(Debug)]
pub struct Ends {
    /// How far all filters are; nothing while there never was one.
    pub reach: watch::Receiver<Option<Ack>>,
    /// Snapshots to be written.
    pub jobs: Jobs,
}

/// All filters.
#[derive(Debug)]
pub struct Hub {
    attachments: Attachments,
    limits: config::Filter,
    clock: Clock,
    metrics: FilterMetrics,
    reach: watch::Sender<Option<Ack>>,
    jobs: mpsc::UnboundedSender<Job>,
    audience: Mutex<Audience>,
}

impl Hub {
    /// Knows nothing and nobody.
    pub fn new(
        attachments: Attachments,
        limits: config::Filter,
        clock: Clock,
        metrics: FilterMetrics,
    ) -> (Self, Ends) {
        let (reach, positions) = watch::channel(None);
        let (jobs, receiver) = mpsc::unbounded_channel();
        let hub = Self {
            attachments,
            limits,
            clock,
            metrics,
            reach,
            jobs,
            audience: Mutex::new(Audience::new()),
        };
        let ends = Ends {
            reach: positions,
            jobs: Jobs(receiver),
        };
        (hub, ends)
    }

    /// The attachments.
    pub fn attachments(&self) -> &Attachments {
        &self.attachments
    }

    /// The zones of an attachment.
    pub fn zones(&self, attachment: &AttachmentName) -> &[ZoneId] {
        self.attachments.get(attachment).map_or(&[], Vec::as_slice)
    }

    /// The metrics.
    pub fn metrics(&self) -> &FilterMetrics {
        &self.metrics
    }

    /// Tells every filter what our own memory has taken in.
    pub fn publish(&self, news: Vec<News>, stand: Stand) {
        let now = self.clock.monotonic();
        let mut audience = self.audience();
        let before = audience.stand.position;
        audience.stand = stand;
        let mut said = Said::default();
        for news in news {
            match news {
                News::Loaded(changes) => {
                    audience.rows.load(&changes);
                    said = Said::anew();
                }
                News::Changed { pos, change } => {
                    let left = audience.rows.apply(&change);
                    said.push(pos, change, left);
                }
            }
        }
        if said.is_anew() {
            audience.forget_snapshots();
        } else if let Some(position) = stand.position
            && before != stand.position
        {
            audience.tell(&self.attachments, &said, position, &self.metrics);
        }
        self.serve(&mut audience);
        self.measure(&audience, now);
    }

    /// Sends a snapshot to all who wait for one, if there is one to send.
    fn serve(&self, audience: &mut Audience) {
        for job in audience.serve(&self.attachments, &self.metrics) {
            // Without a writer the process is ending.
            let _ending = self.jobs.send(job);
        }
    }

    /// A snapshot is written.
    fn written(&self, written: Written) {
        let mut audience = self.audience();
        if let Some(prepared) = audience.prepared.get_mut(&written.attachment) {
            prepared.take(written);
        }
        self.serve(&mut audience);
    }

    /// It is not, and will not be: whoever waits for it waits for another.
    fn unwritten(&self, attachment: &AttachmentName) {
        let mut audience = self.audience();
        audience.prepared.remove(attachment);
        self.serve(&mut audience);
    }

    /// Forgets dead ids whose time is over.
    pub fn sweep(&self, now: Timestamp) {
        self.audience().rows.sweep(now);
    }

    /// Lets a filter in.
    pub(super) fn join(&self, hello: &Hello) -> Result<Joined, Status> {
        let now = self.clock.monotonic();
        let mut audience = self.audience();
        let bound = audience.stand.bound;
        let others = audience
            .vms
            .iter()
            .filter(|(vm, held)| **vm != hello.vm && held.is_served(bound, now));
        let full = others.count() >= self.limits.max_vms;
        // Those whose stream is open are not forgotten, silent or not: of them, too, there are no more than so many.
        let known = audience.vms.contains_key(&hello.vm);
        let room = audience.make_room(self.limits.max_vms.saturating_mul(REMEMBERED));
        if full || !(known || room) {
            return Err(refusal(
                Code::ResourceExhausted,
                "too_many_vms",
                "no more filters are served here",
            ));
        }
        let number = audience.number();
        let vm = audience
            .vms
            .entry(hello.vm)
            .or_insert_with(|| Vm::new(hello, now));
        let joined = vm.open(hello, number, now);
        self.serve(&mut audience);
        self.measure(&audience, now);
        Ok(joined)
    }

    /// Answers a ping: what was sent before, and how old that is.
    pub(super) fn ping(&self, id: VmId, line: u64, t_ns: i64) {
        let now = self.clock.monotonic();
        let mut audience = self.audience();
        let stand = audience.stand;
        let Some(vm) = audience.on_line(id, line) else {
            return;
        };
        vm.heard = now;
        vm.over = false;
        let line = vm.line.as_ref();
        let served = line.is_some_and(|line| line.served);
        let at = line.and_then(|line| line.at);
        let attachment = vm.attachment.clone();
        let bounds = audience.rows.bounds(self.zones(&attachment));
        let bound = bounds.min().unwrap_or(DEFAULT_BOUND);
        let age = match stand.phase {
            // Only of what it has been sent.
            Phase::Held if served => self.age(&stand, now),
            Phase::Held | Phase::Empty | Phase::Resync => NO_AGE,
        };
        let pong = Item::One(told::pong(t_ns, age, at, bound));
        audience.send(id, pong, &self.metrics);
        self.measure(&audience, now);
    }

    /// How old memory is, rounded up.
    fn age(&self, stand: &Stand, now: Duration) -> u32 {
        let wall = i64::try_from(self.clock.now().as_nanosecond()).unwrap_or(i64::MAX);
        let age = stand.freshness.and_then(|fresh| fresh.age(now, wall));
        age.map_or(NO_AGE, |age| {
            u32::try_from(age.as_millis().saturating_add(1)).unwrap_or(NO_AGE)
        })
    }

    /// A filter says what it has applied, and how many reports it has made.
    pub(super) fn acked(&self, id: VmId, line: u64, epoch: Epoch, pos: u64, made: u64) {
        let now = self.clock.monotonic();
        let mut audience = self.audience();
        let held = audience.stand.position;
        let Some(vm) = audience.on_line(id, line) else {
            return;
        };
        // Nobody can be further than what was sent.
        let most = held
            .filter(|held| held.epoch == epoch)
            .map_or(u64::MAX, |held| held.pos);
        vm.acked = Some(Position {
            epoch,
            pos: pos.min(most),
        });
        vm.made = vm.made.max(made);
        self.metrics.acks.inc();
        self.measure(&audience, now);
    }

    /// A report is in the journal.
    pub(super) fn filed(&self, id: VmId, line: u64, through: u64) {
        let mut audience = self.audience();
        if let Some(vm) = audience.vms.get_mut(&id) {
            vm.through = vm.through.max(through);
            vm.made = vm.made.max(through);
        }
        if audience.on_line(id, line).is_some() {
            let ack = Item::One(told::up_ack(through));
            audience.send(id, ack, &self.metrics);
        }
    }

    /// Cuts a filter off.
    pub(super) fn end(&self, id: VmId, line: u64, status: Status) {
        if let Some(vm) = self.audience().on_line(id, line) {
            vm.end(status);
        }
    }

    /// A session is over; `orderly` when the filter ended it itself and owes nothing.
    pub(super) fn leave(&self, id: VmId, line: u64, orderly: bool) {
        let now = self.clock.monotonic();
        let mut audience = self.audience();
        let Some(vm) = audience.vms.get_mut(&id) else {
            return;
        };
        // Another stream of the same VM is none of this session's.
        if vm.line.as_ref().is_some_and(|open| open.number != line) {
            return;
        }
        vm.line = None;
        vm.gone.get_or_insert(now);
        vm.over = orderly && vm.made <= vm.through;
        self.measure(&audience, now);
    }

    /// Those who went away or fell silent for too long, each once. The streams of those who fell silent are left open: a
    /// VM that trapped leaves its own behind, and its proxy ends it with the last exchange of that VM.
    pub(super) fn lost(&self) -> Vec<Lost> {
        let now = self.clock.monotonic();
        let mut audience = self.audience();
        let bound = audience.stand.bound;
        let mut lost = std::mem::take(&mut audience.forgotten);
        for (id, vm) in &mut audience.vms {
            let away = vm.away_since(bound);
            if !vm.over
                && away.is_some_and(|since| now > since.saturating_add(self.limits.lost_after))
            {
                vm.over = true;
                lost.push(vm.lost(*id));
            }
        }
        self.measure(&audience, now);
        lost
    }

    /// Says how many there are, and how far the last of them is.
    fn measure(&self, audience: &Audience, now: Duration) {
        let counted = audience.count(now);
        self.metrics.vms.set(counted.connected);
        self.metrics.ready.set(counted.ready);
        let stand = &audience.stand;
        self.reach.send_if_modified(|before| {
            // Where there never was a filter there is nobody to speak for; where there is none any more nobody is
            // behind.
            let ack = stand
                .position
                .filter(|_| counted.least.is_some() || before.is_some())
                .map(|held| Ack {
                    position: Position {
                        epoch: held.epoch,
                        pos: counted.least.unwrap_or(held.pos),
                    },
                    bound: stand.bound,
                });
            let changed = *before != ack;
            *before = ack;
            changed
        });
    }

    fn audience(&self) -> MutexGuard<'_, Audience> {
        // Each change is whole before anything in it can panic.
        self.audience.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Writes snapshots, one after the other, until the soft token.
pub async fn write_snapshots(hub: Arc<Hub>, mut jobs: Jobs, lifecycle: Lifecycle) {
    loop {
        let job = tokio::select! {
            () = lifecycle.soft().cancelled() => return,
            job = jobs.0.recv() => job,
        };
        let Some(job) = job else { return };
        let attachment = job.attachment.clone();
        match tokio::task::spawn_blocking(move || job.write()).await {
            Ok(written) => hub.written(written),
            Err(error) => {
                let error = error.to_string();
                tracing::error!(error, %attachment, "writing a snapshot for filters panicked");
                tokio::time::sleep(AGAIN).await;
                hub.unwritten(&attachment);
            }
        }
    }
}
