//! Builds mandates, sound and otherwise, to the same bytes every time.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ed25519_dalek::Signer as _;
use mandate::{Algorithm, KeySet, VerifyingKey};
use serde_json::{Value, json};

pub(crate) const NOW: i64 = 1_790_000_000;
pub(crate) const ZONE: &str = "01980000-0000-7000-8000-000000000001";
pub(crate) const OTHER_ZONE: &str = "01980000-0000-7000-8000-000000000002";
pub(crate) const ISSUER: &str = "https://sts.example.test/z/01980000-0000-7000-8000-000000000001";
pub(crate) const APPLICATION: &str = "01980000-0000-7000-8000-000000000010";
pub(crate) const DELEGATOR: &str = "01980000-0000-7000-8000-000000000011";
pub(crate) const SESSION: &str = "01980000-0000-7000-8000-000000000020";
pub(crate) const DELEGATOR_SESSION: &str = "01980000-0000-7000-8000-000000000021";
pub(crate) const ROOT: &str = "01980000-0000-7000-8000-000000000030";
pub(crate) const RECORD: &str = "01980000-0000-7000-8000-000000000031";
pub(crate) const EDGE: &str = "01980000-0000-7000-8000-000000000040";
pub(crate) const OTHER: &str = "01980000-0000-7000-8000-0000000000ff";
pub(crate) const MANDATE: &str = "01980000-0000-7000-8000-000000000050";
pub(crate) const POLICY: &str = "01980000-0000-7000-8000-000000000060";
pub(crate) const RESOURCE: &str = "https://invoices.example.test/api";
pub(crate) const SECOND_RESOURCE: &str = "https://ledger.example.test/api";
pub(crate) const ES256_KEY: &str = "es-1";
pub(crate) const EDDSA_KEY: &str = "ed-1";

/// Who signs.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Signer {
    /// The zone's ES256 key.
    Es256,
    /// The zone's EdDSA key.
    EdDsa,
    /// An ES256 key that the zone does not know.
    Stranger,
}

impl Signer {
    fn seed(self) -> [u8; 32] {
        match self {
            Self::Es256 => [0x11; 32],
            Self::EdDsa => [0x22; 32],
            Self::Stranger => [0x33; 32],
        }
    }

    pub(crate) fn sign(self, message: &[u8]) -> Vec<u8> {
        match self {
            Self::Es256 | Self::Stranger => {
                let key = p256::ecdsa::SigningKey::from_slice(&self.seed()).unwrap();
                let signature: p256::ecdsa::Signature = key.sign(message);
                signature.to_bytes().to_vec()
            }
            Self::EdDsa => {
                let key = ed25519_dalek::SigningKey::from_bytes(&self.seed());
                key.sign(message).to_bytes().to_vec()
            }
        }
    }
}

/// The zone's keys.
pub(crate) fn keys() -> KeySet {
    let es256 = p256::ecdsa::SigningKey::from_slice(&Signer::Es256.seed()).unwrap();
    let point = es256.verifying_key().to_sec1_point(false);
    let eddsa = ed25519_dalek::SigningKey::from_bytes(&Signer::EdDsa.seed());
    let key = |kid: &str, algorithm, public: &[u8]| {
        VerifyingKey::new(kid.parse().unwrap(), algorithm, public).unwrap()
    };
    KeySet::new([
        key(ES256_KEY, Algorithm::Es256, point.as_bytes()),
        key(
            EDDSA_KEY,
            Algorithm::EdDsa,
            eddsa.verifying_key().as_bytes(),
        ),
    ])
}

/// A mandate in the making.
#[derive(Clone)]
pub(crate) struct Token {
    header: BTreeMap<&'static str, Value>,
    claims: BTreeMap<&'static str, Value>,
    header_bytes: Option<Vec<u8>>,
    claims_bytes: Option<Vec<u8>>,
    signer: Signer,
}

/// A sound mandate of use `resource`.
pub(crate) fn token() -> Token {
    let header = BTreeMap::from([
        ("typ", json!("at+jwt")),
        ("alg", json!("ES256")),
        ("kid", json!(ES256_KEY)),
    ]);
    let claims = BTreeMap::from([
        ("iss", json!(ISSUER)),
        ("sub", json!(APPLICATION)),
        ("aud", json!(RESOURCE)),
        ("exp", json!(NOW + 600)),
        ("nbf", json!(NOW - 60)),
        ("iat", json!(NOW - 60)),
        ("jti", json!(MANDATE)),
        ("client_id", json!(APPLICATION)),
        ("scope", json!("invoices:read invoices:write")),
        ("target", json!([RESOURCE])),
        ("zone_id", json!(ZONE)),
        ("use", json!("resource")),
        ("sub_type", json!("application")),
        ("sid", json!(RECORD)),
        ("root_sid", json!(ROOT)),
        ("agent_session_id", json!(SESSION)),
        ("anc", json!([ROOT, SESSION, RECORD])),
        ("labels", json!(["team:billing", "tier:1"])),
        ("policy_version", json!(POLICY)),
    ]);
    Token {
        header,
        claims,
        header_bytes: None,
        claims_bytes: None,
        signer: Signer::Es256,
    }
}

