//! The configuration files of the stack's processes.

use std::fmt::Write as _;

use crate::stack::home::Home;
use crate::stack::ports::Ports;
use crate::stack::{sample, secrets};

/// What the coordinator says on `caracal.authority`.
pub(crate) const AUTHORITY: &str = r#"["revocation", "cutoff", "state", "policy", "key", "resource", "binding", "zone", "heartbeat", "snapshot"]"#;

/// Writes every file below `config/`.
pub(crate) fn write(home: &Home, ports: Ports) -> anyhow::Result<()> {
    home.write("config/sts.toml", sts(home, ports)?.as_bytes())?;
    home.write(
        "config/coordinator.toml",
        coordinator(home, ports)?.as_bytes(),
    )?;
    home.write("config/ext-authz.toml", ext_authz(home, ports)?.as_bytes())?;
    home.write("config/audit.toml", audit(home, ports)?.as_bytes())?;
    Ok(())
}

fn producer(
    home: &Home,
    key: &str,
    kid: &str,
    service: &str,
    kinds: &str,
) -> anyhow::Result<String> {
    let public = secrets::public_key(home, key)?;
    Ok(format!(
        "[[producer]]\nkid = \"{kid}\"\npublic_key = \"{public}\"\nservice = \"{service}\"\nkinds = {kinds}\n\n"
    ))
}

fn cursors(home: &Home) -> anyhow::Result<String> {
    producer(home, "audit-event", "audit-event", "audit", r#"["cursor"]"#)
}

fn evidence(home: &Home, service: &str) -> String {
    let folder = home.data(&format!("journal/{service}"));
    format!(
        "[evidence]\nkid = \"{service}-event\"\ndir = \"{}\"\nrefusals_every = \"1s\"\n\n",
        folder.display()
    )
}

fn listen(section: &str, port: u16) -> String {
    format!("[{section}]\nlisten = \"127.0.0.1:{port}\"\n\n")
}

fn sts(home: &Home, ports: Ports) -> anyhow::Result<String> {
    let mut text = listen("http", ports.sts()) + &listen("ops", ports.sts_ops());
    text.push_str(&evidence(home, "sts"));
    text.push_str(&cursors(home)?);
    Ok(text)
}

fn coordinator(home: &Home, ports: Ports) -> anyhow::Result<String> {
    let mut text = format!("issuer_base = \"http://127.0.0.1:{}\"\n\n", ports.sts());
    text.push_str(&listen("http", ports.coordinator()));
    text.push_str(&listen("grpc", ports.coordinator_grpc()));
    text.push_str(&listen("ops", ports.coordinator_ops()));
    text.push_str(&cursors(home)?);
    Ok(text)
}

fn ext_authz(home: &Home, ports: Ports) -> anyhow::Result<String> {
    let mut text = listen("check", ports.ext_authz()) + &listen("ops", ports.ext_authz_ops());
    writeln!(
        text,
        "[authority]\nendpoints = [\"http://127.0.0.1:{}\"]\n",
        ports.coordinator_grpc()
    )?;
    text.push_str(&evidence(home, "ext-authz"));
    writeln!(
        text,
        "[[attachment]]\nname = \"{}\"\nzones = [\"{}\", \"{}\"]\n",
        sample::ATTACHMENT,
        sample::ZONE,
        sample::OTHER_ZONE
    )?;
    text.push_str(&producer(
        home,
        "coordinator-stream",
        "coordinator-stream",
        "coordinator",
        AUTHORITY,
    )?);
    text.push_str(&cursors(home)?);
    Ok(text)
}

fn audit(home: &Home, ports: Ports) -> anyhow::Result<String> {
    let kinds: Vec<String> = ledger::event::EventKind::ALL
        .iter()
        .map(|kind| format!("\"{}\"", kind.as_str()))
        .collect();
    let kinds = format!("[{}]", kinds.join(", "));
    let mut text = listen("http", ports.audit()) + &listen("ops", ports.audit_ops());
    text.push_str("[signer]\nkid = \"audit-event\"\n\n");
    text.push_str(&producer(home, "sts-event", "sts-event", "sts", &kinds)?);
    text.push_str(&producer(
        home,
        "coordinator-event",
        "coordinator-event",
        "coordinator",
        &kinds,
    )?);
    text.push_str(&producer(
        home,
        "coordinator-stream",
        "outbox",
        "outbox",
        &kinds,
    )?);
    text.push_str(&producer(
        home,
        "ext-authz-event",
        "ext-authz-event",
        "ext-authz",
        &kinds,
    )?);
    Ok(text)
}
