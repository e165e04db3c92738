//! One stream: what comes up, in order.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use chassis::{Clock, Lifecycle};
use futures::future::{BoxFuture, FutureExt as _};
use ledger::envelope::Epoch;
use tokio_util::sync::CancellationToken;
use tonic::{Code, Request, Status, Streaming};
use wire::pb::caracal::filter::v1 as pb;

use super::filing::file;
use super::hello::{Hello, refusal};
use super::hub::Hub;
use super::outgoing::Outgoing;
use super::vm::{Filed, Joined};
use crate::evidence::Desk;
use crate::feed::run::Shared;

/// How long the first message may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// Reports of one stream that may wait for the journal.
const MOST_REPORTS: usize = 8;

/// Serves filters.
#[derive(Clone, Debug)]
pub struct Sessions {
    /// All of them.
    pub hub: Arc<Hub>,
    /// Where their refusals go on record.
    pub desk: Arc<Desk>,
    /// Memory.
    pub memory: Shared,
    /// Time.
    pub clock: Clock,
    /// Tasks.
    pub lifecycle: Lifecycle,
    /// How long after the soft token they are served.
    pub lame_duck: Duration,
}

impl Sessions {
    /// Begins a session.
    pub(super) async fn begin(
        &self,
        request: Request<Streaming<pb::Up>>,
    ) -> Result<Outgoing, Status> {
        let mut up = request.into_inner();
        let first = tokio::time::timeout(PATIENCE, up.message()).await;
        let first = first.unwrap_or_else(|_| {
            let nothing = "nothing was said";
            Err(refusal(Code::DeadlineExceeded, "hello_expected", nothing))
        });
        let joined = first
            .and_then(|first| Hello::read(first, self.hub.attachments()))
            .and_then(|hello| self.hub.join(&hello).map(|joined| (hello, joined)));
        let (hello, joined) = joined.inspect_err(|status| {
            self.hub.metrics().refused.inc();
            tracing::warn!(error = status.message(), "a filter is not served");
        })?;
        let Joined {
            number,
            outgoing,
            over,
            filed,
        } = joined;
        tracing::info!(vm = %hello.vm, attachment = %hello.attachment, "a filter is served");
        let session = Session {
            serving: self.clone(),
            hello,
            line: number,
            filed,
            waiting: VecDeque::new(),
        };
        self.lifecycle
            .spawn_short("filter_session", session.run(up, over));
        Ok(outgoing)
    }
}

/// A report on its way into the journal: the number through which all are there, or none when the process is ending.
type Filing = BoxFuture<'static, Option<u64>>;

/// One stream.
struct Session {
    serving: Sessions,
    hello: Hello,
    line: u64,
    filed: Filed,
    waiting: VecDeque<pb::Refusals>,
}

impl Session {
    async fn run(mut self, mut up: Streaming<pb::Up>, over: CancellationToken) {
        let mut filing = None;
        let serving = self.serving.clone();
        let mut stopping = serving.stopping().boxed();
        let orderly = loop {
            tokio::select! {
                biased;
                () = over.cancelled() => break false,
                () = &mut stopping => {
                    let status = refusal(Code::Unavailable, "draining", "the service is stopping");
                    self.end(status);
                    break false;
                }
                filed = in_flight(&mut filing) => filing = self.next(filed),
                message = up.message() => {
                    if let Some(orderly) = self.hear(message) {
                        break orderly;
                    }
                    if filing.is_none() {
                        filing = self.start();
                    }
                }
            }
        };
        // What arrived is written whole, so that nothing of it is written again.
        while let Some(last) = filing {
            filing = self.next(last.await);
        }
        let orderly = orderly && self.waiting.is_empty();
        self.serving.hub.leave(self.hello.vm, self.line, orderly);
        tracing::info!(vm = %self.hello.vm, orderly, "a filter is gone");
    }

    /// Takes a message; at the stream's end, whether it was in order.
    fn hear(&mut self, message: Result<Option<pb::Up>, Status>) -> Option<bool> {
        let failed = match message {
            Ok(None) => return Some(true),
            Ok(Some(message)) => self.take(message).err(),
            Err(status) => Some(status),
        };
        // Said where it can still be heard, as of a report that is too large.
        failed.map(|status| {
            tracing::debug!(error = %status, vm = %self.hello.vm, "a filter's stream broke");
            self.end(status);
            false
        })
    }

    fn take(&mut self, up: pb::Up) -> Result<(), Status> {
        let hub = &self.serving.hub;
        match up.what {
            Some(pb::up::What::Ping(ping)) => hub.ping(self.hello.vm, self.line, ping.t_ns),
            Some(pb::up::What::Ack(ack)) => {
                let epoch = ack.epoch.as_slice().try_into();
                let epoch = epoch.map_err(|_| {
                    refusal(
                        Code::InvalidArgument,
                        "ack_malformed",
                        "an epoch has 16 bytes",
                    )
                })?;
                let (pos, made) = (ack.pos, ack.through_seq);
                hub.acked(self.hello.vm, self.line, Epoch(epoch), pos, made);
            }
            Some(pb::up::What::Refusals(report)) => return self.queue(report),
            Some(pb::up::What::Hello(_)) => {
                return Err(refusal(
                    Code::InvalidArgument,
                    "hello_expected",
                    "one hello is enough",
                ));
            }
            // A later version says something that we do not know.
            None => {}
        }
        Ok(())
    }

    fn queue(&mut self, report: pb::Refusals) -> Result<(), Status> {
        self.serving.hub.metrics().reports.inc();
        if report.seq == 0 {
            return Err(refusal(
                Code::InvalidArgument,
                "report_malformed",
                "reports are numbered from 1",
            ));
        }
        if self.waiting.len() >= MOST_REPORTS {
            return Err(refusal(
                Code::ResourceExhausted,
                "too_many_reports",
                "more reports are unacknowledged than may be",
            ));
        }
        self.waiting.push_back(report);
        Ok(())
    }

    /// After one report is in the journal, or could not be brought there: on with the next.
    fn next(&mut self, filed: Option<u64>) -> Option<Filing> {
        let through = filed?;
        self.serving.hub.filed(self.hello.vm, self.line, through);
        self.start()
    }

    fn start(&mut self) -> Option<Filing> {
        let report = self.waiting.pop_front()?;
        let filing = file(
            self.serving.clone(),
            self.hello.clone(),
            report,
            Arc::clone(&self.filed),
        );
        Some(filing.boxed())
    }

    fn end(&self, status: Status) {
        self.serving.hub.end(self.hello.vm, self.line, status);
    }
}

impl Sessions {
    /// Until filters have to look elsewhere.
    async fn stopping(&self) {
        self.lifecycle.soft().cancelled().await;
        tokio::time::sleep(self.lame_duck).await;
    }
}

/// Waits for what is in flight, else for ever.
async fn in_flight(filing: &mut Option<Filing>) -> Option<u64> {
    match filing {
        Some(future) => future.await,
        None => std::future::pending().await,
    }
}
