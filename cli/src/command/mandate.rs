//! `caracal mandate`: mint, and inspect.

use std::io::Read as _;

use mandate::{KeySet, Rejection, RustCrypto, Trust, UnverifiedMandate};
use reqwest::Method;
use serde_json::{Value, json};

use crate::args::{Common, Mandate, Mint};
use crate::outcome::{Exit, Failure, Outcome, Printer};
use crate::stack::connection::{Connection, Wanted};
use crate::stack::sample::{self, Sample};

/// No mandate is longer; more is read from nobody.
const MAX_BYTES: u64 = 64 * 1024;

pub(crate) async fn run(common: &Common, command: &Mandate) -> Outcome<()> {
    let printer = Printer { json: common.json };
    match command {
        Mandate::Mint(arguments) => mint(common, arguments, printer).await,
        Mandate::Inspect { source } => inspect(common, source, printer).await,
    }
}

async fn mint(common: &Common, arguments: &Mint, printer: Printer) -> Outcome<()> {
    let stack = Connection::open(common)?;
    let zone = arguments.zone.as_deref().unwrap_or(sample::ZONE);
    let known = stack.sample()?;
    let application = known.application(zone, arguments.app.as_deref())?;
    let requests = Sample::requests();
    let part = if zone == sample::OTHER_ZONE {
        "other_zone"
    } else {
        "allow"
    };
    let of_sample = |name: &str| requests.pointer(&format!("/{part}/{name}"));
    let default_resource = of_sample("resource")
        .and_then(Value::as_str)
        .unwrap_or_default();
    let default_scope = of_sample("scopes/0")
        .and_then(Value::as_str)
        .unwrap_or_default();
    let resource = arguments.resource.as_deref().unwrap_or(default_resource);
    let mut scopes: Vec<&str> = arguments.scope.iter().map(String::as_str).collect();
    if scopes.is_empty() && resource == default_resource {
        scopes.push(default_scope);
    }
    let wanted = Wanted {
        usage: arguments.usage,
        resource,
        scopes,
        ttl_seconds: arguments.ttl,
    };
    let minted = stack
        .mint(application, arguments.session.as_deref(), &wanted)
        .await?;
    let claims = decoded(&minted.mandate, 1);
    let report = json!({ "mandate": minted.mandate, "claims": claims, "session": minted.session });
    printer.document(&report, || minted.mandate.clone())?;
    Ok(())
}

async fn inspect(common: &Common, source: &str, printer: Printer) -> Outcome<()> {
    if source != "-" {
        let why =
            "a mandate is read from standard input: as an argument every process would see it";
        return Err(Failure::new(Exit::Usage, "usage", why));
    }
    let mut text = Vec::new();
    std::io::stdin()
        .lock()
        .take(MAX_BYTES)
        .read_to_end(&mut text)?;
    let compact = text.trim_ascii();
    let parsed = String::from_utf8_lossy(compact);
    let verdict = verify(common, compact, &decoded(&parsed, 1)).await?;
    let (word, code, step) = match &verdict {
        Ok(()) => ("valid", Value::Null, Value::Null),
        Err(rejection) => ("refused", json!(rejection.code()), json!(rejection.step())),
    };
    let report = json!({
        "header": decoded(&parsed, 0), "claims": decoded(&parsed, 1), "verdict": word, "code": code, "step": step,
    });
    printer.document(&report, || format!("{report:#}"))?;
    match verdict {
        Ok(()) => Ok(()),
        Err(rejection) => Err(Failure::new(
            Exit::Refused,
            rejection.code(),
            rejection.meaning(),
        )),
    }
}

/// Verifies against the published key set of the zone the mandate names: whoever inspects chooses to look there.
async fn verify(common: &Common, compact: &[u8], claims: &Value) -> Outcome<Result<(), Rejection>> {
    let unverified = match UnverifiedMandate::parse(compact) {
        Ok(unverified) => unverified,
        Err(rejection) => return Ok(Err(rejection)),
    };
    let stack = Connection::open(common)?;
    let named = |name: &str| claims.get(name).and_then(Value::as_str).unwrap_or_default();
    let zone = named("zone_id").parse().map_err(|_| no_zone())?;
    let usage = match named("use") {
        "session" => mandate::Use::Session,
        "gateway" => mandate::Use::Gateway,
        _ => mandate::Use::Resource,
    };
    let issuer = format!("http://127.0.0.1:{}/z/{zone}", stack.ports.sts());
    let issuer = issuer.parse().map_err(|_| no_zone())?;
    let path = format!("/z/{zone}/jwks.json");
    let answer = stack.sts.json(Method::GET, &path, "", None).await?;
    let keys = answer.accepted("reading the zone's key set")?;
    let keys = KeySet::from_jwks(&keys.to_string()).map_err(|error| {
        Failure::new(
            Exit::Failed,
            "failed",
            format!("the zone's key set: {error}"),
        )
    })?;
    let trust = Trust {
        zone,
        issuer,
        usage,
    };
    let now = chassis::Clock::system().now();
    Ok(unverified
        .authenticate(&trust, &keys, &RustCrypto, now)
        .map(drop))
}

fn no_zone() -> Failure {
    Failure::new(
        Exit::Refused,
        "claims_malformed",
        "the mandate names no zone",
    )
}

/// A part of a compact mandate as JSON, unverified; null when it is none.
pub(crate) fn decoded(compact: &str, part: usize) -> Value {
    use base64::Engine as _;
    compact
        .split('.')
        .nth(part)
        .and_then(|part| {
            base64::engine::general_purpose::URL_SAFE_NO_PAD
                .decode(part)
                .ok()
        })
        .and_then(|bytes| serde_json::from_slice(&bytes).ok())
        .unwrap_or(Value::Null)
}
