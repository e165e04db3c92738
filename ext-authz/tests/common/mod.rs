//! A small deployment: one coordinator's key, two zones, resources, bindings, a policy each; mandates
//! of it, requests to it, and memory that was loaded the way a running process loads it.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use chassis::clock::TestClock;
use chassis::crypto::Es256Key;
use chassis::journal::{Durability, Journal, JournalConfig};
use chassis::metrics::Registry;
use chassis::{Clock, Rng};
use envoy_types::ext_authz::v3::pb::{Address, CheckRequest, HeaderValue};
use envoy_types::pb::envoy::config::core::v3::socket_address::PortSpecifier;
use envoy_types::pb::envoy::config::core::v3::{
    Address as AddressMessage, HeaderMap, SocketAddress,
};
use envoy_types::pb::envoy::service::auth::v3::AttributeContext;
use envoy_types::pb::envoy::service::auth::v3::attribute_context::{HttpRequest, Peer, Request};
use ext_authz::api::check::{Check, Parts};
use ext_authz::decide::{Bounds, Decider, Moment, View};
use ext_authz::evidence::Desk;
use ext_authz::feed::age::RoundTrip;
use ext_authz::feed::core::Core;
use ext_authz::feed::memory::Memory;
use ext_authz::feed::run::Shared;
use ext_authz::metrics::Metrics;
use ext_authz::refusals::Refusals;
use ledger::envelope::{
    DalekSigner, Envelope, Epoch, EventSigner, Producer, Producers, SignedEnvelope,
};
use ledger::event::Event;
use mandate::encode;
use mandate::id::{AttachmentName, KeyId, ZoneId};
use mandate::{Algorithm, Claims};
use policy::PolicyData;
use policy::rego::Evaluator;
use prost::Message as _;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use uuid::Uuid;
use wire::convert::Heartbeat;
use wire::pb::caracal::authority::v1 as pb;

/// When tests happen.
pub const START: i64 = 1_800_000_000;
/// The resource of the first zone's bindings.
pub const RESOURCE: &str = "https://payments.example/api";
/// Another one, bound at another host.
pub const OTHER: &str = "https://wiki.example/api";
/// Where the first is reached.
pub const HOST: &str = "payments.test";
/// Where the other is.
pub const OTHER_HOST: &str = "wiki.test";
/// The issuer of both zones.
pub const ISSUER: &str = "https://sts.example";

/// A zone by number.
pub fn zone(number: u64) -> ZoneId {
    ZoneId::from_uuid(Uuid::from_u64_pair(0x5a, number))
}

/// Any id by number.
pub fn id(number: u64) -> String {
    Uuid::from_u64_pair(0x1d, number).to_string()
}

/// The deployment.
pub struct World {
    pub stream: DalekSigner,
    pub producers: Producers,
    pub keys: Vec<(ZoneId, KeyId, Es256Key)>,
    pub clock: TestClock,
    pub epoch: Epoch,
}

impl World {
    pub fn new() -> Self {
        let kinds = [
            "revocation",
            "cutoff",
            "state",
            "policy",
            "key",
            "resource",
            "binding",
            "zone",
            "heartbeat",
            "snapshot",
        ];
        let stream = DalekSigner::new(KeyId::parse("stream-1").unwrap(), &[7; 32]);
        let producer = Producer {
            kid: stream.kid().clone(),
            public_key: stream.public(),
            service: "coordinator".to_owned(),
            kinds: kinds
                .iter()
                .map(|kind| (*kind).to_owned())
                .collect::<BTreeSet<_>>(),
        };
        let rng = Rng::seeded(1);
        let keys = [1, 2].map(|number| {
            let kid = KeyId::parse(&format!("zone-{number}")).unwrap();
            (zone(number), kid, Es256Key::generate(&rng).unwrap())
        });
        Self {
            stream,
            producers: Producers::new([producer]),
            keys: keys.into(),
            clock: TestClock::new(jiff::Timestamp::from_second(START).unwrap()),
            epoch: Epoch([1; 16]),
        }
    }

    pub fn now_ns(&self) -> i64 {
        i64::try_from(self.clock.now().as_nanosecond()).unwrap()
    }

    pub fn moment(&self) -> Moment {
        Moment {
            now: self.clock.now(),
            monotonic: self.clock.monotonic(),
        }
    }

