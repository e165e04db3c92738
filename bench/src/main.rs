//! The load driver: variants interleaved in one run, CPU from the processes themselves, medians, ratios.
//!
//! `bench/README.md` states machine, method, and what the numbers do not show.
#![forbid(unsafe_code)]
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::disallowed_methods,
    clippy::cast_precision_loss,
    clippy::indexing_slicing,
    reason = "a measuring program: it talks to the terminal, reads the clock, and divides counts"
)]

mod compare;
mod envoy;
mod load;
mod machine;
mod noop;
mod opa;
mod render;
mod revocation;
mod statistics;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use serde_json::{Value, json};

fn main() -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("bench: {error}");
            return ExitCode::FAILURE;
        }
    };
    match runtime.block_on(run()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run() -> anyhow::Result<()> {
    let wanted: Vec<String> = std::env::args().skip(1).collect();
    if let [flag, port] = wanted.as_slice()
        && let Some(whole) = compare::NOOPS.iter().find(|noop| noop.flag == flag)
    {
        return noop::serve(port.parse().context("a port")?, whole.whole).await;
    }
    let arguments = Arguments::of(wanted)?;
    let wants =
        |name: &str| arguments.parts.is_empty() || arguments.parts.iter().any(|part| part == name);
    let mut results = json!({ "machine": machine::facts(), "commit": machine::commit() });
    if wants("compare") {
        results["compare"] = compare::run(&arguments).await?;
    }
    if wants("revocation") {
        results["revocation"] = revocation::run().await?;
    }
    if !arguments.only.is_empty() {
        // A part of the table is for looking at, not for keeping.
        println!("{}", render::table(&results));
        return Ok(());
    }
    write(&results)
}

/// What is asked for.
#[derive(Debug, Default)]
struct Arguments {
    /// Parts of the benchmark; none are all.
    parts: Vec<String>,
    /// `--only A,B`: these variants of `compare` alone. Such results are shown and not kept.
    only: Vec<String>,
    /// `--opa FILE`: an opa-envoy-plugin to compare with.
    opa: Option<PathBuf>,
}

impl Arguments {
    fn of(words: Vec<String>) -> anyhow::Result<Self> {
        let mut arguments = Self::default();
        let mut words = words.into_iter();
        while let Some(word) = words.next() {
            match word.as_str() {
                "--only" => {
                    let names = words.next().context("--only wants names: --only A,B")?;
                    arguments.only = names.split(',').map(str::to_owned).collect();
                }
                "--opa" => {
                    let file = words.next().context("--opa wants a file")?;
                    arguments.opa = Some(file.into());
                }
                "compare" | "revocation" => arguments.parts.push(word),
                _ => bail!("{word:?} is no part: there are `compare` and `revocation`"),
            }
        }
        Ok(arguments)
    }
}

/// Writes `bench/results/<date>-<commit>.json`, and a table and a plot of it beside it.
fn write(results: &Value) -> anyhow::Result<()> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("results");
    std::fs::create_dir_all(&folder).context("making bench/results")?;
    let name = format!(
        "{}-{}",
        machine::date(),
        results["commit"].as_str().unwrap_or("unknown")
    );
    let table = render::table(results);
    println!("{table}");
    for (kind, text) in [
        (
            "json",
            format!("{}\n", serde_json::to_string_pretty(results)?),
        ),
        ("md", table),
        ("svg", render::plot(results)),
    ] {
        let name = format!("{name}.{kind}");
        std::fs::write(folder.join(&name), text).context("writing the results")?;
        println!("bench/results/{name}");
    }
    Ok(())
}
