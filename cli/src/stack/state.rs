//! What the supervisor writes down for the other commands.

use serde::{Deserialize, Serialize};

use crate::stack::home::Home;
use crate::stack::ports::Ports;

/// Where it is written down.
pub(crate) const FILE: &str = "run/state.json";

/// The running stack.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct State {
    /// The supervisor's own pid.
    pub(crate) supervisor: i32,
    /// When it started, in ticks since the machine did.
    #[serde(default)]
    pub(crate) started: Option<u64>,
    /// Its ports.
    pub(crate) ports: Ports,
    /// Its children, in start order.
    pub(crate) processes: Vec<Process>,
    /// Why the supervisor gave up, if it did.
    pub(crate) failed: Option<String>,
}

/// One child.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Process {
    /// Its name in the contract.
    pub(crate) name: String,
    /// Its pid; 0 while it is being restarted.
    pub(crate) pid: i32,
    /// When it started, in ticks since the machine did.
    #[serde(default)]
    pub(crate) started: Option<u64>,
    /// How often it was restarted.
    pub(crate) restarts: u32,
}

/// A process that is known again. A pid alone may be a stranger's by now, above all after the machine was restarted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) pid: i32,
    pub(crate) started: Option<u64>,
}

impl State {
    /// The state, if a supervisor left one.
    pub(crate) fn read(home: &Home) -> anyhow::Result<Option<Self>> {
        home.load(FILE)
    }

    /// Writes it for others to read.
    pub(crate) fn write(&self, home: &Home) -> anyhow::Result<()> {
        home.save(FILE, self)
    }

    /// Which process the supervisor is.
    pub(crate) fn identity(&self) -> Identity {
        Identity {
            pid: self.supervisor,
            started: self.started,
        }
    }

    /// Whether the supervisor lives.
    pub(crate) fn alive(&self) -> bool {
        self.identity().alive()
    }
}

impl Process {
    /// Which process it is.
    pub(crate) fn identity(&self) -> Identity {
        Identity {
            pid: self.pid,
            started: self.started,
        }
    }
}

impl Identity {
    /// The process that has this pid now; the caller knows that it is the one meant.
    pub(crate) fn of(pid: i32) -> Self {
        let started = stat(pid).map(|(_, started)| started);
        Self { pid, started }
    }

    /// Whether this very process exists and is not a zombie. One whose start was not written down is nobody.
    pub(crate) fn alive(self) -> bool {
        stat(self.pid).is_some_and(|(state, started)| state != "Z" && Some(started) == self.started)
    }
}

/// State and start time of a process: fields 3 and 22 of `proc_pid_stat(5)`. The second, its name, may hold anything.
fn stat(pid: i32) -> Option<(String, u64)> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, fields) = text.rsplit_once(')')?;
    let mut fields = fields.split_whitespace();
    let state = fields.next()?.to_owned();
    let started = fields.nth(18)?.parse().ok()?;
    Some((state, started))
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn a_process_is_known_by_its_start_too() {
        let mut child = Command::new("sleep").arg("600").spawn().unwrap();
        let known = Identity::of(i32::try_from(child.id()).unwrap());
        let started = known.started.unwrap();
        let other = |started| Identity { started, ..known };
        assert!(known.alive());
        assert!(!other(Some(started + 1)).alive());
        assert!(!other(None).alive());
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(!known.alive());
        assert!(!Identity::of(0).alive());
    }

    #[test]
    fn one_that_ended_and_was_not_waited_for_is_not_alive() {
        let mut child = Command::new("true").spawn().unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        let started = std::time::Instant::now();
        while Identity::of(pid).alive() {
            assert!(started.elapsed() < std::time::Duration::from_secs(20));
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        assert!(Identity::of(pid).started.is_some());
        child.wait().unwrap();
    }

    #[test]
    fn a_state_without_start_times_is_read_and_nobody_of_it_is_alive() {
        let own = std::process::id();
        let text = format!(
            r#"{{"supervisor": {own}, "ports": {{"base": 8000}}, "failed": null,
                 "processes": [{{"name": "sts", "pid": {own}, "restarts": 0}}]}}"#
        );
        let state: State = serde_json::from_str(&text).unwrap();
        assert!(!state.alive());
        assert!(
            state
                .processes
                .iter()
                .all(|process| !process.identity().alive())
        );
    }
}
