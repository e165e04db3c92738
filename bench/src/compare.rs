//! Ours in each of its ways beside what Envoy has itself, behind the same Envoy, in interleaved rounds.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use e2e::{Options, Stack};
use serde_json::{Value, json};

use crate::envoy::{Ours, Way, bootstrap};
use crate::opa::Opa;
use crate::{Arguments, load, machine, revocation, statistics};

const ROUNDS: usize = 7;
const ROUND: Duration = Duration::from_secs(3);
/// Enough that the journal's disk is waited for together, and throughput is a matter of CPU.
const CONNECTIONS: usize = 256;

/// A no-op authorizer: the variant's name, the flag that it is started with, and whether it answers as much as ours.
pub(crate) struct Noop {
    name: &'static str,
    pub(crate) flag: &'static str,
    pub(crate) whole: bool,
}

pub(crate) const NOOPS: [Noop; 2] = [
    Noop {
        name: "noop_check",
        flag: "--serve-noop",
        whole: false,
    },
    Noop {
        name: "noop_answer",
        flag: "--serve-noop-answer",
        whole: true,
    },
];

struct Variant {
    name: &'static str,
    port: u16,
    envoy: Child,
    /// The process that answers the Check.
    authorizer: Option<u32>,
    rounds: Vec<Measured>,
}

struct Measured {
    per_second: f64,
    p50_us: f64,
    p99_us: f64,
    envoy_us: f64,
    authorizer_us: f64,
    /// What keeps the evidence: PostgreSQL, Valkey, coordinator and audit.
    ledger_us: f64,
    others: u64,
}

impl Drop for Variant {
    fn drop(&mut self) {
        let _ = self.envoy.kill();
        let _ = self.envoy.wait();
    }
}

/// Runs the rounds and gives medians and ratios.
pub(crate) async fn run(arguments: &Arguments) -> anyhow::Result<Value> {
    let stack = Stack::start(&Options::default());
    let pid = |name: &str| u32::try_from(stack.pid(name).as_raw_nonzero().get());
    let ours = pid("ext-authz")?;
    let ledger = ["postgres", "valkey", "coordinator", "audit"].map(pid);
    let ledger = ledger.into_iter().collect::<Result<Vec<_>, _>>()?;
    let mut noops = Vec::new();
    for noop in NOOPS {
        let port = free_port()?;
        let child = Command::new(std::env::current_exe()?)
            .args([noop.flag, &port.to_string()])
            .spawn()?;
        noops.push((noop.name, port, Authorizer(child)));
    }
    let folder = tempfile::tempdir()?;
    let attachment = attachment(&stack)?;
    let minted = stack.mint_sample();
    let facts = Facts::of(&stack, &minted).await?;
    let mut ways = ways(&stack, &attachment, &noops, &facts, folder.path())?;
    let opa_port = free_port()?;
    let opa = match &arguments.opa {
        Some(binary) => {
            ways.push(("opa", Way::ExtAuthzJoined(opa_port)));
            let ports = (opa_port, free_port()?);
            let allow = stack.sample("allow");
            Some(Opa::start(binary, ports, &facts, allow, folder.path())?)
        }
        None => None,
    };
    let ways = wanted(ways, &arguments.only)?;
    let mut variants = Vec::new();
    for (name, way) in ways {
        let authorizer = match (name, &way) {
            ("opa", _) => opa.as_ref().map(Opa::pid),
            (_, Way::ExtAuthz(_) | Way::Filter(_) | Way::Both(_)) => Some(ours),
            _ => None,
        };
        let noop = noops.iter().find(|(known, ..)| *known == name);
        let authorizer = noop.map(|(_, _, noop)| noop.0.id()).or(authorizer);
        variants.push(variant(name, &way, authorizer, &attachment, folder.path())?);
    }
    let allow = stack.sample("allow");
    let text = |name: &str| allow[name].as_str().unwrap_or_default();
    let request = load::request(
        text("method"),
        text("host"),
        text("path"),
        minted["mandate"].as_str().context("a mandate")?,
    );
    rounds(&mut variants, &request, &ledger).await?;
    let report = report(&variants);
    println!("{report:#}");
    Ok(report)
}

/// The no-op authorizer; dropped, it ends.
struct Authorizer(Child);