    /// Everything there is.
    pub fn changes(&self) -> Vec<pb::Change> {
        let mut changes = Vec::new();
        for (zone, kid, key) in &self.keys {
            let zone_id = zone.to_string();
            changes.push(change(pb::change::What::Zone(pb::Zone {
                zone_id: zone_id.clone(),
                name: "z".to_owned(),
                issuer: ISSUER.to_owned(),
                state: pb::State::Active.into(),
                freshness_bound_ms: 10_000,
            })));
            changes.push(change(pb::change::What::Key(pb::SigningKey {
                zone_id: zone_id.clone(),
                kid: kid.to_string(),
                alg: "ES256".to_owned(),
                public_key: key.public_sec1().to_vec(),
                state: "active".to_owned(),
            })));
        }
        for (number, resource, host) in [(1, RESOURCE, HOST), (2, OTHER, OTHER_HOST)] {
            changes.push(resource_change(zone(1), number, resource));
            changes.push(binding_change(zone(1), number, resource, host));
        }
        changes.push(resource_change(zone(2), 3, RESOURCE));
        changes.push(binding_change(zone(2), 3, RESOURCE, "payments.two.test"));
        for number in [1, 2] {
            changes.push(policy_change(zone(number), 1, &policy()));
        }
        changes
    }

    pub fn sign(
        &self,
        kind: &str,
        zone: Option<ZoneId>,
        pos: u64,
        payload: Vec<u8>,
    ) -> SignedEnvelope {
        Envelope {
            stream: "caracal.authority".to_owned(),
            kind: kind.to_owned(),
            zone,
            epoch: self.epoch,
            pos,
            producer: "coordinator".to_owned(),
            counter: pos,
            at: self.now_ns(),
            payload,
            kid: self.stream.kid().clone(),
        }
        .sign(&self.stream)
    }

    pub fn snapshot(&self, pos: u64, changes: &[pb::Change]) -> Vec<SignedEnvelope> {
        let half = changes.len() / 2;
        let (first, second) = changes.split_at(half);
        [first, second]
            .into_iter()
            .enumerate()
            .map(|(index, changes)| {
                let part = pb::SnapshotPart {
                    index: u32::try_from(index).unwrap(),
                    last: index == 1,
                    as_of_ns: self.now_ns(),
                    changes: changes.to_vec(),
                };
                self.sign("snapshot", None, pos, part.encode_to_vec())
            })
            .collect()
    }

    pub fn heartbeat(&self, pos: u64) -> SignedEnvelope {
        let payload = Heartbeat {
            pos,
            as_of: self.clock.now(),
        }
        .to_payload();
        self.sign("heartbeat", None, pos, payload)
    }

    pub fn core(&self) -> Core {
        let bounds = Bounds {
            mandates: 1_000,
            bytes: 8 * 1024 * 1024,
        };
        let memory = Memory::new([zone(1), zone(2)], bounds, Evaluator::new().unwrap());
        Core::new(self.producers.clone(), memory)
    }

    pub fn trip(&self) -> RoundTrip {
        let now = self.clock.monotonic();
        RoundTrip {
            sent: now,
            received: now,
            database_ns: self.now_ns(),
        }
    }

    /// Memory loaded at position 10, fresh.
    pub fn loaded(&self) -> Core {
        self.loaded_with(&self.changes())
    }

    pub fn loaded_with(&self, changes: &[pb::Change]) -> Core {
        let mut core = self.core();
        core.read_clock(self.trip());
        core.load(self.snapshot(10, changes)).unwrap();
        core
    }

    pub fn view(&self, core: &Core) -> View {
        core.view(self.clock.monotonic())
    }

    pub fn decider() -> Decider {
        let name = |text: &str| AttachmentName::parse(text).unwrap();
        Decider::new(
            [
                (name("ingress"), vec![zone(1)]),
                (name("both"), vec![zone(1), zone(2)]),
            ]
            .into(),
        )
    }

    /// A mandate of zone 1, after `change` was done to its claims.
    pub fn mandate(&self, change: impl FnOnce(&mut Value)) -> String {
        self.mandate_of(0, change)
    }

    pub fn mandate_of(&self, key: usize, change: impl FnOnce(&mut Value)) -> String {
        let (zone, kid, signer) = self.keys.get(key).unwrap();
        let now = self.clock.now().as_second();
        let mut claims = json!({
            "iss": ISSUER, "sub": id(9), "aud": RESOURCE, "exp": now + 600, "nbf": now, "iat": now,
            "jti": id(100), "client_id": id(9), "scope": "payments:read", "target": [RESOURCE],
            "zone_id": zone.to_string(), "use": "resource", "sub_type": "application",
            "sid": id(101), "root_sid": id(101), "agent_session_id": id(102),
            "anc": [id(101), id(102)], "labels": ["agent"], "policy_version": id(50),
        });
        change(&mut claims);
        let claims: Claims = serde_json::from_value(claims).unwrap();
        let input = encode::signing_input(Algorithm::Es256, kid, &claims);
        let signature = signer.sign(input.as_bytes()).unwrap();
        encode::compact(&input, &signature)
    }
}

