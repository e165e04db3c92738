//! One HTTP exchange as a state machine: an event and the moment go in, the next state and what is to be done come out.
//!
//! INVARIANT: the only effect that lets a request go forward carries a [`Permit`], and a permit is made of a mandate that
//! admits the request and of an explicit allow about it. Whatever else happens, or does not, ends in a refusal.

mod effect;
mod evidence;

use mandate::id::DecisionId;
use mandate::request::{Forged, Form};
use mandate::{Admitted, SignatureBackend};
use policy::snapshot::Forward as Mandate;
use policy::{CheckAllowed, Denial, Permit, Refusal, Said, Unavailable, identity, refusal};

use crate::answer::{Answer, Shown};
use crate::check::Call;
use crate::config::{Config, Mode};
use crate::reply::Reply;
use crate::verify::{Means, Trace, Verified, verify};
use crate::worker::{Moment, Worker};

pub use effect::{Effect, Effects, Forward, Metric};
use evidence::{Caller, Reached, UNANSWERED};

/// What the proxy knows about a request.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    /// Every header, pseudo-headers included, as often as it occurs.
    pub headers: &'a [(&'a [u8], &'a [u8])],
    /// The connection's other end, as `address:port`.
    pub source: &'a [u8],
    /// The route's name, where a mode depends on it.
    pub route: Option<&'a [u8]>,
    /// What the proxy's own filter kept of its answer about this request.
    pub kept: Said<'a>,
    /// Whether one more exchange can be kept track of.
    pub room: bool,
}

impl<'a> Asked<'a> {
    /// The first value of a header; empty where it has none. Whether it has another is for [`Form`] to say.
    pub fn first(&self, name: &[u8]) -> &'a [u8] {
        let mut values = self.headers.iter().filter(|(known, _)| *known == name);
        values.next().map_or(&[], |(_, value)| value)
    }

    /// The proxy's id of the request, if it is fit to keep.
    pub fn request_id(&self) -> &'a str {
        mandate::request::request_id(self.first(b"x-request-id"))
    }
}

/// What happened to an exchange.
#[derive(Debug, Clone, Copy)]
pub enum Event<'a> {
    /// The request's headers came.
    Headers(&'a Asked<'a>),
    /// ext-authz answered.
    Answered(&'a [u8]),
    /// It did not, and will not.
    Unanswered,
    /// The proxy did not do what it was told to.
    Failed,
    /// The upstream began to answer.
    Answering,
    /// Something about authority changed, or time went on.
    Recheck,
    /// The exchange is over.
    Ended,
}

/// One HTTP exchange.
#[derive(Debug, Default)]
pub enum Exchange {
    /// Nothing is known of it.
    #[default]
    Fresh,
    /// ext-authz is being asked.
    Checking(Box<Pending>),
    /// ext-authz is being asked about a request whose sender is gone.
    Abandoned(Box<Pending>),
    /// It went forward.
    Admitted(Box<Standing>),
    /// It did not.
    Refused,
    /// It is over.
    Over,
}

/// What is kept while ext-authz is being asked.
#[derive(Debug)]
pub struct Pending {
    verified: Verified,
    caller: Caller,
    forged: Forged,
}

/// What is kept of an exchange that went forward.
#[derive(Debug)]
pub struct Standing {
    verified: Verified,
    caller: Caller,
    decision: DecisionId,
}

