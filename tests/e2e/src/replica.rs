use std::net::{SocketAddr, TcpListener};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::stack::binary;
use crate::{Client, Options, Stack, Way};

/// How long it may take until it decides.
const PATIENCE: Duration = Duration::from_secs(30);

/// One more ext-authz beside a stack's own: same zones and keys, a port and a journal of its own. Dropped, it is killed.
#[derive(Debug)]
pub struct Replica {
    child: Child,
    address: SocketAddr,
}

impl Replica {
    /// Starts some, waits until they are ready, and has the stack's Envoy ask them, too.
    pub async fn join(stack: &Stack, count: u16) -> Vec<Self> {
        let mut replicas = Vec::new();
        for number in 1..=count {
            replicas.push(Self::start(stack, number).await);
        }
        let own = stack.address("ext_authz").port();
        let endpoint = |port: u16| {
            format!(
                "        - endpoint:\n            address:\n              socket_address: {{ address: 127.0.0.1, port_value: {port} }}\n"
            )
        };
        stack.restart_envoy(|text| {
            let others = replicas.iter().map(|replica| replica.address.port());
            let all: String = std::iter::once(own).chain(others).map(endpoint).collect();
            text.replace(&endpoint(own), &all)
        });
        let admin = stack.client("envoy_admin");
        until("Envoy", async || is_ready(&admin).await).await;
        // The filters' sessions are with any of them.
        let Options { way, workers } = stack.options();
        let filters = if *way == Way::ExtAuthz { 0 } else { *workers };
        until("the filters", async || {
            stack.counted("wasmcustom.caracal_filter_ready").await >= u64::from(filters)
        })
        .await;
        replicas
    }

    async fn start(stack: &Stack, number: u16) -> Self {
        let data = stack.home().join("data");
        let read = |name: &str| {
            std::fs::read_to_string(data.join("config").join(name)).expect("a configuration")
        };
        let [check, ops] = [free(), free()];
        let own = stack.address("ext_authz").port();
        let text = read("ext-authz.toml")
            .replace(&format!("127.0.0.1:{own}"), &check.to_string())
            .replace(&format!("127.0.0.1:{}", own + 1), &ops.to_string())
            .replace(
                "journal/ext-authz",
                &format!("journal/ext-authz-replica-{number}"),
            );
        let file = data.join(format!("config/ext-authz-replica-{number}.toml"));
        std::fs::write(&file, text).expect("writing a configuration");
        let variables = read("ext-authz.env");
        let child = Command::new(binary())
            .args(["serve", "ext-authz", "--config"])
            .arg(&file)
            .env_clear()
            .envs(variables.lines().filter_map(|line| line.split_once('=')))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("starting a replica");
        let replica = Self {
            child,
            address: check,
        };
        let health = Client::new(&format!("http://{ops}"));
        until("the replica", async || is_ready(&health).await).await;
        replica
    }
}

impl Drop for Replica {
    fn drop(&mut self) {
        let _ended = self.child.kill();
        let _reaped = self.child.wait();
    }
}

async fn is_ready(client: &Client) -> bool {
    let answer = client.try_send("GET", "localhost", "/ready", &[]).await;
    answer.is_ok_and(|answer| answer.status == 200)
}

async fn until(what: &str, ready: impl AsyncFn() -> bool) {
    let started = Instant::now();
    while !ready().await {
        assert!(started.elapsed() < PATIENCE, "{what}: not ready");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

fn free() -> SocketAddr {
    let probe = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
    probe.local_addr().expect("an address")
}
