//! Evidence of what the filter refuses by itself, until ext-authz has journaled it.
//!
//! What comes before a valid signature is counted, since anybody can cause it; the rest is told one by one, as long as
//! there is room, and counted beyond that: no refusal is left out. Batches are numbered from 1 without a gap, and kept
//! until they are acknowledged.

use std::collections::{HashMap, VecDeque};
use std::net::{IpAddr, SocketAddr};

use jiff::Timestamp;
use mandate::id::{BindingId, DecisionId, ZoneId};
use wire::pb::caracal::filter::v1 as pb;

/// Samples kept of one count.
const MOST_SAMPLES: usize = 8;
/// Kinds of refusal that are told apart by network; further ones are counted as from elsewhere.
const MOST_KINDS: usize = 512;
/// Refusals told one by one that are held at a time.
const MOST_DENIED: usize = 1_024;
/// Allows taken back and answers cut off that are held at a time: they have room of their own, for every exchange that
/// is kept track of.
const MOST_WITHDRAWN: usize = 16_384;
/// Batches held at a time: as many as may be unacknowledged on a stream. Meanwhile counts go on in memory.
const MOST_BATCHES: usize = 8;
/// Bytes of one batch, well below what ext-authz takes: one that it refused for its size would be sent again for ever.
const BATCH_BYTES: usize = 192 * 1_024;
/// What the encoding adds to an item.
const FRAME: usize = 8;
/// Counts are of one such window.
const WINDOW_NS: i64 = 10_000_000_000;

/// What is counted together.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Kind {
    binding: Option<(ZoneId, BindingId)>,
    code: &'static str,
    peer: String,
    window: i64,
}

/// One refusal.
#[derive(Debug, Clone)]
pub struct Refused<'a> {
    /// Its decision.
    pub decision: DecisionId,
    /// Why.
    pub code: &'static str,
    /// The binding and its zone; none where none was found.
    pub binding: Option<(ZoneId, BindingId)>,
    /// The proxy's request id, if it is fit to keep.
    pub request_id: &'a str,
    /// The method, if it can be governed.
    pub method: &'a str,
    /// Where it came from.
    pub peer: Option<IpAddr>,
    /// When.
    pub at: Timestamp,
}

/// What is still to be told.
#[derive(Debug, Default)]
pub struct Reports {
    counts: HashMap<Kind, pb::RefusalCount>,
    denied: VecDeque<pb::Denied>,
    withdrawn: VecDeque<pb::Denied>,
    batches: VecDeque<pb::Refusals>,
    sealed: u64,
    sent: u64,
    through: u64,
}

impl Reports {
    /// Counts a refusal.
    pub fn count(&mut self, refused: &Refused<'_>) {
        let at_ns = nanoseconds(refused.at);
        let window = at_ns.saturating_sub(at_ns.rem_euclid(WINDOW_NS));
        let mut kind = Kind {
            binding: refused.binding,
            code: refused.code,
            peer: network(refused.peer),
            window,
        };
        if self.counts.len() >= MOST_KINDS && !self.counts.contains_key(&kind) {
            // Few enough of these to be told apart always.
            "other".clone_into(&mut kind.peer);
            kind.binding = None;
            kind.window = 0;
        }
        let text = |id: Option<String>| id.unwrap_or_default();
        let (zone, peer) = (
            kind.binding.map(|(zone, _)| zone.to_string()),
            kind.peer.clone(),
        );
        let binding = kind.binding.map(|(_, binding)| binding.to_string());
        let count = self.counts.entry(kind).or_insert_with(|| pb::RefusalCount {
            binding: text(binding),
            code: refused.code.to_owned(),
            peer,
            count: 0,
            window_start_ns: at_ns,
            samples: Vec::new(),
            zone_id: text(zone),
            last_ns: at_ns,
        });
        count.count = count.count.saturating_add(1);
        count.last_ns = count.last_ns.max(at_ns);
        if count.samples.len() < MOST_SAMPLES {
            count.samples.push(pb::Sample {
                decision_id: refused.decision.to_string(),
                request_id: refused.request_id.to_owned(),
                method: refused.method.to_owned(),
                at_ns,
            });
        }
    }

