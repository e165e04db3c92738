//! The steps that are one or two cargo commands.

use std::time::Instant;

use anyhow::Context as _;
use xshell::{Shell, cmd};

use crate::{test, tidy, wasm};

/// What the pure crates must build for.
pub(crate) const PURE: [&str; 3] = ["mandate", "policy", "ledger"];
const TARGETS: [&str; 2] = ["wasm32-wasip1", "wasm32-unknown-unknown"];

/// A step of `ci`.
type Step = (&'static str, fn(&Shell, &[String]) -> anyhow::Result<()>);

/// Runs every check in order and prints how long each took.
pub(crate) fn ci(shell: &Shell, _: &[String]) -> anyhow::Result<()> {
    let steps: [Step; 6] = [
        ("fmt", fmt),
        ("lint", lint),
        ("purity", purity),
        ("tidy", tidy::run),
        ("wasm", wasm::run),
        ("test", test::run),
    ];
    let mut times = Vec::new();
    for (name, step) in steps {
        println!("── {name}");
        let started = Instant::now();
        let outcome = step(shell, &[]);
        times.push((name, started.elapsed()));
        if name == "test" || outcome.is_err() {
            for (name, took) in &times {
                println!("{name:8} {:>6.1} s", took.as_secs_f64());
            }
        }
        outcome.with_context(|| format!("step `{name}` failed"))?;
    }
    Ok(())
}

/// Checks formatting; `--fix` writes it.
pub(crate) fn fmt(shell: &Shell, arguments: &[String]) -> anyhow::Result<()> {
    if arguments.iter().any(|argument| argument == "--fix") {
        cmd!(shell, "cargo fmt --all").run()?;
    } else {
        cmd!(shell, "cargo fmt --all -- --check").run()?;
    }
    Ok(())
}

/// Clippy over all targets, and over what exists inside a proxy's VM only.
pub(crate) fn lint(shell: &Shell, _: &[String]) -> anyhow::Result<()> {
    cmd!(
        shell,
        "cargo clippy --locked --workspace --all-targets --all-features -- -D warnings"
    )
    .run()?;
    targets(shell)?;
    cmd!(
        shell,
        "cargo clippy --locked -p filter-wasm --target wasm32-wasip1 -- -D warnings"
    )
    .run()?;
    Ok(())
}

/// The pure crates build where std's time and files do not exist.
pub(crate) fn purity(shell: &Shell, _: &[String]) -> anyhow::Result<()> {
    targets(shell)?;
    for target in TARGETS {
        let [mandate, policy, ledger] = PURE;
        cmd!(
            shell,
            "cargo check --locked --quiet --target {target} -p {mandate} -p {policy} -p {ledger}"
        )
        .run()?;
        println!("{target}: {mandate}, {policy}, {ledger}");
    }
    Ok(())
}

/// Installs the wasm targets where rustup does not do so by itself.
pub(crate) fn targets(shell: &Shell) -> anyhow::Result<()> {
    for target in TARGETS {
        cmd!(shell, "rustup target add {target}")
            .quiet()
            .ignore_stderr()
            .run()
            .with_context(|| format!("`rustup target add {target}` failed; install rustup"))?;
    }
    Ok(())
}
