//! The supervisor: starts everything in order, restarts what dies, ends everything when told to.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use engines::{Durability, Launch, Postgres, Tools, Valkey};
use rustix::process::{Pid, Signal, kill_process};
use sqlx::{Connection as _, PgConnection};
use tokio::signal::unix::{SignalKind, signal};

use crate::args::Common;
use crate::command::up::Options;
use crate::outcome::Outcome;
use crate::stack::home::Home;
use crate::stack::secrets;
use crate::stack::state::{Process, State};

const PATIENCE: Duration = Duration::from_secs(60);
/// The longest pause before a restart.
const MAX_PAUSE: Duration = Duration::from_secs(5);
/// A process that ran this long starts over with short pauses.
const STEADY: Duration = Duration::from_secs(10);

pub(crate) async fn run(common: &Common) -> Outcome<()> {
    let home = Home::locate(common.home.as_deref())?;
    let options: Options = home.load("run/options.json")?.context("`caracal up` was never run here")?;
    let state = State { supervisor: own_pid(), ports: options.ports, processes: Vec::new(), failed: None };
    let mut supervisor = Supervisor { home, options, state, children: Vec::new() };
    if let Err(error) = supervisor.work().await {
        supervisor.end().await;
        supervisor.state.failed = Some(format!("{error:#}"));
        supervisor.state.write(&supervisor.home)?;
        return Err(error.into());
    }
    Ok(())
}

fn own_pid() -> i32 {
    i32::try_from(std::process::id()).unwrap_or(0)
}

/// A process of the stack, and how it is started again.
struct Kept {
    name: &'static str,
    launch: Launch,
    stop: Signal,
    child: Option<Child>,
    started: Instant,
    due: Instant,
    pause: Duration,
    restarts: u32,
}

struct Supervisor {
    home: Home,
    options: Options,
    state: State,
    children: Vec<Kept>,
}

impl Supervisor {
    async fn work(&mut self) -> anyhow::Result<()> {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        self.start().await?;
        loop {
            tokio::select! {
                _ = terminate.recv() => break,
                _ = interrupt.recv() => break,
                () = tokio::time::sleep(Duration::from_millis(50)) => self.look_after()?,
            }
        }
        self.end().await;
        Ok(())
    }

    async fn start(&mut self) -> anyhow::Result<()> {
        let tools = engines::install()?;
        let postgres = self.postgres(&tools)?;
        postgres.initialise(&self.home.secret(secrets::SUPERUSER_PASSWORD)?)?;
        self.spawn("postgres", postgres.launch(&self.log("postgres")), Signal::INT)?;
        let valkey = self.valkey(&tools)?;
        valkey.initialise(Some(&self.home.secret(secrets::REDIS_PASSWORD)?))?;
        self.spawn("valkey", valkey.launch(&self.log("valkey")), Signal::TERM)?;
        postgres.wait_ready(PATIENCE)?;
        valkey.wait_ready(PATIENCE)?;
        self.prepare(&postgres, &valkey).await?;
        let program = self.program()?;
        self.home.write("config/upstream.toml", format!("listen = \"127.0.0.1:{}\"\n", self.options.ports.upstream()).as_bytes())?;
        for name in ["coordinator", "sts", "audit", "ext-authz", "upstream"] {
            let launch = self.service(name, &program, &postgres, &valkey);
            self.spawn(name, launch, Signal::TERM)?;
        }
        let envoy = self.envoy(&tools);
        self.spawn("envoy", envoy, Signal::TERM)
    }

    fn postgres(&self, tools: &Tools) -> anyhow::Result<Postgres> {
        let folder = self.folder("postgres")?;
        Postgres::new(tools, &folder, &self.home.data("run"), self.home.user(), Durability::Safe)
    }

    fn valkey(&self, tools: &Tools) -> anyhow::Result<Valkey> {
        let folder = self.folder("valkey")?;
        let socket = self.home.data("run/valkey.sock");
        Valkey::new(tools, &folder, &socket, self.home.user(), Durability::Safe)
    }