    /// Tells a refusal of a verified mandate, or an allow taken back; what there is no room for is counted.
    pub fn deny(&mut self, denied: pb::Denied, refused: &Refused<'_>) {
        let (queue, most) = if denied.withdraws {
            (&mut self.withdrawn, MOST_WITHDRAWN)
        } else {
            (&mut self.denied, MOST_DENIED)
        };
        if queue.len() < most {
            queue.push_back(denied);
        } else {
            self.count(refused);
        }
    }

    /// The batches to be sent now. What was sent is not sent again on the same stream.
    pub fn send(&mut self) -> Vec<pb::Refusals> {
        self.seal();
        let sent = self.sent;
        self.sent = self.sealed;
        self.batches
            .iter()
            .filter(|batch| batch.seq > sent)
            .cloned()
            .collect()
    }

    /// A new stream: what is not acknowledged is sent again.
    pub fn resend(&mut self) {
        self.sent = 0;
    }

    /// Batches up to this one are journaled.
    pub fn acknowledged(&mut self, through: u64) {
        self.through = self.through.max(through);
        self.batches.retain(|batch| batch.seq > through);
    }

    /// The highest that was acknowledged.
    pub fn through(&self) -> u64 {
        self.through
    }

    /// The highest that was made.
    pub fn made(&self) -> u64 {
        self.sealed
    }

    /// Whether nothing is still to be told.
    pub fn is_empty(&self) -> bool {
        self.counts.is_empty()
            && self.denied.is_empty()
            && self.withdrawn.is_empty()
            && self.batches.is_empty()
    }

    fn seal(&mut self) {
        while self.batches.len() < MOST_BATCHES {
            let mut batch = pb::Refusals {
                seq: self.sealed.saturating_add(1),
                ..pb::Refusals::default()
            };
            let mut room = BATCH_BYTES;
            for queue in [&mut self.withdrawn, &mut self.denied] {
                while let Some(denied) = queue.pop_front_if(|denied| fits(denied, &mut room)) {
                    batch.denied.push(denied);
                }
            }
            let counts = self.counts.extract_if(|_, count| fits(count, &mut room));
            batch.counts = counts.map(|(_, count)| count).collect();
            if batch.denied.is_empty() && batch.counts.is_empty() {
                return;
            }
            self.sealed = batch.seq;
            self.batches.push_back(batch);
        }
    }
}

/// Whether an item still fits, and takes its room.
fn fits(item: &impl prost::Message, room: &mut usize) -> bool {
    let taken = item.encoded_len().saturating_add(FRAME);
    let left = room.checked_sub(taken);
    *room = left.unwrap_or(*room);
    left.is_some()
}

/// Nanoseconds since the Unix epoch.
pub fn nanoseconds(at: Timestamp) -> i64 {
    i64::try_from(at.as_nanosecond()).unwrap_or(i64::MAX)
}

/// The address in the proxy's `address:port`.
pub fn address(text: &[u8]) -> Option<SocketAddr> {
    str::from_utf8(text).ok()?.parse().ok()
}

/// The network a caller is counted by: a /24 or a /64.
fn network(address: Option<IpAddr>) -> String {
    match address.map(|address| address.to_canonical()) {
        Some(IpAddr::V4(address)) => {
            let [a, b, c, _] = address.octets();
            format!("{a}.{b}.{c}.0/24")
        }
        Some(IpAddr::V6(address)) => {
            let [a, b, c, d, ..] = address.segments();
            let network = std::net::Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0);
            format!("{network}/64")
        }
        None => "unknown".to_owned(),
    }
}

#[cfg(test)]
mod tests;
