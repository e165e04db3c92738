//! Who is told, what there is to tell, and how far everybody is.

use std::time::Duration;

use hashbrown::HashMap;
use mandate::id::AttachmentName;

use super::hello::VmId;
use super::hub::Lost;
use super::outgoing::Item;
use super::rows::Rows;
use super::told::{Job, Prepared, Said};
use super::vm::Vm;
use crate::config::Attachments;
use crate::feed::age::Freshness;
use crate::feed::tracker::{Phase, Position};
use crate::metrics::FilterMetrics;

/// The bound of a zone that has not said one.
pub(super) const DEFAULT_BOUND: Duration = Duration::from_secs(10);

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

#[derive(Debug)]
pub(super) struct Audience {
    pub(super) rows: Rows,
    pub(super) stand: Stand,
    pub(super) vms: HashMap<VmId, Vm>,
    pub(super) prepared: HashMap<AttachmentName, Prepared>,
    /// Those who went away, and had to be forgotten before it was told that they are lost.
    pub(super) forgotten: Vec<Lost>,
    /// Of streams and of snapshots.
    numbers: u64,
}

/// How many there are, and how far the last of them is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counted {
    pub(super) connected: i64,
    pub(super) ready: i64,
    /// The least position of those who may still decide; none where nobody may.
    pub(super) least: Option<u64>,
}

impl Audience {
    pub(super) fn new() -> Self {
        Self {
            rows: Rows::default(),
            stand: Stand {
                phase: Phase::Empty,
                position: None,
                freshness: None,
                bound: DEFAULT_BOUND,
            },
            vms: HashMap::new(),
            prepared: HashMap::new(),
            forgotten: Vec::new(),
            numbers: 0,
        }
    }

    pub(super) fn count(&self, now: Duration) -> Counted {
        let mut counted = Counted::default();
        for vm in self.vms.values() {
            let held = self.stand.position;
            let acked = vm
                .acked
                .filter(|acked| held.is_some_and(|held| held.epoch == acked.epoch));
            let silent = vm.silent(self.stand.bound, now);
            if vm.line.is_some() {
                counted.connected = counted.connected.saturating_add(1);
                let ready = i64::from(acked.is_some() && !silent);
                counted.ready = counted.ready.saturating_add(ready);
            }
            if !silent {
                let pos = acked.map_or(0, |acked| acked.pos);
                counted.least = Some(counted.least.map_or(pos, |least| least.min(pos)));
            }
        }
        counted
    }

    /// The VM, if this is its open line.
    pub(super) fn on_line(&mut self, id: VmId, line: u64) -> Option<&mut Vm> {
        let vm = self.vms.get_mut(&id)?;
        let open = vm.line.as_ref().is_some_and(|open| open.number == line);
        open.then_some(vm)
    }

    /// Sends to one.
    pub(super) fn send(&mut self, id: VmId, item: Item, metrics: &FilterMetrics) {
        if let Some(vm) = self.vms.get_mut(&id)
            && !vm.send(item)
        {
            metrics.slow.inc();
        }
    }

    /// Sends changes to all whose snapshot they continue; encoded once for each attachment.
    pub(super) fn tell(
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
    pub(super) fn serve(&mut self, attachments: &Attachments, metrics: &FilterMetrics) -> Vec<Job> {
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

    pub(super) fn number(&mut self) -> u64 {
        self.numbers = self.numbers.wrapping_add(1);
        self.numbers
    }

    /// What was sent before continues nothing any more.
    pub(super) fn forget_snapshots(&mut self) {
        self.prepared.clear();
        for line in self.vms.values_mut().filter_map(|vm| vm.line.as_mut()) {
            line.served = false;
        }
    }

    /// Forgets those who have been gone longest; whether there is room for one more then.
    pub(super) fn make_room(&mut self, most: usize) -> bool {
        while self.vms.len() >= most {
            let gone = self.vms.iter().filter(|(_, vm)| vm.line.is_none());
            let Some(oldest) = gone.min_by_key(|(_, vm)| vm.gone).map(|(id, _)| *id) else {
                return false;
            };
            if let Some(vm) = self.vms.remove(&oldest).filter(|vm| !vm.over) {
                self.forgotten.push(vm.lost(oldest));
            }
        }
        true
    }
}