pub fn change(what: pb::change::What) -> pb::Change {
    pb::Change {
        version: 1,
        what: Some(what),
    }
}

pub fn versioned(version: u64, what: pb::change::What) -> pb::Change {
    pb::Change {
        version,
        what: Some(what),
    }
}

pub fn resource_change(zone: ZoneId, number: u64, identifier: &str) -> pb::Change {
    let operation = |method: &str, template: &str, scope: &str| pb::Operation {
        method: method.to_owned(),
        template: template.to_owned(),
        scopes: vec![scope.to_owned()],
    };
    change(pb::change::What::Resource(pb::Resource {
        zone_id: zone.to_string(),
        id: id(number),
        identifier: identifier.to_owned(),
        state: pb::State::Active.into(),
        scopes: ["payments:read", "payments:write", "payments:admin"]
            .map(str::to_owned)
            .into(),
        operations: vec![
            operation("GET", "/v1/invoices/{id}", "payments:read"),
            operation("POST", "/v1/invoices", "payments:write"),
            operation("DELETE", "/v1/invoices/{id}", "payments:admin"),
        ],
    }))
}

pub fn binding_change(zone: ZoneId, number: u64, resource: &str, host: &str) -> pb::Change {
    let both = number == 3;
    change(pb::change::What::Binding(pb::Binding {
        zone_id: zone.to_string(),
        id: id(200 + number),
        attachment: if both { "both" } else { "ingress" }.to_owned(),
        resource: resource.to_owned(),
        hosts: vec![host.to_owned()],
        path_prefix: "/".to_owned(),
        upstream_clusters: vec!["upstream".to_owned()],
        public_url: format!("https://{host}"),
        evidence: "per_request".to_owned(),
        max_hops: 2,
        state: pb::State::Active.into(),
        forward_mandate: "strip".to_owned(),
    }))
}

pub fn policy() -> Value {
    json!({
        "app_ids": { "agent": id(9) },
        "grants": {
            (RESOURCE): { "agent": { "roles": { "agent": ["payments:read", "payments:write", "payments:admin"] } } },
            (OTHER): { "agent": { "roles": { "agent": ["payments:read"] } } },
        },
        "confinement": {}, "restrict": { "zone": false, "resources": {}, "applications": {} },
        "risk": { "payments:admin": "high" },
        "approval_tiers": { "high": { "approver": "operator", "ttl_seconds": 300 } },
    })
}

pub fn policy_change(zone: ZoneId, version: u64, data: &Value) -> pb::Change {
    let parsed = PolicyData::parse(data.to_string().as_bytes()).unwrap();
    versioned(
        version,
        pb::change::What::Policy(pb::Policy {
            zone_id: zone.to_string(),
            version_id: id(49 + version),
            number: u32::try_from(version).unwrap(),
            content_sha256: parsed.content_sha256().to_vec(),
            data: parsed.canonical(),
        }),
    )
}

pub fn dead(zone: ZoneId, kind: pb::ObjectKind, id: &str, until_s: i64) -> pb::Change {
    change(pb::change::What::Dead(pb::DeadId {
        zone_id: zone.to_string(),
        kind: kind.into(),
        id: id.to_owned(),
        until_ns: until_s * 1_000_000_000,
    }))
}

pub fn cut_off(zone: ZoneId, kind: pb::ObjectKind, id: &str, not_before_s: i64) -> pb::Change {
    change(pb::change::What::CutOff(pb::CutOff {
        zone_id: zone.to_string(),
        kind: kind.into(),
        id: id.to_owned(),
        not_before_s,
    }))
}

pub fn state(zone: ZoneId, version: u64, id: &str, state: pb::State) -> pb::Change {
    versioned(
        version,
        pb::change::What::State(pb::ObjectState {
            zone_id: zone.to_string(),
            kind: pb::ObjectKind::Application.into(),
            id: id.to_owned(),
            state: state.into(),
        }),
    )
}

/// A request as Envoy would send it.
#[derive(Clone)]
pub struct Asked {
    pub attachment: Option<String>,
    pub method: String,
    pub host: String,
    pub path: String,
    pub headers: Vec<(String, Vec<u8>)>,
    /// Whether headers come as `header_map`.
    pub raw: bool,
    pub peer: String,
}

