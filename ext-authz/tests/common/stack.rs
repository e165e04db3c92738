//! The whole service on a real clock, a real Valkey and real sockets. The coordinator is played by a
//! server of the same protocol that holds what it is told to.

use std::pin::Pin;
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::common::{Asked, World, dead, id, zone};
use chassis::config::{Environment, Redis, resolve};
use chassis::redis::Client;
use chassis::streams::{self, AUTHORITY, Trim};
use chassis::{App, Clock, Lifecycle, Rng};
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
use tonic_health::pb::health_client::HealthClient;
use wire::pb::caracal::authority::v1 as pb;
use wire::pb::caracal::authority::v1::authority_server::{Authority, AuthorityServer};

const TOKEN: &str = "v9XkP2mQz7LwR4tYbN8sJc3Dv9XkP2mQ";
const KEY: &str = "9bLrEyYd4tVSWkgQwFMtx2dwJhz5tIfw5Jch2jy9m5o";

/// The coordinator's side: a history, and what readers said about themselves.
pub struct History {
    pub world: World,
    pub base: Vec<pb::Change>,
    pub pos: u64,
    pub deltas: Vec<SignedEnvelope>,
    pub acks: Vec<(String, u64)>,
    /// Whether heartbeats go on.
    pub alive: bool,
}

#[derive(Clone)]
pub struct Coordinator(pub Arc<Mutex<History>>);

impl Coordinator {
    pub fn with<T>(&self, act: impl FnOnce(&mut History) -> T) -> T {
        act(&mut self.0.lock().unwrap())
    }

    /// Commits a change: numbered, signed, and known to `Since` from now on.
    pub fn commit(&self, kind: &str, of: ZoneId, change: &pb::Change) -> SignedEnvelope {
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

    pub fn heartbeat(&self) -> SignedEnvelope {
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

pub struct Stack {
    pub valkey: kit::OwnValkey,
    pub coordinator: Coordinator,
    pub client: AuthorizationClient<Channel>,
    pub health: HealthClient<Channel>,
    pub lifecycle: Lifecycle,
    pub port: u16,
    pub beating: CancellationToken,
    _folder: tempfile::TempDir,
}

impl Stack {
    pub async fn start(bound_ms: u32) -> Self {
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
    pub fn beat(&self) {
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

    pub fn redis(&self) -> Client {
        Client::open(&Redis::at(&self.valkey.url(), Duration::from_millis(300)).unwrap()).unwrap()
    }

    pub fn mandate(&self) -> String {
        self.coordinator.with(|history| {
            history.world.clock.set(jiff::Timestamp::now());
            history.world.mandate(|_| {})
        })
    }

    pub async fn ask(&mut self, mandate: &str) -> String {
        let request = Asked::new().bearer(mandate).request();
        let answer = self.client.check(request).await.unwrap().into_inner();
        code(&answer)
    }

    pub async fn until(&mut self, mandate: &str, wanted: &str, limit: Duration) -> Duration {
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

pub fn revocation() -> pb::Change {
    let until = jiff::Timestamp::now().as_second() + 3_600;
    dead(zone(1), pb::ObjectKind::Session, &id(102), until)
}

pub fn code(answer: &CheckResponse) -> String {
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

pub async fn serve(coordinator: Coordinator) -> u16 {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let router = tonic::transport::Server::builder().add_service(AuthorityServer::new(coordinator));
    let serving = router.serve_with_incoming(TcpIncoming::from(listener));
    tokio::task::spawn(serving);
    port
}

pub fn config(
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
        // Of an earlier call: nobody but root writes over a file that is read-only.
        let _absent = std::fs::remove_file(&path);
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
        # What is tried here is not how fast a loaded machine is.
        deadline = "10s"
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

pub fn base64_url(bytes: &[u8]) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(bytes)
}

/// A port that nobody listens on. It lies below those that the system gives to connections, one of which could otherwise
/// have it before it is bound.
pub fn free_port() -> u16 {
    static GIVEN: AtomicU16 = AtomicU16::new(0);
    let start = u16::try_from(std::process::id() % 97).unwrap() * 100;
    loop {
        let port = 20_000 + (start + GIVEN.fetch_add(1, Ordering::Relaxed)) % 10_000;
        if std::net::TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}
