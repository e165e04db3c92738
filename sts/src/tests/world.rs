//! One zone with an application, two resources it is granted and one it is not, a policy and a
//! session; and hands that do what a coordinator does, logged in as the coordinator.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::num::{NonZeroU32, NonZeroUsize};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::ConnectInfo;
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use chassis::clock::TestClock;
use chassis::crypto::{EventKey, Holder, MacKey, RootKek};
use chassis::db::{OperatorStore, Pool, Skew, Store, ZoneTx};
use chassis::http::govern;
use chassis::journal::{Durability, Journal, JournalConfig};
use chassis::rng::Rng;
use chassis::secrets::Key32;
use chassis::{App, config::Mode};
use http::{HeaderMap, Request};
use jiff::Timestamp;
use jiff_sqlx::ToSqlx;
use kit::TestDb;
use ledger::envelope::EventSigner;
use mandate::id::{ApplicationId, KeyId, PolicyVersionId, SessionId, ZoneId};
use policy::PolicyData;
use serde_json::{Value, json};
use tempfile::TempDir;
use tower::ServiceExt;
use uuid::Uuid;

use crate::api::{Desk, router};
use crate::config::{self, KEEPING, SERVING};
use crate::keys::keeper::Keeper;
use crate::keys::ring::Ring;
use crate::limit::{Allowance, Failures};
use crate::metrics::Metrics;
use crate::mint::evidence::Evidence;
use crate::mint::{Laws, Mint};
use crate::skew::Agreement;
use crate::store::mint as records;
use crate::token::form::MAX_BODY;

pub(super) const INVOICES: &str = "https://invoices.example.test/api";
pub(super) const WIKI: &str = "https://wiki.example.test/api";
pub(super) const UNGRANTED: &str = "https://payroll.example.test/api";

/// What came back.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) headers: HeaderMap,
    pub(super) text: String,
    pub(super) body: Value,
}

impl Answer {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    pub(super) fn error(&self) -> &str {
        self.body["error"].as_str().unwrap_or_default()
    }

    pub(super) fn code(&self) -> &str {
        self.body["code"].as_str().unwrap_or_default()
    }

    pub(super) fn token(&self) -> &str {
        self.body["access_token"]
            .as_str()
            .unwrap_or_else(|| panic!("no token: {}", self.text))
    }

    /// The claims of the token, unverified.
    pub(super) fn claims(&self) -> Value {
        claims(self.token())
    }
}

pub(super) fn claims(token: &str) -> Value {
    let part = token.split('.').nth(1).unwrap();
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()
}

pub(super) struct World {
    pub(super) db: TestDb,
    pub(super) zone: ZoneId,
    pub(super) issuer: String,
    pub(super) application: ApplicationId,
    pub(super) secret: String,
    pub(super) session: SessionId,
    pub(super) policy: PolicyVersionId,
    pub(super) clock: TestClock,
    pub(super) rng: Rng,
    pub(super) desk: Arc<Desk>,
    pub(super) keeper: Keeper,
    pub(super) journal: Journal,
    coordinator: Store,
    router: Router,
    document: Mutex<Value>,
    _folder: TempDir,
}

fn pepper() -> MacKey {
    MacKey::new(&Key32::new([9; 32]))
}

fn root() -> Arc<RootKek> {
    Arc::new(RootKek::new(Holder::Sts, &Key32::new([7; 32])).unwrap())
}

/// What a zone is made of, before it is in the database.
struct Seed {
    zone: ZoneId,
    application: ApplicationId,
    session: SessionId,
    secret: Uuid,
}

impl World {
    /// Failures at once before a source waits.
    pub(super) const BURST: u32 = 3;

