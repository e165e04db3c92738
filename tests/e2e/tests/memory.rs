//! Hundreds of thousands of distinct mandates pass two workers: every one is allowed, none is looked for in vain, and
//! once the caches are full Envoy takes no more memory.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use e2e::attack::Draft;
use e2e::socket::Connection;
use e2e::{Options, Signer, Stack, Way, claims};
use rustix::process::{Pid, Signal};
use serde_json::{Map, Value, json};

const MANDATES: u64 = 300_000;
/// Mandates between two looks at the memory.
const STRETCH: u64 = 10_000;
const CONNECTIONS: u64 = 8;
/// How long it may take until a key is known everywhere.
const PATIENCE: Duration = Duration::from_secs(30);
/// What an allocator may take or give back between two looks.
const SLACK_KIB: u64 = 4 * 1024;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_filters_memory_is_flat_over_distinct_mandates() {
    let way = Way::Filter;
    let stack = Stack::start(&Options { way, workers: 2 });
    Signer::plant(&stack, stack.zone()).await;
    // A snapshot is what knows of keys that no message told of.
    stack.signal("ext-authz", Signal::KILL);
    stack.wait_ready();
    let address = stack.address("envoy");
    let (envoy, authorizer) = (stack.pid("envoy"), stack.pid("ext-authz"));
    let mut sizes = Vec::new();
    for first in (0..MANDATES).step_by(STRETCH as usize) {
        let minted = stack.mint_sample();
        let sample = claims(minted["mandate"].as_str().unwrap());
        if first == 0 {
            until_known(address, &sample);
        }
        stretch(address, &sample, first);
        let (size, other) = (resident_kib(envoy), resident_kib(authorizer));
        println!(
            "{:>7} mandates: Envoy {size} KiB, ext-authz {other} KiB",
            first + STRETCH
        );
        sizes.push(size);
    }
    let third = sizes.len() / 3;
    let most = |of: &[u64]| *of.iter().max().unwrap();
    let (warm, late) = (most(&sizes[third..2 * third]), most(&sizes[2 * third..]));
    assert!(
        late <= warm + SLACK_KIB,
        "Envoy grew from {warm} to {late} KiB: {sizes:?}"
    );
    let (missed, admitted) = (
        counted(&stack, "verified_miss").await,
        counted(&stack, "admitted").await,
    );
    println!("{missed} mandates were verified, {admitted} requests admitted");
    assert!(missed >= MANDATES && admitted >= MANDATES);
}

/// Waits until both workers know the drill's key.
fn until_known(address: SocketAddr, sample: &Map<String, Value>) {
    let started = Instant::now();
    let mut in_a_row = 0;
    while in_a_row < 20 {
        let request = Draft::new(&mandate(sample, MANDATES)).bytes();
        let status = Connection::open(address)
            .ask(&request)
            .unwrap()
            .unwrap()
            .status;
        in_a_row = if status == 200 { in_a_row + 1 } else { 0 };
        assert!(
            started.elapsed() < PATIENCE,
            "the key is not known: {status}"
        );
    }
}

/// Sends one request with each of the next mandates.
fn stretch(address: SocketAddr, sample: &Map<String, Value>, first: u64) {
    let next = AtomicU64::new(first);
    std::thread::scope(|scope| {
        for _ in 0..CONNECTIONS {
            scope.spawn(|| {
                let mut connection = Connection::open(address);
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= first + STRETCH {
                        break;
                    }
                    let request = Draft::new(&mandate(sample, number)).bytes();
                    let reply = connection.ask(&request).unwrap().unwrap();
                    assert_eq!(reply.status, 200, "{number}: {reply:?}");
                }
            });
        }
    });
}

/// The sample's claims, as another mandate.
fn mandate(sample: &Map<String, Value>, number: u64) -> String {
    let mut claims = sample.clone();
    let jti = uuid::Uuid::from_u64_pair(0x0190_0000_0000_7000, (0b10 << 62) | number);
    claims.insert("jti".to_owned(), json!(jti));
    let claims = serde_json::to_vec(&claims).unwrap();
    Signer::Es256.compact(&claims, &Map::new())
}

async fn counted(stack: &Stack, name: &str) -> u64 {
    stack
        .counted(&format!("wasmcustom.caracal_filter_{name}"))
        .await
}

fn resident_kib(pid: Pid) -> u64 {
    let pid = pid.as_raw_nonzero();
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok())
        .unwrap()
}
