//! The manifest `envoy/ext_authz.yaml` in a real Envoy, in front of the whole service.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::disallowed_methods,
    unreachable_pub,
    dead_code,
    reason = "tests on a real clock; `common` is shared"
)]

mod common;
#[path = "common/stack.rs"]
mod stack;

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use axum::Router;
use axum::http::HeaderMap;
use axum::routing::any;
use common::{HOST, OTHER_HOST};
use serde_json::{Value, json};
use stack::{Stack, free_port};

/// Envoy from the manifest, with ports of the test's own.
struct Envoy {
    process: Child,
    port: u16,
    _folder: tempfile::TempDir,
}

impl Drop for Envoy {
    fn drop(&mut self) {
        let _ended = self.process.kill();
        let _waited = self.process.wait();
    }
}

impl Envoy {
    fn start(ext_authz: u16, upstream: u16, failure_mode_allow: bool) -> Self {
        let (port, admin) = (free_port(), free_port());
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../envoy/ext_authz.yaml");
        let mut text = std::fs::read_to_string(path).unwrap();
        for (name, default, own) in [
            ("envoy_admin", 9901, admin),
            ("envoy", 8080, port),
            ("ext_authz", 9090, ext_authz),
            ("upstream", 8099, upstream),
        ] {
            let line = format!("port_value: {default} }} # {name}\n");
            assert!(text.contains(&line), "{line}");
            text = text.replace(&line, &format!("port_value: {own} }} # {name}\n"));
        }
        if failure_mode_allow {
            assert!(text.contains("failure_mode_allow: false"));
            text = text.replace("failure_mode_allow: false", "failure_mode_allow: true");
        }
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("envoy.yaml");
        std::fs::write(&file, text).unwrap();
        let process = Command::new(kit::tools().envoy)
            .arg("-c")
            .arg(&file)
            .args([
                "--concurrency",
                "1",
                "--disable-hot-restart",
                "--log-level",
                "warning",
            ])
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        Self {
            process,
            port,
            _folder: folder,
        }
    }

