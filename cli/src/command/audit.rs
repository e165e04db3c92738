//! `caracal audit`: search and verify.

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use crate::args::{Audit, Common, Search};
use crate::outcome::{Exit, Failure, Outcome, Printer};
use crate::stack::connection::Connection;

pub(crate) async fn run(common: &Common, command: &Audit) -> Outcome<()> {
    let printer = Printer { json: common.json };
    match command {
        Audit::Search(arguments) => search(common, arguments, printer).await,
        Audit::Verify { zone } => verify(common, zone.as_deref(), printer).await,
    }
}

async fn search(common: &Common, arguments: &Search, printer: Printer) -> Outcome<()> {
    let stack = Connection::open(common)?;
    let mut query = Vec::new();
    let given = [
        ("request_id", &arguments.request_id),
        ("decision_id", &arguments.decision_id),
        ("code", &arguments.code),
    ];
    for (name, value) in given {
        if let Some(value) = value {
            query.push((name, value.clone()));
        }
    }
    if let Some(since) = &arguments.since {
        query.push(("since", moment(since)?.to_string()));
    }
    for event in stack.search(arguments.zone.as_deref(), &query).await? {
        printer.document(&event, || line(&event))?;
    }
    Ok(())
}

async fn verify(common: &Common, zone: Option<&str>, printer: Printer) -> Outcome<()> {
    let stack = Connection::open(common)?;
    let progress = printer.progress("verifying the ledger");
    let report = stack.verify(zone).await?;
    drop(progress);
    if sound(&report) {
        printer.document(&report, || summary(&report))?;
        return Ok(());
    }
    let failure = tampered(&report);
    Err(if printer.json {
        failure.with_report(report)
    } else {
        failure
    })
}

/// Whether a verification found nothing.
pub(crate) fn sound(report: &Value) -> bool {
    report.get("ok").and_then(Value::as_bool) == Some(true)
}

/// What a verification found, as a failure.
pub(crate) fn tampered(report: &Value) -> Failure {
    let message = format!("tampering found\n{}", summary(report));
    Failure::new(Exit::Tampered, "tampered", message)
}

/// A time, or a span before now.
fn moment(text: &str) -> Outcome<Timestamp> {
    if let Ok(time) = text.parse::<Timestamp>() {
        return Ok(time);
    }
    let ago: SignedDuration = text.parse().map_err(|_| {
        Failure::new(
            Exit::Usage,
            "usage",
            format!("`{text}` is neither an RFC 3339 time nor a span such as 15m"),
        )
    })?;
    let now = chassis::Clock::system().now();
    now.checked_sub(ago)
        .map_err(|error| Failure::new(Exit::Usage, "usage", error.to_string()))
}

/// An event on one line.
fn line(event: &Value) -> String {
    let word = |name: &str| {
        event
            .get(name)
            .and_then(Value::as_str)
            .unwrap_or("-")
            .to_owned()
    };
    let seq = event.get("seq").map(Value::to_string).unwrap_or_default();
    let words = ["at", "kind", "decision", "code", "decision_id", "resource"].map(word);
    format!("{seq:>8}  {}", words.join("  "))
}

/// A verification for people.
fn summary(report: &Value) -> String {
    let mut lines = Vec::new();
    for zone in report
        .get("zones")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
    {
        let name = zone.get("zone").and_then(Value::as_str).unwrap_or("?");
        let events = zone.get("events").and_then(Value::as_u64).unwrap_or(0);
        let findings = zone
            .get("findings")
            .and_then(Value::as_array)
            .cloned()
            .unwrap_or_default();
        lines.push(format!(
            "{name}: {events} events, {} findings",
            findings.len()
        ));
        for finding in findings {
            let seq = finding.get("seq").map(Value::to_string).unwrap_or_default();
            let what = finding.get("what").and_then(Value::as_str).unwrap_or("?");
            lines.push(format!("  seq {seq}: {what}"));
        }
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_event_is_a_line_and_a_verification_a_line_a_finding() {
        let event = json!({
            "zone": "z", "seq": 7, "at": "2026-11-25T07:52:00Z", "kind": "decision", "decision": "deny", "code": "revoked",
            "decision_id": "d", "resource": "https://invoices.example.test/api",
        });
        let report = json!({ "ok": false, "zones": [
            { "zone": "a", "events": 3, "findings": [] },
            { "zone": "b", "events": 2, "findings": [{ "seq": 2, "what": "a column differs from the signed leaf" }] },
        ] });
        insta::assert_snapshot!(format!("{}\n{}", line(&event), summary(&report)));
    }

    #[test]
    fn since_is_a_time_or_a_span_ago() {
        assert_eq!(
            moment("2026-11-25T07:52:00Z").unwrap().to_string(),
            "2026-11-25T07:52:00Z"
        );
        let ago = moment("15m").unwrap();
        let now = chassis::Clock::system().now();
        let span = now.duration_since(ago).as_secs();
        assert!((899..=930).contains(&span), "{span}");
        assert_eq!(moment("yesterday").unwrap_err().exit, Exit::Usage);
    }
}
