//! The whole process, as its configuration wires it.

use std::time::{Duration, Instant};

use chassis::config::Mode;
use chassis::{App as Process, Clock, Rng};

use super::bench;
use super::engines;

#[tokio::test]
async fn comes_up_ready_serves_and_ends_in_time() {
    let engines = engines::start().await;
    let extra = "[http]\nlisten = \"127.0.0.1:0\"\n[grpc]\nlisten = \"127.0.0.1:0\"\n\
                 [ops]\nlisten = \"127.0.0.1:0\"\n";
    let config = bench::configuration_at(extra, &engines.database_url(), &engines.redis_url);
    let rng = Rng::from_system().unwrap();
    let (process, mut watch) = Process::with("coordinator", Mode::Dev, Clock::system(), rng);
    crate::run(config, process.clone()).await.unwrap();
    let started = Instant::now();
    while !process.readiness.is_ready() {
        let report = process.readiness.report();
        assert!(started.elapsed() < Duration::from_secs(10), "{report:?}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let text = process.metrics.expose().unwrap();
    assert!(text.contains("coordinator_sequencer_leads 1"), "{text}");
    assert!(
        process.lifecycle.drain(Duration::from_secs(5)).await,
        "tasks were left"
    );
    let failed = tokio::time::timeout(Duration::from_millis(50), watch.unexpected_end()).await;
    assert!(failed.is_err(), "a task ended by itself");
    // The lease is given up for whoever comes next.
    let held: Option<String> = sqlx::query_scalar("SELECT holder FROM deployment")
        .fetch_one(&engines.superuser)
        .await
        .unwrap();
    assert_eq!(held, None);
}
