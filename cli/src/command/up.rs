//! `caracal up`: starts the supervisor, waits, provisions.

use std::fs::File;
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::Context as _;

use crate::args::{Attach, Common, Up};
use crate::command::{down, status};
use crate::outcome::{Exit, Failure, Outcome, Printer};
use crate::stack::connection::Connection;
use crate::stack::home::Home;
use crate::stack::ports::Ports;
use crate::stack::state::State;
use crate::stack::{configuration, envoy, sample, secrets, state};

/// Where what the supervisor is to run is written down.
const OPTIONS: &str = "run/options.json";
/// How long the stack may take.
const PATIENCE: Duration = Duration::from_secs(90);

pub(crate) async fn run(common: &Common, arguments: &Up) -> Outcome<()> {
    let printer = Printer { json: common.json };
    let home = Home::locate(common.home.as_deref())?;
    let found = State::read(&home)?;
    let held = found.clone().filter(State::alive);
    let ports = Ports {
        base: arguments.port_base.unwrap_or(Ports::default().base),
    };
    if let Some(state) = &held
        && arguments.port_base.is_some()
        && state.ports != ports
    {
        let why = format!(
            "this stack already runs with --port-base {}; `caracal down` first",
            state.ports.base
        );
        return Err(Failure::new(Exit::Failed, "already_running", why));
    }
    let ports = held.as_ref().map_or(ports, |state| state.ports);
    let attach = arguments.attach.unwrap_or_default();
    if held.is_some()
        && arguments.attach.is_some()
        && Options::read(&home)?.is_some_and(|running| running.attach != attach)
    {
        let why = "this stack already runs with another --attach; `caracal down` first";
        return Err(Failure::new(Exit::Failed, "already_running", why));
    }
    let mut supervisor = None;
    if held.is_none() {
        let module = module(attach, arguments.filter.as_deref())?;
        printer.remark("installing PostgreSQL, Valkey and Envoy where they are missing");
        engines::install()?;
        home.create()?;
        if let Some(left) = &found {
            // A supervisor that was killed leaves its children.
            down::stop(left)?;
            home.forget(state::FILE)?;
        }
        free(ports)?;
        secrets::create(&home)?;
        configuration::write(&home, ports)?;
        if let Some(module) = module {
            home.write(envoy::MODULE, &module)?;
        }
        envoy::write(&home, ports, attach)?;
        let options = Options {
            ports,
            workers: arguments.workers,
            attach,
        };
        home.save(OPTIONS, &options)?;
        supervisor = Some(start_supervisor(&home)?);
    }
    wait(&home, ports, printer, supervisor).await?;
    let stack = Connection::to(home.clone(), ports)?;
    let sts = format!("http://127.0.0.1:{}", ports.sts());
    sample::provision(&home, &stack.coordinator, &stack.admin, &sts).await?;
    let report = until_ready(&home).await?;
    printer.document(&report, || greeting(&home, ports))?;
    Ok(())
}

/// What the supervisor is to run.
#[derive(Debug, Clone, Copy, serde::Serialize, serde::Deserialize)]
pub(crate) struct Options {
    pub(crate) ports: Ports,
    pub(crate) workers: u16,
    pub(crate) attach: Attach,
}

impl Options {
    /// What the stack of this home was started with.
    pub(crate) fn read(home: &Home) -> anyhow::Result<Option<Self>> {
        home.load(OPTIONS)
    }

    /// How many VMs of the filter Envoy has: one a worker, and one of its main thread.
    pub(crate) fn filters(self) -> u64 {
        if self.attach.has_filter() {
            u64::from(self.workers).saturating_add(1)
        } else {
            0
        }
    }
}

/// The filter's module, where the listener has one.
fn module(attach: Attach, given: Option<&Path>) -> Outcome<Option<Vec<u8>>> {
    if !attach.has_filter() {
        return Ok(None);
    }
    let beside = || {
        let own = std::env::current_exe().context("finding this program")?;
        anyhow::Ok(own.with_file_name("caracal-filter.wasm"))
    };
    let path = given.map_or_else(beside, |given| Ok(given.to_path_buf()))?;
    std::fs::read(&path).map(Some).map_err(|error| {
        let why = format!(
            "no filter at {} ({error}): `cargo xtask wasm` builds it, --filter FILE names another, --attach ext_authz does without",
            path.display()
        );
        Failure::new(Exit::Invalid, "filter_missing", why)
    })
}

/// Starts `caracal supervise` in a session of its own; it outlives this command.
fn start_supervisor(home: &Home) -> anyhow::Result<Child> {
    let log = home.data("logs/supervisor.log");
    let file = File::options()
        .create(true)
        .append(true)
        .open(&log)
        .with_context(|| format!("opening {}", log.display()))?;
    let own = std::env::current_exe().context("finding this program")?;
    let mut command = Command::new(own);
    command
        .args(["supervise", "--home"])
        .arg(home.dir())
        .stdin(Stdio::null())
        .stdout(file.try_clone()?)
        .stderr(file)
        .process_group(0)
        .current_dir("/");
    command.spawn().context("starting the supervisor")
}

/// Fails when somebody else listens where the stack would.
fn free(ports: Ports) -> Outcome<()> {
    let taken: Vec<String> = ports
        .all()
        .into_iter()
        .filter(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_err())
        .map(|port| port.to_string())
        .collect();
    if taken.is_empty() {
        return Ok(());
    }
    let why = format!(
        "somebody listens on port {} already; choose other ports with --port-base",
        taken.join(", ")
    );
    Err(Failure::new(Exit::Failed, "port_taken", why))
}

/// Waits until all processes run and the services are ready.
async fn wait(
    home: &Home,
    ports: Ports,
    printer: Printer,
    mut supervisor: Option<Child>,
) -> Outcome<()> {
    let progress = printer.progress("starting");
    let started = Instant::now();
    loop {
        let state = State::read(home)?;
        if let Some(why) = state.as_ref().and_then(|state| state.failed.clone()) {
            return Err(Failure::new(Exit::Failed, "start_failed", why));
        }
        if let Some(child) = &mut supervisor
            && let Some(status) = child.try_wait()?
        {
            let log = home.data("logs/supervisor.log");
            return Err(Failure::new(
                Exit::Failed,
                "start_failed",
                format!("the supervisor ended ({status}); see {}", log.display()),
            ));
        }
        let running = state.map_or(0, |state| state.processes.len());
        progress.set_message(format!(
            "{running} of {} processes",
            status::PROCESSES.len()
        ));
        if running == status::PROCESSES.len() && status::services_ready(home, ports).await {
            return Ok(());
        }
        if started.elapsed() > PATIENCE {
            let logs = home.data("logs");
            return Err(Failure::unavailable(format!(
                "the stack is not ready after 90 s; the logs are in {}",
                logs.display()
            )));
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

async fn until_ready(home: &Home) -> Outcome<serde_json::Value> {
    let started = Instant::now();
    loop {
        let report = status::report(home).await?;
        let ready = report.get("ready").and_then(serde_json::Value::as_bool) == Some(true);
        if ready || started.elapsed() > PATIENCE {
            return Ok(report);
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

fn greeting(home: &Home, ports: Ports) -> String {
    format!(
        "The stack runs in {}.\n\n  caracal demo\n  M=$(caracal mandate mint)\n  curl -H \"host: invoices.example.test\" \
         -H \"authorization: Bearer $M\" http://127.0.0.1:{}/v1/invoices/42\n  caracal audit search --since 5m\n  caracal down --purge",
        home.dir().display(),
        ports.envoy()
    )
}