/// A sound mandate of use `session`.
pub(crate) fn session() -> Token {
    token()
        .claim("use", json!("session"))
        .claim("aud", json!(ISSUER))
        .claim("target", json!([]))
        .claim("exp", json!(NOW + 3000))
}

/// A sound mandate that was delegated once.
pub(crate) fn delegated() -> Token {
    token()
        .claim("sub", json!(DELEGATOR))
        .claim(
            "act",
            json!({ "sub": APPLICATION, "client_id": APPLICATION }),
        )
        .claim(
            "anc",
            json!([ROOT, DELEGATOR_SESSION, EDGE, SESSION, RECORD]),
        )
        .claim("delegation_edge_id", json!(EDGE))
        .claim("delegation_path", json!([EDGE]))
        .claim("delegation_chain", json!([giver(), receiver()]))
        .claim("hop_count", json!(1))
}

/// The party that delegated.
pub(crate) fn giver() -> Value {
    json!({
        "application_id": DELEGATOR,
        "agent_session_id": DELEGATOR_SESSION,
        "delegation_edge_id": EDGE,
    })
}

/// The party that received.
pub(crate) fn receiver() -> Value {
    json!({ "application_id": APPLICATION, "agent_session_id": SESSION })
}

impl Token {
    pub(crate) fn claim(mut self, name: &'static str, value: Value) -> Self {
        self.claims.insert(name, value);
        self
    }

    pub(crate) fn without(mut self, name: &'static str) -> Self {
        self.claims.remove(name);
        self
    }

    pub(crate) fn header(mut self, name: &'static str, value: Value) -> Self {
        self.header.insert(name, value);
        self
    }

    pub(crate) fn without_header(mut self, name: &'static str) -> Self {
        self.header.remove(name);
        self
    }

    pub(crate) fn header_bytes(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.header_bytes = Some(bytes.into());
        self
    }

    pub(crate) fn claims_bytes(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.claims_bytes = Some(bytes.into());
        self
    }

    /// Replaces text in the claims, for what no JSON value can say.
    pub(crate) fn claims_text(self, from: &str, to: &str) -> Self {
        let text = self.claims_json();
        assert!(text.contains(from), "{from} is not in {text}");
        self.claims_bytes(text.replacen(from, to, 1))
    }

    /// Replaces text in the header.
    pub(crate) fn header_text(self, from: &str, to: &str) -> Self {
        let text = object(&self.header);
        assert!(text.contains(from), "{from} is not in {text}");
        self.header_bytes(text.replacen(from, to, 1))
    }

    pub(crate) fn signer(mut self, signer: Signer) -> Self {
        self.signer = signer;
        self
    }

    /// Signed with the zone's EdDSA key.
    pub(crate) fn eddsa(self) -> Self {
        self.header("alg", json!("EdDSA"))
            .header("kid", json!(EDDSA_KEY))
            .signer(Signer::EdDsa)
    }

    pub(crate) fn claims_json(&self) -> String {
        object(&self.claims)
    }

    /// Header and claims, as signed.
    pub(crate) fn signing_input(&self) -> String {
        let header = self
            .header_bytes
            .clone()
            .unwrap_or_else(|| object(&self.header).into());
        let claims = self
            .claims_bytes
            .clone()
            .unwrap_or_else(|| self.claims_json().into());
        format!(
            "{}.{}",
            URL_SAFE_NO_PAD.encode(header),
            URL_SAFE_NO_PAD.encode(claims)
        )
    }

    pub(crate) fn signature(&self) -> Vec<u8> {
        self.signer.sign(self.signing_input().as_bytes())
    }

    /// The compact form with another signature.
    pub(crate) fn with_signature(&self, signature: &[u8]) -> String {
        format!(
            "{}.{}",
            self.signing_input(),
            URL_SAFE_NO_PAD.encode(signature)
        )
    }

    /// The compact form.
    pub(crate) fn compact(&self) -> String {
        self.with_signature(&self.signature())
    }

    /// Header, claims and signature as they stand in the compact form.
    pub(crate) fn parts(&self) -> [String; 3] {
        let compact = self.compact();
        let parts: Vec<String> = compact.split('.').map(str::to_owned).collect();
        parts.try_into().unwrap()
    }
}

/// JSON with its keys sorted, whatever map `serde_json` was built with.
pub(crate) fn sorted(value: &Value) -> String {
    match value {
        Value::Object(members) => {
            let members: BTreeMap<&str, Value> = members
                .iter()
                .map(|(name, value)| (name.as_str(), value.clone()))
                .collect();
            object(&members)
        }
        Value::Array(items) => {
            let items: Vec<String> = items.iter().map(sorted).collect();
            format!("[{}]", items.join(","))
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value.to_string(),
    }
}

fn object(members: &BTreeMap<&str, Value>) -> String {
    let members: Vec<String> = members
        .iter()
        .map(|(name, value)| format!("{}:{}", json!(name), sorted(value)))
        .collect();
    format!("{{{}}}", members.join(","))
}
