//! The whole service on a real clock, a real Valkey and real sockets. The coordinator is played by a
//! server of the same protocol that holds what it is told to.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::disallowed_methods,
    unreachable_pub,
    dead_code,
    reason = "tests on a real clock; `common` is shared"
)]

mod common;

use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use chassis::config::{Environment, Redis, resolve};
use chassis::redis::Client;
use chassis::streams::{self, AUTHORITY, Trim};
use chassis::{App, Clock, Lifecycle, Rng};
use common::{Asked, World, dead, id, zone};
use envoy_types::ext_authz::v3::pb::CheckResponse;
use envoy_types::pb::envoy::service::auth::v3::authorization_client::AuthorizationClient;
use envoy_types::pb::google::protobuf::value::Kind;
use ext_authz::RawConfig;
use futures::Stream;
use ledger::envelope::{Epoch, SignedEnvelope};
use mandate::id::ZoneId;
use prost::Message as _;
use tokio_util::sync::CancellationToken;
use tonic::transport::Channel;
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status};
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use wire::pb::caracal::authority::v1 as pb;
use wire::pb::caracal::authority::v1::authority_server::{Authority, AuthorityServer};

const TOKEN: &str = "v9XkP2mQz7LwR4tYbN8sJc3Dv9XkP2mQ";
const KEY: &str = "9bLrEyYd4tVSWkgQwFMtx2dwJhz5tIfw5Jch2jy9m5o";

/// The coordinator's side: a history, and what readers said about themselves.
struct History {
    world: World,
    base: Vec<pb::Change>,
    pos: u64,
    deltas: Vec<SignedEnvelope>,
    acks: Vec<(String, u64)>,
    /// Whether heartbeats go on.
    alive: bool,
}

#[derive(Clone)]
struct Coordinator(Arc<Mutex<History>>);

impl Coordinator {
    fn with<T>(&self, act: impl FnOnce(&mut History) -> T) -> T {
        act(&mut self.0.lock().unwrap())
    }

    /// Commits a change: numbered, signed, and known to `Since` from now on.
    fn commit(&self, kind: &str, of: ZoneId, change: &pb::Change) -> SignedEnvelope {
        self.with(|history| {
            history.pos += 1;
            history.world.clock.set(jiff::Timestamp::now());
            let signed = history
                .world
                .sign(kind, Some(of), history.pos, change.encode_to_vec());
            history.deltas.push(signed.clone());
            history.base.push(change.clone());
            signed
        })
    }

    fn heartbeat(&self) -> SignedEnvelope {
        self.with(|history| {
            if history.alive {
                history.world.clock.set(jiff::Timestamp::now());
            }
            history.world.heartbeat(history.pos)
        })
    }
}

type Chunks = Pin<Box<dyn Stream<Item = Result<pb::SnapshotChunk, Status>> + Send>>;

#[tonic::async_trait]
impl Authority for Coordinator {
    type SnapshotStream = Chunks;

    async fn snapshot(
        &self,
        request: Request<pb::SnapshotRequest>,
    ) -> Result<Response<Chunks>, Status> {
        let token = request.metadata().get("authorization").cloned();
        if token.is_none_or(|token| token != format!("Bearer {TOKEN}").as_str()) {
            return Err(Status::unauthenticated("no token"));
        }
        let beat = self.heartbeat();
        drop(beat);
        let chunks = self.with(|history| history.world.snapshot(history.pos, &history.base));
        let chunks: Vec<_> = chunks
            .into_iter()
            .map(|chunk| {
                Ok(pb::SnapshotChunk {
                    envelope: Some(chunk.into()),
                })
            })
            .collect();
        Ok(Response::new(Box::pin(futures::stream::iter(chunks))))
    }

    async fn since(
        &self,
        request: Request<pb::SinceRequest>,
    ) -> Result<Response<pb::SinceResponse>, Status> {
        let request = request.into_inner();
        let heartbeat = self.heartbeat();
        Ok(Response::new(self.with(|history| {
            if request.epoch != history.world.epoch.0 {
                return pb::SinceResponse {
                    snapshot_required: true,
                    ..pb::SinceResponse::default()
                };
            }
            let after = history
                .deltas
                .iter()
                .filter(|delta| delta.envelope.pos > request.pos);
            pb::SinceResponse {
                snapshot_required: false,
                deltas: after.cloned().map(Into::into).collect(),
                heartbeat: Some(heartbeat.into()),
            }
        })))
    }

