//! Keeping processes running: what ends is started again, with a pause that grows while it keeps ending.

use std::fmt;
use std::io::Write as _;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use rustix::process::{Pid, Signal, kill_process};

use crate::stack::state::{Identity, Process};

/// The first pause before a restart that was not long in coming.
const MIN_PAUSE: Duration = Duration::from_millis(100);
/// The longest pause before a restart.
const MAX_PAUSE: Duration = Duration::from_secs(5);
/// A process that ran this long starts over with short pauses.
const STEADY: Duration = Duration::from_secs(10);
/// How long a process may take to end when it is asked to.
const PATIENCE: Duration = Duration::from_secs(25);

/// What asks a process of the stack to end cleanly and soon.
pub(crate) fn stop_signal(name: &str) -> Signal {
    // PostgreSQL takes SIGTERM for "when the last client has left".
    if name == "postgres" {
        Signal::INT
    } else {
        Signal::TERM
    }
}

/// Makes the command anew for each start.
type Make = Box<dyn Fn() -> anyhow::Result<Command> + Send>;

/// A process, and how it is started again.
pub(crate) struct Kept {
    name: String,
    make: Make,
    stop: Signal,
    child: Option<Child>,
    started: Instant,
    due: Instant,
    pause: Duration,
    restarts: u32,
}

impl fmt::Debug for Kept {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Kept")
            .field("name", &self.name)
            .field("child", &self.child)
            .finish_non_exhaustive()
    }
}

impl Kept {
    /// Starts a process. `stop` asks it to end.
    pub(crate) fn start(name: &str, make: Make, stop: Signal) -> anyhow::Result<Self> {
        let now = Instant::now();
        let mut kept = Self {
            name: name.to_owned(),
            make,
            stop,
            child: None,
            started: now,
            due: now,
            pause: Duration::ZERO,
            restarts: 0,
        };
        kept.spawn()?;
        Ok(kept)
    }

    fn spawn(&mut self) -> anyhow::Result<()> {
        let mut command = (self.make)()?;
        self.child = Some(
            command
                .spawn()
                .with_context(|| format!("starting {}", self.name))?,
        );
        self.started = Instant::now();
        Ok(())
    }

    /// Starts it again when it has ended and its pause is over. Whether anything changed.
    pub(crate) fn look_after(&mut self) -> bool {
        if let Some(child) = &mut self.child {
            if matches!(child.try_wait(), Ok(None)) {
                return false;
            }
            self.rest();
            return true;
        }
        if Instant::now() < self.due {
            return false;
        }
        self.restarts = self.restarts.saturating_add(1);
        if let Err(error) = self.spawn() {
            // A full table of processes, say: the next time may go better.
            let _ = writeln!(std::io::stderr().lock(), "{error:#}");
            self.rest();
        }
        true
    }

    fn rest(&mut self) {
        self.child = None;
        self.pause = pause_after(self.pause, self.started.elapsed());
        self.due = Instant::now() + self.pause;
    }

    /// What others may know of it.
    pub(crate) fn process(&self) -> Process {
        // A child that was not waited for keeps its pid, so this is its own start.
        let child = self
            .child
            .as_ref()
            .and_then(|child| i32::try_from(child.id()).ok())
            .map(Identity::of);
        Process {
            name: self.name.clone(),
            pid: child.map_or(0, |child| child.pid),
            started: child.and_then(|child| child.started),
            restarts: self.restarts,
        }
    }

    /// Asks it to end; after a while it is ended.
    pub(crate) async fn end(&mut self) {
        let Some(mut child) = self.child.take() else {
            return;
        };
        if let Some(pid) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
            // One that was stopped by a signal must run to hear the other.
            let _ = kill_process(pid, Signal::CONT);
            let _ = kill_process(pid, self.stop);
        }
        let started = Instant::now();
        while started.elapsed() < PATIENCE {
            if !matches!(child.try_wait(), Ok(None)) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let _ = child.kill();
        let _ = child.wait();
    }
}

/// The pause after a run that lasted `ran`, when the one before was `pause`.
fn pause_after(pause: Duration, ran: Duration) -> Duration {
    if ran > STEADY {
        Duration::ZERO
    } else {
        (pause * 2).clamp(MIN_PAUSE, MAX_PAUSE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_while_a_process_keeps_ending_and_are_forgotten_when_it_ran() {
        let mut pause = Duration::ZERO;
        let pauses: Vec<u128> = (0..8)
            .map(|_| {
                pause = pause_after(pause, Duration::from_millis(1));
                pause.as_millis()
            })
            .collect();
        assert_eq!(pauses, [100, 200, 400, 800, 1600, 3200, 5000, 5000]);
        assert_eq!(pause_after(pause, Duration::from_secs(11)), Duration::ZERO);
    }

    fn shell(script: &'static str) -> Make {
        Box::new(move || {
            let mut command = Command::new("/bin/sh");
            command.args(["-c", script]);
            Ok(command)
        })
    }

    #[tokio::test]
    async fn what_dies_is_started_again_and_counted() {
        let mut kept = Kept::start("brief", shell("exit 1"), Signal::TERM).unwrap();
        let started = Instant::now();
        while kept.process().restarts < 2 {
            kept.look_after();
            assert!(started.elapsed() < Duration::from_secs(20));
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        kept.end().await;
    }

    #[tokio::test]
    async fn what_runs_is_asked_to_end() {
        let mut kept = Kept::start("long", shell("exec sleep 600"), Signal::TERM).unwrap();
        assert!(!kept.look_after());
        let identity = kept.process().identity();
        assert!(identity.alive());
        let started = Instant::now();
        kept.end().await;
        assert!(started.elapsed() < Duration::from_secs(10));
        assert_eq!(kept.process().pid, 0);
        assert!(!identity.alive());
    }
}
