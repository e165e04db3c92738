//! `caracal up`: starts the supervisor, waits, provisions.

use std::fs::File;
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use indicatif::ProgressBar;
use serde_json::Value;

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
    let running = found.as_ref().filter(|state| state.alive());
    let (ports, supervisor) = if let Some(running) = running {
        let options = Options::read(&home)?;
        let module = home.data(envoy::MODULE);
        if let Some(other) = differs(running.ports, options, &module, arguments)? {
            let why = format!("this stack already runs with {other}; `caracal down` first");
            return Err(Failure::new(Exit::Failed, "already_running", why));
        }
        (running.ports, None)
    } else {
        let options = Options::of(arguments);
        let child = start(&home, printer, found.as_ref(), options, arguments)?;
        (options.ports, Some(child))
    };
    let progress = printer.progress("starting");
    wait(&home, ports, &progress, supervisor).await?;
    progress.set_message("provisioning the sample");
    let stack = Connection::to(home.clone(), ports)?;
    let sts = format!("http://127.0.0.1:{}", ports.sts());
    sample::provision(&home, &stack.coordinator, &stack.admin, &sts).await?;
    let report = until_ready(&home, ports).await?;
    drop(progress);
    printer.document(&report, || greeting(&home, ports))?;
    Ok(())
}

/// What runs, where an argument asks for something else. What is not given is taken as it runs.
fn differs(
    ports: Ports,
    running: Option<Options>,
    module: &Path,
    asked: &Up,
) -> Outcome<Option<String>> {
    if asked.port_base.is_some_and(|base| base != ports.base) {
        return Ok(Some(format!("--port-base {}", ports.base)));
    }
    let Some(running) = running else {
        return Ok(None);
    };
    if asked.attach.is_some_and(|attach| attach != running.attach) {
        return Ok(Some("another --attach".to_owned()));
    }
    if asked.workers.is_some_and(|count| count != running.workers) {
        return Ok(Some(format!("--workers {}", running.workers)));
    }
    if asked.filter.is_some() {
        let asked = self::module(running.attach, asked.filter.as_deref())?;
        if asked.is_some_and(|asked| std::fs::read(module).ok() != Some(asked)) {
            return Ok(Some("another --filter".to_owned()));
        }
    }
    Ok(None)
}

/// Prepares everything and starts the supervisor. `left` is of one that runs no more.
fn start(
    home: &Home,
    printer: Printer,
    left: Option<&State>,
    options: Options,
    arguments: &Up,
) -> Outcome<Child> {
    let module = module(options.attach, arguments.filter.as_deref())?;
    printer.remark("installing PostgreSQL, Valkey and Envoy where they are missing");
    engines::install()?;
    home.create()?;
    if let Some(left) = left {
        // A supervisor that was killed leaves its children.
        down::stop(left)?;
        home.forget(state::FILE)?;
    }
    free(options.ports)?;
    secrets::create(home)?;
    configuration::write(home, options.ports)?;
    if let Some(module) = module {
        home.write(envoy::MODULE, &module)?;
    }
    envoy::write(home, options.ports, options.attach)?;
    home.save(OPTIONS, &options)?;
    Ok(start_supervisor(home)?)
}

/// What the supervisor is to run.
#[derive(Debug, Clone, Copy, serde::Serialize, serde::Deserialize)]
pub(crate) struct Options {
    pub(crate) ports: Ports,
    pub(crate) workers: u16,
    pub(crate) attach: Attach,
}

impl Options {
    /// What was asked for, and the defaults.
    fn of(asked: &Up) -> Self {
        let ports = Ports::default();
        Self {
            ports: Ports {
                base: asked.port_base.unwrap_or(ports.base),
            },
            workers: asked.workers.unwrap_or(1),
            attach: asked.attach.unwrap_or_default(),
        }
    }

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
    progress: &ProgressBar,
    mut supervisor: Option<Child>,
) -> Outcome<()> {
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
            return Err(not_ready(&status::unready(home, ports).await, home));
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

async fn until_ready(home: &Home, ports: Ports) -> Outcome<Value> {
    let started = Instant::now();
    loop {
        let report = status::report(home).await?;
        if report.get("ready").and_then(Value::as_bool) == Some(true) {
            return Ok(report);
        }
        if started.elapsed() > PATIENCE {
            return Err(not_ready(&status::unready(home, ports).await, home));
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

fn not_ready(names: &[String], home: &Home) -> Failure {
    let seconds = PATIENCE.as_secs();
    // One that became ready meanwhile was late all the same.
    let which = if names.is_empty() {
        "the stack".to_owned()
    } else {
        names.join(", ")
    };
    Failure::unavailable(format!(
        "not ready after {seconds} s: {which}; the logs are in {}",
        home.data("logs").display()
    ))
}

fn greeting(home: &Home, ports: Ports) -> String {
    format!(
        "The stack runs in {}.\n\n  caracal demo\n  M=$(caracal mandate mint)\n  curl -H \"host: invoices.example.test\" \
         -H \"authorization: Bearer $M\" http://127.0.0.1:{}/v1/invoices/42\n  caracal audit search --since 5m\n  caracal down --purge",
        home.dir().display(),
        ports.envoy()
    )
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::args::{Cli, Command as Parsed};

    fn asked(line: &str) -> Up {
        let line = format!("caracal up {line}");
        let cli = Cli::try_parse_from(line.split_whitespace()).unwrap();
        let Parsed::Up(up) = cli.command else {
            panic!("no up")
        };
        up
    }

    #[test]
    fn a_running_stack_is_not_asked_to_be_another() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str, bytes: &[u8]| {
            let path = folder.path().join(name);
            std::fs::write(&path, bytes).unwrap();
            path.display().to_string()
        };
        let (module, same, other) = (file("m", b"1"), file("same", b"1"), file("other", b"2"));
        let running = Options::of(&asked("--port-base 20000 --workers 2"));
        let check = |line: &str, expected: Option<&str>| {
            let found = differs(running.ports, Some(running), module.as_ref(), &asked(line));
            assert_eq!(found.unwrap().as_deref(), expected, "{line}");
        };
        check("", None);
        check("--port-base 20000 --workers 2 --attach filter", None);
        check("--port-base 30000", Some("--port-base 20000"));
        check("--workers 1", Some("--workers 2"));
        check("--attach both", Some("another --attach"));
        check(&format!("--filter {same}"), None);
        check(&format!("--filter {other}"), Some("another --filter"));
    }

    #[test]
    fn what_is_not_ready_is_named_with_where_the_logs_are() {
        let folder = tempfile::tempdir().unwrap();
        let home = Home::locate(Some(folder.path())).unwrap();
        let failure = not_ready(&["sts".to_owned(), "envoy".to_owned()], &home);
        assert_eq!(failure.exit, Exit::Unavailable);
        let logs = home.data("logs").display().to_string();
        for part in ["sts, envoy", &logs] {
            assert!(failure.message.contains(part), "{failure}");
        }
    }
}