    async fn clock(
        &self,
        _: Request<pb::ClockRequest>,
    ) -> Result<Response<pb::ClockResponse>, Status> {
        let now = jiff::Timestamp::now().as_nanosecond();
        Ok(Response::new(pb::ClockResponse {
            database_time_ns: i64::try_from(now).unwrap(),
        }))
    }

    async fn ack(
        &self,
        request: Request<pb::AckRequest>,
    ) -> Result<Response<pb::AckResponse>, Status> {
        let ack = request.into_inner();
        self.with(|history| history.acks.push((ack.reader, ack.pos)));
        Ok(Response::new(pb::AckResponse {}))
    }
}

struct Stack {
    valkey: kit::OwnValkey,
    coordinator: Coordinator,
    client: AuthorizationClient<Channel>,
    health: HealthClient<Channel>,
    lifecycle: Lifecycle,
    port: u16,
    beating: CancellationToken,
    _folder: tempfile::TempDir,
}

impl Stack {
    async fn start(bound_ms: u32) -> Self {
        let mut world = World::new();
        world.epoch = Epoch([3; 16]);
        world.clock.set(jiff::Timestamp::now());
        let mut base = world.changes();
        for change in &mut base {
            if let Some(pb::change::What::Zone(zone)) = &mut change.what {
                zone.freshness_bound_ms = bound_ms;
            }
        }
        let public = base64_url(&world.stream.public());
        let history = History {
            world,
            base,
            pos: 10,
            deltas: Vec::new(),
            acks: Vec::new(),
            alive: true,
        };
        let coordinator = Coordinator(Arc::new(Mutex::new(history)));
        let valkey = kit::own_valkey();
        let authority = serve(coordinator.clone()).await;
        let port = free_port();
        let folder = tempfile::tempdir().unwrap();
        let config = config(
            folder.path(),
            port,
            free_port(),
            authority,
            &public,
            &valkey.url(),
        );
        let (app, _watch) = App::with(
            "ext-authz",
            chassis::config::Mode::Dev,
            Clock::system(),
            Rng::seeded(5),
        );
        let lifecycle = app.lifecycle.clone();
        ext_authz::run(config, app).await.unwrap();
        let channel = Channel::from_shared(format!("http://127.0.0.1:{port}"))
            .unwrap()
            .connect_lazy();
        let beating = CancellationToken::new();
        let stack = Self {
            valkey,
            coordinator,
            client: AuthorizationClient::new(channel.clone()),
            health: HealthClient::new(channel),
            lifecycle,
            port,
            beating,
            _folder: folder,
        };
        stack.beat();
        stack
    }

    /// Heartbeats, four a second, for as long as the sequencer lives.
    fn beat(&self) {
        let redis = self.redis();
        let (coordinator, stop) = (self.coordinator.clone(), self.beating.clone());
        self.lifecycle.spawn_short("beat", async move {
            while !stop.is_cancelled() {
                if coordinator.with(|history| history.alive) {
                    let beat = coordinator.heartbeat();
                    let _lost = streams::publish(&redis, AUTHORITY, [beat], Trim::Nothing).await;
                }
                tokio::time::sleep(Duration::from_millis(250)).await;
            }
        });
    }

    fn redis(&self) -> Client {
        Client::open(&Redis::at(&self.valkey.url(), Duration::from_millis(300)).unwrap()).unwrap()
    }

    fn mandate(&self) -> String {
        self.coordinator.with(|history| {
            history.world.clock.set(jiff::Timestamp::now());
            history.world.mandate(|_| {})
        })
    }

    async fn ask(&mut self, mandate: &str) -> String {
        let request = Asked::new().bearer(mandate).request();
        let answer = self.client.check(request).await.unwrap().into_inner();
        code(&answer)
    }

