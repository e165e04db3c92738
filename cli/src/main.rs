//! The one binary, `caracal`: operator commands, and `caracal serve SERVICE`.
//!
//! Not here: what the services do. `docs/cli.md` is what scripts rely on.
#![forbid(unsafe_code)]

mod args;
mod command;
mod http;
mod outcome;
#[cfg(test)]
mod samples;
mod stack;
mod upstream;

use std::process::ExitCode;

use clap::Parser as _;

use crate::args::{Cli, Command};
use crate::outcome::{Outcome, Printer};

fn main() -> ExitCode {
    let cli = Cli::parse();
    let printer = Printer {
        json: cli.common.json,
    };
    // A service has a runtime and exit codes of its own.
    if let Command::Serve(arguments) = cli.command {
        return command::serve::run(arguments);
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => {
            printer.failure(&error.into());
            return ExitCode::FAILURE;
        }
    };
    match runtime.block_on(dispatch(&cli.common, &cli.command)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            printer.failure(&failure);
            ExitCode::from(failure.exit.code())
        }
    }
}

async fn dispatch(common: &args::Common, command: &Command) -> Outcome<()> {
    match command {
        Command::Up(arguments) => command::up::run(common, arguments).await,
        Command::Down(arguments) => command::down::run(common, arguments),
        Command::Status(arguments) => command::status::run(common, arguments).await,
        Command::Demo => command::demo::run(common).await,
        Command::Mandate(arguments) => command::mandate::run(common, arguments).await,
        Command::Revoke(arguments) => command::revoke::run(common, arguments).await,
        Command::Audit(arguments) => command::audit::run(common, arguments).await,
        Command::Filter(arguments) => command::filter::run(common, arguments).await,
        Command::Supervise => command::supervise::run(common).await,
        // `main` has run it.
        Command::Serve(_) => Ok(()),
    }
}