    #[expect(clippy::too_many_lines, reason = "wiring")]
    pub(super) async fn new() -> Self {
        static SEED: AtomicU64 = AtomicU64::new(1);
        let db = kit::database().await;
        // The real time to the second: rows that the database dates itself must fit.
        let start = Timestamp::from_second(1_780_000_000).unwrap();
        let clock = TestClock::new(start);
        let rng = Rng::seeded(SEED.fetch_add(1, Ordering::Relaxed));
        let (app, _watch) = App::with("sts", Mode::Dev, clock.clone().into(), rng.clone());
        let serving = Pool::of(db.pool(SERVING).await, SERVING);
        let keeping = Pool::of(db.pool(KEEPING).await, KEEPING);
        let coordinator = Store::new(Pool::of(
            db.pool("caracal_coordinator").await,
            "caracal_coordinator",
        ));
        let kid = KeyId::parse("sts-event-1").unwrap();
        let events = Arc::new(EventKey::new(kid, &Key32::new([5; 32])).unwrap());
        let folder = tempfile::tempdir().unwrap();
        let kept = JournalConfig::new(
            folder.path(),
            "sts",
            Durability::Process,
            16 * 1024 * 1024,
            1024 * 1024,
        );
        let signer: Arc<dyn EventSigner> = Arc::<EventKey>::clone(&events);
        let journal = Journal::open(kept, app.clock.clone(), rng.clone(), signer)
            .await
            .unwrap();

        let agreement = Agreement::new(app.clock.clone(), &app.readiness);
        agreement.note(Skew {
            most: Duration::ZERO,
            round_trip: Duration::ZERO,
        });
        let store = Store::new(serving);
        let limits = config::RawKeys::default();
        let limits = config::Keys {
            refresh: limits.refresh.into(),
            max_age: limits.max_age.into(),
            jwks_max_age: limits.jwks_max_age.into(),
            provision_every: limits.provision_every.into(),
            zones: limits.zones,
        };
        let allowance = Allowance {
            burst: NonZeroU32::new(Self::BURST).unwrap(),
            every: Duration::from_secs(1),
            sources: 100,
        };
        let mint = Mint {
            store: store.clone(),
            ring: Ring::new(store, root(), app.clock.clone(), limits),
            laws: Laws::new(16).unwrap(),
            pepper: pepper(),
            events: Arc::clone(&events),
            agreement,
            failures: Mutex::new(Failures::new(allowance)),
            bench: Mint::bench(),
            clock: app.clock.clone(),
            rng: rng.clone(),
        };
        let evidence = Evidence::new(
            journal.clone(),
            app.clock.clone(),
            Metrics::new(&app.metrics),
            app.readiness.need("journal"),
            100,
        );
        let desk = Arc::new(Desk {
            mint,
            evidence,
            trusted_proxies: Vec::new(),
            jwks_max_age: Duration::from_mins(1),
            max_body: MAX_BODY,
        });
        let http = chassis::config::Http {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            max_body_bytes: usize::MAX,
            timeout: Duration::from_secs(29),
            max_in_flight: NonZeroUsize::new(1000).unwrap().get(),
        };
        let router = govern(
            router(Arc::clone(&desk)),
            &http,
            app.clock.clone(),
            rng.clone(),
        );
        let keeper = Keeper {
            zones: OperatorStore::new(keeping.clone()),
            store: Store::new(keeping),
            root: root(),
            events: Arc::clone(&events),
            clock: app.clock.clone(),
            rng: rng.clone(),
        };
        let seed = Seed {
            zone: ZoneId::from_uuid(rng.uuid_v7(start)),
            application: ApplicationId::from_uuid(rng.uuid_v7(start)),
            session: SessionId::from_uuid(rng.uuid_v7(start)),
            secret: rng.uuid_v7(start),
        };
        let mut world = Self {
            db,
            zone: seed.zone,
            issuer: format!("https://sts.example.test/z/{}", seed.zone),
            application: seed.application,
            secret: format!("cs_{}_{}", seed.secret, rng.token()),
            session: seed.session,
            policy: PolicyVersionId::from_uuid(Uuid::nil()),
            clock,
            rng,
            desk,
            keeper,
            journal,
            coordinator,
            router,
            document: Mutex::default(),
            _folder: folder,
        };
        world.seed(&seed).await;
        world
    }

