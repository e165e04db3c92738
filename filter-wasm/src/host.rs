//! The VM: its contexts, and what their effects do in the proxy.

mod metrics;
mod root;

use std::collections::HashMap;
use std::time::Duration;

use mandate::is_owned;
use policy::Said;

use crate::abi::{self, Action};
use crate::check;
use crate::exchange::{Asked, Effect, Effects, Event, Exchange, Forward, Metric};
use crate::feed::Input;
use crate::hostcall::{self, Direction, Level, Map, Method, Status};
use crate::reply::Reply;
use crate::worker::Moment;
use root::Root;

/// Exchanges that are kept track of at a time, so that they can be cut off; further ones are refused.
const MOST_STREAMS: usize = 16_384;
/// Calls whose exchange is over that are waited for at a time.
const MOST_ABANDONED: usize = 1_024;
/// The namespace of what the proxy's own filter kept.
const KEPT: &str = "envoy.filters.http.ext_authz";

/// One VM.
#[derive(Debug, Default)]
pub(crate) struct Vm {
    /// Few, one a configuration.
    roots: Vec<(u32, Root)>,
    streams: HashMap<u32, Stream>,
    calls: HashMap<u32, Asking>,
    abandoned: usize,
    /// When the callback came in which something is decided; none while nothing was.
    moment: Moment,
}

/// One exchange.
#[derive(Debug, Default)]
struct Stream {
    root: u32,
    exchange: Exchange,
    deleted: bool,
}

/// One question to ext-authz.
#[derive(Debug, Clone, Copy)]
struct Asking {
    stream: u32,
    since: Duration,
}

/// Now. Where the proxy has no time, memory is as old as can be.
fn now() -> Moment {
    let now = hostcall::time_of_day()
        .ok()
        .and_then(|time| jiff::Timestamp::from_nanosecond(i128::from(time)).ok());
    match (now, hostcall::monotonic()) {
        (Some(now), Ok(monotonic)) => Moment { now, monotonic },
        _ => Moment::default(),
    }
}

fn find(roots: &mut [(u32, Root)], context: u32) -> Option<&mut Root> {
    let root = roots.iter_mut().find(|(known, _)| *known == context);
    root.map(|(_, root)| root)
}

impl Vm {
    fn root(&mut self, context: u32) -> Option<&mut Root> {
        find(&mut self.roots, context)
    }

    pub(crate) fn create(&mut self, context: u32, parent: u32) {
        if parent == 0 {
            self.roots.retain(|(known, _)| *known != context);
            self.roots.push((context, Root::default()));
        } else {
            let stream = Stream {
                root: parent,
                ..Stream::default()
            };
            self.streams.insert(context, stream);
        }
    }

    pub(crate) fn configure(&mut self, root: u32, text: &[u8]) -> bool {
        self.root(root).is_some_and(|root| root.configure(text))
    }

    /// Looks at the clock: once a callback, since it is asked of the proxy.
    fn look(&mut self) -> Moment {
        self.moment = now();
        self.moment
    }

    pub(crate) fn tick(&mut self, root: u32) {
        let moment = self.look();
        if moment == Moment::default() {
            // Without time nothing can be told to be due, nor late.
            return;
        }
        let Some(of) = self.root(root) else {
            return;
        };
        let changed = of.feed(Input::Tick, &moment);
        let due = of.tick(&moment);
        if changed || due {
            self.recheck(root, &moment);
        }
    }

    pub(crate) fn request_headers(&mut self, context: u32) -> Action {
        self.look();
        let few = self.streams.len() < MOST_STREAMS;
        let root = self.streams.get(&context).map(|stream| stream.root);
        let held = |(known, _): &&(u32, Root)| Some(*known) == root;
        let Some((_, root)) = self.roots.iter().find(held) else {
            return Action::Pause;
        };
        let map = hostcall::map(Map::RequestHeaders).ok();
        let Some(headers) = map.as_deref().and_then(abi::pairs) else {
            return self.step(context, &Event::Failed, true);
        };
        let route = root
            .needs_route()
            .then(|| hostcall::property(&["xds", "route_name"]));
        let route = route.flatten();
        let source = hostcall::property(&["source", "address"]).unwrap_or_default();
        let kept = |name| {
            let value = root
                .verifies()
                .then(|| hostcall::property(&["metadata", "filter_metadata", KEPT, name]));
            String::from_utf8(value.flatten()?).ok()
        };
        let (decision, code) = (kept("decision_id"), kept("code"));
        let (digest, zone) = (kept("mandate_digest"), kept("zone"));
        let asked = Asked {
            headers: &headers,
            source: &source,
            route: route.as_deref(),
            kept: Said {
                decision: decision.as_deref(),
                code: code.as_deref(),
                digest: digest.as_deref(),
                zone: zone.as_deref(),
            },
            room: few,
        };
        self.step(context, &Event::Headers(&asked), true)
    }

