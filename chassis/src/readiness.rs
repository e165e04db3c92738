//! Whether the process can do its work, by dependency and with reasons.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

/// What the process needs and whether it has it. Clones are the same.
#[derive(Clone, Debug, Default)]
pub struct Readiness {
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    draining: bool,
    dependencies: BTreeMap<&'static str, Result<(), String>>,
    notes: BTreeMap<&'static str, String>,
}

/// The state at one moment.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Report {
    /// Whether requests should be sent here.
    pub ready: bool,
    /// Whether the process is ending.
    pub draining: bool,
    /// `ok`, or why not, of every dependency.
    pub dependencies: BTreeMap<&'static str, String>,
    /// What an operator should know although requests are served.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub notes: BTreeMap<&'static str, String>,
}

impl Readiness {
    /// Nothing needed yet: ready.
    pub fn new() -> Self {
        Self::default()
    }

    /// Registers something that is needed; it is down until it is said to be up.
    pub fn need(&self, name: &'static str) -> Dependency {
        let dependency = Dependency {
            name,
            readiness: self.clone(),
        };
        dependency.down("starting");
        dependency
    }

    /// Tells something that an operator should know and that keeps no request away; `None` takes it back.
    pub fn note(&self, name: &'static str, text: Option<String>) {
        self.with(|state| match text {
            Some(text) => state.notes.insert(name, text),
            None => state.notes.remove(name),
        });
    }

    /// The process is ending; it is never ready again.
    pub fn drain(&self) {
        self.with(|state| state.draining = true);
    }

    /// Whether everything needed is there.
    pub fn is_ready(&self) -> bool {
        self.with(|state| !state.draining && state.dependencies.values().all(Result::is_ok))
    }

    /// The state at this moment.
    pub fn report(&self) -> Report {
        self.with(|state| Report {
            ready: !state.draining && state.dependencies.values().all(Result::is_ok),
            draining: state.draining,
            dependencies: state
                .dependencies
                .iter()
                .map(|(name, state)| {
                    (
                        *name,
                        state
                            .as_ref()
                            .map_or_else(Clone::clone, |()| "ok".to_owned()),
                    )
                })
                .collect(),
            notes: state.notes.clone(),
        })
    }

    fn with<T>(&self, act: impl FnOnce(&mut State) -> T) -> T {
        act(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// One thing the process needs.
#[derive(Clone, Debug)]
pub struct Dependency {
    name: &'static str,
    readiness: Readiness,
}

impl Dependency {
    /// It is there.
    pub fn up(&self) {
        self.readiness
            .with(|state| state.dependencies.insert(self.name, Ok(())));
    }

    /// It is not there, and why.
    pub fn down(&self, reason: impl Into<String>) {
        let reason = reason.into();
        self.readiness
            .with(|state| state.dependencies.insert(self.name, Err(reason)));
    }

    /// Up or down by the result of an attempt.
    pub fn observe<T, E: std::fmt::Display>(&self, result: &Result<T, E>) {
        match result {
            Ok(_) => self.up(),
            Err(error) => self.down(error.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_ready_only_when_every_dependency_is_up() {
        let readiness = Readiness::new();
        let (postgres, redis) = (readiness.need("postgres"), readiness.need("redis"));
        assert!(!readiness.is_ready());
        postgres.up();
        redis.down("timed out");
        let report = readiness.report();
        assert!(!report.ready);
        assert_eq!(
            report.dependencies.get("redis").map(String::as_str),
            Some("timed out")
        );
        redis.up();
        assert!(readiness.is_ready());
    }

    #[test]
    fn a_note_is_told_and_keeps_nothing_away() {
        let readiness = Readiness::new();
        readiness.note("tamper", Some("1 case is open".to_owned()));
        let report = readiness.report();
        assert!(report.ready);
        assert_eq!(
            report.notes.get("tamper").map(String::as_str),
            Some("1 case is open")
        );
        readiness.note("tamper", None);
        assert!(readiness.report().notes.is_empty());
    }

    #[test]
    fn draining_is_never_ready_again() {
        let readiness = Readiness::new();
        readiness.drain();
        readiness.need("postgres").up();
        assert!(!readiness.is_ready());
    }
}
