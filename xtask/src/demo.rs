//! Builds `caracal` in release, with the filter beside it, and runs it.

use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context as _, bail};
use xshell::{Shell, cmd};

use crate::{steps, wasm};

/// Builds, brings the stack up, walks through the demo.
pub(crate) fn demo(shell: &Shell, arguments: &[String]) -> anyhow::Result<()> {
    let started = Instant::now();
    let caracal = build(shell)?;
    cmd!(shell, "{caracal} up {arguments...}").run()?;
    println!("up after {:.0} s", started.elapsed().as_secs_f64());
    let home = &home(arguments);
    cmd!(shell, "{caracal} demo {home...}").run()?;
    println!(
        "demo after {:.0} s; the stack keeps running: `{}` ends it",
        started.elapsed().as_secs_f64(),
        cmd!(shell, "{caracal} down {home...}")
    );
    Ok(())
}

/// Builds and brings the stack up.
pub(crate) fn up(shell: &Shell, arguments: &[String]) -> anyhow::Result<()> {
    let caracal = build(shell)?;
    cmd!(shell, "{caracal} up {arguments...}").run()?;
    Ok(())
}

/// Builds in release and runs the load driver; its arguments are passed on.
pub(crate) fn bench(shell: &Shell, arguments: &[String]) -> anyhow::Result<()> {
    let _caracal = shell.push_env("CARACAL_BIN", build(shell)?);
    cmd!(
        shell,
        "cargo run --locked --release -p bench -- {arguments...}"
    )
    .run()?;
    Ok(())
}

/// Builds `caracal` and runs the end-to-end drills, or the named ones.
pub(crate) fn drill(shell: &Shell, arguments: &[String]) -> anyhow::Result<()> {
    let _caracal = shell.push_env("CARACAL_BIN", build(shell)?);
    let all = [
        "demo",
        "fail_closed",
        "freshness",
        "crash",
        "cases",
        "corpus",
        "chaos",
        "everywhere",
        "streams",
        "memory",
    ];
    let all = all.map(str::to_owned);
    let names: &[String] = if arguments.is_empty() {
        &all
    } else {
        arguments
    };
    for name in names {
        cmd!(
            shell,
            "cargo test --locked -p e2e --test {name} -- --nocapture --test-threads 1"
        )
        .run()?;
    }
    Ok(())
}

fn build(shell: &Shell) -> anyhow::Result<PathBuf> {
    cmd!(shell, "cargo build --locked --release -p cli").run()?;
    let target = std::env::var_os("CARGO_TARGET_DIR")
        .map_or_else(|| crate::root().join("target"), PathBuf::from);
    let caracal = target.join("release/caracal");
    if !caracal.exists() {
        bail!("the build left no {}", caracal.display());
    }
    // Where `caracal up` looks for it: beside itself.
    steps::targets(shell)?;
    let filter = wasm::build(shell, "filter-wasm", "wasm32-wasip1")?;
    let beside = caracal.with_file_name("caracal-filter.wasm");
    std::fs::copy(&filter, &beside)
        .with_context(|| format!("copying {} to {}", filter.display(), beside.display()))?;
    Ok(caracal)
}

/// What of `up`'s arguments names the stack.
fn home(arguments: &[String]) -> Vec<String> {
    let mut found = Vec::new();
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        if argument == "--home" {
            found.push(argument.clone());
            found.extend(rest.next().cloned());
        } else if argument.starts_with("--home=") {
            found.push(argument.clone());
        }
    }
    found
}