    async fn seed(&mut self, seed: &Seed) {
        self.seed_zone(seed.zone).await;
        self.keeper.round().await.unwrap();
        self.seed_application(
            seed.zone,
            seed.application,
            "app",
            seed.secret,
            &self.secret,
        )
        .await;
        let mut tx = self.coordinator.begin(seed.zone).await.unwrap();
        let resources = [
            (INVOICES, "{invoices:read,invoices:write,shared:read}"),
            (WIKI, "{pages:read,shared:read}"),
            (UNGRANTED, "{slips:read}"),
        ];
        for (identifier, scopes) in resources {
            sqlx::query(
                "INSERT INTO resources (zone_id, id, identifier, name, scopes, operations, version, created_at, updated_at)
                 VALUES ($1, $2, $3, $3, $4::text[], '[]', 1, $5, $5)",
            )
            .bind(seed.zone.as_uuid())
            .bind(self.rng.uuid_v7(self.clock.now()))
            .bind(identifier)
            .bind(scopes)
            .bind(self.clock.now().to_sqlx())
            .execute(tx.as_mut())
            .await
            .unwrap();
            anchor(&mut tx, "resource", identifier).await;
        }
        tx.commit().await.unwrap();
        self.seed_session(seed.application, seed.session).await;
        *self.document.lock().unwrap() = json!({
            "app_ids": { "app": seed.application },
            "grants": {
                INVOICES: { "app": { "roles": { "agent": ["invoices:read", "invoices:write"] } } },
                WIKI: { "app": { "roles": { "agent": ["pages:read"] } } },
            },
            "confinement": {},
            "restrict": { "zone": false, "resources": {}, "applications": {} },
            "risk": {},
            "approval_tiers": {},
        });
        self.policy = self.activate(|_| {}).await;
    }

    async fn seed_zone(&self, zone: ZoneId) {
        let mut tx = self.coordinator.begin(zone).await.unwrap();
        sqlx::query(
            "INSERT INTO zones (zone_id, name, issuer, state, freshness_bound_ms, version, created_at, updated_at)
             VALUES ($1, 'zone', $2, 'provisioning', 10000, 1, $3, $3)",
        )
        .bind(zone.as_uuid())
        .bind(format!("https://sts.example.test/z/{zone}"))
        .bind(self.clock.now().to_sqlx())
        .execute(tx.as_mut())
        .await
        .unwrap();
        anchor(&mut tx, "zone", &zone.to_string()).await;
        anchor(&mut tx, "policy", &zone.to_string()).await;
        tx.commit().await.unwrap();
    }

    async fn seed_application(
        &self,
        zone: ZoneId,
        id: ApplicationId,
        name: &str,
        secret: Uuid,
        text: &str,
    ) {
        let mut tx = self.coordinator.begin(zone).await.unwrap();
        sqlx::query(
            "INSERT INTO applications (zone_id, id, name, labels, max_session_ttl_s, version, created_at, updated_at)
             VALUES ($1, $2, $3, '{agent}', 3600, 1, $4, $4)",
        )
        .bind(zone.as_uuid())
        .bind(id.as_uuid())
        .bind(name)
        .bind(self.clock.now().to_sqlx())
        .execute(tx.as_mut())
        .await
        .unwrap();
        sqlx::query(
            "INSERT INTO application_secrets (zone_id, application_id, id, hmac, created_at)
             VALUES ($1, $2, $3, $4, $5)",
        )
        .bind(zone.as_uuid())
        .bind(id.as_uuid())
        .bind(secret)
        .bind(pepper().tag(&[text.as_bytes()]).as_slice())
        .bind(self.clock.now().to_sqlx())
        .execute(tx.as_mut())
        .await
        .unwrap();
        anchor(&mut tx, "application", &id.to_string()).await;
        tx.commit().await.unwrap();
    }

