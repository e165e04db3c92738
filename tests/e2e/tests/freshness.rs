//! Memory proves its age: what a silent sequencer, a lost stream and an older database do to decisions.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

use std::time::{Duration, Instant};

use e2e::{Answer, Client, Options, Stack};
use rustix::process::{Signal, kill_process};
use serde_json::Value;

/// One request for the sample with one mandate.
struct Probe {
    envoy: Client,
    host: String,
    path: String,
    method: String,
    mandate: String,
    minted: Value,
}

impl Probe {
    fn new(stack: &Stack) -> Self {
        let allow = stack.sample("allow");
        let text = |name: &str| allow[name].as_str().unwrap().to_owned();
        let minted = stack.mint_sample();
        Self {
            envoy: stack.client("envoy"),
            host: text("host"),
            path: text("path"),
            method: text("method"),
            mandate: format!("Bearer {}", minted["mandate"].as_str().unwrap()),
            minted,
        }
    }

    async fn send(&self) -> Answer {
        self.envoy
            .send(
                &self.method,
                &self.host,
                &self.path,
                &[("authorization", &self.mandate)],
            )
            .await
    }

    /// Sends until an answer satisfies `wanted`; gives it and how long it took.
    async fn until(&self, limit: Duration, wanted: impl Fn(&Answer) -> bool) -> (Answer, Duration) {
        let started = Instant::now();
        loop {
            let answer = self.send().await;
            if wanted(&answer) {
                return (answer, started.elapsed());
            }
            assert!(
                started.elapsed() < limit,
                "still {} {} after {limit:?}",
                answer.status,
                answer.code
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    fn session(&self) -> &str {
        self.minted["session"]
            .as_str()
            .expect("the mandate's session")
    }
}

#[tokio::test]
async fn a_stopped_sequencer_makes_decisions_stop_at_the_bound_and_not_before() {
    let stack = Stack::start(&Options::default());
    let probe = Probe::new(&stack);
    assert_eq!(probe.send().await.status, 200);

    stack.signal("coordinator", Signal::STOP);
    let (stale, after) = probe
        .until(Duration::from_secs(20), |answer| answer.status != 200)
        .await;
    assert_eq!(
        (stale.status, stale.code.as_str()),
        (503, "authority_stale")
    );
    assert!(stale.header("retry-after").is_some(), "{stale:?}");
    // The bound is 10 s from the last heartbeat's own time, which is at most about a second before the stop.
    assert!(
        after > Duration::from_secs(8),
        "refused after {after:?}, before the bound"
    );
    println!("stale after {:.1} s", after.as_secs_f64());

    stack.signal("coordinator", Signal::CONT);
    let (_, back) = probe
        .until(Duration::from_secs(20), |answer| answer.status == 200)
        .await;
    println!(
        "decided again {:.1} s after the sequencer went on",
        back.as_secs_f64()
    );
}

#[tokio::test]
async fn a_dead_stream_is_not_stale_and_a_revocation_still_arrives() {
    let stack = Stack::start(&Options::default());
    let probe = Probe::new(&stack);
    assert_eq!(probe.send().await.status, 200);

    // The supervisor would bring it back: hold it while the stream is to stay away.
    let supervisor = stack.supervisor();
    let valkey = stack.pid("valkey");
    kill_process(supervisor, Signal::STOP).unwrap();
    kill_process(valkey, Signal::KILL).unwrap();
    let minute = Instant::now();
    let mut answered = 0_u32;
    while minute.elapsed() < Duration::from_secs(60) {
        let answer = probe.send().await;
        assert_eq!(
            answer.status,
            200,
            "after {:?} without Valkey: {}",
            minute.elapsed(),
            answer.code
        );
        answered += 1;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    println!("{answered} requests answered 200 in a minute without Valkey");

    stack.ok(&["revoke", "session", probe.session()]);
    let (refused, after) = probe
        .until(Duration::from_secs(10), |answer| answer.status != 200)
        .await;
    assert_eq!((refused.status, refused.code.as_str()), (401, "revoked"));
    println!("revoked through Since after {:.1} s", after.as_secs_f64());

    kill_process(supervisor, Signal::CONT).unwrap();
    stack.wait_ready();
    let decision = refused.decision_id.expect("a decision id");
    found_in_ledger(&stack, &decision);
}

#[tokio::test]
async fn a_flushed_stream_loses_nothing() {
    let stack = Stack::start(&Options::default());
    let probe = Probe::new(&stack);
    let before = probe.send().await;
    assert_eq!(before.status, 200);

    let client = redis::Client::open(stack.url("redis_url_file")).unwrap();
    let mut connection = client.get_multiplexed_async_connection().await.unwrap();
    let during = probe.send().await;
    redis::cmd("FLUSHALL")
        .query_async::<()>(&mut connection)
        .await
        .unwrap();
    let after = probe.send().await;
    assert_eq!((during.status, after.status), (200, 200));

    stack.ok(&["revoke", "session", probe.session()]);
    let (refused, _) = probe
        .until(Duration::from_secs(10), |answer| answer.status != 200)
        .await;
    assert_eq!((refused.status, refused.code.as_str()), (401, "revoked"));
    for answer in [&before, &during, &after, &refused] {
        found_in_ledger(
            &stack,
            answer.decision_id.as_deref().expect("a decision id"),
        );
    }
    assert_eq!(stack.ok(&["audit", "verify"]).json()["ok"], true);
}

#[tokio::test]
async fn a_new_epoch_refuses_then_resyncs_and_keeps_held_revocations() {
    let stack = Stack::start(&Options::default());
    let revoked = Probe::new(&stack);
    let held = Probe::new(&stack);
    assert_eq!(
        (revoked.send().await.status, held.send().await.status),
        (200, 200)
    );
    stack.ok(&[
        "revoke",
        "mandate",
        revoked.minted["claims"]["jti"].as_str().unwrap(),
        "--wait",
        "everywhere",
    ]);
    assert_eq!(revoked.send().await.code, "revoked");
    let first = epoch(&stack).await;

    // The deployment's row comes to belong to another cluster, as after a restore elsewhere.
    let mut superuser = stack.superuser().await;
    sqlx::query("UPDATE deployment SET system_identifier = '1'")
        .execute(&mut superuser)
        .await
        .unwrap();
    sqlx::query("DELETE FROM revocations")
        .execute(&mut superuser)
        .await
        .unwrap();
    stack.signal("coordinator", Signal::KILL);

    let started = Instant::now();
    // Loading a snapshot takes milliseconds: ask without a pause, until it was seen and is over.
    let mut resyncs = 0_u32;
    loop {
        let dead = revoked.send().await;
        assert_ne!(
            dead.status, 200,
            "a revoked mandate passed while the epoch changed"
        );
        let answer = held.send().await;
        resyncs += u32::from(answer.code == "authority_resync");
        if answer.status == 200 && resyncs > 0 {
            break;
        }
        assert!(
            started.elapsed() < Duration::from_secs(30),
            "{} {}",
            answer.status,
            answer.code
        );
    }
    println!(
        "new epoch taken up after {:.1} s, {resyncs} requests refused with authority_resync",
        started.elapsed().as_secs_f64()
    );
    assert_ne!(epoch(&stack).await, first);
    let after = revoked.send().await;
    assert_eq!(
        (after.status, after.code.as_str()),
        (401, "revoked"),
        "held revocations are kept"
    );
}

#[tokio::test]
async fn a_database_restored_to_an_older_copy_starts_a_new_epoch() {
    let stack = Stack::start(&Options::default());
    let held = Probe::new(&stack);
    let revoked = Probe::new(&stack);
    assert_eq!(
        (held.send().await.status, revoked.send().await.status),
        (200, 200)
    );
    let first = epoch(&stack).await;
    let folder = tempfile::tempdir().unwrap();
    let copy = folder.path().join("older");
    with_postgres_stopped(&stack, |data| copy_folder(data, &copy));
    stack.ok(&[
        "revoke",
        "mandate",
        revoked.minted["claims"]["jti"].as_str().unwrap(),
        "--wait",
        "everywhere",
    ]);
    assert_eq!(revoked.send().await.code, "revoked");

    with_postgres_stopped(&stack, |data| {
        std::fs::remove_dir_all(data).unwrap();
        copy_folder(&copy, data);
    });
    let started = Instant::now();
    loop {
        let answer = held.send().await;
        let dead = revoked.send().await;
        assert_ne!(
            dead.status, 200,
            "a mandate passed whose revocation the database forgot"
        );
        if answer.status == 200 && epoch(&stack).await != first {
            break;
        }
        assert!(
            started.elapsed() < Duration::from_secs(30),
            "{} {}",
            answer.status,
            answer.code
        );
    }
    println!(
        "the older copy got a new epoch {:.1} s after it was there",
        started.elapsed().as_secs_f64()
    );
    // Whoever decides has taken the new epoch up once it has a revocation of it.
    let fresh = Probe::new(&stack);
    stack.ok(&["revoke", "session", fresh.session(), "--wait", "everywhere"]);
    assert_eq!(fresh.send().await.code, "revoked");
    let dead = revoked.send().await;
    assert_eq!((dead.status, dead.code.as_str()), (401, "revoked"));
    assert_eq!(held.send().await.status, 200);
    assert_eq!(Probe::new(&stack).send().await.status, 200, "life goes on");
}

/// Holds the supervisor, ends PostgreSQL, does something to its data, and lets the supervisor start it again.
fn with_postgres_stopped(stack: &Stack, act: impl FnOnce(&std::path::Path)) {
    let supervisor = stack.supervisor();
    // Its working directory is its data.
    let pid = stack.pid("postgres").as_raw_nonzero();
    let data = std::fs::read_link(format!("/proc/{pid}/cwd")).unwrap();
    kill_process(supervisor, Signal::STOP).unwrap();
    stack.signal("postgres", Signal::INT);
    let started = Instant::now();
    while data.join("postmaster.pid").exists() {
        assert!(
            started.elapsed() < Duration::from_secs(30),
            "PostgreSQL stays"
        );
        std::thread::sleep(Duration::from_millis(20));
    }
    act(&data);
    kill_process(supervisor, Signal::CONT).unwrap();
    stack.wait_ready();
}

fn copy_folder(from: &std::path::Path, to: &std::path::Path) {
    let copied = std::process::Command::new("cp")
        .arg("-a")
        .arg(from)
        .arg(to)
        .status()
        .unwrap();
    assert!(copied.success());
}

async fn epoch(stack: &Stack) -> Vec<u8> {
    let mut superuser = stack.superuser().await;
    sqlx::query_scalar("SELECT epoch FROM deployment")
        .fetch_one(&mut superuser)
        .await
        .unwrap()
}

fn found_in_ledger(stack: &Stack, decision: &str) {
    let started = Instant::now();
    loop {
        let events = stack
            .ok(&["audit", "search", "--decision-id", decision])
            .lines();
        if !events.is_empty() {
            return;
        }
        assert!(
            started.elapsed() < Duration::from_secs(30),
            "{decision} is not in the ledger"
        );
        std::thread::sleep(Duration::from_millis(100));
    }
}