    /// Removes headers of ours that the other side made.
    pub(crate) fn strip(&mut self, context: u32, map: Map) -> Action {
        if map == Map::ResponseHeaders {
            self.step(context, &Event::Answering, false);
        }
        let exchange = self.streams.get(&context).map(|stream| &stream.exchange);
        if map == Map::ResponseHeaders && !exchange.is_some_and(Exchange::is_upstreams) {
            // A refusal, of ours or of ext-authz: its headers are not the upstream's.
            return Action::Continue;
        }
        match strip(map) {
            Ok(()) => Action::Continue,
            Err(status) => {
                hostcall::log(
                    Level::Error,
                    &format!("headers cannot be removed: {status:?}"),
                );
                let direction = if map == Map::RequestTrailers {
                    Direction::Request
                } else {
                    Direction::Response
                };
                let _stands = hostcall::cut(direction);
                Action::Pause
            }
        }
    }

    pub(crate) fn received(&mut self, token: u32, message: Option<&[u8]>) {
        let moment = self.look();
        if let Some(asking) = self.calls.remove(&token) {
            self.took(asking);
            match message {
                Some(message) => self.answered(asking.stream, &Event::Answered(message)),
                None => self.answered(asking.stream, &Event::Unanswered),
            }
            return;
        }
        let session = self
            .roots
            .iter_mut()
            .find(|(_, root)| root.session() == Some(token));
        if let Some((root, of)) = session {
            let root = *root;
            let changed = match message {
                Some(message) => of.feed(Input::Message(message), &moment),
                None => of.leave(&moment),
            };
            if changed {
                self.recheck(root, &moment);
            }
        }
    }

    pub(crate) fn closed(&mut self, token: u32) {
        let moment = self.look();
        if let Some(asking) = self.calls.remove(&token) {
            self.took(asking);
            self.answered(asking.stream, &Event::Unanswered);
            return;
        }
        for (_, root) in &mut self.roots {
            if root.closed(token, &moment) {
                return;
            }
        }
    }

    pub(crate) fn ended(&mut self, context: u32) {
        if let Some(root) = self.root(context) {
            root.end();
        } else if self.streams.contains_key(&context) {
            self.step(context, &Event::Ended, false);
        }
    }

    pub(crate) fn delete(&mut self, context: u32) {
        self.roots.retain(|(known, _)| *known != context);
        self.ended(context);
        let waited_for = matches!(
            self.streams.get(&context).map(|stream| &stream.exchange),
            Some(Exchange::Abandoned(_))
        );
        if waited_for && self.abandoned < MOST_ABANDONED {
            // What ext-authz still answers has to be taken back.
            self.abandoned = self.abandoned.saturating_add(1);
            if let Some(stream) = self.streams.get_mut(&context) {
                stream.deleted = true;
            }
            return;
        }
        self.streams.remove(&context);
        if waited_for {
            let token = self
                .calls
                .iter()
                .find(|(_, asking)| asking.stream == context);
            if let Some(token) = token.map(|(token, _)| *token) {
                self.calls.remove(&token);
                let _gone = hostcall::give_up(token);
            }
        }
    }

    fn took(&mut self, asking: Asking) {
        let root = self.streams.get(&asking.stream).map(|stream| stream.root);
        let took = self.moment.monotonic.saturating_sub(asking.since);
        if let Some(root) = root.and_then(|root| self.root(root)) {
            root.took(took);
        }
    }

    /// An answer came, while the proxy was calling about the root context.
    fn answered(&mut self, context: u32, event: &Event<'_>) {
        let deleted = self
            .streams
            .get(&context)
            .is_none_or(|stream| stream.deleted);
        if !deleted && hostcall::be_about(context).is_err() {
            // The proxy does not know it any more: nobody waits for it.
            self.step(context, &Event::Ended, false);
        }
        self.step(context, event, false);
        if deleted && self.streams.remove(&context).is_some() {
            self.abandoned = self.abandoned.saturating_sub(1);
        }
    }

    /// Looks at every exchange that went forward.
    fn recheck(&mut self, root: u32, moment: &Moment) {
        let Some(of) = find(&mut self.roots, root) else {
            return;
        };
        let mut over = Vec::new();
        for (context, stream) in &mut self.streams {
            let admitted = stream.root == root && stream.exchange.is_upstreams();
            if admitted
                && let Some(effects) = of.step(&mut stream.exchange, &Event::Recheck, moment)
            {
                over.extend(effects.into_iter().map(|effect| (*context, effect)));
            }
        }
        for (context, effect) in over {
            if hostcall::be_about(context).is_ok() {
                self.perform(context, vec![effect], false);
            }
        }
    }

