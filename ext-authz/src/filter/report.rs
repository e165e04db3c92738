//! What a filter refused, as events: of the form that our own refusals have, with the filter as who did it.
//!
//! Nothing of it is believed that is not well formed, and nothing is left out: what is not understood is counted.

use jiff::Timestamp;
use ledger::envelope::Epoch;
use ledger::event::{Event, EventKind, Outcome};
use mandate::id::{
    ApplicationId, AttachmentName, BindingId, DecisionId, Label, MandateId, RecordId, ScopeSet,
    SessionId, ZoneId,
};
use mandate::request::request_id;
use policy::Denial;
use policy::snapshot::Binding;
use wire::pb::caracal::filter::v1 as pb;

use super::hello::VmId;
use crate::decide::View;
use crate::evidence::{UNANSWERED, event};
use crate::feed::tracker::Position;
use crate::refusals::{Count, Key, MOST_SAMPLES, Peer, Sample};

/// More refusals than one filter can have counted.
const MOST_COUNT: u64 = 1 << 40;

/// A count does not reach over more than this.
const MOST_WINDOW: i64 = 3_600_000_000_000;

/// How far back a report may reach: a filter keeps what it could not report.
const MOST_PAST: i64 = 7 * 24 * MOST_WINDOW;

/// The code of what a filter reported and was not understood.
const NOT_UNDERSTOOD: &str = "report_refused";

/// The longest text of scopes, and the most labels, that an event carries.
const MOST_SCOPES: usize = 4_096;
const MOST_LABELS: usize = 64;

/// The longest method and template.
const MOST_METHOD: usize = 32;
const MOST_TEMPLATE: usize = 512;

/// Who reports, and what it may report about.
#[derive(Clone, Copy, Debug)]
pub struct Ground<'a> {
    /// The filter.
    pub vm: VmId,
    /// What it enforces.
    pub attachment: &'a AttachmentName,
    /// The zones of that.
    pub zones: &'a [ZoneId],
    /// Memory.
    pub view: &'a View,
    /// The time.
    pub now: Timestamp,
}

/// A report, read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// What goes into the journal.
    pub events: Vec<Event>,
    /// Why items were not understood; each is counted in an event.
    pub refused: Vec<&'static str>,
}

impl Report {
    /// Reads a report. Total: every item is in some event.
    pub fn read(report: &pb::Refusals, ground: &Ground<'_>) -> Self {
        let mut read = Self::default();
        let mut missed = 0_u64;
        // First what may use the journal's reserve: strangers' refusals must not hold it up.
        for denied in &report.denied {
            match ground.denied(denied) {
                Ok(event) => read.events.push(event),
                Err(why) => {
                    missed = missed.saturating_add(1);
                    read.refused.push(why);
                }
            }
        }
        for count in &report.counts {
            match ground.count(count) {
                Ok(event) => read.events.push(event),
                Err(why) => {
                    missed = missed.saturating_add(count.count.clamp(1, MOST_COUNT));
                    read.refused.push(why);
                }
            }
        }
        if let Some(why) = read.refused.first() {
            let mut event = Event::new(EventKind::Refusals, ground.now_ns());
            event.decision = Some(Outcome::Deny);
            event.code = Some(NOT_UNDERSTOOD.to_owned());
            event.count = Some(missed);
            event.detail = Some(format!("not understood: {why}"));
            event.actor = Some(ground.actor());
            read.events.push(event);
        }
        read
    }
}

/// A zone and a binding as an item names them, and the binding where it is in force.
type Place<'a> = (Option<ZoneId>, Option<(BindingId, Option<&'a Binding>)>);

