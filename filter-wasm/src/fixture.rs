//! A zone, a resource at a host, mandates of it and requests to it, and what ext-authz says about them. For tests here and
//! for those of the built module.

use ed25519_dalek::{Signer as _, SigningKey};
use mandate::id::KeyId;
use mandate::{Algorithm, Claims, encode};
use prost::Message as _;
use serde_json::{Value, json};
use uuid::Uuid;
use wire::envoy::messages as envoy;
use wire::pb::caracal::authority::v1 as authority;
use wire::pb::caracal::filter::v1 as session;

/// When tests happen.
pub const START: i64 = 1_800_000_000;
/// The one resource.
pub const RESOURCE: &str = "https://payments.example/api";
/// Where it is reached.
pub const HOST: &str = "payments.test";
/// Its zone.
pub const ZONE: &str = "01890a5d-ac96-774b-bcce-b302099a8057";
/// The zone's issuer.
pub const ISSUER: &str = "https://sts.example";
/// A decision of ext-authz.
pub const DECISION: &str = "01890a5d-ac96-774b-8cce-b302099a8058";

/// The filter's configuration.
pub fn config(mode: &str) -> String {
    json!({
        "version": 1, "attachment": "ingress", "zones": [{"id": ZONE, "issuer": ISSUER}],
        "authz": {"cluster": "ext_authz", "authority": "ext-authz", "timeout": "500ms"},
        "feed": {"cluster": "ext_authz", "authority": "ext-authz"}, "mode": mode,
    })
    .to_string()
}

/// Any id by number.
pub fn id(number: u64) -> String {
    Uuid::from_u64_pair(0x1d, number).to_string()
}

fn key() -> SigningKey {
    SigningKey::from_bytes(&[7; 32])
}

/// A change of an object's version.
pub fn change(version: u64, what: authority::change::What) -> authority::Change {
    authority::Change {
        version,
        what: Some(what),
    }
}

/// The zone's own row.
pub fn zone(version: u64, state: authority::State) -> authority::Change {
    change(
        version,
        authority::change::What::Zone(authority::Zone {
            zone_id: ZONE.to_owned(),
            name: String::new(),
            issuer: ISSUER.to_owned(),
            state: state.into(),
            freshness_bound_ms: 10_000,
        }),
    )
}

/// The binding, with what becomes of the mandate.
pub fn binding(version: u64, forward: &str) -> authority::Change {
    change(
        version,
        authority::change::What::Binding(authority::Binding {
            zone_id: ZONE.to_owned(),
            id: id(201),
            attachment: "ingress".to_owned(),
            resource: RESOURCE.to_owned(),
            hosts: vec![HOST.to_owned()],
            path_prefix: "/".to_owned(),
            upstream_clusters: vec!["upstream".to_owned()],
            public_url: format!("https://{HOST}"),
            evidence: "per_request".to_owned(),
            max_hops: 2,
            state: authority::State::Active.into(),
            forward_mandate: forward.to_owned(),
        }),
    )
}

/// The zone's key, or the news that it verifies no more.
pub fn signing_key(version: u64, state: &str) -> authority::Change {
    change(
        version,
        authority::change::What::Key(authority::SigningKey {
            zone_id: ZONE.to_owned(),
            kid: "zone-1".to_owned(),
            alg: "EdDSA".to_owned(),
            public_key: key().verifying_key().to_bytes().to_vec(),
            state: state.to_owned(),
        }),
    )
}

/// Everything there is.
pub fn changes() -> Vec<authority::Change> {
    let operation = |method: &str, template: &str, scope: &str| authority::Operation {
        method: method.to_owned(),
        template: template.to_owned(),
        scopes: vec![scope.to_owned()],
    };
    let resource = authority::change::What::Resource(authority::Resource {
        zone_id: ZONE.to_owned(),
        id: id(1),
        identifier: RESOURCE.to_owned(),
        state: authority::State::Active.into(),
        scopes: ["payments:read", "payments:write"]
            .map(str::to_owned)
            .into(),
        operations: vec![
            operation("GET", "/v1/invoices/{id}", "payments:read"),
            operation("POST", "/v1/invoices", "payments:write"),
        ],
    });
    vec![
        zone(1, authority::State::Active),
        signing_key(1, "active"),
        change(1, resource),
        binding(1, "strip"),
    ]
}

/// The session of the mandates is dead.
pub fn revocation() -> authority::Change {
    change(
        0,
        authority::change::What::Dead(authority::DeadId {
            zone_id: ZONE.to_owned(),
            kind: authority::ObjectKind::Session.into(),
            id: id(102),
            until_ns: (START + 3_600) * 1_000_000_000,
        }),
    )
}

