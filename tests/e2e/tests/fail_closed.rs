//! The fail-closed table over a real Envoy, with `failure_mode_allow` both ways.
//!
//! `ext-authz/README.md` shows it as a table; this is the same table as a test.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

use std::time::{Duration, Instant};

use e2e::{Answer, Client, Options, Stack};
use rustix::process::Signal;
use serde_json::{Value, json};

/// What a row sends.
struct Case {
    name: &'static str,
    host: String,
    path: String,
    headers: Vec<(&'static str, String)>,
    status: u16,
    codes: &'static [&'static str],
}

struct Sample {
    host: String,
    path: String,
    mandate: String,
    minted: Value,
}

impl Sample {
    fn new(stack: &Stack) -> Self {
        let allow = stack.sample("allow");
        let minted = stack.mint_sample();
        Self {
            host: allow["host"].as_str().unwrap().to_owned(),
            path: allow["path"].as_str().unwrap().to_owned(),
            mandate: minted["mandate"].as_str().unwrap().to_owned(),
            minted,
        }
    }

    fn case(
        &self,
        name: &'static str,
        mandate: Option<&str>,
        status: u16,
        codes: &'static [&'static str],
    ) -> Case {
        let headers = mandate
            .map(|mandate| ("authorization", format!("Bearer {mandate}")))
            .into_iter()
            .collect();
        Case {
            name,
            host: self.host.clone(),
            path: self.path.clone(),
            headers,
            status,
            codes,
        }
    }
}

#[tokio::test]
async fn the_fail_closed_table_holds_with_failure_mode_allow_true_and_false() {
    let stack = Stack::start(&Options::default());
    let mut decisions = Vec::new();
    for failure_mode_allow in [false, true] {
        if failure_mode_allow {
            fail_open_envoy(&stack).await;
        }
        // Connections to an Envoy that was restarted are gone.
        let envoy = stack.client("envoy");
        let sample = Sample::new(&stack);
        ready(&envoy, &sample).await;
        for case in refusals(&stack, &sample).await {
            let answer = send(&envoy, &case).await;
            println!(
                "failure_mode_allow={failure_mode_allow:5} {:28} {} {}",
                case.name, answer.status, answer.code
            );
            assert_eq!(answer.status, case.status, "{}: {answer:?}", case.name);
            assert!(
                case.codes.contains(&answer.code.as_str()),
                "{}: {answer:?}",
                case.name
            );
            decisions.push((
                case.name,
                answer
                    .decision_id
                    .unwrap_or_else(|| panic!("{}: no decision id", case.name)),
            ));
        }
        unavailable(&stack, &envoy, &sample, failure_mode_allow).await;
    }
    for (name, decision) in decisions {
        in_ledger(&stack, name, &decision);
    }
    assert_eq!(stack.ok(&["audit", "verify"]).json()["ok"], true);
}

/// Rows that a request alone brings about.
async fn refusals(stack: &Stack, sample: &Sample) -> Vec<Case> {
    let session = stack.mint(&["--use", "session"])["mandate"]
        .as_str()
        .unwrap()
        .to_owned();
    let expired = stack.mint(&[
        "--resource",
        text(stack.sample("allow"), "resource"),
        "--scope",
        scope(stack, "allow"),
        "--ttl",
        "1s",
    ]);
    let expired = expired["mandate"].as_str().unwrap().to_owned();
    let other = stack.sample("other_zone");
    let foreign = stack.mint(&[
        "--zone",
        text(other, "zone"),
        "--resource",
        text(other, "resource"),
        "--scope",
        scope(stack, "other_zone"),
    ]);
    let foreign = foreign["mandate"].as_str().unwrap().to_owned();
    let other_binding = stack.sample("other_binding");
    let lacking = stack.sample("deny_scope");
    let gone = stack.mint_sample();
    stack.ok(&[
        "revoke",
        "mandate",
        gone["claims"]["jti"].as_str().unwrap(),
        "--wait",
        "everywhere",
    ]);
    tokio::time::sleep(Duration::from_millis(1100)).await;

    let mandate = sample.mandate.as_str();
    let (head, signature) = mandate.rsplit_once('.').unwrap();
    let swapped = if signature.starts_with('A') { "B" } else { "A" };
    let forged = format!("{head}.{swapped}{}", signature.get(1..).unwrap());
    let none = format!(
        "eyJhbGciOiJub25lIiwidHlwIjoiYXQrand0In0.{}.",
        mandate.split('.').nth(1).unwrap()
    );

    let mut cases = vec![
        sample.case("missing", None, 401, &["credential_missing"]),
        sample.case("malformed", Some("not-a-mandate"), 401, &["malformed"]),
        sample.case(
            "algorithm none",
            Some(&none),
            401,
            &["malformed", "algorithm_refused", "header_refused"],
        ),
        sample.case("bad signature", Some(&forged), 401, &["signature_invalid"]),
        sample.case("expired", Some(&expired), 401, &["expired"]),
        sample.case(
            "wrong zone",
            Some(&foreign),
            401,
            &["key_unknown", "wrong_zone"],
        ),
        sample.case("wrong use", Some(&session), 401, &["wrong_use"]),
        sample.case(
            "revoked",
            Some(gone["mandate"].as_str().unwrap()),
            401,
            &["revoked"],
        ),
        sample.case("no binding", Some(mandate), 403, &["no_binding"]),
        sample.case("no rule", Some(mandate), 403, &["no_rule"]),
        sample.case("resource", Some(mandate), 403, &["resource_not_granted"]),
        sample.case("scope", Some(mandate), 403, &["scope_missing"]),
    ];
    for case in &mut cases {
        match case.name {
            "no binding" => case.host = "nobody.example".to_owned(),
            "no rule" => case.path = format!("{}/no/such/operation/here", sample.path),
            "resource" => {
                case.host = text(other_binding, "host").to_owned();
                case.path = text(other_binding, "path").to_owned();
            }
            "scope" => {
                case.host = text(lacking, "host").to_owned();
                case.path = text(lacking, "path").to_owned();
            }
            _ => {}
        }
    }
    let mut doubled = sample.case(
        "two credentials",
        Some(mandate),
        401,
        &["credential_duplicate"],
    );
    doubled
        .headers
        .push(("authorization", format!("Bearer {mandate}")));
    cases.push(doubled);
    let mut encoded = sample.case(
        "a path to repair",
        Some(mandate),
        400,
        &["path_refused", "path_not_canonical"],
    );
    encoded.path = format!("{}%2f..", sample.path);
    cases.push(encoded);
    let mut overriding = sample.case(
        "an override header",
        Some(mandate),
        400,
        &["override_header"],
    );
    overriding
        .headers
        .push(("x-http-method-override", "DELETE".to_owned()));
    cases.push(overriding);
    cases
}

