//! What the supervisor writes down for the other commands.

use rustix::process::{Pid, test_kill_process};
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
    /// How often it was restarted.
    pub(crate) restarts: u32,
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

    /// Whether the supervisor lives.
    pub(crate) fn alive(&self) -> bool {
        alive(self.supervisor)
    }
}

/// Whether a process of this pid exists and is not a zombie.
pub(crate) fn alive(pid: i32) -> bool {
    let Some(known) = Pid::from_raw(pid) else {
        return false;
    };
    if test_kill_process(known).is_err() {
        return false;
    }
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    !stat
        .rsplit_once(')')
        .is_some_and(|(_, rest)| rest.trim_start().starts_with('Z'))
}
