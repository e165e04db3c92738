//! `caracal down`: stops every process, by pid.

use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;

use crate::args::{Common, Down};
use crate::outcome::{Failure, Outcome, Printer};
use crate::stack::home::Home;
use crate::stack::keep::stop_signal;
use crate::stack::state::{self, Identity, Process, State};

/// How long a process without a supervisor may take to end.
const ORPHAN_PATIENCE: Duration = Duration::from_secs(10);
/// How long the supervisor may take to end its children.
const PATIENCE: Duration = Duration::from_secs(40);

pub(crate) fn run(common: &Common, arguments: &Down) -> Outcome<()> {
    let printer = Printer { json: common.json };
    let home = Home::locate(common.home.as_deref())?;
    let mut stopped = Vec::new();
    if let Some(state) = State::read(&home)? {
        // While the supervisor lives, one that is being restarted runs too.
        let all = state.alive();
        let running = state
            .processes
            .iter()
            .filter(|process| all || process.identity().alive());
        stopped = running.map(|process| process.name.clone()).collect();
        stop(&state)?;
    }
    if arguments.purge {
        home.purge()?;
    } else {
        home.forget(state::FILE)?;
    }
    let report = json!({ "stopped": stopped });
    printer.document(&report, || {
        if stopped.is_empty() {
            "nothing was running".to_owned()
        } else {
            format!("stopped {}", stopped.join(", "))
        }
    })?;
    Ok(())
}

/// Asks the supervisor to end, then makes sure that nothing of it is left.
pub(crate) fn stop(state: &State) -> Outcome<()> {
    let supervisor = state.identity();
    if supervisor.alive() {
        end(supervisor, Signal::TERM, PATIENCE);
    }
    // What a killed supervisor left ends as it would have ended it.
    for process in state.processes.iter().rev() {
        if process.identity().alive() {
            end(
                process.identity(),
                stop_signal(&process.name),
                ORPHAN_PATIENCE,
            );
        }
    }
    let mut left: Vec<Identity> = state.processes.iter().map(Process::identity).collect();
    left.push(supervisor);
    left.retain(|process| process.alive());
    for process in &left {
        signal(*process, Signal::KILL);
    }
    wait(&left, Duration::from_secs(5));
    left.retain(|process| process.alive());
    if left.is_empty() {
        return Ok(());
    }
    let pids: Vec<i32> = left.iter().map(|process| process.pid).collect();
    Err(Failure::unavailable(format!(
        "processes {pids:?} do not end"
    )))
}

/// Asks a process to end, and waits for it.
fn end(process: Identity, how: Signal, patience: Duration) {
    // One that was stopped by a signal must run to hear the other.
    signal(process, Signal::CONT);
    signal(process, how);
    wait(&[process], patience);
}

fn signal(process: Identity, signal: Signal) {
    if let Some(pid) = Pid::from_raw(process.pid) {
        let _ = kill_process(pid, signal);
    }
}

fn wait(processes: &[Identity], patience: Duration) {
    let started = Instant::now();
    while started.elapsed() < patience && processes.iter().any(|process| process.alive()) {
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;
    use crate::stack::ports::Ports;

    /// A state whose one process is `process`, left by a supervisor that is gone.
    fn left(process: Identity) -> State {
        State {
            supervisor: 0,
            started: None,
            ports: Ports::default(),
            processes: vec![Process {
                name: "sts".to_owned(),
                pid: process.pid,
                started: process.started,
                restarts: 0,
            }],
            failed: None,
        }
    }

    #[test]
    fn what_was_left_ends_and_a_stranger_with_its_pid_does_not() {
        let mut child = Command::new("sleep").arg("600").spawn().unwrap();
        let own = Identity::of(i32::try_from(child.id()).unwrap());
        let started = own.started.map(|started| started + 1);
        for started in [started, None] {
            stop(&left(Identity { started, ..own })).unwrap();
            assert!(own.alive());
        }
        stop(&left(own)).unwrap();
        let status = child.wait().unwrap();
        let by = std::os::unix::process::ExitStatusExt::signal(&status);
        assert_eq!(by, Some(Signal::TERM.as_raw()));
    }
}
