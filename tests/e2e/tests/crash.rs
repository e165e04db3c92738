//! kill -9 at random points under load: every answered allow is in the ledger, once.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use e2e::{Options, Stack};
use rustix::process::Signal;
use sqlx::Row as _;

/// How often something is killed.
const KILLS: usize = 30;
/// What is killed, in turn.
const VICTIMS: [&str; 4] = ["ext-authz", "audit", "coordinator", "valkey"];
/// Clients sending at once.
const CLIENTS: usize = 4;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kill_minus_nine_at_thirty_points_loses_and_doubles_no_evidence() {
    let stack = Arc::new(Stack::start(&Options::default()));
    let minted = stack.mint_sample();
    let mandate = format!("Bearer {}", minted["mandate"].as_str().unwrap());
    let stop = Arc::new(AtomicBool::new(false));

    let mut clients = Vec::new();
    for _ in 0..CLIENTS {
        clients.push(tokio::spawn(load(
            Arc::clone(&stack),
            mandate.clone(),
            Arc::clone(&stop),
        )));
    }

    let mut seed = u64::from(std::process::id()) | 1;
    println!("seed {seed}");
    for kill in 0..KILLS {
        seed = seed
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        tokio::time::sleep(Duration::from_millis(200 + (seed >> 33) % 1300)).await;
        let victim = VICTIMS[kill % VICTIMS.len()];
        let held = Arc::clone(&stack);
        tokio::task::spawn_blocking(move || {
            held.signal(victim, Signal::KILL);
            held.wait_ready();
        })
        .await
        .unwrap();
    }
    stop.store(true, Ordering::Relaxed);
    let mut answered = HashSet::new();
    for client in clients {
        for decision in client.await.unwrap() {
            assert!(
                answered.insert(decision),
                "two answers carried one decision id"
            );
        }
    }
    assert!(
        answered.len() > 100,
        "only {} allows were answered: nothing was tried",
        answered.len()
    );

    let (in_ledger, rows) = settled(&stack, &answered).await;
    println!(
        "{} allows answered, {} allow events in the ledger, {} of them unanswered",
        answered.len(),
        rows,
        rows - answered.len()
    );
    assert_eq!(in_ledger.len(), rows, "an event is in the ledger twice");
    let missing: Vec<&String> = answered.difference(&in_ledger).collect();
    assert!(
        missing.is_empty(),
        "{} answered allows are not in the ledger, e.g. {:?}",
        missing.len(),
        missing.first()
    );
    let verified = stack.ok(&["audit", "verify"]).json();
    assert_eq!(verified["ok"], true, "{verified}");
}

/// Sends until told to stop; gives the decision ids of the allows that were answered.
async fn load(stack: Arc<Stack>, mandate: String, stop: Arc<AtomicBool>) -> Vec<String> {
    let envoy = stack.client("envoy");
    let allow = stack.sample("allow").clone();
    let text = |name: &str| allow[name].as_str().unwrap().to_owned();
    let (method, host, path) = (text("method"), text("host"), text("path"));
    let mut allowed = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        match envoy
            .try_send(&method, &host, &path, &[("authorization", &mandate)])
            .await
        {
            Ok(answer) if answer.status == 200 => {
                allowed.push(answer.decision_id.expect("a decision id"))
            }
            Ok(answer) => {
                assert_eq!(answer.status, 503, "{} {}", answer.status, answer.code);
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    }
    allowed
}

/// Waits until every answered decision is in the ledger, or a minute; gives the ids and the number of rows.
async fn settled(stack: &Stack, answered: &HashSet<String>) -> (HashSet<String>, usize) {
    let deadline = Instant::now() + Duration::from_secs(60);
    let mut superuser = stack.superuser().await;
    loop {
        let rows = sqlx::query(
            "SELECT decision_id FROM audit_events WHERE kind = 'decision' AND decision = 'allow' AND decision_id IS NOT NULL",
        )
        .fetch_all(&mut superuser)
        .await
        .unwrap();
        let ids: HashSet<String> = rows
            .iter()
            .map(|row| row.get::<uuid::Uuid, _>(0).to_string())
            .collect();
        if answered.is_subset(&ids) || Instant::now() > deadline {
            return (ids, rows.len());
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}