    async fn seed_session(&self, application: ApplicationId, id: SessionId) {
        let now = self.clock.now();
        let mut tx = self.coordinator.begin(self.zone).await.unwrap();
        sqlx::query(
            "INSERT INTO sessions (zone_id, id, application_id, kind, labels, state, started_at, expires_at, root_id, depth, version)
             VALUES ($1, $2, $3, 'task', '{zeta,agent}', 'active', $4, $5, $2, 0, 1)",
        )
        .bind(self.zone.as_uuid())
        .bind(id.as_uuid())
        .bind(application.as_uuid())
        .bind(now.to_sqlx())
        .bind((now + Duration::from_secs(4000)).to_sqlx())
        .execute(tx.as_mut())
        .await
        .unwrap();
        anchor(&mut tx, "session", &id.to_string()).await;
        tx.commit().await.unwrap();
    }

    // === policy ===

    /// Changes the policy's document and activates it.
    pub(super) async fn activate(&self, change: impl FnOnce(&mut Value)) -> PolicyVersionId {
        let (tx, version) = self.begin_activation_of(change).await;
        tx.commit().await.unwrap();
        version
    }

    /// The same, not committed yet.
    pub(super) async fn begin_activation(&self, change: impl FnOnce(&mut Value)) -> ZoneTx {
        self.begin_activation_of(change).await.0
    }

    async fn begin_activation_of(
        &self,
        change: impl FnOnce(&mut Value),
    ) -> (ZoneTx, PolicyVersionId) {
        let data = {
            let mut document = self.document.lock().unwrap();
            change(&mut document);
            PolicyData::parse(document.to_string().as_bytes()).unwrap()
        };
        let id = self.rng.uuid_v7(self.clock.now());
        let mut tx = self.coordinator.begin(self.zone).await.unwrap();
        sqlx::query(
            "INSERT INTO policies (zone_id, id, number, data, canonical, content_sha256, created_at, created_by)
             SELECT $1, $2, coalesce(max(number), 0) + 1, '{}', $3, $4, $5, 'test' FROM policies",
        )
        .bind(self.zone.as_uuid())
        .bind(id)
        .bind(data.canonical())
        .bind(data.content_sha256().as_slice())
        .bind(self.clock.now().to_sqlx())
        .execute(tx.as_mut())
        .await
        .unwrap();
        exclusive(&mut tx, "policy", &self.zone.to_string()).await;
        sqlx::query(
            "INSERT INTO policy_heads (zone_id, active_id, version) VALUES ($1, $2, 1)
             ON CONFLICT (zone_id) DO UPDATE SET active_id = EXCLUDED.active_id, version = policy_heads.version + 1",
        )
        .bind(self.zone.as_uuid())
        .bind(id)
        .execute(tx.as_mut())
        .await
        .unwrap();
        (tx, PolicyVersionId::from_uuid(id))
    }

    /// A zone that never had a policy.
    pub(super) async fn no_policy(&self) {
        let superuser = self.db.superuser().await;
        sqlx::query("DELETE FROM policy_heads")
            .execute(&superuser)
            .await
            .unwrap();
    }

    pub(super) async fn grant_everywhere(&self, scope: &str) {
        self.activate(|policy| {
            for resource in [INVOICES, WIKI] {
                let roles = &mut policy["grants"][resource]["app"]["roles"]["agent"];
                roles.as_array_mut().unwrap().push(scope.into());
            }
        })
        .await;
    }

    // === what a coordinator does ===

    /// Begins a change of the sample's own object of this kind.
    pub(super) async fn begin_change(&self, kind: &str, change: &str) -> ZoneTx {
        let id = match kind {
            "session" => self.session.to_string(),
            "zone" => self.zone.to_string(),
            "resource" => INVOICES.to_owned(),
            _ => self.application.to_string(),
        };
        self.begin_change_of(kind, &id, change).await
    }