impl Exchange {
    /// Takes an event.
    pub fn on<C: SignatureBackend>(
        self,
        config: &Config,
        worker: &mut Worker,
        crypto: &C,
        event: &Event<'_>,
        moment: &Moment,
    ) -> (Self, Effects) {
        match (self, event) {
            (Self::Fresh, Event::Headers(asked)) => {
                Turn::new(config, worker, moment, Caller::of(asked)).headers(asked, crypto)
            }
            (Self::Fresh, Event::Failed) => {
                Turn::new(config, worker, moment, Caller::default()).fail(&Trace::default(), None)
            }
            (Self::Checking(pending), Event::Answered(bytes)) => {
                let Pending {
                    verified,
                    caller,
                    forged,
                } = *pending;
                Turn::new(config, worker, moment, caller).answered(verified, forged, bytes)
            }
            (Self::Checking(pending), Event::Unanswered | Event::Failed) => {
                let trace = Trace::from(&pending.verified);
                Turn::new(config, worker, moment, pending.caller).fail(&trace, None)
            }
            (Self::Checking(pending), Event::Ended) => {
                let effects = vec![Effect::Count(Metric::Abandoned)];
                (Self::Abandoned(pending), effects)
            }
            (Self::Abandoned(pending), Event::Answered(bytes)) => {
                pending.too_late(worker, bytes, moment)
            }
            (Self::Admitted(standing), Event::Failed) => {
                let trace = Trace::from(&standing.verified);
                Turn::new(config, worker, moment, standing.caller)
                    .fail(&trace, Some(standing.decision))
            }
            (Self::Admitted(mut standing), Event::Answering) => {
                standing.caller.reached = Reached::Caller;
                (Self::Admitted(standing), Effects::new())
            }
            (Self::Admitted(standing), Event::Recheck) => {
                match standing.verified.over(&worker.memory, moment) {
                    None => (Self::Admitted(standing), Effects::new()),
                    Some(denial) => {
                        let trace = Trace::from(&standing.verified);
                        let turn = Turn::new(config, worker, moment, standing.caller);
                        turn.end(denial, &trace, standing.decision)
                    }
                }
            }
            (Self::Abandoned(_), Event::Unanswered | Event::Failed)
            | (Self::Fresh | Self::Admitted(_) | Self::Refused | Self::Over, Event::Ended) => {
                (Self::Over, Effects::new())
            }
            // Nothing that comes at the wrong time moves an exchange.
            (state, _) => (state, Effects::new()),
        }
    }

    /// Whether headers of ours in the response are the upstream's, and not those of a refusal.
    pub fn is_upstreams(&self) -> bool {
        matches!(self, Self::Admitted(_))
    }

    /// Whether nothing can happen to it any more.
    pub fn is_over(&self) -> bool {
        matches!(self, Self::Over)
    }
}

/// What one step works with.
struct Turn<'a> {
    config: &'a Config,
    worker: &'a mut Worker,
    moment: &'a Moment,
    caller: Caller,
}

impl<'a> Turn<'a> {
    fn new(config: &'a Config, worker: &'a mut Worker, moment: &'a Moment, caller: Caller) -> Self {
        Self {
            config,
            worker,
            moment,
            caller,
        }
    }

    fn headers<C: SignatureBackend>(
        mut self,
        asked: &Asked<'_>,
        crypto: &C,
    ) -> (Exchange, Effects) {
        let form = read(asked);
        self.caller.grpc = form.grpc;
        let mut trace = Trace::default();
        let canonical = match form.canonical() {
            Ok(canonical) => canonical,
            Err(rejection) => return self.refuse(rejection.into(), &trace, kept(asked)),
        };
        let mode = self.config.mode_of(asked.route, Some(&canonical.host));
        let withdrawn = kept(asked).filter(|_| mode == Mode::VerifyOnly);
        let mut means = Means {
            config: self.config,
            memory: &mut self.worker.memory,
            crypto,
            moment: self.moment,
            decision: DecisionId::from_uuid(uuid::Uuid::nil()),
        };
        let verified = verify(&form, &canonical, &mut means, &mut trace);
        let looked_up = trace.cached.map(|hit| {
            let metric = if hit { Metric::Hit } else { Metric::Miss };
            Effect::Count(metric)
        });
        let (next, mut effects) = match (verified, mode) {
            (Err(denial), _) => self.refuse(denial, &trace, withdrawn),
            (Ok(_), _) if !asked.room => {
                self.refuse(Unavailable::Overload.into(), &trace, withdrawn)
            }
            (Ok((verified, _)), Mode::Enforce) => self.ask(asked, verified, form.forged()),
            (Ok((verified, admitted)), Mode::VerifyOnly) => {
                match CheckAllowed::of_metadata(&asked.kept, &verified.mandate) {
                    Some(allowed) => self.forward(verified, admitted, allowed, None, form.forged()),
                    None => self.refuse(Unavailable::Authorizer.into(), &trace, withdrawn),
                }
            }
        };
        effects.extend(looked_up);
        (next, effects)
    }

