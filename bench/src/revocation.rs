//! From the commit of a revocation to the first refusal, as a client behind Envoy sees it, and to the last allow of all
//! that many workers and replicas gave.

use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use e2e::{Options, Replica, Stack, Way};
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::net::TcpStream;

use crate::{load, statistics};

const REVOCATIONS: usize = 200;
/// Where there are several: Envoy's workers, replicas of ext-authz, and for how long others revoke before.
const SIZES: [(u32, u16, Duration); 2] = [(4, 2, Duration::ZERO), (8, 3, Duration::from_secs(15))];
/// Clients that send at the same time.
const PROBERS: usize = 16;
/// Clients that revoke before.
const OTHERS: u64 = 8;
/// Between two requests of one client: the machine is not to be busy with them.
const REST: Duration = Duration::from_millis(2);
/// Refusals in a row after which a client is content.
const IN_A_ROW: usize = 8;

/// In the way without the filter and in the one with it.
pub(crate) async fn run() -> anyhow::Result<Value> {
    let mut report = json!({});
    for way in [Way::ExtAuthz, Way::Filter] {
        report[way.name()] = one(way).await?;
        for (workers, replicas, churn) in SIZES {
            let after = if churn.is_zero() {
                String::new()
            } else {
                format!(", after {churn:?} of revocations")
            };
            let name = format!("{way} with {workers} workers, {replicas} replicas{after}");
            report[&name] = all(way, workers, replicas, churn, &name).await?;
        }
    }
    Ok(report)
}

/// Revokes 200 mandates one by one, each while clients on many connections send with it.
async fn all(
    way: Way,
    workers: u32,
    replicas: u16,
    churn: Duration,
    name: &str,
) -> anyhow::Result<Value> {
    let stack = Stack::start(&Options { way, workers });
    let _replicas = Replica::join(&stack, replicas.saturating_sub(1)).await;
    let others = revoke_others(&stack, churn).await?;
    let envoy = port(&stack, "envoy")?;
    let allow = stack.sample("allow").clone();
    let text = |name: &str| allow[name].as_str().unwrap_or_default().to_owned();
    let (mut to_last_allow, mut to_last_refusal) = (Vec::new(), Vec::new());
    for number in 0..REVOCATIONS {
        let minted = stack.mint_sample();
        let mandate = minted["mandate"].as_str().context("a mandate")?;
        let request = load::request(&text("method"), &text("host"), &text("path"), mandate);
        let probers: Vec<_> = (0..PROBERS)
            .map(|_| tokio::spawn(until_refused(envoy, request.clone())))
            .collect();
        tokio::time::sleep(Duration::from_millis(50)).await;
        let committed = revoke(&stack, &minted["claims"]["jti"]).await?;
        let (mut allowed, mut refused) = (committed, committed);
        for prober in probers {
            let (last_allow, first_refusal) = prober.await??;
            allowed = allowed.max(last_allow);
            refused = refused.max(first_refusal);
        }
        to_last_allow.push(milliseconds(committed, allowed));
        to_last_refusal.push(milliseconds(committed, refused));
        if number % 50 == 49 {
            println!("{name}: {} revocations", number + 1);
        }
    }
    let report = json!({
        "revocations": REVOCATIONS,
        "connections": PROBERS,
        "revocations_before": others,
        "commit_to_last_allow_ms": summary(&to_last_allow),
        "commit_to_refused_everywhere_ms": summary(&to_last_refusal),
    });
    println!("{name}: {report:#}");
    Ok(report)
}

/// Revokes mandates that nobody has, as fast as some clients can, for a time; how many.
async fn revoke_others(stack: &Stack, churn: Duration) -> anyhow::Result<u64> {
    let until = Instant::now() + churn;
    let client = |number: u64| async move {
        let mut revoked = 0_u64;
        while Instant::now() < until {
            let id = format!("018f0000-0000-7000-8000-{number:04x}{revoked:08x}");
            revoke(stack, &json!(id)).await?;
            revoked += 1;
        }
        anyhow::Ok(revoked)
    };
    let clients = (1..=OTHERS).map(client);
    let revoked: Vec<u64> = futures::future::try_join_all(clients).await?;
    Ok(revoked.iter().sum())
}

/// Revokes a mandate; when that was committed.
async fn revoke(stack: &Stack, jti: &Value) -> anyhow::Result<Timestamp> {
    let path = format!("/v1/zones/{}/revocations", stack.zone());
    let body = json!({ "anchor": { "kind": "mandate", "id": jti }, "reason": "bench" });
    let coordinator = stack.client("coordinator");
    let token = stack.admin_token();
    let (status, answer) = coordinator.json("POST", &path, &token, Some(&body)).await;
    ensure!(
        status == 201 || status == 200,
        "revoking answered {status}: {answer}"
    );
    let committed: Timestamp = answer["committed_at"]
        .as_str()
        .context("committed_at")?
        .parse()?;
    ensure!(committed <= Timestamp::now(), "committed in the future");
    Ok(committed)
}

fn milliseconds(from: Timestamp, to: Timestamp) -> f64 {
    (to.as_nanosecond() - from.as_nanosecond()) as f64 / 1e6
}