    pub(super) async fn begin_change_of(&self, kind: &str, id: &str, change: &str) -> ZoneTx {
        let mut tx = self.coordinator.begin(self.zone).await.unwrap();
        exclusive(&mut tx, kind, id).await;
        sqlx::query(
            "INSERT INTO anchors (zone_id, kind, id) VALUES ($1, $2, $3)
             ON CONFLICT (zone_id, kind, id) DO NOTHING",
        )
        .bind(self.zone.as_uuid())
        .bind(kind)
        .bind(id)
        .execute(tx.as_mut())
        .await
        .unwrap();
        let now = self.clock.now();
        let (state, dead, cut_off) = match change {
            "dead" => ("active", Some((now + Duration::from_hours(2)).to_sqlx()), 0),
            "cut_off" => ("active", None, now.as_second()),
            state => (state, None, 0),
        };
        sqlx::query(
            "UPDATE anchors
             SET state = $4, dead_until = $5, not_before_s = greatest(not_before_s, $6), version = version + 1
             WHERE zone_id = $1 AND kind = $2 AND id = $3",
        )
        .bind(self.zone.as_uuid())
        .bind(kind)
        .bind(id)
        .bind(state)
        .bind(dead)
        .bind(cut_off)
        .execute(tx.as_mut())
        .await
        .unwrap();
        tx
    }

    /// The id under which a token is revoked as this kind.
    #[expect(clippy::unused_self, reason = "reads as what the world does")]
    pub(super) fn anchor_of(&self, kind: &str, token: &str) -> String {
        let header: Value = {
            let part = token.split('.').next().unwrap();
            serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()
        };
        let value = match kind {
            "key" => header["kid"].clone(),
            "record" => claims(token)["sid"].clone(),
            _ => claims(token)["jti"].clone(),
        };
        value.as_str().unwrap().to_owned()
    }

    pub(super) async fn set_session(&self, state: &str) {
        let mut tx = self.coordinator.begin(self.zone).await.unwrap();
        sqlx::query("UPDATE sessions SET state = $2 WHERE zone_id = $1 AND id = $3")
            .bind(self.zone.as_uuid())
            .bind(state)
            .bind(self.session.as_uuid())
            .execute(tx.as_mut())
            .await
            .unwrap();
        tx.commit().await.unwrap();
    }

    pub(super) async fn archive_zone(&self) {
        let mut tx = self.begin_change("zone", "archived").await;
        sqlx::query("UPDATE zones SET state = 'archived' WHERE zone_id = $1")
            .bind(self.zone.as_uuid())
            .execute(tx.as_mut())
            .await
            .unwrap();
        tx.commit().await.unwrap();
    }

    /// A session of another application of this zone.
    pub(super) async fn foreign_session(&self) -> String {
        let other = ApplicationId::from_uuid(self.rng.uuid_v7(self.clock.now()));
        self.seed_application(
            self.zone,
            other,
            "foreign",
            self.rng.uuid_v7(self.clock.now()),
            "x",
        )
        .await;
        let session = SessionId::from_uuid(self.rng.uuid_v7(self.clock.now()));
        self.seed_session(other, session).await;
        session.to_string()
    }

    /// A session mandate of another application of this zone.
    pub(super) async fn other_application(&self) -> String {
        let other = ApplicationId::from_uuid(self.rng.uuid_v7(self.clock.now()));
        let id = self.rng.uuid_v7(self.clock.now());
        let secret = format!("cs_{id}_other");
        self.seed_application(self.zone, other, "other", id, &secret)
            .await;
        let form = [("grant_type", "client_credentials")];
        self.post(&form, Some((&other.to_string(), &secret)))
            .await
            .token()
            .to_owned()
    }

    /// A session mandate of another zone's application.
    pub(super) async fn other_zone(&self) -> String {
        let world = Box::pin(Self::new()).await;
        world.session_mandate().await
    }

    pub(super) fn disagree(&self) {
        let skew = Skew {
            most: Duration::from_secs(3),
            round_trip: Duration::ZERO,
        };
        self.desk.mint.agreement.note(skew);
    }

    /// Lets time pass; the comparison of clocks stays fresh.
    #[expect(clippy::unused_async, reason = "reads as what the world does")]
    pub(super) async fn advance(&self, seconds: u64) {
        self.clock.advance(Duration::from_secs(seconds));
        let skew = Skew {
            most: Duration::ZERO,
            round_trip: Duration::ZERO,
        };
        self.desk.mint.agreement.note(skew);
    }

