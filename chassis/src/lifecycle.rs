//! Tasks, and how they end: all of them on one tracker, told to finish, then told to stop.

use std::any::Any;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::failure::BoxError;

/// What a task may return.
pub trait Outcome {
    /// As a result.
    fn into_result(self) -> Result<(), BoxError>;
}

impl Outcome for () {
    fn into_result(self) -> Result<(), BoxError> {
        Ok(())
    }
}

impl<E: Into<BoxError>> Outcome for Result<(), E> {
    fn into_result(self) -> Result<(), BoxError> {
        self.map_err(Into::into)
    }
}

/// How a task ended that should not have.
#[derive(Debug, thiserror::Error)]
pub enum TaskEnd {
    /// It panicked.
    #[error("task {task} panicked: {message}")]
    Panicked {
        /// Its name.
        task: &'static str,
        /// What the panic said.
        message: String,
    },
    /// It failed.
    #[error("task {task} failed: {source}")]
    Failed {
        /// Its name.
        task: &'static str,
        /// How.
        source: BoxError,
    },
    /// It ended although nobody had asked it to.
    #[error("task {task} ended by itself")]
    Ended {
        /// Its name.
        task: &'static str,
    },
}

/// The tasks of a process. Clones are the same lifecycle.
#[derive(Clone, Debug)]
pub struct Lifecycle {
    tracker: TaskTracker,
    last: TaskTracker,
    soft: CancellationToken,
    hard: CancellationToken,
    ends: mpsc::UnboundedSender<TaskEnd>,
}

impl Lifecycle {
    /// A lifecycle with no task, and where the ends of tasks that should have gone on arrive.
    pub fn new() -> (Self, Watch) {
        let (ends, receiver) = mpsc::unbounded_channel();
        let lifecycle = Self {
            tracker: TaskTracker::new(),
            last: TaskTracker::new(),
            soft: CancellationToken::new(),
            hard: CancellationToken::new(),
            ends,
        };
        (lifecycle, Watch { receiver })
    }

