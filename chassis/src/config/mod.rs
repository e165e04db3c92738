//! Configuration: one TOML file, one small table of environment variables, and all findings at
//! once.

mod checks;
mod environment;
mod findings;
mod mode;
mod period;
mod producers;
mod published;
mod read;
mod sections;
#[cfg(test)]
mod tests;

use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;

pub use checks::Checks;
pub use environment::Environment;
pub use findings::{Finding, Findings};
pub use mode::Mode;
pub use period::Period;
pub use producers::{RawProducer, RawSigner};
pub use sections::{
    Database, Http, Ops, RawDatabase, RawHttp, RawOps, RawRedis, Redis, Role, Tls, is_local,
};

/// The file of one service, as written. Its field documentation is the manual.
pub trait Raw: DeserializeOwned + Serialize {
    /// What it becomes: types that cannot be wrong.
    type Config: Send + 'static;

    /// The service's name, as processes, metrics and logs carry it.
    const SERVICE: &'static str;

    /// Checks what no single field can show, takes what comes from the environment, and reports
    /// everything it finds to `checks`. `None` only after a finding.
    fn resolve(self, checks: &mut Checks<'_>) -> Option<Self::Config>;

    /// The filter for log lines, in the form of `tracing_subscriber::EnvFilter`; `info` if none.
    fn log(&self) -> Option<&str> {
        None
    }

    /// How long requests may take to finish when the process is asked to end.
    fn drain(&self) -> Period {
        Period::from_secs(20)
    }
}

/// A configuration that is fit to run with.
#[derive(Debug)]
pub struct Loaded<C> {
    /// The service's own.
    pub config: C,
    /// The mode of the process.
    pub mode: Mode,
    /// The filter for log lines.
    pub log: String,
    /// How long requests may take to finish when the process is asked to end.
    pub drain: std::time::Duration,
}

/// Reads, checks and resolves the file at `path` with the environment of the process.
pub fn load<R: Raw>(path: &Path) -> Result<Loaded<R::Config>, Findings> {
    load_with::<R>(path, &Environment::of_process())
}

/// The same with a given environment.
pub fn load_with<R: Raw>(
    path: &Path,
    environment: &Environment,
) -> Result<Loaded<R::Config>, Findings> {
    match std::fs::read_to_string(path) {
        Ok(text) => resolve::<R>(&text, environment),
        Err(error) => {
            let mut findings = Findings::default();
            findings.add(
                path.display().to_string(),
                format!("cannot be read: {error}"),
            );
            Err(findings)
        }
    }
}

/// The same for a text.
pub fn resolve<R: Raw>(
    text: &str,
    environment: &Environment,
) -> Result<Loaded<R::Config>, Findings> {
    let (raw, findings) = read::read::<R>(text);
    let mut checks = Checks::new(environment, findings);
    let Some(raw) = raw else {
        return Err(checks.into_findings());
    };
    let log = raw.log().unwrap_or("info").to_owned();
    if let Err(error) = log.parse::<tracing_subscriber::EnvFilter>() {
        checks.find("log", format!("is not a log filter: {error}"));
    }
    published::refuse(&raw, &mut checks);
    let drain = raw.drain().into();
    let mode = checks.mode();
    let config = raw.resolve(&mut checks);
    let mut findings = checks.into_findings();
    match config {
        Some(config) if findings.is_empty() => Ok(Loaded {
            config,
            mode,
            log,
            drain,
        }),
        Some(_) => Err(findings),
        None => {
            if findings.is_empty() {
                findings.add("(file)", "was refused without a reason");
            }
            Err(findings)
        }
    }
}

/// The fields of `R` that `text` does not mention, for the test of a full sample file: every field
/// that serialising the parsed file shows must stand in the file.
pub fn unmentioned<R: Raw>(text: &str) -> Result<Vec<String>, Findings> {
    let (raw, findings) = read::read::<R>(text);
    let Some(raw) = raw.filter(|_| findings.is_empty()) else {
        return Err(findings);
    };
    let failed = |what: String| {
        let mut findings = Findings::default();
        findings.add("(file)", what);
        findings
    };
    let written: toml::Table = toml::from_str(text).map_err(|error| failed(error.to_string()))?;
    let all = toml::Value::try_from(&raw).map_err(|error| failed(error.to_string()))?;
    let mut missing = Vec::new();
    compare("", &all, Some(&toml::Value::Table(written)), &mut missing);
    Ok(missing)
}

fn compare(
    path: &str,
    all: &toml::Value,
    written: Option<&toml::Value>,
    missing: &mut Vec<String>,
) {
    match (all, written) {
        (_, None) => missing.push(path.to_owned()),
        (toml::Value::Table(all), Some(written)) => {
            for (key, value) in all {
                let path = read::join(path, key);
                compare(&path, value, written.get(key), missing);
            }
        }
        (toml::Value::Array(all), Some(written)) => {
            for (index, value) in all.iter().enumerate() {
                compare(
                    &format!("{path}[{index}]"),
                    value,
                    written.get(index),
                    missing,
                );
            }
        }
        _ => {}
    }
}
