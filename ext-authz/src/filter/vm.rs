//! One filter, as it is remembered: while its stream is open, and for a while after.

use std::sync::Arc;
use std::time::Duration;

use mandate::id::AttachmentName;
use tokio::sync::{Mutex, mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use tonic::{Code, Status};

use super::hello::{Hello, VmId, refusal};
use super::hub::Lost;
use super::outgoing::{Item, Outgoing};
use crate::feed::tracker::Position;

/// Messages that may wait for a reader.
const QUEUE: usize = 1_024;

/// Up to which number a VM's reports are in the journal. Held while one is being written, so that another stream of
/// the same VM that brings it again waits and then finds it there.
pub(super) type Filed = Arc<Mutex<u64>>;

/// Its open stream.
#[derive(Debug)]
pub(super) struct Line {
    pub(super) number: u64,
    queue: mpsc::Sender<Item>,
    end: oneshot::Sender<Status>,
    over: CancellationToken,
    /// Whether it has been sent the snapshot that its changes continue.
    pub(super) served: bool,
    /// What it was last sent brings it here.
    pub(super) at: Option<Position>,
}

/// The session's ends of a line.
#[derive(Debug)]
pub(super) struct Joined {
    pub(super) number: u64,
    pub(super) outgoing: Outgoing,
    pub(super) over: CancellationToken,
    pub(super) filed: Filed,
}

/// A filter.
#[derive(Debug)]
pub(super) struct Vm {
    pub(super) attachment: AttachmentName,
    pub(super) line: Option<Line>,
    /// When it last asked how old memory is: nothing that it was told later can keep it deciding.
    pub(super) heard: Duration,
    /// When its stream ended.
    pub(super) gone: Option<Duration>,
    /// Nobody waits for it to come back: it ended in order, or it was told of as lost.
    pub(super) over: bool,
    pub(super) acked: Option<Position>,
    /// The highest report it has made.
    pub(super) made: u64,
    /// The highest report in the journal.
    pub(super) through: u64,
    pub(super) filed: Filed,
}

impl Vm {
    pub(super) fn new(hello: &Hello, now: Duration) -> Self {
        Self {
            attachment: hello.attachment.clone(),
            line: None,
            heard: now,
            gone: None,
            over: false,
            acked: None,
            made: hello.through_seq,
            through: hello.through_seq,
            filed: Arc::new(Mutex::new(hello.through_seq)),
        }
    }

    /// Opens a line; one that was open is ended.
    pub(super) fn open(&mut self, hello: &Hello, number: u64, now: Duration) -> Joined {
        self.end(refusal(
            Code::Aborted,
            "vm_replaced",
            "the VM has opened another stream",
        ));
        let (queue, receiver) = mpsc::channel(QUEUE);
        let (end, ending) = oneshot::channel();
        let over = CancellationToken::new();
        self.attachment = hello.attachment.clone();
        self.through = self.through.max(hello.through_seq);
        self.made = self.made.max(hello.through_seq);
        self.heard = now;
        self.gone = None;
        self.over = false;
        // It starts without memory; until it has one it decides nothing.
        self.acked = None;
        self.line = Some(Line {
            number,
            queue,
            end,
            over: over.clone(),
            served: false,
            at: None,
        });
        Joined {
            number,
            outgoing: Outgoing::new(receiver, ending),
            over,
            filed: Arc::clone(&self.filed),
        }
    }

    /// Sends; false when it does not read, and then it is cut off.
    pub(super) fn send(&mut self, item: Item) -> bool {
        let Some(line) = &self.line else { return true };
        match line.queue.try_send(item) {
            // The session notices by itself that nobody is there any more.
            Ok(()) | Err(mpsc::error::TrySendError::Closed(_)) => true,
            Err(mpsc::error::TrySendError::Full(_)) => {
                self.end(refusal(
                    Code::ResourceExhausted,
                    "reader_too_slow",
                    "too much waits to be read; start anew",
                ));
                false
            }
        }
    }

    /// Ends the line.
    pub(super) fn end(&mut self, status: Status) {
        if let Some(line) = self.line.take() {
            // Without a receiver the stream is gone already.
            let _gone = line.end.send(status);
            line.over.cancel();
        }
    }

    /// Whether it decides nothing: it is over, or has refused by itself for a second.
    pub(super) fn silent(&self, bound: Duration, now: Duration) -> bool {
        self.over || now > self.decides_until(bound)
    }

    /// Whether it has a stream, and asks on it.
    pub(super) fn is_served(&self, bound: Duration, now: Duration) -> bool {
        self.line.is_some() && !self.silent(bound, now)
    }

    /// Since when it has been away, or will have been unless it asks: its stream ended, or nobody is behind it.
    pub(super) fn away_since(&self, bound: Duration) -> Option<Duration> {
        match self.line {
            Some(_) => Some(self.decides_until(bound)),
            None => self.gone,
        }
    }

    /// What may be missing of it.
    pub(super) fn lost(&self, vm: VmId) -> Lost {
        Lost {
            vm,
            attachment: self.attachment.clone(),
            made: self.made,
            through: self.through,
        }
    }

    fn decides_until(&self, bound: Duration) -> Duration {
        let until = self.heard.saturating_add(bound);
        until.saturating_add(Duration::from_secs(1))
    }
}