    /// A mint's transaction that has recorded and not yet committed.
    pub(super) async fn begin_mint(&self) -> ZoneTx {
        let now = self.clock.now();
        let mut tx = self.desk.mint.store.begin(self.zone).await.unwrap();
        let anchors: Vec<records::Anchor> = [
            ("application", self.application.to_string()),
            ("session", self.session.to_string()),
            ("zone", self.zone.to_string()),
        ]
        .map(|(kind, id)| records::Anchor {
            kind,
            id,
            required: true,
        })
        .to_vec();
        records::lock(&mut tx, &anchors).await.unwrap();
        let record = records::Record {
            id: mandate::id::RecordId::from_uuid(self.rng.uuid_v7(now)),
            root: mandate::id::RecordId::from_uuid(self.rng.uuid_v7(now)),
            parent: None,
            application: (self.application, 1),
            session: Some((self.session, 1)),
            resources: &BTreeMap::new(),
            usage: "resource",
            expires_at: now + Duration::from_secs(59),
            policy: self.policy,
            subject_iat: None,
            event: b"event",
            event_kind: "mint",
            now,
        };
        let outcome = records::record(&mut tx, &anchors, &record).await.unwrap();
        assert_eq!(outcome, records::Outcome::Recorded { not_before_s: 0 });
        tx
    }

    pub(super) async fn records_of_session(&self, tx: &mut ZoneTx) -> i64 {
        sqlx::query_scalar("SELECT count(*) FROM authority_records WHERE session_id = $1")
            .bind(self.session.as_uuid())
            .fetch_one(tx.as_mut())
            .await
            .unwrap()
    }

    /// Begins a change of a resource's scopes, as a PUT does.
    pub(super) async fn begin_resource_change(&self, identifier: &str, scopes: &str) -> ZoneTx {
        let mut tx = self.coordinator.begin(self.zone).await.unwrap();
        exclusive(&mut tx, "resource", identifier).await;
        sqlx::query(
            "UPDATE resources SET scopes = $3::text[], version = version + 1
             WHERE zone_id = $1 AND identifier = $2",
        )
        .bind(self.zone.as_uuid())
        .bind(identifier)
        .bind(scopes)
        .execute(tx.as_mut())
        .await
        .unwrap();
        tx
    }

    // === what a client does ===

    pub(super) async fn client_credentials(&self, more: &[(&str, &str)]) -> Answer {
        let mut form = vec![("grant_type", "client_credentials")];
        form.extend_from_slice(more);
        self.post(&form, Some((&self.application.to_string(), &self.secret)))
            .await
    }

    pub(super) async fn session_mandate(&self) -> String {
        self.client_credentials(&[]).await.token().to_owned()
    }

    /// An exchange of a fresh session mandate.
    pub(super) async fn exchange(&self, more: &[(&str, &str)]) -> Answer {
        let subject = self.session_mandate().await;
        self.exchange_of(&subject, more).await
    }

    pub(super) async fn exchange_of(&self, subject: &str, more: &[(&str, &str)]) -> Answer {
        let session = self.session.to_string();
        let mut form: Vec<(&str, &str)> = vec![
            (
                "grant_type",
                "urn:ietf:params:oauth:grant-type:token-exchange",
            ),
            ("subject_token", subject),
            (
                "subject_token_type",
                "urn:ietf:params:oauth:token-type:access_token",
            ),
        ];
        if !more.iter().any(|(name, _)| *name == "session") {
            form.push(("session", &session));
        }
        form.extend_from_slice(more);
        self.post(&form, Some((&self.application.to_string(), &self.secret)))
            .await
    }

    pub(super) async fn post(&self, form: &[(&str, &str)], auth: Option<(&str, &str)>) -> Answer {
        self.post_from("127.0.0.1", form, auth).await
    }