impl Asked {
    /// What a good mandate is allowed.
    pub fn new() -> Self {
        Self {
            attachment: Some("ingress".to_owned()),
            method: "GET".to_owned(),
            host: HOST.to_owned(),
            path: "/v1/invoices/42?full=1".to_owned(),
            headers: Vec::new(),
            raw: true,
            peer: "203.0.113.9".to_owned(),
        }
    }

    pub fn bearer(self, mandate: &str) -> Self {
        self.header("authorization", &format!("Bearer {mandate}"))
    }

    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers
            .push((name.to_owned(), value.as_bytes().to_vec()));
        self
    }

    pub fn path(mut self, path: &str) -> Self {
        path.clone_into(&mut self.path);
        self
    }

    pub fn method(mut self, method: &str) -> Self {
        method.clone_into(&mut self.method);
        self
    }

    pub fn host(mut self, host: &str) -> Self {
        host.clone_into(&mut self.host);
        self
    }

    pub fn joined(mut self) -> Self {
        self.raw = false;
        self
    }

    pub fn request(&self) -> CheckRequest {
        let mut http = HttpRequest {
            id: "req-1".to_owned(),
            method: self.method.clone(),
            host: self.host.clone(),
            path: self.path.clone(),
            size: -1,
            ..HttpRequest::default()
        };
        let own = [
            (":authority", &self.host),
            (":path", &self.path),
            (":method", &self.method),
        ];
        let own = own.map(|(name, value)| (name.to_owned(), value.as_bytes().to_vec()));
        let all = own.into_iter().chain(self.headers.iter().cloned());
        if self.raw {
            let headers = all.map(|(key, raw_value)| HeaderValue {
                key,
                value: String::new(),
                raw_value,
            });
            http.header_map = Some(HeaderMap {
                headers: headers.collect(),
            });
        } else {
            for (name, value) in all {
                let value = String::from_utf8_lossy(&value).replace('\u{fffd}', "!");
                let held = http.headers.entry(name).or_default();
                *held = if held.is_empty() {
                    value
                } else {
                    format!("{held},{value}")
                };
            }
        }
        let address = Address::SocketAddress(SocketAddress {
            address: self.peer.clone(),
            port_specifier: Some(PortSpecifier::PortValue(4711)),
            ..SocketAddress::default()
        });
        let extensions = self
            .attachment
            .iter()
            .map(|name| ("caracal.bindings".to_owned(), name.clone()));
        CheckRequest {
            attributes: Some(AttributeContext {
                source: Some(Peer {
                    address: Some(AddressMessage {
                        address: Some(address),
                    }),
                    ..Peer::default()
                }),
                request: Some(Request {
                    time: None,
                    http: Some(http),
                }),
                context_extensions: extensions.collect(),
                ..AttributeContext::default()
            }),
        }
    }
}

/// A service that answers from a given memory, with a journal in a folder of its own.
pub struct Service {
    pub check: Check,
    pub memory: Shared,
    pub desk: Arc<Desk>,
    pub journal: Journal,
    pub withdrawals: mpsc::UnboundedReceiver<Event>,
    pub folder: tempfile::TempDir,
}

pub async fn service(view: View, clock: Clock, durability: Durability, max_bytes: u64) -> Service {
    let folder = tempfile::tempdir().unwrap();
    let signer = DalekSigner::new(KeyId::parse("ext-authz-1").unwrap(), &[9; 32]);
    service_in(view, clock, durability, max_bytes, folder, Arc::new(signer)).await
}

pub async fn service_in(
    view: View,
    clock: Clock,
    durability: Durability,
    max_bytes: u64,
    folder: tempfile::TempDir,
    signer: Arc<dyn EventSigner>,
) -> Service {
    let config = JournalConfig::new(
        folder.path(),
        "ext-authz",
        durability,
        max_bytes,
        max_bytes / 4,
    );
    let rng = Rng::seeded(2);
    let journal = Journal::open(config, clock.clone(), rng.clone(), signer)
        .await
        .unwrap();
    let metrics = Metrics::new(&Registry::new("ext-authz"));
    let (desk, withdrawals) = Desk::new(
        journal.clone(),
        Refusals::new(64),
        metrics.clone(),
        chassis::Readiness::new().need("journal"),
    );
    let (desk, memory) = (
        Arc::new(desk),
        Arc::new(arc_swap::ArcSwap::from_pointee(view)),
    );
    let check = Check::new(Parts {
        decider: World::decider(),
        memory: Arc::clone(&memory),
        desk: Arc::clone(&desk),
        deadline: Duration::from_millis(400),
        slots: tokio::sync::Semaphore::new(64),
        clock,
        rng,
        metrics,
    });
    Service {
        check,
        memory,
        desk,
        journal,
        withdrawals,
        folder,
    }
}