    async fn until(&mut self, mandate: &str, wanted: &str, limit: Duration) -> Duration {
        let started = Instant::now();
        loop {
            let code = match self
                .client
                .check(Asked::new().bearer(mandate).request())
                .await
            {
                Ok(answer) => code(&answer.into_inner()),
                Err(status) => status.message().to_owned(),
            };
            if code == wanted {
                return started.elapsed();
            }
            assert!(
                started.elapsed() < limit,
                "still {code}, not {wanted}, after {limit:?}"
            );
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        self.beating.cancel();
        self.lifecycle.soft().cancel();
        self.lifecycle.hard().cancel();
    }
}

fn revocation() -> pb::Change {
    let until = jiff::Timestamp::now().as_second() + 3_600;
    dead(zone(1), pb::ObjectKind::Session, &id(102), until)
}

fn code(answer: &CheckResponse) -> String {
    match &answer
        .dynamic_metadata
        .as_ref()
        .unwrap()
        .fields
        .get("code")
        .unwrap()
        .kind
    {
        Some(Kind::StringValue(code)) => code.clone(),
        other => panic!("{other:?}"),
    }
}

async fn serve(coordinator: Coordinator) -> u16 {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let router = tonic::transport::Server::builder().add_service(AuthorityServer::new(coordinator));
    let serving = router.serve_with_incoming(TcpIncoming::from(listener));
    tokio::task::spawn(serving);
    port
}

fn config(
    folder: &std::path::Path,
    port: u16,
    ops: u16,
    authority: u16,
    public: &str,
    redis: &str,
) -> ext_authz::Config {
    let file = |name: &str, text: &str| {
        use std::os::unix::fs::PermissionsExt as _;
        let path = folder.join(name);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o400)).unwrap();
        path.display().to_string()
    };
    let environment = Environment::of([
        ("CARACAL_MODE", "dev".to_owned()),
        ("REDIS_URL", redis.to_owned()),
        ("EVENT_KEY_FILE", file("event", KEY)),
        ("SERVICE_TOKEN_FILE", file("service", TOKEN)),
    ]);
    let text = format!(
        r#"
        [check]
        listen = "127.0.0.1:{port}"
        lame_duck = "300ms"
        [ops]
        listen = "127.0.0.1:{ops}"
        [authority]
        endpoints = ["http://127.0.0.1:{authority}"]
        silence = "500ms"
        [redis]
        timeout = "300ms"
        [evidence]
        dir = "{}"
        [[attachment]]
        name = "ingress"
        zones = ["{}"]
        [[producer]]
        kid = "stream-1"
        public_key = "{public}"
        service = "coordinator"
        kinds = ["revocation", "cutoff", "state", "policy", "key", "resource", "binding", "zone", "heartbeat", "snapshot"]
        "#,
        folder.join("journal").display(),
        zone(1)
    );
    match resolve::<RawConfig>(&text, &environment) {
        Ok(loaded) => loaded.config,
        Err(findings) => panic!("{findings}"),
    }
}

fn base64_url(bytes: &[u8]) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(bytes)
}

fn free_port() -> u16 {
    std::net::TcpListener::bind(("127.0.0.1", 0))
        .unwrap()
        .local_addr()
        .unwrap()
        .port()
}

