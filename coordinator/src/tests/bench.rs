//! A coordinator on an empty database of its own, as its own roles.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::unix::fs::PermissionsExt;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use chassis::config::{self, Environment};
use chassis::crypto::Es256Key;
use chassis::db::Pool;
use chassis::redis::Client;
use chassis::{App as Process, Clock, Rng, http as serving};
use http::Request;
use jiff::{SignedDuration, Timestamp};
use jiff_sqlx::ToSqlx;
use ledger::envelope::{EventSigner, Producer};
use ledger::event::Event;
use mandate::id::{ApplicationId, Issuer, KeyId, MandateId, RecordId, ScopeSet, Subject, ZoneId};
use mandate::{Algorithm, Claims, SubjectType, Use, encode};
use serde_json::{Value, json};
use sqlx::PgPool;
use tower::ServiceExt;
use uuid::Uuid;

use super::engines::{self, Engines};
use crate::RawConfig;
use crate::app::{self, App, Parts, Pools};
use crate::sequencer::Sequencer;
use crate::sweeper::Sweeper;

const TOKEN: &str = "v9XkP2mQz7LwR4tYbN8sJc3Dv9XkP2mQ";
pub(super) const SERVICE_TOKEN: &str = "J4kW9sXn2PqLr7TzVb5MyC8dJ4kW9sXn";
const EVENT_SEED: &str = "nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A";
const STREAM_SEED: &str = "TM0Imyj_ltqdtsNG7BFOD1uKMZ81q6Yk2oz27U-4pvs";
const PEPPER: &str = "xaqN2D-OC7-qNX4VmOjqY9Bo2pdz1Wd7Hc9EwVXbqvc";
/// The seed of the ledger's key, which signs cursors.
pub(super) const AUDIT_SEED: [u8; 32] = [9; 32];

/// The bench.
pub(super) struct Bench {
    pub(super) app: Arc<App>,
    pub(super) sequencer: Sequencer,
    pub(super) redis: Client,
    pub(super) engines: Engines,
    pub(super) process: Process,
    sweeper: Sweeper,
    retention: crate::retention::Retention,
    router: Router,
    keys: Mutex<BTreeMap<String, (KeyId, Es256Key, String)>>,
}

/// An answer.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) status: u16,
    pub(super) body: Value,
    headers: http::HeaderMap,
}

impl Reply {
    pub(super) fn code(&self) -> &str {
        self.body["code"].as_str().unwrap_or_default()
    }

    pub(super) fn text(&self, name: &str) -> String {
        self.body[name]
            .as_str()
            .unwrap_or_else(|| panic!("no {name} in {self:?}"))
            .to_owned()
    }

    pub(super) fn header(&self, name: &str) -> String {
        self.headers
            .get(name)
            .map(|value| value.to_str().unwrap().to_owned())
            .unwrap_or_default()
    }
}

fn secret(folder: &std::path::Path, name: &str, text: &str) -> (String, String) {
    let path = folder.join(name);
    // Of an earlier call: nobody but root writes over a file that is read-only.
    let _absent = std::fs::remove_file(&path);
    let mut file = std::fs::File::create(&path).unwrap();
    file.write_all(text.as_bytes()).unwrap();
    file.set_permissions(std::fs::Permissions::from_mode(0o400))
        .unwrap();
    (name.to_owned(), path.display().to_string())
}

pub(crate) fn configuration(extra: &str) -> crate::Config {
    configuration_at(extra, "postgres:///unused?host=/tmp", "redis://127.0.0.1:1")
}

