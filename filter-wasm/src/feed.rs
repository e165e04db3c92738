//! The session with ext-authz: a snapshot of the attachment's zones, then what changes in them, and how old all of it is.
//!
//! Within one stream nothing can be lost or out of order, so a position that falls, another epoch, or a message that is
//! not understood means another history: memory cannot be decided from until a new stream brought a snapshot. What is
//! revoked stays revoked all the while. Where it is known which zone something was said of, that zone alone waits.

use std::fmt::Write as _;
use std::time::Duration;

use prost::Message as _;
use wire::pb::caracal::authority::v1::Change;
use wire::pb::caracal::filter::v1 as pb;
use wire::pb::caracal::filter::v1::{down, up};

use crate::config::Config;
use crate::memory::{Freshness, Phase, Understood};
use crate::worker::{Moment, Worker};

/// The service and the method.
pub const SERVICE: &str = "caracal.filter.v1.Filter";
/// The method.
pub const METHOD: &str = "Session";
/// The version of the protocol.
const PROTOCOL: u32 = 1;
/// A stream on which nothing is heard for so long is another one's turn.
const SILENCE: Duration = Duration::from_secs(5);
/// The longest pause before a stream is opened again.
const MOST_PAUSE_MS: u64 = 2_000;
/// The pause after the first failure.
const FIRST_PAUSE_MS: u64 = 100;
/// Dead ids are swept this often.
const SWEEP: Duration = Duration::from_secs(30);

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Input<'a> {
    /// Time went on.
    Tick,
    /// The stream that was asked for is open.
    Opened,
    /// A message came.
    Message(&'a [u8]),
    /// The stream ended, or could not be opened.
    Closed,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Act {
    /// Open a stream.
    Open,
    /// Send this on it.
    Send(Vec<u8>),
    /// Give it up.
    Reset,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Link {
    Closed { not_before: Duration },
    Opening,
    Open { heard: Duration },
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Position {
    epoch: Vec<u8>,
    pos: u64,
}

/// Where a session stands.
#[derive(Debug)]
pub struct Feed {
    attachment: String,
    zones: Vec<String>,
    vm: String,
    jitter: u64,
    link: Link,
    failures: u32,
    held: Option<Position>,
    loading: Option<(Position, Vec<Change>)>,
    acked: Option<u64>,
    swept: Duration,
    fresh_on_stream: bool,
    /// Whether all of the snapshot was understood.
    whole: bool,
}

impl Feed {
    /// A session not yet opened; `vm` is random.
    pub fn new(config: &Config, vm: &[u8; 16]) -> Self {
        let mut text = String::new();
        for byte in vm {
            // Writing to a string does not fail.
            let _ = write!(text, "{byte:02x}");
        }
        Self {
            attachment: config.attachment.as_str().to_owned(),
            zones: config
                .zones
                .iter()
                .map(|zone| zone.id.to_string())
                .collect(),
            vm: text,
            jitter: vm.iter().fold(1, |word, byte| word << 4 ^ u64::from(*byte)),
            link: Link::Closed {
                not_before: Duration::ZERO,
            },
            failures: 0,
            held: None,
            loading: None,
            acked: None,
            swept: Duration::ZERO,
            fresh_on_stream: false,
            whole: false,
        }
    }

    /// The history and the position that memory is of; empty before anything was loaded.
    pub fn position(&self) -> (Vec<u8>, u64) {
        let held = self.held.as_ref();
        held.map(|held| (held.epoch.clone(), held.pos))
            .unwrap_or_default()
    }

    /// The position that memory stands at.
    pub fn pos(&self) -> Option<u64> {
        self.held.as_ref().map(|held| held.pos)
    }

    /// A pause that differs from VM to VM, so that they do not all come at once.
    fn pause(&mut self) -> Duration {
        let most = FIRST_PAUSE_MS
            .checked_shl(self.failures.min(10))
            .unwrap_or(MOST_PAUSE_MS)
            .min(MOST_PAUSE_MS);
        self.failures = self.failures.saturating_add(1);
        // xorshift: enough to spread.
        self.jitter ^= self.jitter << 13;
        self.jitter ^= self.jitter >> 7;
        self.jitter ^= self.jitter << 17;
        let half = most / 2;
        let spread = self.jitter.checked_rem(half.saturating_add(1)).unwrap_or(0);
        Duration::from_millis(half.saturating_add(spread))
    }

    fn close(&mut self, now: Duration) {
        let pause = self.pause();
        self.loading = None;
        self.fresh_on_stream = false;
        self.link = Link::Closed {
            not_before: now.saturating_add(pause),
        };
    }
}

/// What a message means for the session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    /// It goes on.
    Goes,
    /// It starts anew; memory is as good as before.
    Reopens,
    /// It starts anew, and nothing is decided until then.
    Resyncs,
}

/// What came of an input.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Turn {
    /// What is to be done, in this order.
    pub acts: Vec<Act>,
    /// Whether what was admitted before may not hold any more.
    pub changed: bool,
}

impl Worker {
    /// Takes an input of the session.
    pub fn feed(&mut self, input: Input<'_>, moment: &Moment) -> Turn {
        let mut turn = Turn::default();
        match input {
            Input::Tick => self.tick(moment, &mut turn),
            Input::Opened => self.opened(moment, &mut turn),
            Input::Closed => self.feed.close(moment.monotonic),
            Input::Message(bytes) => self.message(bytes, moment, &mut turn),
        }
        turn
    }

    fn tick(&mut self, moment: &Moment, turn: &mut Turn) {
        let now = moment.monotonic;
        if now.saturating_sub(self.feed.swept) >= SWEEP {
            self.feed.swept = now;
            self.memory.sweep(moment.now);
        }
        match self.feed.link {
            Link::Closed { not_before } if now >= not_before => {
                self.feed.link = Link::Opening;
                turn.acts.push(Act::Open);
            }
            Link::Closed { .. } | Link::Opening => {}
            Link::Open { heard } if now.saturating_sub(heard) > SILENCE => {
                turn.acts.push(Act::Reset);
                self.feed.close(now);
            }
            Link::Open { .. } => {
                turn.acts.push(ping(now));
                self.tell(turn);
            }
        }
    }

    fn opened(&mut self, moment: &Moment, turn: &mut Turn) {
        self.feed.link = Link::Open {
            heard: moment.monotonic,
        };
        self.feed.loading = None;
        self.feed.acked = None;
        self.reports.resend();
        let hello = pb::Hello {
            attachment: self.feed.attachment.clone(),
            vm: self.feed.vm.clone(),
            zone_ids: self.feed.zones.clone(),
            protocol: PROTOCOL,
            through_seq: self.reports.through(),
        };
        turn.acts.push(send(up::What::Hello(hello)));
    }

    /// Tells what has been refused and cut off.
    fn tell(&mut self, turn: &mut Turn) {
        for batch in self.reports.send() {
            turn.acts.push(send(up::What::Refusals(batch)));
        }
    }

    fn message(&mut self, bytes: &[u8], moment: &Moment, turn: &mut Turn) {
        let Link::Open { heard } = &mut self.feed.link else {
            return;
        };
        *heard = moment.monotonic;
        let what = pb::Down::decode(bytes).ok().and_then(|down| down.what);
        let verdict = match what {
            Some(down::What::Snapshot(part)) => self.snapshot_part(part, moment, turn),
            Some(down::What::Deltas(deltas)) => self.deltas(deltas, turn),
            Some(down::What::Pong(pong)) => self.pong(&pong, moment, turn),
            Some(down::What::UpAck(ack)) => {
                self.reports.acknowledged(ack.through_seq);
                Verdict::Goes
            }
            None => Verdict::Resyncs,
        };
        if verdict == Verdict::Goes {
            return;
        }
        if verdict == Verdict::Resyncs {
            self.memory.resync();
        }
        turn.acts.push(Act::Reset);
        self.feed.close(moment.monotonic);
    }

    fn snapshot_part(&mut self, part: pb::Snapshot, moment: &Moment, turn: &mut Turn) -> Verdict {
        let at = Position {
            epoch: part.epoch,
            pos: part.pos,
        };
        let (started, mut changes) = match self.feed.loading.take() {
            Some(loading) => loading,
            None => (at.clone(), Vec::new()),
        };
        if started != at || at.epoch.len() != 16 {
            return Verdict::Resyncs;
        }
        let ahead = self
            .feed
            .held
            .as_ref()
            .filter(|held| held.epoch == at.epoch);
        let ahead = ahead.map(|held| held.pos > at.pos);
        if ahead == Some(true) && self.memory.is_fresh(moment.monotonic) {
            // Of an ext-authz that lags behind what another one told us. Once ours is too old to decide from, theirs is
            // no older, or they decide nothing either.
            return Verdict::Reopens;
        }
        changes.extend(part.changes);
        if !part.last {
            self.feed.loading = Some((at, changes));
            return Verdict::Goes;
        }
        let continues = ahead == Some(false) && self.memory.phase() == Phase::Held;
        let Ok(understood) = self.memory.load(changes, continues) else {
            return Verdict::Resyncs;
        };
        self.feed.held = Some(at);
        self.feed.failures = 0;
        self.feed.fresh_on_stream = true;
        self.feed.whole = understood == Understood::Whole;
        turn.changed = true;
        self.ack(turn);
        // What was refused for want of it is told at once: nobody knows how long this VM lives.
        self.tell(turn);
        // How old it is has to be known before anything is decided from it.
        turn.acts.push(ping(moment.monotonic));
        Verdict::Goes
    }

    fn deltas(&mut self, deltas: pb::Deltas, turn: &mut Turn) -> Verdict {
        if !self.moves(&deltas.epoch, deltas.pos) {
            return Verdict::Resyncs;
        }
        let applied = self.memory.apply(deltas.changes);
        turn.changed = applied.ends;
        match applied.understood {
            Understood::Whole => {
                self.ack(turn);
                Verdict::Goes
            }
            Understood::ButForAZone => Verdict::Reopens,
            Understood::Nothing => Verdict::Resyncs,
        }
    }

    fn pong(&mut self, pong: &pb::Pong, moment: &Moment, turn: &mut Turn) -> Verdict {
        if !self.feed.fresh_on_stream {
            // It says something about ext-authz, and nothing yet about what we hold.
            return Verdict::Goes;
        }
        if !self.moves(&pong.epoch, pong.pos) {
            return Verdict::Resyncs;
        }
        let asked = u64::try_from(pong.echo_t_ns).map(Duration::from_nanos);
        if let Ok(asked) = asked
            && asked <= moment.monotonic
        {
            self.memory.told(Freshness {
                asked,
                age: Duration::from_millis(u64::from(pong.age_ms)),
            });
        }
        if self.feed.acked != self.feed.pos() {
            self.ack(turn);
        }
        Verdict::Goes
    }

    /// Moves on within the history held; false where the message is of another one.
    fn moves(&mut self, epoch: &[u8], pos: u64) -> bool {
        let phase = self.memory.phase();
        match &mut self.feed.held {
            Some(held)
                if self.feed.fresh_on_stream
                    && phase == Phase::Held
                    && held.epoch == epoch
                    && pos >= held.pos =>
            {
                held.pos = pos;
                true
            }
            Some(_) | None => false,
        }
    }

    /// Says what has been applied; nothing where some of it was not understood.
    fn ack(&mut self, turn: &mut Turn) {
        let Some(held) = self.feed.held.as_ref().filter(|_| self.feed.whole) else {
            return;
        };
        self.feed.acked = Some(held.pos);
        turn.acts.push(send(up::What::Ack(pb::Ack {
            epoch: held.epoch.clone(),
            pos: held.pos,
            through_seq: self.reports.made(),
        })));
    }
}

fn send(what: up::What) -> Act {
    Act::Send(pb::Up { what: Some(what) }.encode_to_vec())
}

fn ping(now: Duration) -> Act {
    let t_ns = i64::try_from(now.as_nanos()).unwrap_or(i64::MAX);
    send(up::What::Ping(pb::Ping { t_ns }))
}

#[cfg(test)]
mod tests;