fn down(what: session::down::What) -> Vec<u8> {
    session::Down { what: Some(what) }.encode_to_vec()
}

/// A whole snapshot in one message.
pub fn snapshot(epoch: u8, pos: u64, changes: Vec<authority::Change>) -> Vec<u8> {
    down(session::down::What::Snapshot(session::Snapshot {
        epoch: vec![epoch; 16],
        pos,
        last: true,
        changes,
    }))
}

/// What changed.
pub fn deltas(epoch: u8, pos: u64, changes: Vec<authority::Change>) -> Vec<u8> {
    down(session::down::What::Deltas(session::Deltas {
        epoch: vec![epoch; 16],
        pos,
        changes,
    }))
}

/// How old memory is.
pub fn pong(epoch: u8, pos: u64, echo_t_ns: i64, age_ms: u32) -> Vec<u8> {
    down(session::down::What::Pong(session::Pong {
        echo_t_ns,
        age_ms,
        epoch: vec![epoch; 16],
        pos,
        bound_ms: 10_000,
    }))
}

/// Reports up to this one are journaled.
pub fn up_ack(through_seq: u64) -> Vec<u8> {
    down(session::down::What::UpAck(session::UpAck { through_seq }))
}

/// What the filter said on its stream.
pub fn said(message: &[u8]) -> session::up::What {
    session::Up::decode(message).unwrap().what.unwrap()
}

/// A mandate, after `spoil` was done to its claims.
pub fn mandate(spoil: impl FnOnce(&mut Value)) -> String {
    let mut claims = json!({
        "iss": ISSUER, "sub": id(9), "aud": RESOURCE, "exp": START + 600, "nbf": START, "iat": START,
        "jti": id(100), "client_id": id(9), "scope": "payments:read", "target": [RESOURCE],
        "zone_id": ZONE, "use": "resource", "sub_type": "application",
        "sid": id(101), "root_sid": id(101), "agent_session_id": id(102),
        "anc": [id(101), id(102)], "labels": ["agent"], "policy_version": id(50),
    });
    spoil(&mut claims);
    let claims: Claims = serde_json::from_value(claims).unwrap();
    let kid = KeyId::parse("zone-1").unwrap();
    let input = encode::signing_input(Algorithm::EdDsa, &kid, &claims);
    encode::compact(&input, &key().sign(input.as_bytes()).to_bytes())
}

/// Headers, as the proxy gives them.
pub type Headers = Vec<(Vec<u8>, Vec<u8>)>;

/// The same, as a request's are looked at.
pub fn seen(headers: &Headers) -> Vec<(&[u8], &[u8])> {
    headers
        .iter()
        .map(|(name, value)| (name.as_slice(), value.as_slice()))
        .collect()
}

/// A request's headers; `more` come last.
pub fn request(method: &str, path: &str, more: &[(&str, &str)]) -> Headers {
    [
        (":authority", HOST),
        (":path", path),
        (":method", method),
        (":scheme", "http"),
        ("x-request-id", "r-1"),
    ]
    .iter()
    .chain(more)
    .map(|(name, value)| (name.as_bytes().to_vec(), value.as_bytes().to_vec()))
    .collect()
}

/// The request that is in order.
pub fn good(mandate: &str) -> Headers {
    let bearer = format!("Bearer {mandate}");
    request("GET", "/v1/invoices/42", &[("authorization", &bearer)])
}

fn option(key: &str, value: &str) -> envoy::HeaderValueOption {
    envoy::HeaderValueOption {
        header: Some(envoy::HeaderValue {
            key: key.to_owned(),
            value: value.to_owned(),
            raw_value: Vec::new(),
        }),
    }
}

fn metadata(fields: &[(&str, &str)]) -> envoy::Struct {
    let field = |(name, value): &(&str, &str)| envoy::Field {
        key: (*name).to_owned(),
        value: Some(envoy::Value {
            string_value: Some((*value).to_owned()),
        }),
    };
    envoy::Struct {
        fields: fields.iter().map(field).collect(),
    }
}