    /// Runs a task that goes on until the soft token; its own end before that ends the process, and
    /// so does a panic. The hard token drops it.
    pub fn spawn<F>(&self, name: &'static str, future: F)
    where
        F: Future + Send + 'static,
        F::Output: Outcome + Send,
    {
        self.start(&self.tracker, name, future, false);
    }

    /// Runs a task that ends by itself. A failure or a panic ends the process.
    pub fn spawn_short<F>(&self, name: &'static str, future: F)
    where
        F: Future + Send + 'static,
        F::Output: Outcome + Send,
    {
        self.start(&self.tracker, name, future, true);
    }

    /// Runs a task that goes on until everything else has finished: what watches a process must see
    /// it end.
    pub fn spawn_last<F>(&self, name: &'static str, future: F)
    where
        F: Future + Send + 'static,
        F::Output: Outcome + Send,
    {
        self.start(&self.last, name, future, false);
    }

    fn start<F>(&self, tracker: &TaskTracker, task: &'static str, future: F, may_end: bool)
    where
        F: Future + Send + 'static,
        F::Output: Outcome + Send,
    {
        let lifecycle = self.clone();
        tracker.spawn(async move {
            let caught = AssertUnwindSafe(future).catch_unwind();
            let ended = tokio::select! {
                biased;
                ended = caught => ended,
                () = lifecycle.hard.cancelled() => return,
            };
            let end = match ended.map(Outcome::into_result) {
                Err(panic) => TaskEnd::Panicked {
                    task,
                    message: panic_message(panic.as_ref()),
                },
                Ok(Err(source)) => TaskEnd::Failed { task, source },
                Ok(Ok(())) if may_end || lifecycle.soft.is_cancelled() => return,
                Ok(Ok(())) => TaskEnd::Ended { task },
            };
            // Nobody watches any more only when the process is ending anyway.
            let _unwatched = lifecycle.ends.send(end);
        });
    }

    /// Cancelled when work is to be finished and nothing new begun.
    pub fn soft(&self) -> &CancellationToken {
        &self.soft
    }

    /// Cancelled when everything is to stop where it is.
    pub fn hard(&self) -> &CancellationToken {
        &self.hard
    }

    /// The tracker, for libraries that want one. Tasks on it are waited for but not watched.
    pub fn tracker(&self) -> &TaskTracker {
        &self.tracker
    }

    /// Asks every task to finish, waits up to `deadline`, then drops what is left. True when
    /// nothing was left.
    pub async fn drain(&self, deadline: Duration) -> bool {
        self.soft.cancel();
        self.tracker.close();
        let finished = tokio::time::timeout(deadline, self.tracker.wait())
            .await
            .is_ok();
        self.hard.cancel();
        self.last.close();
        let left = async {
            self.tracker.wait().await;
            self.last.wait().await;
        };
        // What does not end on the hard token either blocks a thread; it is left behind.
        let _left = tokio::time::timeout(Duration::from_secs(1), left).await;
        finished
    }
}

/// Where the ends of tasks arrive that should have gone on.
#[derive(Debug)]
pub struct Watch {
    receiver: mpsc::UnboundedReceiver<TaskEnd>,
}

impl Watch {
    /// Waits for a task to end that should not have.
    pub async fn unexpected_end(&mut self) -> TaskEnd {
        match self.receiver.recv().await {
            Some(end) => end,
            // Every lifecycle is gone, so no task is left that could end.
            None => std::future::pending().await,
        }
    }

    /// An end that has arrived already, if any.
    pub fn try_unexpected_end(&mut self) -> Option<TaskEnd> {
        self.receiver.try_recv().ok()
    }
}

/// What a panic said.
pub(crate) fn panic_message(panic: &(dyn Any + Send)) -> String {
    let text = panic
        .downcast_ref::<&str>()
        .map(|text| Arc::<str>::from(*text))
        .or_else(|| {
            panic
                .downcast_ref::<String>()
                .map(|text| Arc::from(text.as_str()))
        });
    text.map_or_else(|| "no message".to_owned(), |text| text.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn boom() -> impl Future<Output = ()> + Send {
        std::future::poll_fn(|_| panic!("boom"))
    }

    #[tokio::test]
    async fn a_panic_in_a_task_is_an_unexpected_end() {
        let (lifecycle, mut watch) = Lifecycle::new();
        lifecycle.spawn("loop", boom());
        let TaskEnd::Panicked { task, message } = watch.unexpected_end().await else {
            panic!("not a panic")
        };
        assert_eq!((task, message.as_str()), ("loop", "boom"));
    }

    #[tokio::test]
    async fn a_task_that_ends_by_itself_is_an_unexpected_end() {
        let (lifecycle, mut watch) = Lifecycle::new();
        lifecycle.spawn("loop", async {});
        assert!(matches!(
            watch.unexpected_end().await,
            TaskEnd::Ended { task: "loop" }
        ));
    }

    #[tokio::test]
    async fn a_short_task_may_end_but_not_fail() {
        let (lifecycle, mut watch) = Lifecycle::new();
        lifecycle.spawn_short("fine", async {});
        lifecycle.spawn_short("bad", async { Err::<(), BoxError>("no".into()) });
        assert!(matches!(
            watch.unexpected_end().await,
            TaskEnd::Failed { task: "bad", .. }
        ));
        assert!(watch.try_unexpected_end().is_none());
    }

    #[tokio::test]
    async fn draining_waits_for_tasks_that_finish() {
        let (lifecycle, mut watch) = Lifecycle::new();
        let soft = lifecycle.soft().clone();
        lifecycle.spawn("loop", async move { soft.cancelled().await });
        assert!(lifecycle.drain(Duration::from_secs(5)).await);
        assert!(watch.try_unexpected_end().is_none());
    }

    #[tokio::test]
    async fn what_is_last_goes_on_while_the_rest_finishes_and_does_not_hold_it_up() {
        let (lifecycle, mut watch) = Lifecycle::new();
        let (soft, (alive, seen)) = (lifecycle.soft().clone(), tokio::sync::oneshot::channel());
        let asked = Arc::new(tokio::sync::Notify::new());
        let answers = Arc::clone(&asked);
        lifecycle.spawn_last("ops", async move {
            answers.notified().await;
            let _told = alive.send(());
            std::future::pending::<()>().await;
        });
        lifecycle.spawn("work", async move {
            soft.cancelled().await;
            asked.notify_one();
            seen.await
        });
        assert!(lifecycle.drain(Duration::from_secs(5)).await);
        assert!(watch.try_unexpected_end().is_none());
    }

    #[tokio::test]
    async fn draining_drops_what_does_not_finish_in_time() {
        let (lifecycle, _watch) = Lifecycle::new();
        lifecycle.spawn("stubborn", std::future::pending::<()>());
        assert!(!lifecycle.drain(Duration::from_millis(10)).await);
    }
}
