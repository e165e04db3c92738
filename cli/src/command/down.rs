//! `caracal down`: stops every process, by pid.

use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;

use crate::args::{Common, Down};
use crate::outcome::{Failure, Outcome, Printer};
use crate::stack::home::Home;
use crate::stack::keep::stop_signal;
use crate::stack::state::{self, State, alive};

/// How long a process without a supervisor may take to end.
const ORPHAN_PATIENCE: Duration = Duration::from_secs(10);
/// How long the supervisor may take to end its children.
const PATIENCE: Duration = Duration::from_secs(40);

pub(crate) fn run(common: &Common, arguments: &Down) -> Outcome<()> {
    let printer = Printer { json: common.json };
    let home = Home::locate(common.home.as_deref())?;
    let mut stopped = Vec::new();
    if let Some(state) = State::read(&home)? {
        stopped = state
            .processes
            .iter()
            .map(|process| process.name.clone())
            .collect();
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
    if state.alive() {
        // One that was stopped by a signal must run to hear the other.
        signal(state.supervisor, Signal::CONT);
        signal(state.supervisor, Signal::TERM);
        wait(&[state.supervisor], PATIENCE);
    }
    // What a killed supervisor left ends as it would have ended it.
    for process in state
        .processes
        .iter()
        .rev()
        .filter(|process| alive(process.pid))
    {
        signal(process.pid, Signal::CONT);
        signal(process.pid, stop_signal(&process.name));
        wait(&[process.pid], ORPHAN_PATIENCE);
    }
    let mut left: Vec<i32> = state.processes.iter().map(|process| process.pid).collect();
    left.push(state.supervisor);
    left.retain(|pid| alive(*pid));
    for pid in &left {
        signal(*pid, Signal::KILL);
    }
    wait(&left, Duration::from_secs(5));
    left.retain(|pid| alive(*pid));
    if left.is_empty() {
        Ok(())
    } else {
        Err(Failure::unavailable(format!(
            "processes {left:?} do not end"
        )))
    }
}

fn signal(pid: i32, signal: Signal) {
    if let Some(pid) = Pid::from_raw(pid) {
        let _ = kill_process(pid, signal);
    }
}

fn wait(pids: &[i32], patience: Duration) {
    let started = Instant::now();
    while started.elapsed() < patience && pids.iter().any(|pid| alive(*pid)) {
        std::thread::sleep(Duration::from_millis(20));
    }
}