    fn folder(&self, name: &str) -> anyhow::Result<PathBuf> {
        let folder = self.home.data(name);
        std::fs::create_dir_all(&folder)?;
        self.home.give(&folder)?;
        Ok(folder)
    }

    fn log(&self, name: &str) -> PathBuf {
        self.home.data(&format!("logs/{name}.log"))
    }

    /// The database, its roles and schema, and the addresses that drills use.
    async fn prepare(&self, postgres: &Postgres, valkey: &Valkey) -> anyhow::Result<()> {
        let password = self.home.secret(secrets::SUPERUSER_PASSWORD)?;
        let mut maintenance = PgConnection::connect(&postgres.superuser_url("postgres", &password)).await?;
        let known: bool = sqlx::query_scalar("SELECT EXISTS (SELECT 1 FROM pg_database WHERE datname = 'caracal')")
            .fetch_one(&mut maintenance)
            .await?;
        if !known {
            sqlx::query("CREATE DATABASE caracal").execute(&mut maintenance).await?;
        }
        let mut passwords = BTreeMap::new();
        for role in migrations::ROLES {
            passwords.insert(*role, self.home.secret(&secrets::role_file(role))?);
        }
        let url = postgres.superuser_url("caracal", &password);
        let mut connection = PgConnection::connect(&url).await?;
        migrations::bootstrap(&mut connection, &passwords).await?;
        migrations::migrate(&mut connection).await?;
        self.home.write(secrets::SUPERUSER_URL, url.as_bytes())?;
        let redis = self.home.secret(secrets::REDIS_PASSWORD)?;
        let socket = valkey.url().replacen("unix://", "", 1);
        self.home.write(secrets::REDIS_URL, format!("redis+unix://{socket}?pass={redis}").as_bytes())?;
        Ok(())
    }

    /// This program, where the user of the processes can run it.
    fn program(&self) -> anyhow::Result<PathBuf> {
        let own = std::env::current_exe().context("finding this program")?;
        if self.home.user().is_none() || engines::reachable_by_others(&own) {
            return Ok(own);
        }
        let copy = self.home.data("run/caracal");
        let _ = std::fs::remove_file(&copy);
        std::fs::copy(&own, &copy).with_context(|| format!("copying {} to {}", own.display(), copy.display()))?;
        self.home.give(&copy)?;
        Ok(copy)
    }

    fn service(&self, name: &'static str, program: &std::path::Path, postgres: &Postgres, valkey: &Valkey) -> Launch {
        let config = self.home.data(&format!("config/{name}.toml"));
        let arguments = ["serve".into(), name.into(), "--config".into(), config.into_os_string()];
        let mut environment: Vec<(String, OsString)> = vec![
            ("CARACAL_MODE".to_owned(), "dev".into()),
            ("DATABASE_URL".to_owned(), postgres.url("caracal").into()),
            ("REDIS_URL".to_owned(), valkey.url().into()),
        ];
        let mut file = |variable: &str, relative: &str| {
            environment.push((variable.to_owned(), self.home.data(relative).into_os_string()));
        };
        file("REDIS_PASSWORD_FILE", secrets::REDIS_PASSWORD);
        file("METRICS_TOKEN_FILE", secrets::METRICS_TOKEN);
        file("EVENT_KEY_FILE", &secrets::signer_file(&format!("{name}-event")));
        let (own, roles): (&[(&str, &str)], &[&str]) = match name {
            "sts" => (&[("STS_KEK_FILE", secrets::STS_KEK), ("PEPPER_FILE", secrets::PEPPER)], &["sts", "keeper"]),
            "coordinator" => (
                &[
                    ("PEPPER_FILE", secrets::PEPPER),
                    ("STREAM_KEY_FILE", "secrets/coordinator-stream"),
                    ("BOOTSTRAP_TOKEN_FILE", secrets::ADMIN_TOKEN),
                    ("SERVICE_TOKEN_FILE", secrets::SERVICE_TOKEN),
                ],
                &["coordinator", "operator", "sequencer", "snapshot"],
            ),
            "audit" => (
                &[("AUDIT_KEK_FILE", secrets::AUDIT_KEK), ("SERVICE_TOKEN_FILE", secrets::SERVICE_TOKEN)],
                &["audit_writer", "audit_reader", "audit_operator", "retention"],
            ),
            "ext-authz" => (&[("SERVICE_TOKEN_FILE", secrets::SERVICE_TOKEN)], &[]),
            _ => (&[], &[]),
        };
        for (variable, relative) in own {
            file(variable, relative);
        }
        for role in roles {
            let variable = format!("DATABASE_PASSWORD_FILE_{}", role.to_ascii_uppercase());
            file(&variable, &secrets::role_file(&format!("caracal_{role}")));
        }
        Launch {
            program: program.to_path_buf(),
            arguments: arguments.to_vec(),
            environment,
            folder: self.home.data("run"),
            user: self.home.user().cloned(),
            log: self.log(name),
        }
    }

