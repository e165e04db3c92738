//! `caracal serve`: one service in the foreground, or one child for each.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, ExitCode};
use std::time::Duration;

use anyhow::{Context as _, bail};
use chassis::{ServeArgs, main_of};
use rustix::process::Signal;
use tokio::signal::unix::{SignalKind, signal};

use crate::args::{Serve, Served};
use crate::stack::keep::Kept;
use crate::upstream;

/// The services, in the order they are started.
const ALL: [&str; 4] = ["coordinator", "sts", "audit", "ext-authz"];
/// Invalid configuration, as the services say it.
const INVALID: u8 = 64;

pub(crate) fn run(arguments: Serve) -> ExitCode {
    let serve = ServeArgs {
        config: arguments.config,
        check: arguments.check,
    };
    match arguments.service {
        Served::Sts => main_of::<sts::RawConfig, _, _>(serve, sts::run),
        Served::ExtAuthz => main_of::<ext_authz::RawConfig, _, _>(serve, ext_authz::run),
        Served::Coordinator => main_of::<coordinator::RawConfig, _, _>(serve, coordinator::run),
        Served::Audit => main_of::<audit::RawConfig, _, _>(serve, audit::run),
        Served::Upstream => told(upstream::run(&serve)),
        Served::All => told(all(&serve)),
    }
}

fn told(ended: anyhow::Result<u8>) -> ExitCode {
    match ended {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            let _ = writeln!(std::io::stderr().lock(), "caracal serve: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// One child a service, so that roles and keys stay apart. The configuration is a folder: `<service>.toml`, and
/// `<service>.env` with what of the environment is that service's own, `NAME=value` a line.
fn all(serve: &ServeArgs) -> anyhow::Result<u8> {
    if serve.check {
        return check_all(&serve.config);
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut children = Vec::new();
        for name in ALL {
            let folder = serve.config.clone();
            let make = Box::new(move || child(&folder, name, false));
            children.push(Kept::start(name, make, Signal::TERM)?);
        }
        loop {
            tokio::select! {
                _ = terminate.recv() => break,
                _ = interrupt.recv() => break,
                () = tokio::time::sleep(Duration::from_millis(50)) => {
                    for kept in &mut children {
                        kept.look_after();
                    }
                }
            }
        }
        for kept in children.iter_mut().rev() {
            kept.end().await;
        }
        Ok(0)
    })
}

/// Checks every configuration; says what is wrong with each.
fn check_all(folder: &Path) -> anyhow::Result<u8> {
    let mut code = 0;
    for name in ALL {
        let status = child(folder, name, true)?
            .status()
            .with_context(|| format!("checking {name}"))?;
        if !status.success() {
            code = INVALID;
        }
    }
    Ok(code)
}

fn child(folder: &Path, name: &str, check: bool) -> anyhow::Result<Command> {
    let mut command = Command::new(std::env::current_exe().context("finding this program")?);
    command
        .args(["serve", name, "--config"])
        .arg(folder.join(format!("{name}.toml")));
    if check {
        command.arg("--check");
    }
    let own = folder.join(format!("{name}.env"));
    match std::fs::read_to_string(&own) {
        Ok(text) => {
            command.envs(variables(&text).with_context(|| format!("reading {}", own.display()))?);
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => return Err(error).with_context(|| format!("reading {}", own.display())),
    }
    Ok(command)
}

/// The variables of an environment file. Values are taken as they stand.
fn variables(text: &str) -> anyhow::Result<Vec<(String, String)>> {
    let mut found = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        match line.split_once('=') {
            Some((name, value)) if !name.is_empty() => {
                found.push((name.to_owned(), value.to_owned()));
            }
            Some(_) | None => bail!("line {number} is not NAME=value"),
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::variables;

    #[test]
    fn an_environment_file_has_a_variable_a_line() {
        let read =
            variables("# of the STS\nA=b\n\nDATABASE_URL=postgres:///c?host=/run\n").unwrap();
        let expected = [("A", "b"), ("DATABASE_URL", "postgres:///c?host=/run")];
        assert_eq!(
            read,
            expected.map(|(name, value)| (name.to_owned(), value.to_owned()))
        );
    }

    #[test]
    fn a_line_that_is_no_variable_is_named() {
        assert_eq!(
            variables("A=b\nC").unwrap_err().to_string(),
            "line 2 is not NAME=value"
        );
        assert!(variables("=b").is_err());
    }
}