    pub(super) async fn post_from(
        &self,
        source: &str,
        form: &[(&str, &str)],
        auth: Option<(&str, &str)>,
    ) -> Answer {
        let mut request = Request::post(format!("/z/{}/token", self.zone))
            .header("content-type", "application/x-www-form-urlencoded");
        if let Some((id, secret)) = auth {
            let value = format!("Basic {}", STANDARD.encode(format!("{id}:{secret}")));
            request = request.header("authorization", value);
        }
        let mut request = request.body(Body::from(encode(form))).unwrap();
        let source: IpAddr = source.parse().unwrap();
        request
            .extensions_mut()
            .insert(ConnectInfo(SocketAddr::from((source, 1))));
        self.send(request).await
    }

    /// Posts a form at another path, with the sample's credential.
    pub(super) async fn at(&self, path: &str, form: &[(&str, &str)]) -> Answer {
        let credential = format!("{}:{}", self.application, self.secret);
        let request = Request::post(path)
            .header("content-type", "application/x-www-form-urlencoded")
            .header(
                "authorization",
                format!("Basic {}", STANDARD.encode(credential)),
            )
            .body(Body::from(encode(form)))
            .unwrap();
        self.send(request).await
    }

    /// Anything at the token endpoint, with the sample's credential.
    pub(super) async fn raw(
        &self,
        method: &str,
        query: &str,
        content_type: Option<&str>,
        body: &str,
    ) -> Answer {
        let credential = format!("{}:{}", self.application, self.secret);
        let mut request = Request::builder()
            .method(method)
            .uri(format!("/z/{}/token{query}", self.zone))
            .header(
                "authorization",
                format!("Basic {}", STANDARD.encode(credential)),
            );
        if let Some(content_type) = content_type {
            request = request.header("content-type", content_type);
        }
        self.send(request.body(Body::from(body.to_owned())).unwrap())
            .await
    }

    pub(super) async fn get(&self, path: &str) -> Answer {
        self.get_with(path, &[]).await
    }

    pub(super) async fn get_with(&self, path: &str, headers: &[(&str, &str)]) -> Answer {
        let mut request = Request::get(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.send(request.body(Body::empty()).unwrap()).await
    }

    async fn send(&self, request: Request<Body>) -> Answer {
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (head, body) = response.into_parts();
        let bytes = to_bytes(body, usize::MAX).await.unwrap();
        let text = String::from_utf8(bytes.to_vec()).unwrap();
        let body = serde_json::from_str(&text).unwrap_or(Value::Null);
        Answer {
            status: head.status.as_u16(),
            headers: head.headers,
            text,
            body,
        }
    }
}

fn encode(form: &[(&str, &str)]) -> String {
    let pairs: Vec<String> = form
        .iter()
        .map(|(name, value)| {
            let value: String = value
                .bytes()
                .map(|byte| match byte {
                    b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' => {
                        char::from(byte).to_string()
                    }
                    _ => format!("%{byte:02X}"),
                })
                .collect();
            format!("{name}={value}")
        })
        .collect();
    pairs.join("&")
}

async fn anchor(tx: &mut ZoneTx, kind: &str, id: &str) {
    sqlx::query("INSERT INTO anchors (zone_id, kind, id) VALUES ($1, $2, $3)")
        .bind(tx.zone().as_uuid())
        .bind(kind)
        .bind(id)
        .execute(tx.as_mut())
        .await
        .unwrap();
}

async fn exclusive(tx: &mut ZoneTx, kind: &str, id: &str) {
    sqlx::query("SELECT pg_advisory_xact_lock(anchor_lock_key($1, $2, $3))")
        .bind(tx.zone().as_uuid())
        .bind(kind)
        .bind(id)
        .execute(tx.as_mut())
        .await
        .unwrap();
}

/// How many rows each table shows to a pool, for tests of what a role sees.
pub(super) async fn visible(
    pool: &sqlx::PgPool,
    tables: &[&'static str],
) -> BTreeMap<String, String> {
    let mut seen = BTreeMap::new();
    for table in tables {
        let query = sqlx::AssertSqlSafe(format!("SELECT count(*) FROM {table}"));
        let count: Result<i64, _> = sqlx::query_scalar(query).fetch_one(pool).await;
        let word = count.map_or_else(|_| "refused".to_owned(), |count| count.to_string());
        seen.insert((*table).to_owned(), word);
    }
    seen
}