impl Ground<'_> {
    fn count(&self, count: &pb::RefusalCount) -> Result<Event, &'static str> {
        let denial = denial(&count.code).ok_or("a code that is none")?;
        if !(1..=MOST_COUNT).contains(&count.count) {
            return Err("a count that is none");
        }
        let zone = self.zone(&count.zone_id)?;
        let (zone, binding) = self.place(zone, &count.binding)?;
        let last_ns = self.at(count.last_ns.max(count.window_start_ns));
        let first_ns = count
            .window_start_ns
            .clamp(last_ns.saturating_sub(MOST_WINDOW), last_ns);
        let samples = count.samples.iter().filter_map(|sample| {
            Some(Sample {
                decision: DecisionId::parse(&sample.decision_id).ok()?,
                request_id: request_id(sample.request_id.as_bytes()).to_owned(),
                at_ns: self.at(sample.at_ns),
            })
        });
        let mut event = event::of_count(&Count {
            key: Key {
                zone,
                binding: binding.map(|(id, _)| id),
                code: denial.code(),
                unavailable: denial.is_unavailable(),
                peer: peer(&count.peer),
            },
            count: count.count,
            first_ns,
            last_ns,
            samples: samples.take(MOST_SAMPLES).collect(),
        });
        event.actor = Some(self.actor());
        Ok(event)
    }

    fn denied(&self, denied: &pb::Denied) -> Result<Event, &'static str> {
        let (outcome, code) = outcome(denied)?;
        let id =
            DecisionId::parse(&denied.decision_id).map_err(|_| "a decision id that is none")?;
        let zone = self
            .zone(&denied.zone_id)?
            .ok_or("a refusal without a zone")?;
        let (_, binding) = self.place(Some(zone), &denied.binding)?;
        let mut event = Event::new(EventKind::Decision, self.at(denied.at_ns));
        event.decision = Some(outcome);
        event.code = Some(code.to_owned());
        event.decision_id = Some(id);
        event.request_id = Some(request_id(denied.request_id.as_bytes()))
            .filter(|id| !id.is_empty())
            .map(str::to_owned);
        event.zone = Some(zone);
        event.binding = binding.map(|(id, _)| id);
        event.resource = binding.and_then(|(_, held)| Some(held?.resource.clone()));
        if !denied.template.is_empty() {
            event.operation = Some(text(&denied.template, MOST_TEMPLATE)?);
            event.method = Some(text(&denied.method, MOST_METHOD)?);
            let memory = self.view.zones.get(&zone);
            event.policy_version = memory.and_then(|memory| memory.policy_version());
        }
        if let Some(position) = position(denied) {
            event.epoch = Some(position.epoch);
            event.pos = Some(position.pos);
        }
        bearer(&mut event, denied)?;
        if denied.withdraws {
            let detail = match (denied.forwarded, denied.cut) {
                (false, _) => event::TAKES_BACK,
                (true, false) => event::ENDED,
                (true, true) => event::CUT,
            };
            event.detail = Some(detail.to_owned());
            if denied.forwarded && denied.cut {
                // What was decided stands, and its answer was given in part.
                event.kind = EventKind::Outcome;
                event.decision = None;
            }
        }
        event.actor = Some(self.actor());
        Ok(event)
    }

    /// A zone, if it is the attachment's.
    fn zone(&self, text: &str) -> Result<Option<ZoneId>, &'static str> {
        if text.is_empty() {
            return Ok(None);
        }
        let zone = ZoneId::parse(text).map_err(|_| "a zone that is none")?;
        let own = self.zones.contains(&zone);
        own.then_some(Some(zone)).ok_or("a zone of others")
    }

    /// A binding, and its zone. One that is in force must be the attachment's; one that is not any more is believed.
    fn place(&self, zone: Option<ZoneId>, text: &str) -> Result<Place<'_>, &'static str> {
        if text.is_empty() {
            return Ok((zone, None));
        }
        let id = BindingId::parse(text).map_err(|_| "a binding that is none")?;
        let mut zones = self
            .zones
            .iter()
            .filter(|own| zone.is_none_or(|zone| zone == **own));
        let found = zones.find_map(|own| Some((*own, self.view.snapshot.zone(*own)?.binding(id)?)));
        match found {
            Some((_, held)) if held.attachment != *self.attachment => Err("a binding of others"),
            Some((own, held)) => Ok((Some(own), Some((id, Some(held))))),
            None => Ok((zone, Some((id, None)))),
        }
    }

    /// A moment that can be.
    fn at(&self, at_ns: i64) -> i64 {
        let now = self.now_ns();
        at_ns.clamp(now.saturating_sub(MOST_PAST), now)
    }

    fn now_ns(&self) -> i64 {
        i64::try_from(self.now.as_nanosecond()).unwrap_or(i64::MAX)
    }

    fn actor(&self) -> String {
        format!("filter/{}", self.vm)
    }
}

fn outcome(denied: &pb::Denied) -> Result<(Outcome, &'static str), &'static str> {
    if denied.withdraws && denied.code == UNANSWERED {
        return Ok((Outcome::Unavailable, UNANSWERED));
    }
    let denial = denial(&denied.code).ok_or("a code that is none")?;
    let outcome = if denial.is_unavailable() {
        Outcome::Unavailable
    } else {
        Outcome::Deny
    };
    Ok((outcome, denial.code()))
}

/// What the mandate said; its signature was verified by the filter.
fn bearer(event: &mut Event, denied: &pb::Denied) -> Result<(), &'static str> {
    const MALFORMED: &str = "a claim that is none";
    fn id<T, E>(text: &str, parse: fn(&str) -> Result<T, E>) -> Result<Option<T>, &'static str> {
        if text.is_empty() {
            return Ok(None);
        }
        parse(text).map(Some).map_err(|_| MALFORMED)
    }
    event.application = id(&denied.application, ApplicationId::parse)?;
    event.session = id(&denied.session, SessionId::parse)?;
    event.jti = id(&denied.jti, MandateId::parse)?;
    event.sid = id(&denied.sid, RecordId::parse)?;
    event.root_sid = id(&denied.root_sid, RecordId::parse)?;
    // Only these are verified where a request is let through.
    event.usage = Some(mandate::Use::Resource.name().to_owned());
    event.exp = Some(denied.exp).filter(|exp| *exp > 0);
    if denied.scopes.len() > MOST_SCOPES || denied.labels.len() > MOST_LABELS {
        return Err("more scopes or labels than a mandate has");
    }
    event.scopes = Some(ScopeSet::parse(&denied.scopes).map_err(|_| MALFORMED)?);
    let labels: Result<Vec<Label>, _> = denied
        .labels
        .iter()
        .map(|label| Label::parse(label))
        .collect();
    event.labels = Some(labels.map_err(|_| MALFORMED)?).filter(|labels| !labels.is_empty());
    Ok(())
}

fn position(denied: &pb::Denied) -> Option<Position> {
    let epoch = denied.epoch.as_slice().try_into().ok()?;
    Some(Position {
        epoch: Epoch(epoch),
        pos: denied.pos,
    })
}

/// The denial of a code.
fn denial(code: &str) -> Option<Denial> {
    Denial::all().find(|denial| denial.code() == code)
}

/// Visible text, cut.
fn text(given: &str, most: usize) -> Result<String, &'static str> {
    let visible = !given.is_empty() && given.bytes().all(|byte| byte.is_ascii_graphic());
    let fit = visible && given.len() <= most;
    fit.then(|| given.to_owned())
        .ok_or("a method or template that is none")
}

/// The network that a filter names, or that an address it names is in.
fn peer(text: &str) -> Peer {
    if text == "other" {
        return Peer::Other;
    }
    let address = text.split_once('/').map_or(text, |(address, _)| address);
    Peer::from(address.parse().ok())
}
