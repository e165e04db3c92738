//! The supervisor: starts everything in order, restarts what dies, ends everything when told to.

use std::ffi::OsString;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use engines::{Durability, Launch, Postgres, Tools, Valkey};
use migrations::Role;
use rustix::fs::{FlockOperation, flock};
use sqlx::{Connection as _, PgConnection};
use tokio::signal::unix::{SignalKind, signal};

use crate::args::Common;
use crate::command::up::Options;
use crate::outcome::Outcome;
use crate::stack::home::Home;
use crate::stack::keep::{Kept, stop_signal};
use crate::stack::secrets;
use crate::stack::state::{Identity, State};
use crate::stack::{acl, environment};

/// The stack's database.
const DATABASE: &str = "caracal";
const PATIENCE: Duration = Duration::from_mins(1);
pub(crate) async fn run(common: &Common) -> Outcome<()> {
    let home = Home::locate(common.home.as_deref())?;
    let options = Options::read(&home)?.context("`caracal up` was never run here")?;
    let lock = home.data("run/supervisor.lock");
    let lock = File::create(&lock).with_context(|| format!("opening {}", lock.display()))?;
    if flock(&lock, FlockOperation::NonBlockingLockExclusive).is_err() {
        // Another one does what this one would.
        return Ok(());
    }
    let own = Identity::of(own_pid());
    let state = State {
        supervisor: own.pid,
        started: own.started,
        ports: options.ports,
        processes: Vec::new(),
        failed: None,
    };
    let mut supervisor = Supervisor {
        home,
        options,
        state,
        children: Vec::new(),
    };
    if let Err(error) = supervisor.work().await {
        supervisor.end().await;
        supervisor.state.processes.clear();
        supervisor.state.failed = Some(format!("{error:#}"));
        supervisor.state.write(&supervisor.home)?;
        return Err(error.into());
    }
    Ok(())
}

fn own_pid() -> i32 {
    i32::try_from(std::process::id()).unwrap_or(0)
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
        tokio::select! {
            started = self.start() => started?,
            _ = terminate.recv() => {
                self.end().await;
                return Ok(());
            }
        }
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
        self.spawn("postgres", postgres.launch(&self.log("postgres")))?;
        let valkey = self.valkey(&tools)?;
        valkey.initialise_with_users(
            Some(&self.home.secret(secrets::REDIS_PASSWORD)?),
            &self.redis_users()?,
        )?;
        self.spawn("valkey", valkey.launch(&self.log("valkey")))?;
        self.until("PostgreSQL takes no connections", || postgres.ready())
            .await?;
        self.until("Valkey does not answer", || valkey.ready())
            .await?;
        self.prepare(&postgres, &valkey).await?;
        let program = self.program()?;
        self.home.write(
            "config/upstream.toml",
            format!("listen = \"127.0.0.1:{}\"\n", self.options.ports.upstream()).as_bytes(),
        )?;
        for name in ["coordinator", "sts", "audit", "ext-authz", "upstream"] {
            let launch = self.service(name, &program, &postgres, &valkey);
            self.spawn(name, launch?)?;
        }
        let envoy = self.envoy(&tools);
        self.spawn("envoy", envoy)
    }

    fn postgres(&self, tools: &Tools) -> anyhow::Result<Postgres> {
        let folder = self.folder("postgres")?;
        Postgres::new(
            tools,
            &folder,
            &self.home.data("run"),
            self.home.user(),
            Durability::Safe,
        )
    }

    fn valkey(&self, tools: &Tools) -> anyhow::Result<Valkey> {
        let folder = self.folder("valkey")?;
        let socket = self.home.data("run/valkey.sock");
        Valkey::new(tools, &folder, &socket, self.home.user(), Durability::Safe)
    }

    fn redis_users(&self) -> anyhow::Result<Vec<String>> {
        let mut users = Vec::new();
        for service in acl::services() {
            let password = self.home.secret(&secrets::redis_file(service))?;
            users.extend(acl::user(service, &password));
        }
        Ok(users)
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
        let mut cluster =
            PgConnection::connect(&postgres.superuser_url("postgres", &password)).await?;
        let mut passwords = Vec::new();
        for role in Role::ALL {
            passwords.push((role, self.home.secret(&secrets::role_file(role))?));
        }
        let passwords: Vec<(Role, &str)> = passwords
            .iter()
            .map(|(role, password)| (*role, password.as_str()))
            .collect();
        migrations::bootstrap(&mut cluster, &passwords)
            .await
            .context("making the database's roles")?;
        migrations::create_database(&mut cluster, DATABASE)
            .await
            .context("making the database")?;
        cluster.close().await?;
        let url = postgres.superuser_url(DATABASE, &password);
        let mut connection = PgConnection::connect(&url).await?;
        migrations::migrate(&mut connection)
            .await
            .context("migrating the database")?;
        connection.close().await?;
        self.home.write(secrets::SUPERUSER_URL, url.as_bytes())?;
        let redis = self.home.secret(secrets::REDIS_PASSWORD)?;
        let socket = valkey.url().replacen("unix://", "", 1);
        self.home.write(
            secrets::REDIS_URL,
            format!("redis+unix://{socket}?pass={redis}").as_bytes(),
        )?;
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
        std::fs::copy(&own, &copy)
            .with_context(|| format!("copying {} to {}", own.display(), copy.display()))?;
        self.home.give(&copy)?;
        Ok(copy)
    }

    fn service(
        &self,
        name: &str,
        program: &Path,
        postgres: &Postgres,
        valkey: &Valkey,
    ) -> anyhow::Result<Launch> {
        let config = self.home.data(&format!("config/{name}.toml"));
        let environment = environment::of(&self.home, name, &postgres.url(DATABASE), &valkey.url());
        self.write_environment(name, &environment)?;
        Ok(Launch {
            program: program.to_path_buf(),
            arguments: vec![
                "serve".into(),
                name.into(),
                "--config".into(),
                config.into_os_string(),
            ],
            environment,
            folder: self.home.data("run"),
            user: self.home.user().cloned(),
            log: self.log(name),
        })
    }

    /// The environment as a file too, for whoever wants to start the process by hand (`caracal serve all`).
    fn write_environment(
        &self,
        name: &str,
        environment: &[(String, OsString)],
    ) -> anyhow::Result<()> {
        let lines: Vec<String> = environment
            .iter()
            .map(|(variable, value)| format!("{variable}={}\n", value.display()))
            .collect();
        self.home
            .write(&format!("config/{name}.env"), lines.concat().as_bytes())
            .map(drop)
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

    fn spawn(&mut self, name: &str, launch: Launch) -> anyhow::Result<()> {
        let stop = stop_signal(name);
        self.children
            .push(Kept::start(name, Box::new(move || launch.command()), stop)?);
        self.record()
    }

    /// Waits for what the next steps need, and restarts what ends meanwhile.
    async fn until(&mut self, otherwise: &str, ready: impl Fn() -> bool) -> anyhow::Result<()> {
        let started = Instant::now();
        while !ready() {
            if started.elapsed() > PATIENCE {
                bail!(
                    "{otherwise} after {} s; the logs are in {}",
                    PATIENCE.as_secs(),
                    self.home.data("logs").display()
                );
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
            self.look_after()?;
        }
        Ok(())
    }

    /// Restarts what ended.
    fn look_after(&mut self) -> anyhow::Result<()> {
        let mut changed = false;
        for kept in &mut self.children {
            changed |= kept.look_after();
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
