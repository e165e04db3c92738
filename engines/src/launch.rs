//! How a program is started: what, with which arguments, as whom, and where its words go.

use std::ffi::OsString;
use std::fs::File;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::Context as _;

use crate::user::User;

/// A program to be started. Its standard input is empty; its environment holds what is given and no more.
#[derive(Debug, Clone)]
pub struct Launch {
    /// The program.
    pub program: PathBuf,
    /// Its arguments.
    pub arguments: Vec<OsString>,
    /// Its environment.
    pub environment: Vec<(String, OsString)>,
    /// Its working folder.
    pub folder: PathBuf,
    /// Whom it runs as, when not as the caller.
    pub user: Option<User>,
    /// Where its output goes; appended to.
    pub log: PathBuf,
}

impl Launch {
    /// The command, ready to be spawned.
    pub fn command(&self) -> anyhow::Result<Command> {
        let mut command = Command::new(&self.program);
        command.args(&self.arguments);
        self.dress(&mut command)?;
        command.stdin(Stdio::null());
        Ok(command)
    }

    /// Everything but program, arguments and standard input.
    pub(crate) fn dress(&self, command: &mut Command) -> anyhow::Result<()> {
        let log = File::options()
            .create(true)
            .append(true)
            .open(&self.log)
            .with_context(|| format!("opening {}", self.log.display()))?;
        command
            .env_clear()
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .current_dir(&self.folder)
            .stdout(log.try_clone().context("sharing the log")?)
            .stderr(log)
            // Signals of a terminal are for whoever started us.
            .process_group(0);
        if let Some(user) = &self.user {
            // Setting the user also drops the supplementary groups.
            command.gid(user.gid).uid(user.uid);
        }
        Ok(())
    }
}
