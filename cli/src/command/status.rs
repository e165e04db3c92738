//! `caracal status`.

use serde_json::{Value, json};

use crate::args::{Common, Status};
use crate::command::up::Options;
use crate::http::Client;
use crate::outcome::{Exit, Failure, Outcome, Printer};
use crate::stack::home::Home;
use crate::stack::ports::Ports;
use crate::stack::sample::{self, Sample};
use crate::stack::secrets;
use crate::stack::state::State;

/// What runs in a whole stack.
pub(crate) const PROCESSES: [&str; 8] = [
    "postgres",
    "valkey",
    "coordinator",
    "sts",
    "audit",
    "ext-authz",
    "upstream",
    "envoy",
];

pub(crate) async fn run(common: &Common, arguments: &Status) -> Outcome<()> {
    let printer = Printer { json: common.json };
    let home = Home::locate(common.home.as_deref())?;
    let report = report(&home).await?;
    let ready = report.get("ready").and_then(Value::as_bool) == Some(true);
    if arguments.ready && !ready {
        let failure = Failure::new(Exit::Failed, "not_ready", "the stack is not ready");
        return Err(failure.with_report(report));
    }
    printer.document(&report, || text(&report))?;
    Ok(())
}

/// The status document of the contract.
pub(crate) async fn report(home: &Home) -> Outcome<Value> {
    let state = State::read(home)?;
    let running = state.as_ref().is_some_and(State::alive);
    let ports = state
        .as_ref()
        .map_or_else(Ports::default, |state| state.ports);
    let processes: Vec<Value> = state
        .iter()
        .flat_map(|state| &state.processes)
        .map(|process| json!({ "name": process.name, "pid": process.pid, "restarts": process.restarts }))
        .collect();
    let options = Options::read(home)?;
    let provisioned = Sample::read(home)?.is_some();
    let ready = running
        && provisioned
        && processes.len() == PROCESSES.len()
        && services_ready(home, ports).await;
    let url = |port: u16| format!("http://127.0.0.1:{port}");
    let file = |relative: &str| home.data(relative).display().to_string();
    Ok(json!({
        "ready": ready,
        "home": home.dir().display().to_string(),
        "attach": options.map(|options| options.attach),
        "endpoints": {
            "envoy": url(ports.envoy()),
            "envoy_admin": url(ports.envoy_admin()),
            "sts": url(ports.sts()),
            "coordinator": url(ports.coordinator()),
            "ext_authz": url(ports.ext_authz()),
            "ext_authz_http": Value::Null,
            "audit": url(ports.audit()),
            "upstream": url(ports.upstream()),
        },
        "processes": processes,
        "zone": sample::ZONE,
        "sample": Sample::requests(),
        "database_url_file": file(secrets::SUPERUSER_URL),
        "redis_url_file": file(secrets::REDIS_URL),
        "admin_token_file": file(secrets::ADMIN_TOKEN),
        "version": env!("CARGO_PKG_VERSION"),
    }))
}

/// Whether every service and Envoy say that they are ready.
pub(crate) async fn services_ready(home: &Home, ports: Ports) -> bool {
    let Ok(token) = home.secret(secrets::METRICS_TOKEN) else {
        return false;
    };
    for (_, port, path) in probes(ports) {
        if !answers(port, path, &token).await {
            return false;
        }
    }
    filters_missing(home, ports, &token).await == 0
}

/// What runs or should, and is not ready.
pub(crate) async fn unready(home: &Home, ports: Ports) -> Vec<String> {
    let token = home.secret(secrets::METRICS_TOKEN).unwrap_or_default();
    let state = State::read(home).ok().flatten();
    let mut names = Vec::new();
    for name in PROCESSES {
        let runs = state
            .iter()
            .flat_map(|state| &state.processes)
            .any(|process| process.name == name && process.pid != 0);
        let probe = probes(ports).into_iter().find(|(of, ..)| *of == name);
        let ready = match probe {
            Some((_, port, path)) => runs && answers(port, path, &token).await,
            None => runs,
        };
        if !ready {
            names.push(name.to_owned());
        }
    }
    let missing = filters_missing(home, ports, &token).await;
    if missing > 0 {
        names.push(format!("{missing} VMs of the filter"));
    }
    names
}

/// Process, port and path of each probe.
fn probes(ports: Ports) -> [(&'static str, u16, &'static str); 6] {
    [
        ("sts", ports.sts_ops(), "/ready"),
        ("coordinator", ports.coordinator_ops(), "/ready"),
        ("audit", ports.audit_ops(), "/ready"),
        ("ext-authz", ports.ext_authz_ops(), "/ready"),
        ("envoy", ports.envoy_admin(), "/ready"),
        ("upstream", ports.upstream(), "/"),
    ]
}

async fn answers(port: u16, path: &str, token: &str) -> bool {
    match Client::new(port) {
        Ok(client) => client.ready(path, Some(token)).await,
        Err(_) => false,
    }
}

/// How many filters cannot decide, of those that should.
async fn filters_missing(home: &Home, ports: Ports, token: &str) -> u64 {
    let options = Options::read(home).ok().flatten();
    let wanted = options.map_or(0, Options::filters);
    wanted.saturating_sub(filters_ready(ports, token).await)
}

/// How many filters can decide, as ext-authz knows them.
async fn filters_ready(ports: Ports, token: &str) -> u64 {
    let Ok(client) = Client::new(ports.ext_authz_ops()) else {
        return 0;
    };
    let metrics = client.text("/metrics", token).await.unwrap_or_default();
    metrics
        .lines()
        .find_map(|line| line.strip_prefix("ext_authz_filter_vms_ready "))
        .and_then(|value| value.parse().ok())
        .unwrap_or(0)
}

fn text(report: &Value) -> String {
    let mut lines = Vec::new();
    let ready = report.get("ready").and_then(Value::as_bool) == Some(true);
    let home = report.get("home").and_then(Value::as_str).unwrap_or("?");
    lines.push(format!(
        "{} in {home}",
        if ready { "ready" } else { "not ready" }
    ));
    for (name, url) in report
        .get("endpoints")
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
    {
        if let Some(url) = url.as_str() {
            lines.push(format!("  {name:14} {url}"));
        }
    }
    for process in report
        .get("processes")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
    {
        let name = process.get("name").and_then(Value::as_str).unwrap_or("?");
        let number = |field: &str| process.get(field).and_then(Value::as_i64).unwrap_or(0);
        lines.push(format!(
            "  {name:14} pid {}, restarted {} times",
            number("pid"),
            number("restarts")
        ));
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_home_without_a_stack_has_the_whole_document_and_is_not_ready() {
        let folder = tempfile::tempdir().unwrap();
        let home = Home::locate(Some(&folder.path().join("home"))).unwrap();
        let report = report(&home).await.unwrap();
        let place = folder.path().display().to_string();
        let shown = format!("{report:#}")
            .replace(&place, "/tmp/x")
            .replace(env!("CARGO_PKG_VERSION"), "0.0.0");
        // Where the caller's own folder cannot be reached by others, data lies elsewhere.
        let data = home
            .data("secrets")
            .display()
            .to_string()
            .replace(&place, "/tmp/x");
        insta::assert_snapshot!(shown.replace(&data, "/tmp/x/home/data/secrets"));
        assert!(text(&report).starts_with("not ready in "));
        assert_eq!(unready(&home, Ports::default()).await, PROCESSES);
    }
}
