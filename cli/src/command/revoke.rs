//! `caracal revoke`.

use serde_json::Value;

use crate::args::{Common, Revoke};
use crate::outcome::{Exit, Failure, Outcome, Printer};
use crate::stack::connection::Connection;
use crate::stack::sample;

pub(crate) async fn run(common: &Common, arguments: &Revoke) -> Outcome<()> {
    let stack = Connection::open(common)?;
    let zone = arguments.zone.as_deref().unwrap_or(sample::ZONE);
    let kind = arguments.kind.name();
    let everywhere = arguments.wait.is_some();
    let printer = Printer { json: common.json };
    let progress = everywhere.then(|| printer.progress("waiting for every enforcement point"));
    let report = stack
        .revoke(zone, kind, &arguments.id, &arguments.reason, everywhere)
        .await?;
    drop(progress);
    let confirmed = if everywhere {
        confirmed(&report)
    } else {
        Ok(())
    };
    printer.document(&report, || {
        let reach = if everywhere && confirmed.is_ok() {
            "; every enforcement point has it, or refuses by itself"
        } else {
            ""
        };
        let at = committed_at(&report);
        format!("revoked {kind} {} at {at}{reach}", arguments.id)
    })?;
    confirmed
}

/// What the coordinator says of a revocation that waited, as an outcome.
pub(crate) fn confirmed(report: &Value) -> Outcome<()> {
    if report.get("reached").and_then(Value::as_bool) == Some(true) {
        return Ok(());
    }
    let why = format!(
        "the revocation is committed since {}, but it is not confirmed that every enforcement point has it; one that \
         has not refuses by itself once its memory is older than its bound",
        committed_at(report)
    );
    Err(Failure::new(Exit::Unavailable, "not_everywhere", why))
}

fn committed_at(report: &Value) -> &str {
    report
        .get("committed_at")
        .and_then(Value::as_str)
        .unwrap_or("?")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_what_was_reached_is_told_as_reached() {
        let report = |reached: Value| {
            let at = "2026-11-25T07:52:00Z";
            json!({ "revocation_id": "r", "committed_at": at, "reached": reached })
        };
        assert!(confirmed(&report(json!(true))).is_ok());
        for other in [report(json!(false)), report(Value::Null), json!({})] {
            let failure = confirmed(&other).unwrap_err();
            assert_eq!(failure.exit, Exit::Unavailable, "{other}");
            assert_eq!(failure.code, "not_everywhere");
            assert!(failure.message.contains("is committed"));
            assert!(failure.message.contains("not confirmed"));
        }
    }
}