impl Drop for Authorizer {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The variants that are asked for; all where none is.
fn wanted(
    mut ways: Vec<(&'static str, Way)>,
    only: &[String],
) -> anyhow::Result<Vec<(&'static str, Way)>> {
    for name in only {
        let names: Vec<&str> = ways.iter().map(|(name, _)| *name).collect();
        ensure!(
            names.contains(&name.as_str()),
            "there is no variant {name:?}, only {}; `opa` wants --opa FILE",
            names.join(", ")
        );
    }
    ways.retain(|(name, _)| only.is_empty() || only.iter().any(|wanted| wanted == name));
    Ok(ways)
}

/// What others need to know to check a mandate.
pub(crate) struct Facts {
    pub(crate) claims: Value,
    pub(crate) jwks: String,
}

impl Facts {
    async fn of(stack: &Stack, minted: &Value) -> anyhow::Result<Self> {
        let path = format!("/z/{}/jwks.json", stack.zone());
        let (status, jwks) = stack.client("sts").json("GET", &path, "", None).await;
        ensure!(status == 200, "the key set answered {status}");
        Ok(Self {
            claims: minted["claims"].clone(),
            jwks: jwks.to_string(),
        })
    }
}

/// What is compared, each with its name.
fn ways(
    stack: &Stack,
    attachment: &str,
    noops: &[(&'static str, u16, Authorizer)],
    facts: &Facts,
    folder: &Path,
) -> anyhow::Result<Vec<(&'static str, Way)>> {
    let noop_module = folder.join("noop.wasm");
    std::fs::write(&noop_module, wat::parse_str(include_str!("noop.wat"))?)?;
    let issuer = facts.claims["iss"]
        .as_str()
        .context("an issuer")?
        .to_owned();
    let jwks = facts.jwks.clone();
    let module = std::env::current_exe()?.with_file_name("caracal-filter.wasm");
    ensure!(
        module.exists(),
        "{} is missing; `cargo xtask bench` makes it",
        module.display()
    );
    let ours = Ours {
        module,
        configuration: stack
            .ok(&["filter", "config", "--attachment", attachment])
            .json(),
        port: revocation::port(stack, "ext_authz")?,
    };
    let mut ways = vec![
        ("plain", Way::Plain),
        ("noop_wasm", Way::NoopWasm(noop_module)),
        ("jwt_authn", Way::JwtAuthn { issuer, jwks }),
    ];
    ways.extend(
        noops
            .iter()
            .map(|(name, port, _)| (*name, Way::ExtAuthz(*port))),
    );
    ways.extend([
        ("ext_authz", Way::ExtAuthz(ours.port)),
        ("filter", Way::Filter(ours.clone())),
        ("both", Way::Both(ours)),
    ]);
    Ok(ways)
}

/// Warms every variant up, then measures them in turn.
async fn rounds(variants: &mut [Variant], request: &[u8], ledger: &[u32]) -> anyhow::Result<()> {
    for variant in variants.iter() {
        wait_for(variant.port, request).await?;
        load::run(
            variant.port,
            request,
            CONNECTIONS,
            Duration::from_secs(1),
            200,
        )
        .await?;
    }
    for round in 0..ROUNDS {
        for variant in variants.iter_mut() {
            let measured = measure(variant, request, ledger).await?;
            println!(
                "round {round} {:12} {:8.0}/s, CPU µs: Envoy {:.0}, authorizer {:.0}, ledger {:.0}",
                variant.name,
                measured.per_second,
                measured.envoy_us,
                measured.authorizer_us,
                measured.ledger_us
            );
            variant.rounds.push(measured);
        }
    }
    Ok(())
}

fn variant(
    name: &'static str,
    way: &Way,
    authorizer: Option<u32>,
    attachment: &str,
    folder: &Path,
) -> anyhow::Result<Variant> {
    let (port, admin) = (free_port()?, free_port()?);
    let file = folder.join(format!("{name}.json"));
    std::fs::write(
        &file,
        serde_json::to_vec_pretty(&bootstrap(port, admin, way, attachment))?,
    )?;
    let tools = engines::install()?;
    let envoy = Command::new(&tools.envoy)
        .arg("-c")
        .arg(&file)
        .args([
            "--concurrency",
            "1",
            "--disable-hot-restart",
            "--log-level",
            "error",
        ])
        .stdout(Stdio::null())
        .spawn()
        .context("starting Envoy")?;
    Ok(Variant {
        name,
        port,
        envoy,
        authorizer,
        rounds: Vec::new(),
    })
}

async fn measure(variant: &Variant, request: &[u8], ledger: &[u32]) -> anyhow::Result<Measured> {
    let cpu = || {
        (
            machine::cpu_us(variant.envoy.id()),
            variant.authorizer.map_or(0, machine::cpu_us),
            ledger.iter().copied().map(machine::family_us).sum::<u64>(),
        )
    };
    let before = cpu();
    let round = load::run(variant.port, request, CONNECTIONS, ROUND, 200).await?;
    let after = cpu();
    let requests = round.requests as f64;
    Ok(Measured {
        per_second: requests / round.seconds,
        p50_us: statistics::percentile(&round.latencies_us, 0.5),
        p99_us: statistics::percentile(&round.latencies_us, 0.99),
        envoy_us: after.0.saturating_sub(before.0) as f64 / requests,
        others: round.others,
        authorizer_us: after.1.saturating_sub(before.1) as f64 / requests,
        ledger_us: after.2.saturating_sub(before.2) as f64 / requests,
    })
}

fn report(variants: &[Variant]) -> Value {
    let median = |variant: &Variant, of: fn(&Measured) -> f64| {
        statistics::median(&variant.rounds.iter().map(of).collect::<Vec<_>>())
    };
    let mut rows = Vec::new();
    for variant in variants {
        rows.push(json!({
            "variant": variant.name,
            "requests_per_second": median(variant, |measured| measured.per_second).round(),
            "answers_of_another_status": variant.rounds.iter().map(|measured| measured.others).sum::<u64>(),
            "p50_us": median(variant, |measured| measured.p50_us).round(),
            "p99_us": median(variant, |measured| measured.p99_us).round(),
            "envoy_cpu_us": statistics::rounded(median(variant, |measured| measured.envoy_us)),
            "authorizer_cpu_us": statistics::rounded(median(variant, |measured| measured.authorizer_us)),
            "ledger_cpu_us": statistics::rounded(median(variant, |measured| measured.ledger_us)),
        }));
    }
    let figure = |name: &str, field: &str| {
        rows.iter()
            .find(|row| row["variant"] == name)
            .and_then(|row| row[field].as_f64())
            // Not measured: no ratio either.
            .unwrap_or(f64::NAN)
    };
    let ratio = |one: &str, other: &str| {
        statistics::rounded(
            figure(one, "requests_per_second") / figure(other, "requests_per_second"),
        )
    };
    let share = |field| statistics::rounded(figure("opa", field) / figure("ext_authz", field));
    let above =
        figure("ext_authz", "authorizer_cpu_us") - figure("noop_check", "authorizer_cpu_us");
    json!({
        "rounds": ROUNDS,
        "connections": CONNECTIONS,
        "variants": rows,
        "throughput": {
            "ext_authz to noop_check": ratio("ext_authz", "noop_check"),
            "filter to noop_check": ratio("filter", "noop_check"),
            "both to noop_check": ratio("both", "noop_check"),
            "noop_answer to noop_check": ratio("noop_answer", "noop_check"),
            "ext_authz to noop_answer": ratio("ext_authz", "noop_answer"),
            "filter to noop_answer": ratio("filter", "noop_answer"),
            "filter to jwt_authn": ratio("filter", "jwt_authn"),
            "filter to noop_wasm": ratio("filter", "noop_wasm"),
            "ext_authz to opa": ratio("ext_authz", "opa"),
        },
        "opa_to_ext_authz": {
            "authorizer_cpu": share("authorizer_cpu_us"),
            "p99": share("p99_us"),
        },
        "authorizer_cpu_us_above_noop_check": statistics::rounded(above),
    })
}

async fn wait_for(port: u16, request: &[u8]) -> anyhow::Result<()> {
    let deadline = Instant::now() + Duration::from_secs(15);
    loop {
        let tried = load::run(port, request, 1, Duration::from_millis(5), 200).await;
        match tried {
            Ok(round) if round.requests > 0 => return Ok(()),
            Ok(_) => {}
            Err(error) if Instant::now() > deadline => return Err(error),
            Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    }
}

/// The attachment of the stack's own listener: the first one ext-authz knows.
fn attachment(stack: &Stack) -> anyhow::Result<String> {
    let pid = stack.pid("ext-authz").as_raw_nonzero();
    let arguments = std::fs::read(format!("/proc/{pid}/cmdline"))?;
    let arguments: Vec<String> = arguments
        .split(|byte| *byte == 0)
        .map(|part| String::from_utf8_lossy(part).into_owned())
        .collect();
    let at = arguments
        .iter()
        .position(|part| part == "--config")
        .context("ext-authz runs without --config")?;
    let text = std::fs::read_to_string(arguments.get(at + 1).context("a path after --config")?)?;
    let (_, section) = text
        .split_once("[[attachment]]")
        .context("ext-authz has no attachment")?;
    let name = section
        .lines()
        .find_map(|line| line.trim().strip_prefix("name = \""))
        .and_then(|rest| rest.strip_suffix('"'));
    let Some(name) = name else {
        bail!("the attachment has no name")
    };
    Ok(name.to_owned())
}

fn free_port() -> anyhow::Result<u16> {
    Ok(std::net::TcpListener::bind(("127.0.0.1", 0))?
        .local_addr()?
        .port())
}
