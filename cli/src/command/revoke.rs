//! `caracal revoke`.

use serde_json::Value;

use crate::args::{Common, Revoke};
use crate::outcome::{Outcome, Printer};
use crate::stack::connection::Connection;
use crate::stack::sample;

pub(crate) async fn run(common: &Common, arguments: &Revoke) -> Outcome<()> {
    let stack = Connection::open(common)?;
    let zone = arguments.zone.as_deref().unwrap_or(sample::ZONE);
    let everywhere = arguments.wait.is_some();
    let report = stack
        .revoke(
            zone,
            arguments.kind.name(),
            &arguments.id,
            &arguments.reason,
            everywhere,
        )
        .await?;
    let printer = Printer { json: common.json };
    printer.document(&report, || {
        let at = report
            .get("committed_at")
            .and_then(Value::as_str)
            .unwrap_or("?");
        let reach = if everywhere {
            "; every enforcement point has it"
        } else {
            ""
        };
        format!(
            "revoked {} {} at {at}{reach}",
            arguments.kind.name(),
            arguments.id
        )
    })?;
    Ok(())
}
