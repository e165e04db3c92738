//! The folder of a stack, and the one its processes live in.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use engines::User;
use rustix::process::getuid;
use serde::Serialize;
use serde::de::DeserializeOwned;
use sha2::{Digest as _, Sha256};

/// Where a stack keeps what.
///
/// Processes run as an unprivileged user when the caller is root. Such a user may not reach the caller's
/// home, so what they need lies in `data`, which then is elsewhere, as it is where a path would be too long for a
/// socket.
#[derive(Debug, Clone)]
pub(crate) struct Home {
    dir: PathBuf,
    data: PathBuf,
    user: Option<User>,
}

impl Home {
    /// Finds the stack's folder, without making it.
    pub(crate) fn locate(given: Option<&Path>) -> anyhow::Result<Self> {
        let dir = match given {
            Some(dir) => dir.to_path_buf(),
            None => default_home()?,
        };
        let dir =
            std::path::absolute(&dir).with_context(|| format!("resolving {}", dir.display()))?;
        if dir.to_str().is_none() {
            bail!("the home {} is not UTF-8", dir.display());
        }
        let user = engines::unprivileged()?;
        let reachable = user.is_none() || engines::reachable_by_others(&dir);
        // PostgreSQL's socket has the longest name of all.
        let short = dir.join("data/run/.s.PGSQL.5432").as_os_str().len() < engines::MAX_SOCKET_PATH;
        let data = if reachable && short {
            dir.join("data")
        } else {
            elsewhere(&dir)
        };
        Ok(Self { dir, data, user })
    }

    /// Makes both folders.
    pub(crate) fn create(&self) -> anyhow::Result<()> {
        let private = |path: &Path| {
            fs::DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(path)
                .with_context(|| format!("making {}", path.display()))
        };
        if !self.dir.exists() {
            fs::DirBuilder::new()
                .recursive(true)
                .mode(0o755)
                .create(&self.dir)
                .with_context(|| format!("making {}", self.dir.display()))?;
        }
        private(&self.data)?;
        let owner = fs::metadata(&self.data)?.uid();
        if owner != getuid().as_raw() && self.user.as_ref().is_none_or(|user| user.uid != owner) {
            bail!(
                "{} belongs to another user (uid {owner})",
                self.data.display()
            );
        }
        self.give(&self.data)?;
        for folder in ["secrets", "config", "logs", "journal", "run"] {
            let path = self.data.join(folder);
            private(&path)?;
            self.give(&path)?;
        }
        Ok(())
    }

    /// The folder the caller named.
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// A path below the processes' folder.
    pub(crate) fn data(&self, relative: &str) -> PathBuf {
        self.data.join(relative)
    }

    /// Who the processes run as, when not as the caller.
    pub(crate) fn user(&self) -> Option<&User> {
        self.user.as_ref()
    }

    /// Hands a path to the user the processes run as.
    pub(crate) fn give(&self, path: &Path) -> anyhow::Result<()> {
        if let Some(user) = &self.user {
            std::os::unix::fs::chown(path, Some(user.uid), Some(user.gid))
                .with_context(|| format!("giving {} to {}", path.display(), user.name))?;
        }
        Ok(())
    }

    /// Writes a file of the processes, readable by their user alone, in one step.
    pub(crate) fn write(&self, relative: &str, bytes: &[u8]) -> anyhow::Result<PathBuf> {
        let path = self.data(relative);
        let next = path.with_extension("next");
        let _ = fs::remove_file(&next);
        let mut file = fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&next)
            .with_context(|| format!("writing {}", next.display()))?;
        file.write_all(bytes)?;
        file.sync_all()?;
        self.give(&next)?;
        fs::rename(&next, &path).with_context(|| format!("replacing {}", path.display()))?;
        Ok(path)
    }

    /// Writes a value as JSON.
    pub(crate) fn save<T: Serialize>(&self, relative: &str, value: &T) -> anyhow::Result<()> {
        self.write(relative, &serde_json::to_vec_pretty(value)?)
            .map(drop)
    }

    /// Reads a value written by `save`; none when it was not.
    pub(crate) fn load<T: DeserializeOwned>(&self, relative: &str) -> anyhow::Result<Option<T>> {
        let path = self.data(relative);
        match fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes)
                .map(Some)
                .with_context(|| format!("parsing {}", path.display())),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).with_context(|| format!("reading {}", path.display())),
        }
    }

    /// Removes a file, if it is there.
    pub(crate) fn forget(&self, relative: &str) -> anyhow::Result<()> {
        let path = self.data(relative);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(error).with_context(|| format!("removing {}", path.display()))
            }
            Ok(()) | Err(_) => Ok(()),
        }
    }

    /// Reads a secret of the stack as text.
    pub(crate) fn secret(&self, relative: &str) -> anyhow::Result<String> {
        let path = self.data(relative);
        let text =
            fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
        Ok(text.trim().to_owned())
    }

    /// Removes everything of the stack.
    pub(crate) fn purge(&self) -> anyhow::Result<()> {
        for path in [&self.data, &self.dir] {
            match fs::remove_dir_all(path) {
                Ok(()) => {}
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(error) => {
                    return Err(error).with_context(|| format!("removing {}", path.display()));
                }
            }
        }
        Ok(())
    }
}

fn default_home() -> anyhow::Result<PathBuf> {
    if let Some(home) = std::env::var_os("CARACAL_HOME").filter(|home| !home.is_empty()) {
        return Ok(PathBuf::from(home));
    }
    let home = std::env::var_os("HOME")
        .context("neither --home, CARACAL_HOME nor HOME says where the stack lives")?;
    Ok(PathBuf::from(home).join(".local/share/caracal"))
}

/// A folder that anybody can reach, named after the home.
fn elsewhere(dir: &Path) -> PathBuf {
    let digest = Sha256::digest(dir.as_os_str().as_encoded_bytes());
    let name = digest
        .iter()
        .take(6)
        .fold(String::new(), |name, byte| name + &format!("{byte:02x}"));
    PathBuf::from(format!("/var/tmp/caracal-{name}"))
}
