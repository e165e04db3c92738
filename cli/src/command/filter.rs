//! `caracal filter`: what the filter inside Envoy needs.

use filter_wasm::Mode;
use reqwest::Method;
use serde::Deserialize;
use serde_json::Value;

use crate::args::{Common, Filter};
use crate::outcome::{Exit, Failure, Outcome, Printer};
use crate::stack::connection::Connection;
use crate::stack::envoy;

/// What of ext-authz' configuration says which zones an attachment reaches.
#[derive(Debug, Deserialize)]
struct Attachments {
    attachment: Vec<Attachment>,
}

#[derive(Debug, Deserialize)]
struct Attachment {
    name: String,
    zones: Vec<String>,
}

pub(crate) async fn run(common: &Common, command: &Filter) -> Outcome<()> {
    let Filter::Config { attachment } = command;
    let printer = Printer { json: common.json };
    let stack = Connection::open(common)?;
    let mut zones = Vec::new();
    for zone in zones_of(&stack, attachment)? {
        let path = format!("/v1/zones/{zone}");
        let answer = stack
            .coordinator
            .json(Method::GET, &path, &stack.admin, None)
            .await?;
        let body = answer.accepted(&format!("looking for zone {zone}"))?;
        let issuer = body.get("issuer").and_then(Value::as_str);
        let issuer = issuer.unwrap_or_default().to_owned();
        zones.push((zone, issuer));
    }
    let config = envoy::filter(attachment, zones, Mode::Enforce);
    let text = config.to_json();
    filter_wasm::Config::parse(text.as_bytes()).map_err(|findings| {
        let findings: Vec<String> = findings.iter().map(ToString::to_string).collect();
        Failure::new(Exit::Invalid, "invalid", findings.join("\n"))
    })?;
    let report = serde_json::to_value(&config).map_err(anyhow::Error::from)?;
    printer.document(&report, || text)?;
    Ok(())
}

/// The zones that ext-authz lets an attachment reach.
fn zones_of(stack: &Connection, attachment: &str) -> Outcome<Vec<String>> {
    let file = stack.home.data("config/ext-authz.toml");
    let text = std::fs::read_to_string(&file).map_err(|error| {
        Failure::new(
            Exit::Failed,
            "failed",
            format!("reading {}: {error}", file.display()),
        )
    })?;
    let known: Attachments = toml::from_str(&text).map_err(anyhow::Error::from)?;
    let names: Vec<&str> = known
        .attachment
        .iter()
        .map(|known| known.name.as_str())
        .collect();
    let why = format!(
        "ext-authz knows no attachment `{attachment}`; it has {}",
        names.join(", ")
    );
    known
        .attachment
        .into_iter()
        .find(|known| known.name == attachment)
        .map(|known| known.zones)
        .ok_or_else(|| Failure::new(Exit::Usage, "usage", why))
}
