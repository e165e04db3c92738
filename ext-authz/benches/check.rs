//! CPU time of a Check inside the process: everything but the socket and HTTP/2, the journal on.
//!
//! `cargo bench -p ext-authz` prints one JSON document. What a no-op Check would cost besides (tonic, HTTP/2) is in
//! neither figure, so the difference to `decode` is the cost above a no-op.
#![expect(
    clippy::unwrap_used,
    clippy::cast_precision_loss,
    clippy::print_stdout,
    unreachable_pub,
    dead_code,
    reason = "a bench; `common` is shared with the tests"
)]

#[path = "../tests/common/mod.rs"]
mod common;

use std::time::Instant;

use chassis::Clock;
use chassis::crypto::EventKey;
use chassis::journal::Durability;
use chassis::secrets::Key32;
use common::{Asked, Service, World};
use envoy_types::ext_authz::v3::pb::CheckRequest;
use mandate::id::{DecisionId, KeyId};
use prost::Message as _;
use serde_json::{Value, json};
use std::sync::Arc;

/// Answers of one measurement.
const ANSWERS: usize = 30_000;
/// Checks in flight.
const IN_FLIGHT: usize = 32;

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let report = runtime.block_on(async {
        let mut rows = Vec::new();
        for durability in [Durability::Process, Durability::Host] {
            let world = World::new();
            let service = service(&world, durability).await;
            let mandates: Vec<String> = (0..100)
                .map(|n| world.mandate(|claims| claims["jti"] = common::id(5_000 + n).into()))
                .collect();
            let wire: Vec<Vec<u8>> = mandates
                .iter()
                .map(|mandate| request(mandate).encode_to_vec())
                .collect();
            let wire = Arc::new(wire);
            run(&service, &wire, 2_000).await;
            rows.push(measured("decode", durability, || decode(&wire, ANSWERS)));
            rows.push(measured("decide", durability, || {
                decide(&world, &service, &wire, ANSWERS);
            }));
            let before = cpu_us();
            let started = Instant::now();
            run(&service, &wire, ANSWERS).await;
            rows.push(row(
                "check",
                durability,
                cpu_us() - before,
                started,
                ANSWERS,
            ));
        }
        json!({ "answers": ANSWERS, "in_flight": IN_FLIGHT, "rows": rows })
    });
    println!("{report:#}");
}

async fn service(world: &World, durability: Durability) -> Service {
    let view = world.view(&world.loaded());
    let folder = tempfile::tempdir().unwrap();
    let signer = EventKey::new(KeyId::parse("ext-authz-1").unwrap(), &Key32::new([9; 32])).unwrap();
    let clock = Clock::from(world.clock.clone());
    common::service_in(view, clock, durability, 1 << 30, folder, Arc::new(signer)).await
}

fn request(mandate: &str) -> CheckRequest {
    Asked::new()
        .bearer(mandate)
        .header("user-agent", "agent/1.0")
        .header("accept", "application/json")
        .header("x-request-id", "0b0e7d9e-52c8-4c5b-9d6a-1f6a3a2b7c11")
        .header("x-forwarded-proto", "https")
        .request()
}

fn decode(wire: &[Vec<u8>], answers: usize) {
    for index in 0..answers {
        let bytes = wire.get(index % wire.len()).unwrap();
        std::hint::black_box(CheckRequest::decode(bytes.as_slice()).unwrap());
    }
}

/// Reading and deciding alone: no journal, no answer.
fn decide(world: &World, service: &Service, wire: &[Vec<u8>], answers: usize) {
    let requests: Vec<CheckRequest> = wire
        .iter()
        .map(|bytes| CheckRequest::decode(bytes.as_slice()).unwrap())
        .collect();
    let (decider, view, moment) = (World::decider(), service.memory.load_full(), world.moment());
    let id = DecisionId::from_uuid(uuid::Uuid::nil());
    for index in 0..answers {
        let inquiry = ext_authz::api::request::read(requests.get(index % requests.len()).unwrap());
        std::hint::black_box(decider.decide(id, &inquiry, &view, &moment));
    }
}

async fn run(service: &Service, wire: &Arc<Vec<Vec<u8>>>, answers: usize) {
    let mut tasks = tokio::task::JoinSet::new();
    for lane in 0..IN_FLIGHT {
        let (check, wire) = (service.check.clone(), Arc::clone(wire));
        tasks.spawn(async move {
            let mut bytes = 0;
            for index in 0..answers / IN_FLIGHT {
                let request = wire.get((lane + index) % wire.len()).unwrap();
                let request = CheckRequest::decode(request.as_slice()).unwrap();
                let answer = check.answer(&request).await;
                assert_eq!(answer.status.as_ref().unwrap().code, 0);
                bytes += answer.encode_to_vec().len();
            }
            bytes
        });
    }
    while let Some(done) = tasks.join_next().await {
        done.unwrap();
    }
}

fn measured(what: &str, durability: Durability, act: impl FnOnce()) -> Value {
    let (before, started) = (cpu_us(), Instant::now());
    act();
    row(what, durability, cpu_us() - before, started, ANSWERS)
}

fn row(what: &str, durability: Durability, cpu: u64, started: Instant, answers: usize) -> Value {
    let wall = started.elapsed().as_secs_f64();
    json!({
        "what": what,
        "durability": durability,
        "cpu_us": (cpu as f64 / answers as f64 * 100.0).round() / 100.0,
        "per_second": (answers as f64 / wall).round(),
    })
}

/// CPU time of all threads of this process, in microseconds (`/proc/self/task/*/schedstat`: nanoseconds on CPU).
fn cpu_us() -> u64 {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap().flatten();
    let spent =
        tasks.filter_map(|task| std::fs::read_to_string(task.path().join("schedstat")).ok());
    spent
        .filter_map(|line| line.split(' ').next()?.parse::<u64>().ok())
        .sum::<u64>()
        / 1_000
}
