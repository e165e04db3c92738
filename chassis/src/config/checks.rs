//! Where a configuration's findings come together.

use std::fmt::Display;
use std::path::Path;

use mandate::id::Issuer;
use secrecy::SecretString;

use super::environment::Environment;
use super::findings::Findings;
use super::mode::Mode;
use crate::secrets::{self, Shape};

/// Collects findings while a raw configuration becomes one that cannot be wrong.
#[derive(Debug)]
pub struct Checks<'a> {
    environment: &'a Environment,
    mode: Mode,
    findings: Findings,
}

impl<'a> Checks<'a> {
    /// Starts from what reading the file has found.
    pub fn new(environment: &'a Environment, findings: Findings) -> Self {
        let mut checks = Self {
            environment,
            mode: Mode::Stable,
            findings,
        };
        let mode = environment
            .value("CARACAL_MODE")
            .map_or(Ok(Mode::default()), str::parse);
        if let Some(mode) = checks.take("CARACAL_MODE", mode) {
            checks.mode = mode;
        }
        checks
    }

    /// The mode of the process; stable when it was not understood.
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// The environment, for what only this service knows.
    pub fn environment(&self) -> &'a Environment {
        self.environment
    }

    /// Reports something wrong.
    pub fn find(&mut self, key: impl Into<String>, what: impl Into<String>) {
        self.findings.add(key, what);
    }

    /// Takes a value, or reports why there is none.
    pub fn take<T, E: Display>(
        &mut self,
        key: impl Into<String>,
        result: Result<T, E>,
    ) -> Option<T> {
        match result {
            Ok(value) => Some(value),
            Err(error) => {
                self.find(key, error.to_string());
                None
            }
        }
    }

    /// Reports something wrong unless `holds`.
    pub fn ensure(&mut self, holds: bool, key: impl Into<String>, what: impl Into<String>) {
        if !holds {
            self.find(key, what);
        }
    }

    /// The same, in stable mode only.
    pub fn ensure_stable(&mut self, holds: bool, key: impl Into<String>, what: impl Into<String>) {
        self.ensure(holds || !self.mode.is_stable(), key, what);
    }

    /// The secret in the file that `variable` names; a finding when there is none.
    pub fn secret(&mut self, variable: &str, shape: Shape) -> Option<SecretString> {
        if self.environment.value(variable).is_none() {
            self.find(variable, "is not set; it names the file of a secret");
            return None;
        }
        self.optional_secret(variable, shape)
    }

    /// The same where `dev` may do without: a finding only in stable mode.
    pub fn secret_in_stable(&mut self, variable: &str, shape: Shape) -> Option<SecretString> {
        if self.environment.value(variable).is_none() && !self.mode.is_stable() {
            return None;
        }
        self.secret(variable, shape)
    }

    /// The same where every mode may do without.
    pub fn optional_secret(&mut self, variable: &str, shape: Shape) -> Option<SecretString> {
        let path = self.environment.value(variable)?;
        self.take(variable, secrets::read(path.as_ref(), shape, self.mode))
    }

    /// An issuer; `https` in stable mode.
    pub fn issuer(&mut self, key: &str, text: &str) -> Option<Issuer> {
        let issuer = self.take(key, Issuer::parse(text))?;
        self.ensure_stable(
            issuer.as_str().starts_with("https://"),
            key,
            "must be https",
        );
        Some(issuer)
    }

    /// A folder whose files must outlive the machine's memory and the container: in stable mode not
    /// on a filesystem that goes with either, unless the operator attests (a text that is not empty)
    /// that it is meant so.
    pub fn durable_path(&mut self, key: &str, path: &Path, attested: &str) {
        let ephemeral = attested
            .is_empty()
            .then(|| ephemeral_filesystem(path))
            .flatten();
        if let Some(kind) = ephemeral {
            self.ensure_stable(false, key, format!("lies on {kind}, which does not last"));
        }
    }

    /// Everything that was found.
    pub fn into_findings(self) -> Findings {
        self.findings
    }
}

/// The kind of filesystem that `path`, or what will hold it, lies on, if that does not last.
fn ephemeral_filesystem(path: &Path) -> Option<&'static str> {
    // statfs(2), `include/uapi/linux/magic.h`.
    const KINDS: [(u64, &str); 3] = [
        (0x0102_1994, "tmpfs"),
        (0x8584_58f6, "ramfs"),
        (0x794c_7630, "a container's overlay"),
    ];
    let there = path.ancestors().find(|folder| folder.exists())?;
    let magic = u64::try_from(rustix::fs::statfs(there).ok()?.f_type).ok()?;
    KINDS
        .iter()
        .find(|(known, _)| *known == magic)
        .map(|(_, kind)| *kind)
}