/// A configuration on engines at an address.
pub(super) fn configuration_at(extra: &str, database: &str, redis: &str) -> crate::Config {
    let folder = tempfile::tempdir().unwrap();
    let audit = ledger::envelope::DalekSigner::new(KeyId::parse("audit-1").unwrap(), &AUDIT_SEED);
    let public = base64::Engine::encode(
        &base64::engine::general_purpose::URL_SAFE_NO_PAD,
        audit.public(),
    );
    let text = format!(
        "{extra}\n[[producer]]\nkid = \"audit-1\"\npublic_key = \"{public}\"\nservice = \"audit\"\n\
         kinds = [\"cursor\"]\n"
    );
    // Passwords belong into files.
    let (place, query) = database.split_once('?').unwrap();
    let (passwords, others): (Vec<&str>, Vec<&str>) = query
        .split('&')
        .partition(|pair| pair.starts_with("password="));
    let password = passwords
        .first()
        .map_or("scratch", |pair| pair.strip_prefix("password=").unwrap());
    let database = format!("{place}?{}", others.join("&"));
    let environment = Environment::of(
        [
            ("CARACAL_MODE".to_owned(), "dev".to_owned()),
            ("DATABASE_URL".to_owned(), database),
            ("REDIS_URL".to_owned(), redis.to_owned()),
        ]
        .into_iter()
        .chain([
            secret(folder.path(), "EVENT_KEY_FILE", EVENT_SEED),
            secret(folder.path(), "STREAM_KEY_FILE", STREAM_SEED),
            secret(folder.path(), "PEPPER_FILE", PEPPER),
            secret(folder.path(), "DATABASE_PASSWORD_FILE", password),
            secret(folder.path(), "BOOTSTRAP_TOKEN_FILE", TOKEN),
            secret(folder.path(), "SERVICE_TOKEN_FILE", SERVICE_TOKEN),
        ]),
    );
    config::resolve::<RawConfig>(&text, &environment)
        .unwrap()
        .config
}

impl Bench {
    pub(super) async fn start() -> Self {
        Self::with("").await
    }

    /// With more configuration.
    pub(super) async fn with(extra: &str) -> Self {
        let engines = engines::start().await;
        Self::on(engines, extra)
    }

    /// On engines at hand: another coordinator of the same deployment.
    pub(super) fn on(engines: Engines, extra: &str) -> Self {
        let config = configuration(extra);
        let limits = config.http.clone();
        let (process, _watch) = Process::with(
            "coordinator",
            config::Mode::Dev,
            Clock::system(),
            Rng::from_system().unwrap(),
        );
        let pool = |role| Pool::of(engines.pool(role), role);
        let pools = Pools {
            serving: pool(crate::config::SERVING),
            operating: pool(crate::config::OPERATING),
            sequencing: pool(crate::config::SEQUENCING),
            snapshots: pool(crate::config::SNAPSHOTS),
            retaining: pool(crate::config::RETAINING),
        };
        let redis = engines.redis();
        let Parts {
            app,
            sequencer,
            sweeper,
            retention,
        } = app::wire(config, pools, redis.clone(), &process).unwrap();
        let router = serving::govern(
            crate::api::router(Arc::clone(&app)),
            &limits,
            process.clock.clone(),
            process.rng.clone(),
        );
        Self {
            app,
            sequencer,
            redis,
            engines,
            process,
            sweeper,
            retention,
            router,
            keys: Mutex::default(),
        }
    }

    pub(super) fn authorization() -> String {
        format!("Bearer {TOKEN}")
    }

    pub(super) async fn bare(&self, method: &str, path: &str, headers: &[(&str, &str)]) -> Reply {
        self.send(method, path, Body::empty(), headers).await
    }

