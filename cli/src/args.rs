//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use serde::{Deserialize, Serialize};

/// An authority layer for agents and automated workloads, in front of anything Envoy can reach.
#[derive(Debug, Parser)]
#[command(name = "caracal", version, disable_help_subcommand = true)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) common: Common,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What every command takes.
#[derive(Debug, Clone, Args)]
pub(crate) struct Common {
    /// Print JSON on standard output: one document, or one a line for lists.
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// The folder that holds everything of a stack [default: `CARACAL_HOME`, else `~/.local/share/caracal`].
    #[arg(long, global = true, value_name = "DIR")]
    pub(crate) home: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Start the embedded stack, provision a sample zone, print what to try. Does nothing twice.
    Up(Up),
    /// Stop every process of the stack.
    Down(Down),
    /// Show endpoints, processes and whether the stack is ready.
    Status(Status),
    /// Walk through allowed, refused, revoked with real requests, find each decision in the ledger, and verify it.
    Demo,
    /// Mint and inspect mandates.
    #[command(subcommand)]
    Mandate(Mandate),
    /// Revoke: a session, an application, a mandate, a subject, a resource, a zone or a signing key.
    Revoke(Revoke),
    /// Search and verify the ledger.
    #[command(subcommand)]
    Audit(Audit),
    /// What the filter inside Envoy needs.
    #[command(subcommand)]
    Filter(Filter),
    /// Run one service in the foreground, from its configuration file.
    Serve(Serve),
    /// Restart what dies, until told to stop.
    #[command(hide = true)]
    Supervise,
}

#[derive(Debug, Args)]
pub(crate) struct Up {
    /// Shifts all ports: Envoy listens on N + 80 [default: 8000].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1024..=61000))]
    pub(crate) port_base: Option<u16>,
    /// Envoy's worker threads [default: 1].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
    pub(crate) workers: Option<u16>,
    /// How Envoy asks [default: filter].
    #[arg(long, value_enum)]
    pub(crate) attach: Option<Attach>,
    /// The filter's module [default: `caracal-filter.wasm` beside this program].
    #[arg(long, value_name = "FILE")]
    pub(crate) filter: Option<PathBuf>,
}

/// The ways in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Attach {
    /// The wasm filter, which asks for what it cannot decide.
    #[default]
    #[value(name = "filter")]
    Filter,
    /// Envoy's own `ext_authz` filter.
    #[value(name = "ext_authz")]
    ExtAuthz,
    /// Both on one listener.
    #[value(name = "both")]
    Both,
}

