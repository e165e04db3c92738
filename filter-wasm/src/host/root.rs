//! A root context: one plugin configuration, its memory, and its session with ext-authz.

use std::time::Duration;

use super::metrics::Metrics;
use crate::config::Config;
use crate::exchange::{Effects, Event, Exchange, Metric};
use crate::feed::{self, Act, Input};
use crate::hostcall::{self, Level, Method};
use crate::signature::{self, Backend};
use crate::worker::{Moment, Seed, Worker};

/// How often time goes on.
const TICK: Duration = Duration::from_millis(250);
/// How often exchanges that went forward are looked at although nothing changed.
const RECHECK: Duration = Duration::from_secs(1);

/// A root context.
#[derive(Debug, Default)]
pub(super) struct Root {
    parts: Option<Parts>,
}

#[derive(Debug)]
struct Parts {
    config: Config,
    worker: Worker,
    crypto: Backend,
    session: Option<u32>,
    /// Streams that are to be reset when none of their messages is being delivered: the proxy would hand the next one to
    /// what is no more.
    left: Vec<u32>,
    metrics: Metrics,
    rechecked: Duration,
    /// When memory was last known to be complete.
    complete: Option<Duration>,
}

impl Root {
    /// Takes a configuration; false, with everything that is wrong in the log, where it cannot be run with.
    pub(super) fn configure(&mut self, text: &[u8]) -> bool {
        let config = match Config::parse(text) {
            Ok(config) => config,
            Err(findings) => {
                for finding in findings {
                    hostcall::log(Level::Error, &format!("configuration: {finding}"));
                }
                return false;
            }
        };
        let Ok(seed) = hostcall::random::<40>() else {
            hostcall::log(Level::Error, "the proxy gives no random bytes");
            return false;
        };
        if hostcall::tick_every(TICK).is_err() {
            hostcall::log(Level::Error, "the proxy has no timer");
            return false;
        }
        let crypto =
            Backend::probe(|arguments| hostcall::foreign(signature::FUNCTION, arguments).ok());
        let by = if crypto.is_native() {
            "by the proxy"
        } else {
            "in the VM"
        };
        let attachment = config.attachment.as_str();
        hostcall::log(
            Level::Info,
            &format!("attachment {attachment}: ES256 is verified {by}"),
        );
        self.parts = Some(Parts {
            worker: Worker::new(&config, Seed(seed)),
            config,
            crypto,
            session: None,
            left: Vec::new(),
            metrics: Metrics::default(),
            rechecked: Duration::ZERO,
            complete: None,
        });
        true
    }

    pub(super) fn config(&self) -> Option<&Config> {
        self.parts.as_ref().map(|parts| &parts.config)
    }

    pub(super) fn needs_route(&self) -> bool {
        self.config().is_some_and(Config::needs_route)
    }

    pub(super) fn verifies(&self) -> bool {
        self.config().is_some_and(Config::verifies)
    }

    /// The other side ended a stream. False where it is none of ours.
    ///
    /// Whatever ended it, the proxy keeps what it knows of a stream until we let go of it too; and later than now that
    /// would point to what is no more.
    pub(super) fn closed(&mut self, token: u32, moment: &Moment) -> bool {
        let Some(parts) = self.parts.as_mut() else {
            return false;
        };
        let current = parts.session == Some(token);
        let before = parts.left.len();
        parts.left.retain(|left| *left != token);
        if !current && parts.left.len() == before {
            return false;
        }
        let _gone = hostcall::give_up(token);
        if current {
            parts.session = None;
            self.feed(Input::Closed, moment);
        }
        true
    }

    /// The session is of no more use.
    pub(super) fn leave(&mut self, moment: &Moment) -> bool {
        if let Some(parts) = self.parts.as_mut() {
            parts.left.extend(parts.session.take());
        }
        self.feed(Input::Closed, moment)
    }

    /// The token of the session, if one is open.
    pub(super) fn session(&self) -> Option<u32> {
        self.parts.as_ref().and_then(|parts| parts.session)
    }

    /// Moves an exchange; none where nothing is configured.
    pub(super) fn step(
        &mut self,
        exchange: &mut Exchange,
        event: &Event<'_>,
        moment: &Moment,
    ) -> Option<Effects> {
        let parts = self.parts.as_mut()?;
        let state = std::mem::take(exchange);
        let (state, effects) = state.on(
            &parts.config,
            &mut parts.worker,
            &parts.crypto,
            event,
            moment,
        );
        *exchange = state;
        Some(effects)
    }

    /// Moves the session; whether what was admitted before may not hold any more.
    pub(super) fn feed(&mut self, input: Input<'_>, moment: &Moment) -> bool {
        let Some(parts) = self.parts.as_mut() else {
            return false;
        };
        let turn = parts.worker.feed(input, moment);
        let mut changed = turn.changed;
        for act in turn.acts {
            changed |= self.act(&act, moment);
        }
        changed
    }

    fn act(&mut self, act: &Act, moment: &Moment) -> bool {
        let Some(parts) = self.parts.as_mut() else {
            return false;
        };
        match (act, parts.session) {
            (Act::Open, _) => {
                let to = Method {
                    target: parts.config.feed.envelope(),
                    service: feed::SERVICE,
                    name: feed::METHOD,
                };
                match hostcall::open(to) {
                    Ok(token) => {
                        parts.session = Some(token);
                        self.feed(Input::Opened, moment)
                    }
                    Err(_) => self.feed(Input::Closed, moment),
                }
            }
            (Act::Send(message), Some(token)) => {
                if hostcall::send(token, message).is_ok() {
                    return false;
                }
                self.leave(moment)
            }
            (Act::Reset, Some(token)) => {
                parts.session = None;
                parts.left.push(token);
                hostcall::log(Level::Warn, "the session with ext-authz starts anew");
                false
            }
            (Act::Send(_) | Act::Reset, None) => false,
        }
    }

    /// Time went on: what the gauges show, and whether exchanges have to be looked at.
    pub(super) fn tick(&mut self, moment: &Moment) -> bool {
        let Some(parts) = self.parts.as_mut() else {
            return false;
        };
        for token in parts.left.drain(..) {
            let _gone = hostcall::give_up(token);
        }
        let now = moment.monotonic;
        parts.metrics.ready(parts.worker.memory.is_fresh(now));
        let complete = parts.worker.memory.age(now);
        let complete = complete.map_or(parts.complete, |age| Some(now.saturating_sub(age)));
        let complete = *parts.complete.insert(complete.unwrap_or(now));
        let age = now.saturating_sub(complete);
        parts.metrics.feed(parts.worker.feed.pos(), age);
        let due = moment.monotonic.saturating_sub(parts.rechecked) >= RECHECK;
        if due {
            parts.rechecked = moment.monotonic;
        }
        due
    }

    pub(super) fn count(&mut self, metric: Metric) {
        if let Some(parts) = self.parts.as_mut() {
            parts.metrics.count(metric);
        }
    }

    /// ext-authz took so long.
    pub(super) fn took(&mut self, took: Duration) {
        if let Some(parts) = self.parts.as_mut() {
            parts.metrics.took(took);
        }
    }

    /// The VM ends.
    pub(super) fn end(&mut self) {
        if let Some(parts) = self.parts.as_mut() {
            parts.metrics.ready(false);
        }
    }
}
