//! An event as JSON: everything that its leaf says.

use jiff::Timestamp;
use ledger::envelope::SignedEnvelope;
use ledger::event::{Event, Sample};
use serde_json::{Map, Value, json};

use crate::error::Error;
use crate::name_of;
use crate::store::search::Hit;
use crate::sweep::hex;

/// The leaf of a row.
pub(crate) fn read(hit: &Hit) -> Result<(SignedEnvelope, Event), Error> {
    let place = || format!("audit_events {} {}", hit.zone, hit.seq);
    let signed = SignedEnvelope::from_leaf_bytes(&hit.leaf)
        .map_err(|error| Error::internal(format!("{}: {error}", place())))?;
    let event = Event::decode(&signed.envelope.payload)
        .map_err(|error| Error::internal(format!("{}: {error}", place())))?;
    Ok((signed, event))
}

/// The document of an event. What does not apply is absent.
pub(crate) fn of(hit: &Hit, signed: &SignedEnvelope, event: &Event) -> Value {
    let mut document = Document(Map::new());
    document.place(hit, signed, event);
    document.decision(event);
    document.authority(event);
    document.rest(event);
    Value::Object(document.0)
}

struct Document(Map<String, Value>);

impl Document {
    fn put(&mut self, name: &str, value: impl Into<Value>) {
        self.0.insert(name.to_owned(), value.into());
    }

    fn text(&mut self, name: &str, value: Option<impl ToString>) {
        if let Some(value) = value {
            self.put(name, value.to_string());
        }
    }

    fn number(&mut self, name: &str, value: Option<impl Into<Value>>) {
        if let Some(value) = value {
            self.put(name, value);
        }
    }

    fn place(&mut self, hit: &Hit, signed: &SignedEnvelope, event: &Event) {
        self.put("zone", name_of(hit.zone));
        self.put("seq", hit.seq);
        self.put("link", hex(&hit.link));
        self.put("appended_at", hit.appended_at.to_string());
        self.put("at", moment(event.at_ns));
        self.put("kind", event.kind.as_str());
        self.put("producer", signed.envelope.producer.clone());
        self.put("kid", signed.envelope.kid.as_str());
        self.put("journal", event.journal_id.to_string());
        self.put("counter", event.counter);
    }

    fn decision(&mut self, event: &Event) {
        self.text(
            "decision",
            event.decision.map(ledger::event::Outcome::as_str),
        );
        self.text("code", event.code.as_ref());
        self.text("decision_id", event.decision_id);
        self.text("request_id", event.request_id.as_ref());
        self.number("count", event.count);
        self.number("window_ns", event.window_ns);
        if let Some(samples) = &event.samples {
            self.put("samples", samples.iter().map(sample).collect::<Vec<_>>());
        }
    }

    fn authority(&mut self, event: &Event) {
        self.text("application", event.application);
        self.text("session", event.session);
        self.text(
            "subject_pseudonym",
            event.subject_pseudonym.map(|bytes| hex(&bytes)),
        );
        self.text("resource", event.resource.as_ref());
        self.text("binding", event.binding);
        self.text("operation", event.operation.as_ref());
        self.text("method", event.method.as_ref());
        self.text("jti", event.jti);
        self.text("sid", event.sid);
        self.text("root_sid", event.root_sid);
        self.text("use", event.usage.as_ref());
        self.number("exp", event.exp);
        self.text("scope", event.scopes.as_ref());
        if let Some(labels) = &event.labels {
            self.put(
                "labels",
                labels
                    .iter()
                    .map(|label| label.as_str().into())
                    .collect::<Vec<Value>>(),
            );
        }
        self.text("policy_version", event.policy_version);
        self.text("epoch", event.epoch);
        self.number("pos", event.pos);
    }

    fn rest(&mut self, event: &Event) {
        self.text("lease_id", event.lease_id);
        if let Some(lease) = &event.lease {
            let terms =
                json!({ "max_uses": lease.max_uses, "not_after": moment(lease.not_after_ns) });
            self.put("lease", terms);
        }
        self.text(
            "disclosure_digest",
            event.disclosure_digest.map(|bytes| hex(&bytes)),
        );
        self.text("peer", event.peer.as_ref());
        self.text("actor", event.actor.as_ref());
        self.text("object_kind", event.object_kind.as_ref());
        self.text("object_id", event.object_id.as_ref());
        self.text("detail", event.detail.as_ref());
        self.number("not_before", event.not_before);
        self.text("origin_kid", event.origin_kid.as_ref());
    }
}

fn sample(sample: &Sample) -> Value {
    json!({
        "decision_id": sample.decision_id.to_string(),
        "request_id": sample.request_id,
        "at": moment(sample.at_ns),
    })
}

/// A time as RFC 3339.
fn moment(nanoseconds: i64) -> String {
    Timestamp::from_nanosecond(i128::from(nanoseconds))
        .map_or_else(|_| String::new(), |at| at.to_string())
}