impl Attach {
    /// Whether our filter is on the listener.
    pub(crate) const fn has_filter(self) -> bool {
        matches!(self, Self::Filter | Self::Both)
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum Filter {
    /// Print the filter's configuration, for the proxy's own.
    Config {
        /// The attachment whose bindings may apply.
        #[arg(long, value_name = "A")]
        attachment: String,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Down {
    /// Remove the stack's data too.
    #[arg(long)]
    pub(crate) purge: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Status {
    /// Exit 1 unless the stack is ready.
    #[arg(long)]
    pub(crate) ready: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Mandate {
    /// Mint a mandate with an application of this stack.
    Mint(Mint),
    /// Say what a mandate carries and whether it verifies. It is read from standard input.
    Inspect {
        /// `-`: standard input, the only source: an argument would be seen by every process.
        #[arg(default_value = "-")]
        source: String,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Mint {
    /// The zone [default: the sample's].
    #[arg(long, value_name = "Z")]
    pub(crate) zone: Option<String>,
    /// The application's id or name [default: the zone's sample application].
    #[arg(long, value_name = "A")]
    pub(crate) app: Option<String>,
    /// A running session [default: a new one].
    #[arg(long, value_name = "S")]
    pub(crate) session: Option<String>,
    /// The resource's identifier [default: the sample's].
    #[arg(long, value_name = "R")]
    pub(crate) resource: Option<String>,
    /// A scope; repeatable [default: the sample's].
    #[arg(long, value_name = "S")]
    pub(crate) scope: Vec<String>,
    /// Lifetime, e.g. 90s or 5m.
    #[arg(long, value_name = "TTL", default_value = "5m", value_parser = crate::args::seconds)]
    pub(crate) ttl: u64,
    /// What the mandate is for.
    #[arg(long = "use", value_enum, default_value_t = Use::Resource)]
    pub(crate) usage: Use,
}

/// The classes of mandates.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Use {
    /// For a resource.
    Resource,
    /// For one use at a gateway.
    Gateway,
    /// For asking the STS.
    Session,
}

#[derive(Debug, Args)]
pub(crate) struct Revoke {
    /// What to revoke.
    #[arg(value_enum)]
    pub(crate) kind: Anchor,
    /// Its id: a UUID, a resource's identifier, a subject, or a key id.
    pub(crate) id: String,
    /// Why; kept as evidence.
    #[arg(long, default_value = "revoked by an operator")]
    pub(crate) reason: String,
    /// The zone [default: the sample's].
    #[arg(long, value_name = "Z")]
    pub(crate) zone: Option<String>,
    /// Return when every enforcement point has it.
    #[arg(long, value_enum)]
    pub(crate) wait: Option<Wait>,
}

/// What can be revoked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Anchor {
    /// One governed run.
    Session,
    /// An application: all its mandates, and no new ones until it is enabled.
    Application,
    /// One mandate, by its jti.
    Mandate,
    /// Everything on behalf of a subject so far.
    Subject,
    /// Everything for a resource so far.
    Resource,
    /// Everything in the zone so far.
    Zone,
    /// A signing key.
    Key,
}

impl Anchor {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Session => "session",
            Self::Application => "application",
            Self::Mandate => "mandate",
            Self::Subject => "subject",
            Self::Resource => "resource",
            Self::Zone => "zone",
            Self::Key => "key",
        }
    }
}

/// How far to wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Wait {
    /// Until every enforcement point has it.
    Everywhere,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Audit {
    /// Find events; newest last.
    Search(Search),
    /// Recompute every hash, link and signature. Exit 4 on tampering.
    Verify {
        /// One zone only.
        #[arg(long, value_name = "Z")]
        zone: Option<String>,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Search {
    /// The request's id as the proxy saw it.
    #[arg(long, value_name = "I")]
    pub(crate) request_id: Option<String>,
    /// Our id of a decision.
    #[arg(long, value_name = "I")]
    pub(crate) decision_id: Option<String>,
    /// A refusal code.
    #[arg(long, value_name = "C")]
    pub(crate) code: Option<String>,
    /// Since a time (RFC 3339), or a span ago such as 15m.
    #[arg(long, value_name = "T")]
    pub(crate) since: Option<String>,
    /// One zone only.
    #[arg(long, value_name = "Z")]
    pub(crate) zone: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Serve {
    /// Which service.
    #[arg(value_enum)]
    pub(crate) service: Served,
    /// Its configuration file; for `all`, a folder with `<service>.toml` and `<service>.env`.
    #[arg(long, value_name = "FILE")]
    pub(crate) config: PathBuf,
    /// Check the configuration and exit: 0 valid, 64 invalid.
    #[arg(long)]
    pub(crate) check: bool,
}

/// What `serve` can run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Served {
    /// The issuer.
    Sts,
    /// The enforcement point.
    ExtAuthz,
    /// The control plane.
    Coordinator,
    /// The ledger.
    Audit,
    /// The sample's echo server.
    Upstream,
    /// The four services, one child each; the configuration is a folder of theirs.
    All,
}

/// Parses a lifetime: a number with `s`, `m` or `h`.
pub(crate) fn seconds(text: &str) -> Result<u64, String> {
    let wrong = || format!("`{text}` is no lifetime; write it like 90s, 5m or 1h");
    let (number, unit) = text
        .split_at_checked(text.len().saturating_sub(1))
        .ok_or_else(wrong)?;
    let factor = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        _ => return Err(wrong()),
    };
    let number: u64 = number.parse().map_err(|_| wrong())?;
    number
        .checked_mul(factor)
        .filter(|seconds| (1..=86_400).contains(seconds))
        .ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory as _, Parser as _};

    use super::{Anchor, Attach, Audit, Cli, Command, Filter, Mandate, Served, Use, Wait, seconds};

    fn parse(line: &str) -> Cli {
        Cli::try_parse_from(line.split(' ')).unwrap()
    }

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_help_is_what_it_was() {
        let mut help = Cli::command().render_help().to_string();
        for name in ["up", "mandate", "revoke", "audit", "filter", "serve"] {
            let mut command = Cli::command();
            let command = command.find_subcommand_mut(name).unwrap();
            help = format!("{help}\n== {name}\n{}", command.render_help());
        }
        insta::assert_snapshot!(help);
    }

    #[test]
    fn a_lifetime_has_a_unit_and_a_bound() {
        assert_eq!(seconds("90s"), Ok(90));
        assert_eq!(seconds("5m"), Ok(300));
        assert_eq!(seconds("1h"), Ok(3600));
        for wrong in [
            "",
            "5",
            "m",
            "-1s",
            "0s",
            "25h",
            "5 m",
            "9999999999999999999h",
            "é",
        ] {
            assert!(seconds(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn every_command_of_the_contract_is_taken() {
        let up = parse(
            "caracal up --home /h --port-base 20000 --workers 4 --attach both --filter /f.wasm",
        );
        assert!(
            matches!(up.command, Command::Up(up) if up.attach == Some(Attach::Both) && up.port_base == Some(20_000))
        );
        assert!(matches!(
            parse("caracal status --json").command,
            Command::Status(_)
        ));
        assert!(matches!(parse("caracal demo").command, Command::Demo));
        assert!(matches!(parse("caracal down --purge").command, Command::Down(down) if down.purge));
        let mint = parse(
            "caracal mandate mint --zone z --app a --session s --resource r --scope x --scope y --ttl 5m --use gateway",
        );
        let Command::Mandate(Mandate::Mint(mint)) = mint.command else {
            panic!("no mint")
        };
        assert_eq!(
            (mint.scope, mint.ttl, mint.usage),
            (vec!["x".to_owned(), "y".to_owned()], 300, Use::Gateway)
        );
        assert!(matches!(
            parse("caracal mandate inspect -").command,
            Command::Mandate(Mandate::Inspect { .. })
        ));
        assert!(matches!(
            parse("caracal mandate inspect").command,
            Command::Mandate(Mandate::Inspect { .. })
        ));
        let search = parse(
            "caracal audit search --request-id i --decision-id i --code c --since 15m --zone z",
        );
        assert!(matches!(search.command, Command::Audit(Audit::Search(_))));
        assert!(matches!(
            parse("caracal filter config --attachment ingress").command,
            Command::Filter(Filter::Config { attachment }) if attachment == "ingress"
        ));
        assert!(matches!(
            parse("caracal audit verify --zone z").command,
            Command::Audit(Audit::Verify { .. })
        ));
        let serve = parse("caracal serve all --config /etc/caracal --check");
        assert!(
            matches!(serve.command, Command::Serve(serve) if serve.service == Served::All && serve.check)
        );
    }

    #[test]
    fn everything_that_can_be_revoked_is_named_as_the_contract_does() {
        for name in [
            "session",
            "application",
            "mandate",
            "subject",
            "resource",
            "zone",
            "key",
        ] {
            let parsed = parse(&format!("caracal revoke {name} id --wait everywhere"));
            let Command::Revoke(revoke) = parsed.command else {
                panic!("no revocation")
            };
            assert_eq!(
                (revoke.kind.name(), revoke.wait),
                (name, Some(Wait::Everywhere))
            );
        }
        assert_eq!(Anchor::Key.name(), "key");
    }

    #[test]
    fn what_makes_no_sense_ends_with_2() {
        for line in [
            "caracal",
            "caracal revoke session",
            "caracal up --workers 0",
            "caracal serve sts",
            "caracal mandate mint --ttl 5",
        ] {
            assert_eq!(
                Cli::try_parse_from(line.split(' '))
                    .unwrap_err()
                    .exit_code(),
                2,
                "{line}"
            );
        }
    }
}
