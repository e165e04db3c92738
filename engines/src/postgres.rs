//! PostgreSQL on a Unix socket.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{OpenOptionsExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};

use crate::MAX_SOCKET_PATH;
use crate::install::Tools;
use crate::launch::Launch;
use crate::user::User;

/// The port is part of the socket's name only.
const PORT: u16 = 5432;
/// The superuser, whatever the account that runs it is called.
const SUPERUSER: &str = "postgres";

/// Whether what is committed survives the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// It does.
    Safe,
    /// It need not: databases of tests.
    Scratch,
}

/// A PostgreSQL server: its folder, and how it is started. Nothing runs before it is launched.
#[derive(Debug, Clone)]
pub struct Postgres {
    programs: PathBuf,
    folder: PathBuf,
    sockets: PathBuf,
    user: Option<User>,
    durability: Durability,
}

impl Postgres {
    /// A server with its data below `folder` and its socket in `sockets`, which is where `user` (or the caller)
    /// must be able to go.
    pub fn new(
        tools: &Tools,
        folder: &Path,
        sockets: &Path,
        user: Option<&User>,
        durability: Durability,
    ) -> anyhow::Result<Self> {
        let socket = sockets.join(format!(".s.PGSQL.{PORT}"));
        if socket.as_os_str().len() >= MAX_SOCKET_PATH {
            bail!(
                "the socket path {} is too long: at most {MAX_SOCKET_PATH} bytes",
                socket.display()
            );
        }
        Ok(Self {
            programs: tools.postgres.clone(),
            folder: folder.to_path_buf(),
            sockets: sockets.to_path_buf(),
            user: user.cloned(),
            durability,
        })
    }

    /// Makes the cluster if there is none. Connections need a password but those that tests make.
    pub fn initialise(&self, password: &str) -> anyhow::Result<()> {
        let data = self.data();
        if data.join("PG_VERSION").exists() {
            return Ok(());
        }
        // A folder without a version is what an interrupted attempt left.
        if data.exists() {
            fs::remove_dir_all(&data).with_context(|| format!("removing {}", data.display()))?;
        }
        let partial = self.folder.join("data.partial");
        if partial.exists() {
            fs::remove_dir_all(&partial)
                .with_context(|| format!("removing {}", partial.display()))?;
        }
        let secret = self.folder.join("superuser.initdb");
        self.write_private(&secret, password)?;
        let auth = if self.durability == Durability::Safe {
            "scram-sha-256"
        } else {
            "trust"
        };
        let mut command = Command::new(self.programs.join("initdb"));
        command
            .arg("--pgdata")
            .arg(&partial)
            .arg(format!("--pwfile={}", secret.display()))
            .args([
                format!("--username={SUPERUSER}"),
                format!("--auth-local={auth}"),
            ])
            .args([
                "--auth-host=reject",
                "--encoding=UTF8",
                "--locale=C.UTF-8",
                "--data-checksums",
            ]);
        if self.durability == Durability::Scratch {
            command.arg("--no-sync");
        }
        command
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .current_dir(&self.folder)
            .stdin(Stdio::null());
        if let Some(user) = &self.user {
            command.gid(user.gid).uid(user.uid);
        }
        let output = command.output().context("running initdb")?;
        let removed = fs::remove_file(&secret);
        if !output.status.success() {
            let words = String::from_utf8_lossy(&output.stderr);
            bail!("initdb failed ({}): {}", output.status, words.trim());
        }
        removed.context("removing the password file of initdb")?;
        fs::rename(&partial, &data).with_context(|| format!("moving to {}", data.display()))
    }

    /// How the server is started. SIGINT ends it cleanly and soon.
    pub fn launch(&self, log: &Path) -> Launch {
        let mut settings = vec![
            format!("unix_socket_directories={}", self.sockets.display()),
            format!("port={PORT}"),
            "listen_addresses=".to_owned(),
            "unix_socket_permissions=0700".to_owned(),
            "max_connections=200".to_owned(),
            "shared_buffers=128MB".to_owned(),
            "password_encryption=scram-sha-256".to_owned(),
            "timezone=UTC".to_owned(),
            "log_timezone=UTC".to_owned(),
            "jit=off".to_owned(),
        ];
        if self.durability == Durability::Scratch {
            let fast = [
                "fsync=off",
                "full_page_writes=off",
                "synchronous_commit=off",
                "max_wal_size=4GB",
                "wal_level=minimal",
                "max_wal_senders=0",
            ];
            settings.extend(fast.map(str::to_owned));
        }
        let mut arguments = vec!["-D".into(), self.data().into_os_string()];
        for setting in settings {
            arguments.extend(["-c".into(), setting.into()]);
        }
        Launch {
            program: self.programs.join("postgres"),
            arguments,
            environment: vec![
                ("PATH".to_owned(), "/usr/bin:/bin".into()),
                ("LC_ALL".to_owned(), "C.UTF-8".into()),
            ],
            folder: self.folder.clone(),
            user: self.user.clone(),
            log: log.to_path_buf(),
        }
    }

    /// Whether it takes connections.
    pub fn ready(&self) -> bool {
        Command::new(self.programs.join("pg_isready"))
            .arg("--quiet")
            .arg("--host")
            .arg(&self.sockets)
            .arg("--port")
            .arg(PORT.to_string())
            .env_clear()
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .is_ok_and(|status| status.success())
    }

    /// Waits until it takes connections.
    pub fn wait_ready(&self, patience: Duration) -> anyhow::Result<()> {
        let started = Instant::now();
        while !self.ready() {
            if started.elapsed() > patience {
                bail!(
                    "PostgreSQL in {} takes no connections after {patience:?}",
                    self.folder.display()
                );
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    /// The address of a database, without a user.
    pub fn url(&self, database: &str) -> String {
        format!(
            "postgres:///{database}?host={}&port={PORT}",
            self.sockets.display()
        )
    }

    /// The address of a database with the superuser's name and password. The password is taken as it stands:
    /// letters, digits, `-` and `_`.
    pub fn superuser_url(&self, database: &str, password: &str) -> String {
        format!(
            "{}&user={SUPERUSER}&password={password}",
            self.url(database)
        )
    }

    /// The pid of the server that runs.
    pub fn pid(&self) -> anyhow::Result<u32> {
        let path = self.data().join("postmaster.pid");
        let text =
            fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
        let line = text.lines().next().unwrap_or_default();
        line.trim()
            .parse()
            .with_context(|| format!("parsing {}", path.display()))
    }

    fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    fn write_private(&self, path: &Path, text: &str) -> anyhow::Result<()> {
        let _ = fs::remove_file(path);
        let mut file = fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(path)
            .with_context(|| format!("writing {}", path.display()))?;
        file.write_all(text.as_bytes())?;
        if let Some(user) = &self.user {
            chown(path, Some(user.uid), Some(user.gid))
                .with_context(|| format!("giving {} away", path.display()))?;
        }
        Ok(())
    }
}