/// Sends until it was refused several times in a row; gives when the last allow was asked for, and when the first
/// refusal behind it came.
async fn until_refused(port: u16, request: Vec<u8>) -> anyhow::Result<(Timestamp, Timestamp)> {
    let mut stream = connect(port).await?;
    let mut buffer = Vec::new();
    let (mut allowed, mut refused, mut in_a_row) = (Timestamp::MIN, Timestamp::MIN, 0);
    let deadline = Instant::now() + Duration::from_secs(20);
    while in_a_row < IN_A_ROW {
        ensure!(Instant::now() < deadline, "never refused");
        let asked = Timestamp::now();
        let Ok(status) = load::once(&mut stream, &request, &mut buffer).await else {
            stream = connect(port).await?;
            continue;
        };
        match status {
            200 => (allowed, in_a_row) = (asked, 0),
            401 => {
                if in_a_row == 0 {
                    refused = Timestamp::now();
                }
                in_a_row += 1;
            }
            other => bail!(
                "an answer was {other}: {}",
                String::from_utf8_lossy(&buffer)
            ),
        }
        tokio::time::sleep(REST).await;
    }
    Ok((allowed, refused))
}

async fn connect(port: u16) -> anyhow::Result<TcpStream> {
    let stream = TcpStream::connect(("127.0.0.1", port)).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Revokes 200 mandates one by one, each while a client sends with it back to back.
async fn one(way: Way) -> anyhow::Result<Value> {
    let options = Options {
        way,
        ..Options::default()
    };
    let stack = Stack::start(&options);
    let envoy = port(&stack, "envoy")?;
    let allow = stack.sample("allow").clone();
    let text = |name: &str| allow[name].as_str().unwrap_or_default().to_owned();
    let mut from_commit = Vec::new();
    let mut from_call = Vec::new();
    for number in 0..REVOCATIONS {
        let minted = stack.mint_sample();
        let mandate = minted["mandate"].as_str().context("a mandate")?;
        let request = load::request(&text("method"), &text("host"), &text("path"), mandate);
        let prober = tokio::spawn(first_refusal(envoy, request));
        tokio::time::sleep(Duration::from_millis(20)).await;
        let called = Instant::now();
        let committed = revoke(&stack, &minted["claims"]["jti"]).await?;
        let (refused, refused_at) = prober.await??;
        from_call.push(refused.saturating_duration_since(called).as_secs_f64() * 1e3);
        from_commit.push(milliseconds(committed, refused_at));
        if number % 50 == 49 {
            println!("{way}: {} revocations", number + 1);
        }
    }
    let report = json!({
        "revocations": REVOCATIONS,
        "commit_to_first_refusal_ms": summary(&from_commit),
        "call_to_first_refusal_ms": summary(&from_call),
    });
    println!("{way}: {report:#}");
    Ok(report)
}

/// Sends back to back until a 401; gives the moment that answer came.
async fn first_refusal(port: u16, request: Vec<u8>) -> anyhow::Result<(Instant, Timestamp)> {
    let mut stream = connect(port).await?;
    let mut buffer = Vec::new();
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let Ok(status) = load::once(&mut stream, &request, &mut buffer).await else {
            // The filter cuts off what is in flight when its authority ends: the refusal comes on a new connection.
            stream = connect(port).await?;
            continue;
        };
        match status {
            200 => ensure!(Instant::now() < deadline, "never refused"),
            401 => return Ok((Instant::now(), Timestamp::now())),
            other => bail!(
                "an answer was {other}: {}",
                String::from_utf8_lossy(&buffer)
            ),
        }
    }
}

fn summary(sample: &[f64]) -> Value {
    let at = |fraction: f64| statistics::rounded(statistics::percentile(sample, fraction));
    json!({ "p50": at(0.5), "p90": at(0.9), "p99": at(0.99), "max": at(1.0), "histogram": histogram(sample) })
}

/// Counts by upper bound in milliseconds.
fn histogram(sample: &[f64]) -> Value {
    const BOUNDS: [f64; 10] = [
        1.0,
        2.0,
        3.0,
        4.0,
        6.0,
        8.0,
        12.0,
        20.0,
        50.0,
        f64::INFINITY,
    ];
    let mut below = f64::NEG_INFINITY;
    let mut buckets = Vec::new();
    for bound in BOUNDS {
        let count = sample
            .iter()
            .filter(|value| **value > below && **value <= bound)
            .count();
        let label = if bound.is_finite() {
            format!("<= {bound}")
        } else {
            "above".to_owned()
        };
        buckets.push(json!({ "ms": label, "count": count }));
        below = bound;
    }
    Value::Array(buckets)
}

/// The port of an endpoint of the stack.
pub(crate) fn port(stack: &Stack, endpoint: &str) -> anyhow::Result<u16> {
    let address = stack.status()["endpoints"][endpoint]
        .as_str()
        .context("an endpoint")?;
    let (_, port) = address.rsplit_once(':').context("host:port")?;
    port.trim_end_matches('/').parse().context("a port")
}
