//! `caracal serve`: one service in the foreground.

use std::process::ExitCode;

use chassis::{ServeArgs, main_of};

use crate::args::{Serve, Served};
use crate::upstream;

pub(crate) fn run(arguments: Serve) -> ExitCode {
    let serve = ServeArgs { config: arguments.config, check: arguments.check };
    match arguments.service {
        Served::Sts => main_of::<sts::RawConfig, _, _>(serve, sts::run),
        Served::ExtAuthz => main_of::<ext_authz::RawConfig, _, _>(serve, ext_authz::run),
        Served::Coordinator => main_of::<coordinator::RawConfig, _, _>(serve, coordinator::run),
        Served::Audit => main_of::<audit::RawConfig, _, _>(serve, audit::run),
        Served::Upstream => upstream::run(&serve.config),
    }
}
