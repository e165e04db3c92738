//! Valkey on a Unix socket.

use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, chown};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};

use crate::MAX_SOCKET_PATH;
use crate::install::Tools;
use crate::launch::Launch;
use crate::postgres::Durability;
use crate::user::User;

/// A Valkey server: its folder, and how it is started. Nothing runs before it is launched.
#[derive(Debug, Clone)]
pub struct Valkey {
    program: PathBuf,
    folder: PathBuf,
    socket: PathBuf,
    user: Option<User>,
    durability: Durability,
}

impl Valkey {
    /// A server with its data below `folder` and its socket at `socket`.
    pub fn new(
        tools: &Tools,
        folder: &Path,
        socket: &Path,
        user: Option<&User>,
        durability: Durability,
    ) -> anyhow::Result<Self> {
        if socket.as_os_str().len() >= MAX_SOCKET_PATH {
            bail!(
                "the socket path {} is too long: at most {MAX_SOCKET_PATH} bytes",
                socket.display()
            );
        }
        Ok(Self {
            program: tools.valkey.clone(),
            folder: folder.to_path_buf(),
            socket: socket.to_path_buf(),
            user: user.cloned(),
            durability,
        })
    }

    /// Writes the configuration: nothing is evicted, and what was written survives unless it is scratch.
    /// `password`: what clients have to give, letters, digits, `-` and `_`.
    pub fn initialise(&self, password: Option<&str>) -> anyhow::Result<()> {
        self.initialise_with_users(password, &[])
    }

    /// The same with users beside the one that may do everything, each as Redis' `ACL SETUSER` takes it.
    pub fn initialise_with_users(
        &self,
        password: Option<&str>,
        users: &[String],
    ) -> anyhow::Result<()> {
        let mut lines = vec![
            format!("dir {}", quoted(&self.folder)?),
            format!("unixsocket {}", quoted(&self.socket)?),
            format!("pidfile {}", quoted(&self.pidfile())?),
            "unixsocketperm 700".to_owned(),
            "port 0".to_owned(),
            "databases 1024".to_owned(),
            "maxmemory-policy noeviction".to_owned(),
            "save \"\"".to_owned(),
            "daemonize no".to_owned(),
            "enable-debug-command no".to_owned(),
            "enable-module-command no".to_owned(),
        ];
        match self.durability {
            Durability::Safe => {
                lines.extend(["appendonly yes", "appendfsync everysec"].map(str::to_owned));
            }
            Durability::Scratch => lines.push("appendonly no".to_owned()),
        }
        lines.extend(password.map(|password| format!("requirepass {password}")));
        lines.extend(users.iter().map(|user| format!("user {user}")));
        lines.push(String::new());
        let path = self.configuration();
        let _ = fs::remove_file(&path);
        let mut file = fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)
            .with_context(|| format!("writing {}", path.display()))?;
        file.write_all(lines.join("\n").as_bytes())?;
        if let Some(user) = &self.user {
            chown(&path, Some(user.uid), Some(user.gid))
                .with_context(|| format!("giving {} away", path.display()))?;
        }
        Ok(())
    }

    /// How the server is started. SIGTERM ends it cleanly.
    pub fn launch(&self, log: &Path) -> Launch {
        Launch {
            program: self.program.clone(),
            arguments: vec![self.configuration().into_os_string()],
            environment: vec![("PATH".to_owned(), "/usr/bin:/bin".into())],
            folder: self.folder.clone(),
            user: self.user.clone(),
            log: log.to_path_buf(),
        }
    }

    /// Whether it answers, be it with the wish for a password. Not while it loads its data.
    pub fn ready(&self) -> bool {
        ask(&self.socket, "PING")
            .is_ok_and(|answer| answer.starts_with("+PONG") || answer.starts_with("-NOAUTH"))
    }

    /// Waits until it answers.
    pub fn wait_ready(&self, patience: Duration) -> anyhow::Result<()> {
        let started = Instant::now();
        while !self.ready() {
            if started.elapsed() > patience {
                bail!(
                    "Valkey in {} does not answer after {patience:?}",
                    self.folder.display()
                );
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }

    /// Its address, without a password.
    pub fn url(&self) -> String {
        format!("unix://{}", self.socket.display())
    }

    /// The pid of the server that runs.
    pub fn pid(&self) -> anyhow::Result<u32> {
        let path = self.pidfile();
        let text =
            fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
        text.trim()
            .parse()
            .with_context(|| format!("parsing {}", path.display()))
    }

    fn pidfile(&self) -> PathBuf {
        self.folder.join("valkey.pid")
    }

    fn configuration(&self) -> PathBuf {
        self.folder.join("valkey.conf")
    }
}

fn quoted(path: &Path) -> anyhow::Result<String> {
    match path.to_str() {
        Some(text) if !text.contains(['"', '\\', '\n']) => Ok(format!("\"{text}\"")),
        _ => bail!(
            "the path {} cannot be written into a configuration file",
            path.display()
        ),
    }
}

fn ask(socket: &Path, line: &str) -> std::io::Result<String> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(Duration::from_secs(1)))?;
    stream.set_write_timeout(Some(Duration::from_secs(1)))?;
    stream.write_all(format!("{line}\r\n").as_bytes())?;
    let mut answer = [0_u8; 64];
    let length = stream.read(&mut answer)?;
    Ok(String::from_utf8_lossy(answer.get(..length).unwrap_or_default()).into_owned())
}