    /// That an answer begins or an exchange ends is said without a look at the clock: nothing depends on it.
    fn step(&mut self, context: u32, event: &Event<'_>, inline: bool) -> Action {
        let moment = self.moment;
        let Some(stream) = self.streams.get_mut(&context) else {
            return Action::Pause;
        };
        let root = find(&mut self.roots, stream.root);
        let effects = root.and_then(|root| root.step(&mut stream.exchange, event, &moment));
        self.perform(context, effects.unwrap_or_default(), inline)
    }

    /// Performs effects in their order. Only one of them lets the exchange go forward, and only where all of it is done.
    fn perform(&mut self, context: u32, effects: Effects, inline: bool) -> Action {
        let mut action = Action::Pause;
        for effect in effects {
            let root = self.streams.get(&context).map(|stream| stream.root);
            match effect {
                Effect::Note(name, value) => {
                    let _lost = hostcall::keep(name, value.as_bytes());
                }
                Effect::Count(metric) => {
                    if let Some(root) = root.and_then(|root| self.root(root)) {
                        root.count(metric);
                    }
                }
                Effect::Dispatch(call) => match self.dispatch(context, &call) {
                    Ok(()) => {}
                    Err(status) => {
                        hostcall::log(
                            Level::Error,
                            &format!("ext-authz cannot be asked: {status:?}"),
                        );
                        action = self.step(context, &Event::Unanswered, inline);
                    }
                },
                Effect::Forward(forward) => {
                    action = match go_forward(*forward, inline) {
                        Ok(action) => {
                            if let Some(root) = root.and_then(|root| self.root(root)) {
                                root.count(Metric::Admitted);
                            }
                            action
                        }
                        Err(status) => {
                            hostcall::log(
                                Level::Error,
                                &format!("a request cannot go on: {status:?}"),
                            );
                            self.step(context, &Event::Failed, inline)
                        }
                    };
                }
                Effect::Refuse(reply) => respond(&reply),
                Effect::Reset => {
                    if let Err(status) = hostcall::cut(Direction::Request) {
                        hostcall::log(
                            Level::Error,
                            &format!("a stream cannot be cut off: {status:?}"),
                        );
                    }
                }
            }
        }
        action
    }

    fn dispatch(&mut self, context: u32, call: &check::Call) -> Result<(), Status> {
        let root = self.streams.get(&context).map(|stream| stream.root);
        let root = self.roots.iter().find(|(known, _)| Some(*known) == root);
        let config = root.and_then(|(_, root)| root.config());
        let config = config.ok_or(Status(u32::MAX))?;
        let to = Method {
            target: config.authz.envelope(),
            service: wire::envoy::AUTHORIZATION,
            name: check::METHOD,
        };
        let pairs = call.metadata.iter();
        let metadata = abi::map(pairs.map(|(name, value)| (name.as_bytes(), value.as_slice())));
        let since = self.moment.monotonic;
        let token = hostcall::call(to, &metadata, &call.message, config.timeout)?;
        let asking = Asking {
            stream: context,
            since,
        };
        self.calls.insert(token, asking);
        Ok(())
    }
}

/// Lets a request go forward, with the permit that says so.
fn go_forward(forward: Forward, inline: bool) -> Result<Action, Status> {
    let Forward {
        permit: _spent,
        set,
        remove,
    } = forward;
    for name in remove {
        hostcall::remove(Map::RequestHeaders, &name)?;
    }
    for (name, value) in set {
        hostcall::replace(Map::RequestHeaders, name.as_bytes(), value.as_bytes())?;
    }
    if !inline {
        hostcall::go_on(Direction::Request)?;
    }
    Ok(Action::Continue)
}

fn respond(reply: &Reply) {
    let pairs = reply.headers.iter();
    let headers = abi::map(pairs.map(|(name, value)| (name.as_bytes(), value.as_bytes())));
    if let Err(status) = hostcall::respond(reply.status, &headers, &reply.body, reply.grpc) {
        hostcall::log(
            Level::Error,
            &format!("a refusal cannot be sent: {status:?}"),
        );
        // It stays paused, and the proxy is asked to end it.
        let _stands = hostcall::cut(Direction::Request);
    }
}

fn strip(map: Map) -> Result<(), Status> {
    let held = hostcall::map(map)?;
    let pairs = abi::pairs(&held).ok_or(Status(u32::MAX))?;
    for (name, _) in pairs.iter().filter(|(name, _)| is_owned(name)) {
        hostcall::remove(map, name)?;
    }
    Ok(())
}
