//! What goes down a stream, in order, from a queue that does not grow.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use futures::Stream;
use tokio::sync::{mpsc, oneshot};
use tonic::Status;
use tonic::codegen::Bytes;

/// Encoded messages, shared between all that are sent them.
#[derive(Clone, Debug)]
pub(super) enum Item {
    /// One.
    One(Bytes),
    /// The parts of a snapshot: one place in the queue, since they are held once for everybody.
    Parts(Arc<[Bytes]>),
}

/// The stream of one session.
#[derive(Debug)]
pub(super) struct Outgoing {
    queue: mpsc::Receiver<Item>,
    parts: Option<(Arc<[Bytes]>, usize)>,
    /// Why it is to be cut off; none once nobody can say so any more.
    end: Option<oneshot::Receiver<Status>>,
    over: bool,
}

impl Outgoing {
    pub(super) fn new(queue: mpsc::Receiver<Item>, end: oneshot::Receiver<Status>) -> Self {
        Self {
            queue,
            parts: None,
            end: Some(end),
            over: false,
        }
    }

    fn part(&mut self) -> Option<Bytes> {
        let (parts, next) = self.parts.as_mut()?;
        let part = parts.get(*next).cloned();
        *next = next.saturating_add(1);
        if part.is_none() {
            self.parts = None;
        }
        part
    }
}

impl Stream for Outgoing {
    type Item = Result<Bytes, Status>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.over {
            return Poll::Ready(None);
        }
        // An end comes before what still waits: whoever is cut off is not told half of it first.
        if let Some(end) = self.end.as_mut()
            && let Poll::Ready(end) = Pin::new(end).poll(context)
        {
            self.end = None;
            if let Ok(status) = end {
                self.over = true;
                self.parts = None;
                self.queue.close();
                while self.queue.try_recv().is_ok() {}
                return Poll::Ready(Some(Err(status)));
            }
        }
        loop {
            if let Some(part) = self.part() {
                return Poll::Ready(Some(Ok(part)));
            }
            match ready!(self.queue.poll_recv(context)) {
                Some(Item::One(bytes)) => return Poll::Ready(Some(Ok(bytes))),
                Some(Item::Parts(parts)) => self.parts = Some((parts, 0)),
                None => {
                    self.over = true;
                    return Poll::Ready(None);
                }
            }
        }
    }
}