/// Rows in which a part is away. With our manifest all of them refuse.
async fn unavailable(stack: &Stack, envoy: &Client, sample: &Sample, failure_mode_allow: bool) {
    let case = sample.case("", Some(&sample.mandate), 200, &[]);

    stack.signal("valkey", Signal::STOP);
    assert_eq!(
        send(envoy, &case).await.status,
        200,
        "Redis hung: decisions go on"
    );
    stack.signal("valkey", Signal::CONT);

    stack.signal("postgres", Signal::STOP);
    assert_eq!(
        send(envoy, &case).await.status,
        200,
        "Postgres hung: decisions go on until the bound"
    );
    stack.signal("postgres", Signal::CONT);

    stack.signal("coordinator", Signal::STOP);
    let stale = until(envoy, &case, |answer| answer.status != 200).await;
    assert_eq!(
        (stale.status, stale.code.as_str()),
        (503, "authority_stale"),
        "failure_mode_allow={failure_mode_allow}"
    );
    stack.signal("coordinator", Signal::CONT);
    until(envoy, &case, |answer| answer.status == 200).await;

    // What only Envoy can answer for: the manifests set failure_mode_allow to false, and this is why.
    let expected = if failure_mode_allow { 200 } else { 503 };
    stack.signal("ext-authz", Signal::STOP);
    let slow = send(envoy, &case).await;
    stack.signal("ext-authz", Signal::CONT);
    println!(
        "failure_mode_allow={failure_mode_allow:5} ext-authz slow               {}",
        slow.status
    );
    assert_eq!(slow.status, expected);
    ready(envoy, sample).await;
}

/// Restarts the stack's Envoy from its own configuration with the one dangerous switch on.
async fn fail_open_envoy(stack: &Stack) {
    let pid = stack.pid("envoy").as_raw_nonzero();
    let arguments = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap();
    let arguments: Vec<String> = arguments
        .split(|byte| *byte == 0)
        .map(|part| String::from_utf8_lossy(part).into_owned())
        .collect();
    let at = arguments
        .iter()
        .position(|part| part == "-c" || part == "--config-path")
        .expect("Envoy's configuration");
    let file = &arguments[at + 1];
    let text = std::fs::read_to_string(file).unwrap();
    let changed = text
        .replace("failure_mode_allow: false", "failure_mode_allow: true")
        .replace(
            "\"failure_mode_allow\": false",
            "\"failure_mode_allow\": true",
        );
    assert_ne!(
        text, changed,
        "the manifest does not say failure_mode_allow: false"
    );
    std::fs::write(file, changed).unwrap();
    stack.signal("envoy", Signal::KILL);
    stack.wait_ready();
    let now = std::fs::read_to_string(file).unwrap();
    assert!(
        !now.contains("failure_mode_allow: false"),
        "the supervisor wrote the configuration anew"
    );
}

async fn send(envoy: &Client, case: &Case) -> Answer {
    let headers: Vec<(&str, &str)> = case
        .headers
        .iter()
        .map(|(name, value)| (*name, value.as_str()))
        .collect();
    envoy.send("GET", &case.host, &case.path, &headers).await
}

async fn until(envoy: &Client, case: &Case, wanted: impl Fn(&Answer) -> bool) -> Answer {
    let started = Instant::now();
    loop {
        let answer = send(envoy, case).await;
        if wanted(&answer) {
            return answer;
        }
        assert!(
            started.elapsed() < Duration::from_secs(30),
            "still {} {}",
            answer.status,
            answer.code
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn ready(envoy: &Client, sample: &Sample) {
    let case = sample.case("", Some(&sample.mandate), 200, &[]);
    until(envoy, &case, |answer| answer.status == 200).await;
    assert!(sample.minted["claims"].is_object());
}

fn in_ledger(stack: &Stack, name: &str, decision: &str) {
    let started = Instant::now();
    loop {
        let events = stack
            .ok(&["audit", "search", "--decision-id", decision])
            .lines();
        if let Some(event) = events.first() {
            assert_ne!(event["decision"], json!("allow"), "{name}: {event}");
            return;
        }
        assert!(
            started.elapsed() < Duration::from_secs(40),
            "{name}: {decision} is not in the ledger"
        );
        std::thread::sleep(Duration::from_millis(200));
    }
}

fn text<'a>(part: &'a Value, name: &str) -> &'a str {
    part[name]
        .as_str()
        .unwrap_or_else(|| panic!("no {name} in {part}"))
}

fn scope<'a>(stack: &'a Stack, part: &str) -> &'a str {
    stack.sample(part)["scopes"][0].as_str().expect("a scope")
}
