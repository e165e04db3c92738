//! What all filters share: the rows they are told, who they are, and how far they are.
//!
//! The feed puts news in and goes on; a filter that does not keep up is cut off. The lock is held for as long as it
//! takes to hand out pointers: snapshots are written elsewhere.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use chassis::{Clock, Lifecycle};
use hashbrown::HashMap;
use jiff::Timestamp;
use ledger::envelope::Epoch;
use mandate::id::{AttachmentName, ZoneId};
use tokio::sync::{mpsc, watch};
use tonic::{Code, Status};

use super::hello::{Hello, VmId, refusal};
use super::outgoing::Item;
use super::rows::Rows;
use super::told::{self, Job, Prepared, Said, Written};
use super::vm::{Joined, Vm};
use crate::config::{self, Attachments};
use crate::feed::age::Freshness;
use crate::feed::core::News;
use crate::feed::source::Ack;
use crate::feed::tracker::{Phase, Position};
use crate::metrics::FilterMetrics;

/// VMs that are gone are remembered as long as there are no more than this many times those allowed.
const REMEMBERED: usize = 4;

/// The bound of a zone that has not said one.
const DEFAULT_BOUND: Duration = Duration::from_secs(10);

/// An age that is none.
const NO_AGE: u32 = u32::MAX;

