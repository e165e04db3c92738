//! The repository's automation: `cargo xtask` lists the commands.
//!
//! Not here: anything a user of the product runs (`cli`).
#![forbid(unsafe_code)]
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a developer's command: it talks to the terminal"
)]

mod demo;
mod generate;
mod steps;
mod supply;
mod test;
mod tidy;
mod wasm;

use std::process::ExitCode;

use anyhow::{Context as _, bail};
use xshell::Shell;

/// One command: its name, what it does, and the function that does it.
struct Command {
    name: &'static str,
    does: &'static str,
    run: fn(&Shell, &[String]) -> anyhow::Result<()>,
}

const COMMANDS: &[Command] = &[
    Command {
        name: "ci",
        does: "fmt, lint, purity, tidy, wasm, test: in this order, stopping at the first failure",
        run: steps::ci,
    },
    Command {
        name: "fmt",
        does: "check formatting (`fmt --fix` writes it)",
        run: steps::fmt,
    },
    Command {
        name: "lint",
        does: "clippy over everything, warnings denied",
        run: steps::lint,
    },
    Command {
        name: "purity",
        does: "check that the pure crates build where time and files do not exist",
        run: steps::purity,
    },
    Command {
        name: "tidy",
        does: "check the rules of the house: dependencies, sources, migrations, documents",
        run: tidy::run,
    },
    Command {
        name: "wasm",
        does: "build the wasm modules, print size and imports, refuse a new import",
        run: wasm::run,
    },
    Command {
        name: "test",
        does: "start PostgreSQL and Valkey, run all tests (`test FILTER` runs some)",
        run: test::run,
    },
    Command {
        name: "sqlx",
        does: "refresh the committed descriptions of SQL queries",
        run: generate::sqlx,
    },
    Command {
        name: "gen",
        does: "regenerate docs/errors.md, docs/openapi/coordinator.json and the migrations' checksums",
        run: generate::run,
    },
    Command {
        name: "demo",
        does: "build `caracal`, `caracal up`, `caracal demo` (arguments after `--` go to `up`)",
        run: demo::demo,
    },
    Command {
        name: "up",
        does: "build `caracal`, `caracal up`",
        run: demo::up,
    },
    Command {
        name: "supply",
        does: "advisories, licences, bans and sources (needs cargo-deny and cargo-audit)",
        run: supply::run,
    },
    Command {
        name: "drill",
        does: "bring whole stacks up and put them through failures (`drill NAME` runs one)",
        run: demo::drill,
    },
    Command {
        name: "bench",
        does: "build in release and run the benchmarks against a real stack",
        run: demo::bench,
    },
];

fn main() -> ExitCode {
    match dispatch() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn dispatch() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let Some(name) = arguments.next() else {
        for command in COMMANDS {
            println!("{:8} {}", command.name, command.does);
        }
        return Ok(());
    };
    let rest: Vec<String> = arguments.filter(|argument| argument != "--").collect();
    let Some(command) = COMMANDS.iter().find(|command| command.name == name) else {
        bail!("no command `{name}`; `cargo xtask` lists them");
    };
    let shell = Shell::new().context("finding the working directory")?;
    shell.change_dir(root());
    (command.run)(&shell, &rest)
}

/// The workspace's root.
fn root() -> std::path::PathBuf {
    let manifest = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    manifest.parent().unwrap_or(manifest).to_path_buf()
}