    /// Asks ext-authz: once, whatever becomes of it.
    fn ask(self, asked: &Asked<'_>, verified: Verified, forged: Forged) -> (Exchange, Effects) {
        let call = Call::about(asked, &self.config.attachment);
        let pending = Pending {
            verified,
            caller: self.caller,
            forged,
        };
        let effects = vec![Effect::Dispatch(Box::new(call))];
        (Exchange::Checking(Box::new(pending)), effects)
    }

    fn answered(self, verified: Verified, forged: Forged, bytes: &[u8]) -> (Exchange, Effects) {
        let trace = Trace::from(&verified);
        match Answer::read(bytes, self.caller.grpc, &verified.mandate) {
            Answer::Allowed(allowed, shown) => {
                // What was revoked while ext-authz was asked is revoked.
                let decision = allowed.decision();
                match verified.admit(&mut self.worker.memory, self.moment, decision) {
                    Ok(admitted) => self.forward(verified, admitted, allowed, Some(*shown), forged),
                    Err(denial) => self.refuse(denial, &trace, Some(decision)),
                }
            }
            Answer::Denied(reply, code) => {
                let effects = vec![
                    Effect::Note("caracal.code", code.to_owned()),
                    Effect::Count(Metric::Relayed(code)),
                    Effect::Refuse(Box::new(reply)),
                ];
                (Exchange::Refused, effects)
            }
            Answer::Malformed => self.refuse(Unavailable::Authorizer.into(), &trace, None),
        }
    }

    /// Lets it go forward. Without an answer's own word on them, the headers are those of the permit.
    fn forward(
        self,
        verified: Verified,
        admitted: Admitted,
        allowed: CheckAllowed,
        shown: Option<Shown>,
        forged: Forged,
    ) -> (Exchange, Effects) {
        let permit = Permit::confirmed(&verified.selected, admitted, allowed);
        let shown = shown.unwrap_or_else(|| Shown {
            owned: identity::headers(&permit),
            keeps_mandate: true,
        });
        let decision = permit.decision();
        let mut remove = forged.names;
        let mut set = Vec::new();
        if let Some(left) = forged.baggage {
            remove.push(b"baggage".to_vec());
            if !left.is_empty() {
                set.push(("baggage", left));
            }
        }
        for (name, value) in shown.owned {
            match value {
                Some(value) => set.push((name, value)),
                None => remove.push(name.as_bytes().to_vec()),
            }
        }
        if permit.binding().forward == Mandate::Strip || !shown.keeps_mandate {
            remove.push(b"authorization".to_vec());
        }
        remove.push(b"x-caracal-resource".to_vec());
        let mut effects = notes(&Trace::from(&verified), decision, policy::ALLOWED);
        effects.push(Effect::Forward(Box::new(Forward {
            permit,
            set,
            remove,
        })));
        let standing = Standing {
            verified,
            caller: self.caller,
            decision,
        };
        (Exchange::Admitted(Box::new(standing)), effects)
    }

