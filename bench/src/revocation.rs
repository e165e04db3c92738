//! From the commit of a revocation to the first refusal, as a client behind Envoy sees it.

use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use e2e::{Options, Stack, Way};
use serde_json::{Value, json};
use tokio::net::TcpStream;

use crate::{load, statistics};

const REVOCATIONS: usize = 200;

/// In the way without the filter and in the one with it.
pub(crate) async fn run() -> anyhow::Result<Value> {
    let mut report = json!({});
    for way in [Way::ExtAuthz, Way::Filter] {
        report[way.name()] = one(way).await?;
    }
    Ok(report)
}

/// Revokes 200 mandates one by one, each while a client sends with it back to back.
async fn one(way: Way) -> anyhow::Result<Value> {
    let options = Options {
        way,
        ..Options::default()
    };
    let stack = Stack::start(&options);
    let envoy = port(&stack, "envoy")?;
    let coordinator = stack.client("coordinator");
    let token = stack.admin_token();
    let path = format!("/v1/zones/{}/revocations", stack.zone());
    let allow = stack.sample("allow").clone();
    let text = |name: &str| allow[name].as_str().unwrap_or_default().to_owned();
    let mut from_commit = Vec::new();
    let mut from_call = Vec::new();
    for number in 0..REVOCATIONS {
        let minted = stack.mint_sample();
        let mandate = minted["mandate"].as_str().context("a mandate")?;
        let request = load::request(&text("method"), &text("host"), &text("path"), mandate);
        let body = json!({ "anchor": { "kind": "mandate", "id": minted["claims"]["jti"] }, "reason": "bench" });
        let prober = tokio::spawn(first_refusal(envoy, request));
        tokio::time::sleep(Duration::from_millis(20)).await;
        let called = Instant::now();
        let (status, answer) = coordinator.json("POST", &path, &token, Some(&body)).await;
        ensure!(
            status == 201 || status == 200,
            "revoking answered {status}: {answer}"
        );
        let answered = jiff::Timestamp::now();
        let (refused, refused_at) = prober.await??;
        from_call.push(refused.saturating_duration_since(called).as_secs_f64() * 1e3);
        let committed: jiff::Timestamp = answer["committed_at"]
            .as_str()
            .context("committed_at")?
            .parse()?;
        ensure!(committed <= answered, "committed in the future");
        from_commit.push((refused_at.as_nanosecond() - committed.as_nanosecond()) as f64 / 1e6);
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
async fn first_refusal(port: u16, request: Vec<u8>) -> anyhow::Result<(Instant, jiff::Timestamp)> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
    stream.set_nodelay(true)?;
    let mut buffer = Vec::new();
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let Ok(status) = load::once(&mut stream, &request, &mut buffer).await else {
            // The filter cuts off what is in flight when its authority ends: the refusal comes on a new connection.
            stream = TcpStream::connect(("127.0.0.1", port)).await?;
            stream.set_nodelay(true)?;
            continue;
        };
        match status {
            200 => ensure!(Instant::now() < deadline, "never refused"),
            401 => return Ok((Instant::now(), jiff::Timestamp::now())),
            other => anyhow::bail!(
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