    async fn send(&self, method: &str, path: &str, body: Body, headers: &[(&str, &str)]) -> Reply {
        let mut request = Request::builder().method(method).uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let mut request = request.body(body).unwrap();
        let source = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 40_000);
        request.extensions_mut().insert(ConnectInfo(source));
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let bytes = axum::body::to_bytes(body, usize::MAX).await.unwrap();
        Reply {
            status: parts.status.as_u16(),
            body: serde_json::from_slice(&bytes).unwrap_or(Value::Null),
            headers: parts.headers,
        }
    }

    pub(super) async fn call_as(
        &self,
        method: &str,
        path: &str,
        body: &[u8],
        headers: &[(&str, &str)],
    ) -> Reply {
        let authorization = Self::authorization();
        let mut all = vec![("authorization", authorization.as_str())];
        all.extend_from_slice(headers);
        self.send(method, path, Body::from(body.to_vec()), &all)
            .await
    }

    pub(super) async fn raw(&self, method: &str, path: &str, body: &[u8]) -> Reply {
        self.call_as(method, path, body, &[("content-type", "application/json")])
            .await
    }

    pub(super) async fn call(
        &self,
        method: &str,
        path: &str,
        body: Option<&Value>,
        headers: &[(&str, &str)],
    ) -> Reply {
        let mut all = vec![("content-type", "application/json")];
        all.extend_from_slice(headers);
        let body = body.map(Value::to_string).unwrap_or_default();
        self.call_as(method, path, body.as_bytes(), &all).await
    }

    pub(super) async fn get(&self, path: &str) -> Reply {
        self.call("GET", path, None, &[]).await
    }

    pub(super) async fn post(&self, path: &str, body: Value) -> Reply {
        self.call("POST", path, Some(&body), &[]).await
    }

    /// As whoever has this token.
    pub(super) async fn post_as(&self, path: &str, body: Value, token: &str) -> Reply {
        let authorization = format!("Bearer {token}");
        let headers = [
            ("authorization", authorization.as_str()),
            ("content-type", "application/json"),
        ];
        self.send("POST", path, Body::from(body.to_string()), &headers)
            .await
    }

    pub(super) async fn retain(&self) {
        self.retention.round().await.unwrap();
    }

    pub(super) async fn sweep(&self) {
        self.sweeper.round().await.unwrap();
    }

    /// A zone with a key of its own.
    pub(super) async fn zone(&self) -> String {
        let made = self.post("/v1/zones", json!({"name": "zone"})).await;
        assert_eq!(made.status, 201, "{made:?}");
        let id = made.text("id");
        self.insert_key(&id).await;
        id
    }

    /// The zone's first key, inserted as the service that makes keys.
    pub(super) async fn insert_key(&self, zone: &str) {
        let key = Es256Key::generate(&self.process.rng).unwrap();
        let kid = KeyId::parse(&format!("k-{}", zone.rsplit('-').next().unwrap())).unwrap();
        let mut tx = self.engines.begin("caracal_keeper", zone).await;
        sqlx::query(
            "INSERT INTO signing_keys (zone_id, kid, alg, public_key, sealed, state, created_at)
             VALUES ($1, $2, 'ES256', $3, $4, 'active', $5)",
        )
        .bind(zone.parse::<Uuid>().unwrap())
        .bind(kid.as_str())
        .bind(key.public_sec1().to_vec())
        .bind(vec![0_u8; 60])
        .bind(self.now().to_sqlx())
        .execute(&mut *tx)
        .await
        .unwrap();
        sqlx::query(
            "UPDATE zones SET state = 'ready', version = version + 1
             WHERE zone_id = $1 AND state = 'provisioning'",
        )
        .bind(zone.parse::<Uuid>().unwrap())
        .execute(&mut *tx)
        .await
        .unwrap();
        tx.commit().await.unwrap();
        let issuer = self.get(&format!("/v1/zones/{zone}")).await.text("issuer");
        self.keys
            .lock()
            .unwrap()
            .insert(zone.to_owned(), (kid, key, issuer));
    }

    pub(super) fn now(&self) -> Timestamp {
        self.process.clock.now()
    }

    pub(super) async fn application(&self, zone: &str) -> String {
        let body = json!({"name": "agent", "labels": ["a"]});
        self.post(&format!("/v1/zones/{zone}/applications"), body)
            .await
            .text("id")
    }

    pub(super) async fn session(&self, zone: &str, application: &str) -> String {
        let body = json!({"application_id": application, "ttl_seconds": 600});
        self.post(&format!("/v1/zones/{zone}/sessions"), body)
            .await
            .text("id")
    }

    pub(super) async fn revoke(&self, zone: &str, kind: &str, id: &str) -> Reply {
        let body = json!({"anchor": {"kind": kind, "id": id}, "reason": "a test"});
        self.post(&format!("/v1/zones/{zone}/revocations"), body)
            .await
    }

    pub(super) fn kid(&self, zone: &str) -> String {
        self.keys.lock().unwrap()[zone].0.to_string()
    }

    /// A session mandate, as the zone's issuer would sign it.
    pub(super) fn session_mandate(&self, zone: &str, application: &str) -> String {
        self.mandate(zone, application, |_| {})
    }

    /// The same, changed before it is signed.
    pub(super) fn mandate(
        &self,
        zone: &str,
        application: &str,
        change: impl FnOnce(&mut Claims),
    ) -> String {
        let keys = self.keys.lock().unwrap();
        let (kid, key, issuer) = &keys[zone];
        let now = self.now().as_second();
        let record = RecordId::from_uuid(self.process.rng.uuid_v7(self.now()));
        let mut claims = Claims {
            iss: Issuer::parse(issuer).unwrap(),
            sub: Subject::parse(application).unwrap(),
            aud: vec![issuer.clone()],
            exp: now + 600,
            nbf: now,
            iat: now,
            jti: MandateId::from_uuid(self.process.rng.uuid_v7(self.now())),
            client_id: ApplicationId::parse(application).unwrap(),
            act: None,
            scope: ScopeSet::default(),
            target: Vec::new(),
            zone_id: ZoneId::parse(zone).unwrap(),
            usage: Use::Session,
            sub_type: SubjectType::Application,
            sid: record,
            root_sid: record,
            agent_session_id: None,
            delegation_edge_id: None,
            delegation_path: Vec::new(),
            delegation_chain: Vec::new(),
            hop_count: 0,
            anc: vec![record.as_uuid()],
            labels: Vec::new(),
            policy_version: None,
            cnf: None,
        };
        change(&mut claims);
        let input = encode::signing_input(Algorithm::Es256, kid, &claims);
        let signature = key.sign(input.as_bytes()).unwrap();
        encode::compact(&input, &signature)
    }

    /// The kinds in the outbox of a zone, in order.
    pub(super) async fn outbox_kinds(&self, zone: &str, lane: &str) -> Vec<String> {
        sqlx::query_scalar("SELECT kind FROM outbox WHERE zone_id = $1 AND lane = $2 ORDER BY id")
            .bind(zone.parse::<Uuid>().unwrap())
            .bind(lane)
            .fetch_all(&self.engines.superuser)
            .await
            .unwrap()
    }

    /// The evidence in the outbox of a zone, not numbered yet.
    pub(super) async fn evidence(&self, zone: &str) -> Vec<Event> {
        let rows: Vec<Vec<u8>> = sqlx::query_scalar(
            "SELECT payload FROM outbox WHERE zone_id = $1 AND lane = 'audit' AND pos IS NULL
             ORDER BY id",
        )
        .bind(zone.parse::<Uuid>().unwrap())
        .fetch_all(&self.engines.superuser)
        .await
        .unwrap();
        rows.iter()
            .map(|bytes| Event::decode(bytes).unwrap())
            .collect()
    }

    pub(super) async fn backdate_session(&self, zone: &str, session: &str) {
        let past = self
            .now()
            .saturating_sub(SignedDuration::from_secs(5))
            .unwrap();
        sqlx::query(
            "UPDATE sessions SET started_at = $3 - interval '1 minute', expires_at = $3
             WHERE zone_id = $1 AND id = $2",
        )
        .bind(zone.parse::<Uuid>().unwrap())
        .bind(session.parse::<Uuid>().unwrap())
        .bind(past.to_sqlx())
        .execute(&self.engines.superuser)
        .await
        .unwrap();
    }

    /// Sequences as a task until the bench is dropped.
    pub(super) fn sequence(&self) {
        let soft = self.process.lifecycle.soft().clone();
        self.process
            .lifecycle
            .spawn("sequencer", self.sequencer.clone().run(soft));
    }

    /// Who signs the evidence of changes.
    pub(super) fn event_producer(&self) -> Producer {
        Producer {
            kid: EventSigner::kid(self.app.event_key.as_ref()).clone(),
            public_key: self.app.event_key.public(),
            service: "coordinator".to_owned(),
            kinds: BTreeSet::new(),
        }
    }

    pub(super) fn superuser(&self) -> &PgPool {
        &self.engines.superuser
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        self.process.lifecycle.hard().cancel();
    }
}