/// Where our own memory stands, and how old it is.
#[derive(Clone, Copy, Debug)]
pub struct Stand {
    /// Whether it can be decided from.
    pub phase: Phase,
    /// Where it stands.
    pub position: Option<Position>,
    /// How old it is; none where that is not known.
    pub freshness: Option<Freshness>,
    /// The longest that any zone may be decided about without news.
    pub bound: Duration,
}

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
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    rows: Rows,
    stand: Stand,
    vms: HashMap<VmId, Vm>,
    prepared: HashMap<AttachmentName, Prepared>,
    /// Of streams and of snapshots.
    numbers: u64,
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
        let stand = Stand {
            phase: Phase::Empty,
            position: None,
            freshness: None,
            bound: DEFAULT_BOUND,
        };
        let hub = Self {
            attachments,
            limits,
            clock,
            metrics,
            reach,
            jobs,
            state: Mutex::new(State {
                rows: Rows::default(),
                stand,
                vms: HashMap::new(),
                prepared: HashMap::new(),
                numbers: 0,
            }),
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
        let mut state = self.state();
        let before = state.stand.position;
        state.stand = stand;
        let mut said = Said::default();
        for news in news {
            match news {
                News::Loaded(changes) => {
                    state.rows.load(&changes);
                    said = Said::anew();
                }
                News::Changed { pos, change } => {
                    let left = state.rows.apply(&change);
                    said.push(pos, change, left);
                }
            }
        }
        if said.is_anew() {
            state.forget_snapshots();
        } else if let Some(position) = stand.position
            && before != stand.position
        {
            state.tell(&self.attachments, &said, position, &self.metrics);
        }
        self.serve(&mut state);
        self.measure(&state, now);
    }

    /// Sends a snapshot to all who wait for one, if there is one to send.
    fn serve(&self, state: &mut State) {
        for job in state.serve(&self.attachments, &self.metrics) {
            // Without a writer the process is ending.
            let _ending = self.jobs.send(job);
        }
    }

    /// A snapshot is written.
    fn written(&self, written: Written) {
        let mut state = self.state();
        if let Some(prepared) = state.prepared.get_mut(&written.attachment) {
            prepared.take(written);
        }
        self.serve(&mut state);
    }

    /// Forgets dead ids whose time is over.
    pub fn sweep(&self, now: Timestamp) {
        self.state().rows.sweep(now);
    }

    /// Lets a filter in.
    pub(super) fn join(&self, hello: &Hello) -> Result<Joined, Status> {
        let now = self.clock.monotonic();
        let mut state = self.state();
        let others = state
            .vms
            .iter()
            .filter(|(vm, held)| **vm != hello.vm && held.line.is_some());
        if others.count() >= self.limits.max_vms {
            return Err(refusal(
                Code::ResourceExhausted,
                "too_many_vms",
                "no more filters are served here",
            ));
        }
        state.make_room(self.limits.max_vms.saturating_mul(REMEMBERED));
        let number = state.number();
        let vm = state
            .vms
            .entry(hello.vm)
            .or_insert_with(|| Vm::new(hello, now));
        let joined = vm.open(hello, number, now);
        self.serve(&mut state);
        self.measure(&state, now);
        Ok(joined)
    }

    /// Answers a ping: what was sent before, and how old that is.
    pub(super) fn ping(&self, id: VmId, line: u64, t_ns: i64) {
        let now = self.clock.monotonic();
        let mut state = self.state();
        let stand = state.stand;
        let Some(vm) = state.on_line(id, line) else {
            return;
        };
        vm.heard = now;
        let line = vm.line.as_ref();
        let served = line.is_some_and(|line| line.served);
        let at = line.and_then(|line| line.at);
        let attachment = vm.attachment.clone();
        let bounds = state.rows.bounds(self.zones(&attachment));
        let bound = bounds.min().unwrap_or(DEFAULT_BOUND);
        let age = match stand.phase {
            // Only of what it has been sent.
            Phase::Held if served => self.age(&stand, now),
            Phase::Held | Phase::Empty | Phase::Resync => NO_AGE,
        };
        let pong = Item::One(told::pong(t_ns, age, at, bound));
        state.send(id, pong, &self.metrics);
        self.measure(&state, now);
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
        let mut state = self.state();
        let held = state.stand.position;
        let Some(vm) = state.on_line(id, line) else {
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
        self.measure(&state, now);
    }

    /// A report is in the journal.
    pub(super) fn filed(&self, id: VmId, line: u64, through: u64) {
        let mut state = self.state();
        if let Some(vm) = state.vms.get_mut(&id) {
            vm.through = vm.through.max(through);
            vm.made = vm.made.max(through);
        }
        if state.on_line(id, line).is_some() {
            let ack = Item::One(told::up_ack(through));
            state.send(id, ack, &self.metrics);
        }
    }

    /// Cuts a filter off.
    pub(super) fn end(&self, id: VmId, line: u64, status: Status) {
        if let Some(vm) = self.state().on_line(id, line) {
            vm.end(status);
        }
    }

    /// A session is over; `orderly` when the filter ended it itself and owes nothing.
    pub(super) fn leave(&self, id: VmId, line: u64, orderly: bool) {
        let now = self.clock.monotonic();
        let mut state = self.state();
        let Some(vm) = state.vms.get_mut(&id) else {
            return;
        };
        // Another stream of the same VM is none of this session's.
        if vm.line.as_ref().is_some_and(|open| open.number != line) {
            return;
        }
        vm.line = None;
        vm.gone.get_or_insert(now);
        vm.over = orderly && vm.made <= vm.through;
        self.measure(&state, now);
    }

    /// Those who went away for too long, each once.
    pub(super) fn lost(&self) -> Vec<Lost> {
        let now = self.clock.monotonic();
        let mut state = self.state();
        let mut lost = Vec::new();
        for (id, vm) in &mut state.vms {
            let over = |gone: Duration| now.saturating_sub(gone) > self.limits.lost_after;
            if !vm.over && vm.line.is_none() && vm.gone.is_some_and(over) {
                vm.over = true;
                lost.push(Lost {
                    vm: *id,
                    attachment: vm.attachment.clone(),
                    made: vm.made,
                    through: vm.through,
                });
            }
        }
        self.measure(&state, now);
        lost
    }

    /// Says how many there are, and how far the last of them is.
    fn measure(&self, state: &State, now: Duration) {
        let stand = &state.stand;
        let mut connected = 0_i64;
        let mut ready = 0_i64;
        let mut least: Option<u64> = None;
        for vm in state.vms.values() {
            let acked = vm
                .acked
                .filter(|acked| stand.position.is_some_and(|held| held.epoch == acked.epoch));
            let silent = vm.silent(stand.bound, now);
            if vm.line.is_some() {
                connected = connected.saturating_add(1);
                ready = ready.saturating_add(i64::from(acked.is_some() && !silent));
            }
            if !silent {
                let pos = acked.map_or(0, |acked| acked.pos);
                least = Some(least.map_or(pos, |least| least.min(pos)));
            }
        }
        self.metrics.vms.set(connected);
        self.metrics.ready.set(ready);
        self.reach.send_if_modified(|before| {
            // Where there never was a filter there is nobody to speak for; where there is none any more nobody is
            // behind.
            let ack = stand
                .position
                .filter(|_| least.is_some() || before.is_some())
                .map(|held| Ack {
                    position: Position {
                        epoch: held.epoch,
                        pos: least.unwrap_or(held.pos),
                    },
                    bound: stand.bound,
                });
            let changed = *before != ack;
            *before = ack;
            changed
        });
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Each change of the state is whole before anything in it can panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// The VM, if this is its open line.
    fn on_line(&mut self, id: VmId, line: u64) -> Option<&mut Vm> {
        let vm = self.vms.get_mut(&id)?;
        let open = vm.line.as_ref().is_some_and(|open| open.number == line);
        open.then_some(vm)
    }

    /// Sends to one.
    fn send(&mut self, id: VmId, item: Item, metrics: &FilterMetrics) {
        if let Some(vm) = self.vms.get_mut(&id)
            && !vm.send(item)
        {
            metrics.slow.inc();
        }
    }

    /// Sends changes to all whose snapshot they continue; encoded once for each attachment.
    fn tell(
        &mut self,
        attachments: &Attachments,
        said: &Said,
        position: Position,
        metrics: &FilterMetrics,
    ) {
        for (name, zones) in attachments {
            let listening = self.vms.values().any(|vm| vm.attachment == *name);
            if !listening && !self.prepared.contains_key(name) {
                continue;
            }
            let messages = said.deltas(name, zones, position);
            if let Some(prepared) = self.prepared.get_mut(name)
                && !prepared.extend(&messages)
            {
                self.prepared.remove(name);
            }
            for vm in self.vms.values_mut().filter(|vm| vm.attachment == *name) {
                let Some(line) = vm.line.as_mut().filter(|line| line.served) else {
                    continue;
                };
                line.at = Some(position);
                let sent = messages
                    .iter()
                    .all(|message| vm.send(Item::One(message.clone())));
                if !sent {
                    metrics.slow.inc();
                }
            }
        }
    }

    /// Sends a snapshot to all who wait for one, if there is one to send; what has to be written first.
    fn serve(&mut self, attachments: &Attachments, metrics: &FilterMetrics) -> Vec<Job> {
        let (Phase::Held, Some(position)) = (self.stand.phase, self.stand.position) else {
            return Vec::new();
        };
        let mut jobs = Vec::new();
        for vm in self.vms.values_mut() {
            let Some(line) = vm.line.as_mut().filter(|line| !line.served) else {
                continue;
            };
            let name = &vm.attachment;
            let Some(prepared) = self.prepared.get(name) else {
                self.numbers = self.numbers.wrapping_add(1);
                let number = self.numbers;
                self.prepared.insert(name.clone(), Prepared::begun(number));
                let zones = attachments.get(name).map_or(&[][..], Vec::as_slice);
                jobs.push(Job {
                    number,
                    attachment: name.clone(),
                    position,
                    rows: self.rows.hold(zones),
                });
                continue;
            };
            let Some((items, size)) = prepared.items() else {
                continue;
            };
            line.served = true;
            line.at = Some(position);
            metrics.snapshot_bytes.inc_by(size);
            for item in items {
                if !vm.send(item) {
                    metrics.slow.inc();
                }
            }
        }
        jobs
    }

    fn number(&mut self) -> u64 {
        self.numbers = self.numbers.wrapping_add(1);
        self.numbers
    }

    /// What was sent before continues nothing any more.
    fn forget_snapshots(&mut self) {
        self.prepared.clear();
        for line in self.vms.values_mut().filter_map(|vm| vm.line.as_mut()) {
            line.served = false;
        }
    }

    /// Forgets those who have been gone longest.
    fn make_room(&mut self, most: usize) {
        while self.vms.len() >= most {
            let gone = self.vms.iter().filter(|(_, vm)| vm.line.is_none());
            let Some(oldest) = gone.min_by_key(|(_, vm)| vm.gone).map(|(id, _)| *id) else {
                return;
            };
            self.vms.remove(&oldest);
        }
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
        // A writer that panicked has written nothing; who waits for it starts anew when it hears of it as silence.
        if let Ok(written) = tokio::task::spawn_blocking(move || job.write()).await {
            hub.written(written);
        }
    }
}