const MOMENT: Duration = Duration::from_secs(5);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_revocation_on_the_stream_refuses_within_milliseconds_and_is_acknowledged() {
    let mut stack = Stack::start(10_000).await;
    let mandate = stack.mandate();
    stack.until(&mandate, "allowed", MOMENT).await;
    let signed = stack
        .coordinator
        .commit("revocation", zone(1), &revocation());
    streams::publish(&stack.redis(), AUTHORITY, [signed], Trim::Nothing)
        .await
        .unwrap();
    let took = stack.until(&mandate, "revoked", MOMENT).await;
    println!("refused after {took:?}");
    let started = Instant::now();
    while !stack
        .coordinator
        .with(|history| history.acks.iter().any(|(_, pos)| *pos == 11))
    {
        assert!(started.elapsed() < MOMENT, "never acknowledged");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let readers = stack.coordinator.with(|history| {
        history
            .acks
            .iter()
            .map(|(reader, _)| reader.clone())
            .collect::<std::collections::BTreeSet<_>>()
    });
    assert_eq!(readers.len(), 1, "{readers:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_the_stream_memory_stays_fresh_and_a_revocation_still_arrives() {
    let mut stack = Stack::start(2_000).await;
    let mandate = stack.mandate();
    stack.until(&mandate, "allowed", MOMENT).await;
    stack.valkey.kill();
    let started = Instant::now();
    while started.elapsed() < Duration::from_secs(5) {
        assert_eq!(
            stack.ask(&mandate).await,
            "allowed",
            "after {:?}",
            started.elapsed()
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    stack
        .coordinator
        .commit("revocation", zone(1), &revocation());
    let took = stack.until(&mandate, "revoked", MOMENT).await;
    println!("refused after {took:?}, by asking");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn when_the_database_stands_still_memory_gets_too_old_although_messages_arrive() {
    let mut stack = Stack::start(1_000).await;
    let mandate = stack.mandate();
    stack.until(&mandate, "allowed", MOMENT).await;
    // Answers still come, with the heartbeat of the moment the database stopped.
    stack.coordinator.with(|history| history.alive = false);
    let took = stack.until(&mandate, "authority_stale", MOMENT).await;
    assert!(took < Duration::from_secs(2), "{took:?}");
    stack.coordinator.with(|history| history.alive = true);
    stack.until(&mandate, "allowed", MOMENT).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flushed_stream_and_a_new_epoch_lose_nothing() {
    let mut stack = Stack::start(5_000).await;
    let mandate = stack.mandate();
    stack.until(&mandate, "allowed", MOMENT).await;
    let mut connection = stack
        .redis()
        .dedicated(Duration::from_secs(1))
        .await
        .unwrap();
    connection
        .call::<()>(&redis::cmd("FLUSHALL"))
        .await
        .unwrap();
    let signed = stack
        .coordinator
        .commit("revocation", zone(1), &revocation());
    streams::publish(&stack.redis(), AUTHORITY, [signed], Trim::Nothing)
        .await
        .unwrap();
    stack.until(&mandate, "revoked", MOMENT).await;
    // An older copy of the database in a new epoch: it does not know of the revocation.
    stack.coordinator.with(|history| {
        history.world.epoch = Epoch([4; 16]);
        history.pos = 5;
        history.base = history.world.changes();
        history.deltas.clear();
    });
    let started = Instant::now();
    while !stack
        .coordinator
        .with(|history| history.acks.iter().any(|(_, pos)| *pos == 5))
    {
        let code = stack.ask(&mandate).await;
        assert!(code == "revoked" || code == "authority_resync", "{code}");
        assert!(
            started.elapsed() < MOMENT,
            "the new epoch was never taken up"
        );
    }
    assert_eq!(
        stack.ask(&mandate).await,
        "revoked",
        "what was dead stays dead"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn health_follows_memory_and_the_end_is_announced_before_the_listener_closes() {
    let mut stack = Stack::start(10_000).await;
    let mandate = stack.mandate();
    stack.until(&mandate, "allowed", MOMENT).await;
    let mut health = stack.health.clone();
    let mut status = async |service: &str| {
        let request = tonic_health::pb::HealthCheckRequest {
            service: service.to_owned(),
        };
        health
            .check(request)
            .await
            .map(|answer| answer.into_inner().status)
    };
    let started = Instant::now();
    for service in ["", "envoy.service.auth.v3.Authorization"] {
        while status(service).await.ok() != Some(ServingStatus::Serving.into()) {
            assert!(started.elapsed() < MOMENT, "never serving");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
    stack.beating.cancel();
    stack.lifecycle.soft().cancel();
    tokio::time::sleep(Duration::from_millis(150)).await;
    assert_eq!(
        status("").await.ok(),
        Some(ServingStatus::NotServing.into())
    );
    assert_eq!(
        stack.ask(&mandate).await,
        "allowed",
        "what still comes is still decided"
    );
    assert!(
        stack.lifecycle.drain(Duration::from_secs(5)).await,
        "everything ended in time"
    );
    assert!(
        std::net::TcpStream::connect(("127.0.0.1", stack.port)).is_err(),
        "the listener is closed"
    );
}