    /// Ends what went forward and whose authority is over: refused while nothing was answered; a begun answer is cut
    /// off, never ended as if it were complete.
    fn end(mut self, denial: Denial, trace: &Trace, allowed: DecisionId) -> (Exchange, Effects) {
        if self.caller.reached == Reached::Caller {
            let now = self.moment.now;
            self.caller
                .withdraw(self.worker, allowed, denial.code(), trace, now);
            let effects = vec![Effect::Count(Metric::Cut), Effect::Reset];
            return (Exchange::Over, effects);
        }
        self.caller.reached = Reached::Upstream;
        self.refuse(denial, trace, Some(allowed))
    }

    /// Refuses, since nobody decided or the proxy did not do its part.
    fn fail(self, trace: &Trace, allowed: Option<DecisionId>) -> (Exchange, Effects) {
        self.refuse(Unavailable::Authorizer.into(), trace, allowed)
    }

    /// Refuses, and keeps the evidence. `allowed` is a decision of ext-authz that this takes back.
    fn refuse(
        self,
        denial: Denial,
        trace: &Trace,
        allowed: Option<DecisionId>,
    ) -> (Exchange, Effects) {
        let Self {
            worker,
            moment,
            caller,
            ..
        } = self;
        let now = moment.now;
        let decision = allowed.unwrap_or_else(|| worker.ids.decision(now));
        if allowed.is_some() {
            caller.withdraw(worker, decision, denial.code(), trace, now);
        } else {
            caller.report(worker, decision, denial.code(), trace, now);
        }
        let context = refusal::Context {
            resource_metadata: None,
            scopes: trace.operation.as_ref().map(|operation| &operation.scopes),
        };
        let reply = Reply::refusal(&Refusal::new(&denial, decision, &context), caller.grpc);
        let mut effects = notes(trace, decision, denial.code());
        effects.push(Effect::Count(match caller.reached {
            Reached::Nobody => Metric::Refused(denial.code()),
            Reached::Upstream | Reached::Caller => Metric::Withdrawn(denial.code()),
        }));
        effects.push(Effect::Refuse(Box::new(reply)));
        (Exchange::Refused, effects)
    }
}

impl Pending {
    /// An answer for someone who is gone: an allow is taken back.
    fn too_late(&self, worker: &mut Worker, bytes: &[u8], moment: &Moment) -> (Exchange, Effects) {
        let mandate = &self.verified.mandate;
        if let Answer::Allowed(allowed, _) = Answer::read(bytes, self.caller.grpc, mandate) {
            let trace = Trace::from(&self.verified);
            let decision = allowed.decision();
            self.caller
                .withdraw(worker, decision, UNANSWERED, &trace, moment.now);
        }
        (Exchange::Over, Effects::new())
    }
}

/// Reads a request's headers by the rules of all enforcement points.
fn read<'a>(asked: &Asked<'a>) -> Form<'a> {
    let (method, host, path) = (
        asked.first(b":method"),
        asked.first(b":authority"),
        asked.first(b":path"),
    );
    let mut form = Form::new(method, host, path);
    for (name, value) in asked.headers {
        form.header(name, value);
    }
    form
}

/// The decision that the proxy's own filter got for this request, if it allowed.
fn kept(asked: &Asked<'_>) -> Option<DecisionId> {
    let allowed = asked.kept.code == Some(policy::ALLOWED);
    let decision = asked.kept.decision.filter(|_| allowed)?;
    DecisionId::parse(decision).ok()
}

/// What the proxy's log can know an exchange by.
fn notes(trace: &Trace, decision: DecisionId, code: &'static str) -> Effects {
    let mut notes = vec![
        Effect::Note("caracal.decision_id", decision.to_string()),
        Effect::Note("caracal.code", code.to_owned()),
    ];
    if let Some(selected) = &trace.selected {
        notes.push(Effect::Note("caracal.zone", selected.zone_id.to_string()));
    }
    if let Some(mandate) = &trace.mandate {
        notes.push(Effect::Note(
            "caracal.jti",
            mandate.claims().jti.to_string(),
        ));
    }
    notes
}

#[cfg(test)]
mod tests;