    async fn send(&self, host: &str, path: &str, headers: &[(&str, &str)]) -> Answer {
        let started = Instant::now();
        loop {
            let mut request = client()
                .get(format!("http://127.0.0.1:{}{path}", self.port))
                .header("host", host);
            for (name, value) in headers {
                request = request.header(*name, *value);
            }
            match request.send().await {
                Ok(response) => return Answer::of(response).await,
                Err(error) => assert!(started.elapsed() < Duration::from_secs(20), "{error}"),
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

fn client() -> reqwest::Client {
    reqwest::Client::builder()
        .timeout(Duration::from_secs(5))
        .build()
        .unwrap()
}

#[derive(Debug)]
struct Answer {
    status: u16,
    headers: HeaderMap,
    body: Value,
}

impl Answer {
    async fn of(response: reqwest::Response) -> Self {
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let text = response.text().await.unwrap();
        Self {
            status,
            headers,
            body: serde_json::from_str(&text).unwrap_or(Value::String(text)),
        }
    }

    fn code(&self) -> &str {
        self.body.get("code").and_then(Value::as_str).unwrap_or("")
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    /// The values of a header as the upstream saw it.
    fn seen(&self, name: &str) -> Vec<&str> {
        let pairs = self.body.get("headers").and_then(Value::as_array).unwrap();
        let of = |pair: &Value, at: usize| {
            pair.get(at)
                .and_then(Value::as_str)
                .is_some_and(|held| held == name)
        };
        pairs
            .iter()
            .filter(|pair| of(pair, 0))
            .filter_map(|pair| pair.get(1)?.as_str())
            .collect()
    }
}

/// Echoes what reached it.
async fn upstream() -> u16 {
    let echo = any(async |headers: HeaderMap| {
        let pairs: Vec<[String; 2]> = headers
            .iter()
            .map(|(name, value)| {
                [
                    name.to_string(),
                    String::from_utf8_lossy(value.as_bytes()).into_owned(),
                ]
            })
            .collect();
        axum::Json(json!({ "headers": pairs }))
    });
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let serving = axum::serve(listener, Router::new().fallback(echo));
    tokio::task::spawn(async move { serving.await });
    port
}

const PATH: &str = "/v1/invoices/42";

/// The whole service, an upstream, an Envoy, and a good mandate as a header's value.
async fn governed() -> (Stack, Envoy, String) {
    let mut stack = Stack::start(10_000).await;
    let mandate = stack.mandate();
    stack
        .until(&mandate, "allowed", Duration::from_secs(5))
        .await;
    let envoy = Envoy::start(stack.port, upstream().await, false);
    (stack, envoy, format!("Bearer {mandate}"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_manifest_admits_with_an_identity_that_nobody_can_spoof() {
    let (_stack, envoy, bearer) = governed().await;
    let spoofed = [
        ("authorization", bearer.as_str()),
        ("x-caracal-subject", "root"),
        ("x-caracal-actor", "root"),
    ];
    let allowed = envoy.send(HOST, PATH, &spoofed).await;
    assert_eq!(allowed.status, 200, "{allowed:?}");
    assert_eq!(allowed.seen("x-caracal-subject"), [common::id(9)]);
    assert_eq!(
        allowed.seen("x-caracal-zone"),
        [common::zone(1).to_string()]
    );
    assert_eq!(allowed.seen("x-caracal-scope"), ["payments:read"]);
    assert_eq!(allowed.seen("x-caracal-decision").len(), 1);
    assert!(allowed.seen("x-caracal-actor").is_empty() && allowed.seen("authorization").is_empty());
    let good = ("authorization", bearer.as_str());
    let disguised = envoy
        .send(HOST, PATH, &[good, ("x_caracal_subject", "root")])
        .await;
    assert_eq!(disguised.status, 400, "Envoy refuses underscores");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_manifest_refuses_with_a_reason() {
    let (_stack, envoy, bearer) = governed().await;
    let good = ("authorization", bearer.as_str());
    for (status, code, host, path, headers) in [
        (401, "credential_missing", HOST, PATH, vec![]),
        (401, "credential_duplicate", HOST, PATH, vec![good, good]),
        (
            401,
            "malformed",
            HOST,
            PATH,
            vec![("authorization", "Bearer x")],
        ),
        (403, "no_binding", "nobody.example", PATH, vec![good]),
        (403, "no_rule", HOST, "/v1/nothing", vec![good]),
        (403, "resource_not_granted", OTHER_HOST, PATH, vec![good]),
        (400, "path_refused", HOST, "/v1/invoices%2f42", vec![good]),
        (400, "path_refused", HOST, "/v1//invoices/42", vec![good]),
        (
            400,
            "override_header",
            HOST,
            PATH,
            vec![good, ("x-http-method-override", "DELETE")],
        ),
    ] {
        let answer = envoy.send(host, path, &headers).await;
        assert_eq!((answer.status, answer.code()), (status, code), "{answer:?}");
        assert!(answer.header("x-caracal-decision").is_some(), "{answer:?}");
        assert_eq!(
            answer.header("content-type"),
            Some("application/problem+json")
        );
        assert_eq!(
            answer.header("www-authenticate").is_some(),
            status == 401 || code == "resource_not_granted"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_grpc_caller_is_refused_in_its_own_form() {
    let (_stack, envoy, _) = governed().await;
    let grpc = envoy
        .send(HOST, PATH, &[("content-type", "application/grpc")])
        .await;
    assert_eq!(
        (grpc.status, grpc.header("content-type")),
        (200, Some("application/grpc"))
    );
    assert_eq!(grpc.header("grpc-status"), Some("16"));
    assert!(
        grpc.header("grpc-message")
            .is_some_and(|message| message.starts_with("credential_missing")),
        "{grpc:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_could_not_be_decided_does_not_pass_in_any_failure_mode() {
    let mut stack = Stack::start(1_000).await;
    let mandate = stack.mandate();
    stack
        .until(&mandate, "allowed", Duration::from_secs(5))
        .await;
    let envoy = Envoy::start(stack.port, upstream().await, true);
    let bearer = format!("Bearer {mandate}");
    assert_eq!(
        envoy
            .send(HOST, PATH, &[("authorization", &bearer)])
            .await
            .status,
        200
    );
    stack.coordinator.with(|history| history.alive = false);
    stack
        .until(&mandate, "authority_stale", Duration::from_secs(5))
        .await;
    let stale = envoy.send(HOST, PATH, &[("authorization", &bearer)]).await;
    assert_eq!(
        (stale.status, stale.code()),
        (503, "authority_stale"),
        "{stale:?}"
    );
    assert_eq!(stale.header("retry-after"), Some("1"));
    let missing = envoy.send(HOST, PATH, &[]).await;
    assert_eq!(missing.status, 503, "{missing:?}");
}