/// ext-authz allows what `mandate(|_| {})` asks for.
pub fn allowed() -> envoy::CheckResponse {
    envoy::CheckResponse {
        status: Some(envoy::Status {
            code: 0,
            message: "allowed".to_owned(),
        }),
        http_response: Some(envoy::HttpResponse::Ok(envoy::OkHttpResponse {
            headers: vec![
                option("x-caracal-zone", ZONE),
                option("x-caracal-subject", &id(9)),
                option("x-caracal-client", &id(9)),
                option("x-caracal-session", &id(102)),
                option("x-caracal-scope", "payments:read"),
                option("x-caracal-decision", DECISION),
            ],
            headers_to_remove: ["x-caracal-actor", "authorization", "x-caracal-resource"]
                .map(str::to_owned)
                .into(),
        })),
        dynamic_metadata: Some(metadata(&[
            ("decision_id", DECISION),
            ("code", "allowed"),
            ("mandate_digest", &digest(&mandate(|_| {}))),
        ])),
    }
}

/// What a mandate is told from others by.
pub fn digest(token: &str) -> String {
    use sha2::Digest as _;
    let digest = sha2::Sha256::digest(token.as_bytes());
    let texts: Vec<String> = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    texts.concat()
}

/// ext-authz refuses.
pub fn denied(grpc: i32, http: i32, code: &str) -> envoy::CheckResponse {
    envoy::CheckResponse {
        status: Some(envoy::Status {
            code: grpc,
            message: code.to_owned(),
        }),
        http_response: Some(envoy::HttpResponse::Denied(envoy::DeniedHttpResponse {
            status: Some(envoy::HttpStatus { code: http }),
            headers: vec![
                option("content-type", "application/problem+json"),
                option("x-caracal-decision", DECISION),
            ],
            body: format!("{{\"code\":\"{code}\"}}"),
        })),
        dynamic_metadata: Some(metadata(&[("decision_id", DECISION), ("code", code)])),
    }
}

/// Every answer that is of no form that decides, with a word for it.
#[expect(clippy::too_many_lines, reason = "a table")]
pub fn undecided() -> Vec<(&'static str, Vec<u8>)> {
    let spoilt = |spoil: &dyn Fn(&mut envoy::CheckResponse)| {
        let mut answer = allowed();
        spoil(&mut answer);
        answer.encode_to_vec()
    };
    let refused = |spoil: &dyn Fn(&mut envoy::CheckResponse)| {
        let mut answer = denied(7, 403, "revoked");
        spoil(&mut answer);
        answer.encode_to_vec()
    };
    let said = |fields: &[(&str, &str)]| {
        spoilt(&|answer| answer.dynamic_metadata = Some(metadata(fields)))
    };
    let own = digest(&mandate(|_| {}));
    let random = "550e8400-e29b-41d4-a716-446655440000";
    vec![
        ("empty", Vec::new()),
        ("garbage", vec![0xff; 16]),
        ("cut off", allowed().encode_to_vec().drain(..20).collect()),
        ("without a status", spoilt(&|answer| answer.status = None)),
        (
            "without metadata",
            spoilt(&|answer| answer.dynamic_metadata = None),
        ),
        (
            "without a decision",
            said(&[("code", "allowed"), ("mandate_digest", &own)]),
        ),
        (
            "of a decision that is not ours",
            said(&[
                ("code", "allowed"),
                ("decision_id", random),
                ("mandate_digest", &own),
            ]),
        ),
        (
            "of another code",
            said(&[
                ("code", "revoked"),
                ("decision_id", DECISION),
                ("mandate_digest", &own),
            ]),
        ),
        (
            "about no mandate",
            said(&[("code", "allowed"), ("decision_id", DECISION)]),
        ),
        (
            "about another mandate",
            said(&[
                ("code", "allowed"),
                ("decision_id", DECISION),
                ("mandate_digest", &"00".repeat(32)),
            ]),
        ),
        (
            "allowing without a word",
            spoilt(&|answer| answer.http_response = None),
        ),
        (
            "allowing and refusing",
            spoilt(&|answer| answer.http_response = denied(7, 403, "x").http_response),
        ),
        (
            "refusing and allowing",
            refused(&|answer| answer.http_response = allowed().http_response),
        ),
        (
            "refusing without a word",
            refused(&|answer| answer.http_response = None),
        ),
        (
            "refusing with 200",
            denied(7, 200, "revoked").encode_to_vec(),
        ),
        (
            "refusing with 302",
            denied(7, 302, "revoked").encode_to_vec(),
        ),
        (
            "of a negative status",
            denied(-1, 403, "revoked").encode_to_vec(),
        ),
        (
            "refusing with a header of two lines",
            refused(&|answer| {
                if let Some(envoy::HttpResponse::Denied(denied)) = &mut answer.http_response {
                    denied.headers.push(option("x-a", "b\r\nset-cookie: c"));
                }
            }),
        ),
    ]
}