    fn envoy(&self, tools: &Tools) -> Launch {
        let arguments = [
            "--config-path".into(),
            self.home.data("config/envoy.yaml").into_os_string(),
            "--concurrency".into(),
            self.options.workers.to_string().into(),
            "--disable-hot-restart".into(),
            "--log-level".into(),
            "warning".into(),
        ];
        Launch {
            program: tools.envoy.clone(),
            arguments: arguments.to_vec(),
            environment: Vec::new(),
            folder: self.home.data("run"),
            user: self.home.user().cloned(),
            log: self.log("envoy"),
        }
    }

    fn spawn(&mut self, name: &'static str, launch: Launch, stop: Signal) -> anyhow::Result<()> {
        let now = Instant::now();
        let mut kept = Kept { name, launch, stop, child: None, started: now, due: now, pause: Duration::ZERO, restarts: 0 };
        kept.start()?;
        self.children.push(kept);
        self.record()
    }

    /// Restarts what ended, after a pause that grows while it keeps ending.
    fn look_after(&mut self) -> anyhow::Result<()> {
        let mut changed = false;
        for kept in &mut self.children {
            changed |= kept.look_after()?;
        }
        if changed { self.record() } else { Ok(()) }
    }

    fn record(&mut self) -> anyhow::Result<()> {
        self.state.processes = self.children.iter().map(Kept::process).collect();
        self.state.write(&self.home)
    }

    /// Ends everything, last started first.
    async fn end(&mut self) {
        for kept in self.children.iter_mut().rev() {
            kept.end().await;
        }
        self.children.clear();
    }
}

impl Kept {
    fn start(&mut self) -> anyhow::Result<()> {
        let mut command: Command = self.launch.command()?;
        self.child = Some(command.spawn().with_context(|| format!("starting {}", self.name))?);
        self.started = Instant::now();
        Ok(())
    }

    fn look_after(&mut self) -> anyhow::Result<bool> {
        if let Some(child) = &mut self.child {
            if child.try_wait()?.is_none() {
                return Ok(false);
            }
            self.child = None;
            let steady = self.started.elapsed() > STEADY;
            self.pause = if steady { Duration::ZERO } else { (self.pause * 2).clamp(Duration::from_millis(100), MAX_PAUSE) };
            self.due = Instant::now() + self.pause;
            return Ok(true);
        }
        if Instant::now() < self.due {
            return Ok(false);
        }
        self.restarts = self.restarts.saturating_add(1);
        self.start()?;
        Ok(true)
    }

    fn process(&self) -> Process {
        let pid = self.child.as_ref().and_then(|child| i32::try_from(child.id()).ok()).unwrap_or(0);
        Process { name: self.name.to_owned(), pid, restarts: self.restarts }
    }

    async fn end(&mut self) {
        let Some(mut child) = self.child.take() else { return };
        if let Some(pid) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
            // One that was stopped by a drill must run to hear the other signal.
            let _ = kill_process(pid, Signal::CONT);
            let _ = kill_process(pid, self.stop);
        }
        let started = Instant::now();
        while started.elapsed() < Duration::from_secs(25) {
            if !matches!(child.try_wait(), Ok(None)) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let _ = child.kill();
        let _ = child.wait();
    }
}
