//! Key sets: which keys of a zone verify.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};

use crate::id::KeyId;

/// Signature algorithms (RFC 7518 §3.1, RFC 8037 §3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Algorithm {
    /// ECDSA over P-256 with SHA-256.
    Es256,
    /// Ed25519.
    EdDsa,
}

impl Algorithm {
    /// The name in JOSE headers.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Es256 => "ES256",
            Self::EdDsa => "EdDSA",
        }
    }

    /// The algorithm of a JOSE name.
    pub fn parse(name: &str) -> Option<Self> {
        match name {
            "ES256" => Some(Self::Es256),
            "EdDSA" => Some(Self::EdDsa),
            _ => None,
        }
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

/// Why something is no verifying key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// The public key is not a point of its curve in the expected encoding.
    #[error("the public key is not a point of its curve")]
    Point,
    /// Key type, curve, algorithm or use are not supported, or do not fit each other.
    #[error("key type, curve, algorithm or use are not supported")]
    Unsupported,
    /// The key id is missing, malformed or taken.
    #[error("the key id is missing, malformed or taken")]
    Id,
    /// The document is no JSON Web Key Set.
    #[error("the document is no JSON Web Key Set")]
    Document,
}

/// A public key with its id and the one algorithm it may be used with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifyingKey {
    kid: KeyId,
    algorithm: Algorithm,
    public: Box<[u8]>,
}

impl VerifyingKey {
    /// Takes ES256 points as uncompressed SEC1 (65 bytes) and Ed25519 keys as 32 bytes.
    pub fn new(kid: KeyId, algorithm: Algorithm, public: &[u8]) -> Result<Self, KeyError> {
        match algorithm {
            Algorithm::Es256 => {
                let uncompressed = public.len() == 65 && public.first() == Some(&4);
                if !uncompressed || p256::ecdsa::VerifyingKey::from_sec1_bytes(public).is_err() {
                    return Err(KeyError::Point);
                }
            }
            Algorithm::EdDsa => {
                let bytes: &[u8; 32] = public.try_into().map_err(|_| KeyError::Point)?;
                let key =
                    ed25519_dalek::VerifyingKey::from_bytes(bytes).map_err(|_| KeyError::Point)?;
                if key.is_weak() {
                    return Err(KeyError::Point);
                }
            }
        }
        Ok(Self {
            kid,
            algorithm,
            public: public.into(),
        })
    }

    /// The key's id.
    pub fn kid(&self) -> &KeyId {
        &self.kid
    }

    /// The one algorithm it verifies.
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The public key's bytes.
    pub fn public(&self) -> &[u8] {
        &self.public
    }

    /// As a JSON Web Key (RFC 7517).
    pub fn to_jwk(&self) -> Jwk {
        let encode = |bytes: &[u8]| Some(URL_SAFE_NO_PAD.encode(bytes));
        let (kty, crv, x, y) = match self.algorithm {
            Algorithm::Es256 => {
                let (x, y) = self
                    .public
                    .get(1..)
                    .unwrap_or_default()
                    .split_at_checked(32)
                    .unwrap_or_default();
                ("EC", "P-256", encode(x), encode(y))
            }
            Algorithm::EdDsa => ("OKP", "Ed25519", encode(&self.public), None),
        };
        Jwk {
            kty: kty.to_owned(),
            crv: Some(crv.to_owned()),
            kid: Some(self.kid.to_string()),
            alg: Some(self.algorithm.name().to_owned()),
            usage: Some("sig".to_owned()),
            x,
            y,
        }
    }

    /// From a JSON Web Key.
    pub fn from_jwk(jwk: &Jwk) -> Result<Self, KeyError> {
        let kid = jwk
            .kid
            .as_deref()
            .and_then(|kid| KeyId::parse(kid).ok())
            .ok_or(KeyError::Id)?;
        if jwk.usage.as_deref().is_some_and(|usage| usage != "sig") {
            return Err(KeyError::Unsupported);
        }
        let decode = |part: &Option<String>| -> Result<Vec<u8>, KeyError> {
            let text = part.as_deref().ok_or(KeyError::Point)?;
            let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| KeyError::Point)?;
            if bytes.len() == 32 {
                Ok(bytes)
            } else {
                Err(KeyError::Point)
            }
        };
        let (algorithm, public) = match (jwk.kty.as_str(), jwk.crv.as_deref()) {
            ("EC", Some("P-256")) => {
                let mut point = vec![4_u8];
                point.extend(decode(&jwk.x)?);
                point.extend(decode(&jwk.y)?);
                (Algorithm::Es256, point)
            }
            ("OKP", Some("Ed25519")) => (Algorithm::EdDsa, decode(&jwk.x)?),
            _ => return Err(KeyError::Unsupported),
        };
        if jwk
            .alg
            .as_deref()
            .is_some_and(|alg| alg != algorithm.name())
        {
            return Err(KeyError::Unsupported);
        }
        Self::new(kid, algorithm, &public)
    }
}

/// A JSON Web Key (RFC 7517 §4), public members only.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Jwk {
    /// Key type.
    pub kty: String,
    /// Curve.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub crv: Option<String>,
    /// Key id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kid: Option<String>,
    /// Algorithm.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub alg: Option<String>,
    /// Intended use.
    #[serde(rename = "use", skip_serializing_if = "Option::is_none")]
    pub usage: Option<String>,
    /// First coordinate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub x: Option<String>,
    /// Second coordinate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub y: Option<String>,
}

#[derive(Serialize, Deserialize)]
struct Jwks {
    keys: Vec<Jwk>,
}

/// The keys with which a zone's mandates verify. Clones share.
#[derive(Debug, Clone, Default)]
pub struct KeySet(Arc<HashMap<KeyId, VerifyingKey>>);

impl KeySet {
    /// The set of these keys; of two with one id the later counts.
    pub fn new(keys: impl IntoIterator<Item = VerifyingKey>) -> Self {
        Self(Arc::new(
            keys.into_iter().map(|key| (key.kid.clone(), key)).collect(),
        ))
    }

    /// The key of an id.
    pub fn find(&self, kid: &str) -> Option<&VerifyingKey> {
        self.0.get(kid)
    }

    /// The keys, in no order.
    pub fn iter(&self) -> impl Iterator<Item = &VerifyingKey> {
        self.0.values()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// As a JSON Web Key Set (RFC 7517 §5), sorted by key id.
    pub fn to_jwks(&self) -> String {
        let mut keys: Vec<Jwk> = self.0.values().map(VerifyingKey::to_jwk).collect();
        keys.sort_by(|a, b| a.kid.cmp(&b.kid));
        serde_json::to_string(&Jwks { keys }).unwrap_or_default()
    }

    /// From a JSON Web Key Set. One bad key, or two with one id, refuse the set.
    pub fn from_jwks(text: &str) -> Result<Self, KeyError> {
        let document: Jwks = serde_json::from_str(text).map_err(|_| KeyError::Document)?;
        let keys: Vec<VerifyingKey> = document
            .keys
            .iter()
            .map(VerifyingKey::from_jwk)
            .collect::<Result<_, _>>()?;
        let set = Self::new(keys);
        if set.len() == document.keys.len() {
            Ok(set)
        } else {
            Err(KeyError::Id)
        }
    }
}
