use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ed25519_dalek::Signer as _;
use mandate::Algorithm;
use serde_json::{Map, Value, json};

use crate::Stack;

/// Keys that the drills own. Their ids and seeds are those of `mandate/tests/vectors`, so that its mandates are genuine
/// wherever these keys are planted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signer {
    /// An ES256 key of the zone.
    Es256,
    /// An `EdDSA` key of the zone.
    EdDsa,
    /// An ES256 key of the zone that a drill revokes.
    Doomed,
    /// An ES256 key that no zone knows.
    Stranger,
}

impl Signer {
    const PLANTED: [Self; 3] = [Self::Es256, Self::EdDsa, Self::Doomed];

    /// The signer of this key id.
    pub fn named(kid: &str) -> Self {
        [Self::Es256, Self::EdDsa, Self::Doomed, Self::Stranger]
            .into_iter()
            .find(|signer| signer.kid() == kid)
            .unwrap_or_else(|| panic!("no signer {kid:?}"))
    }

    /// Its key id.
    pub const fn kid(self) -> &'static str {
        match self {
            Self::Es256 => "es-1",
            Self::EdDsa => "ed-1",
            Self::Doomed => "es-doomed",
            Self::Stranger => "stranger",
        }
    }

    const fn algorithm(self) -> Algorithm {
        match self {
            Self::EdDsa => Algorithm::EdDsa,
            Self::Es256 | Self::Doomed | Self::Stranger => Algorithm::Es256,
        }
    }

    const fn seed(self) -> [u8; 32] {
        match self {
            Self::Es256 => [0x11; 32],
            Self::EdDsa => [0x22; 32],
            Self::Stranger => [0x33; 32],
            Self::Doomed => [0x44; 32],
        }
    }

    fn public(self) -> Vec<u8> {
        match self.algorithm() {
            Algorithm::Es256 => self
                .es256()
                .verifying_key()
                .to_sec1_point(false)
                .as_bytes()
                .to_vec(),
            Algorithm::EdDsa => ed25519_dalek::SigningKey::from_bytes(&self.seed())
                .verifying_key()
                .as_bytes()
                .to_vec(),
        }
    }

    fn es256(self) -> p256::ecdsa::SigningKey {
        p256::ecdsa::SigningKey::from_slice(&self.seed()).expect("a key")
    }

    fn sign(self, message: &[u8]) -> Vec<u8> {
        match self.algorithm() {
            Algorithm::Es256 => {
                let signature: p256::ecdsa::Signature = self.es256().sign(message);
                signature.to_bytes().to_vec()
            }
            Algorithm::EdDsa => ed25519_dalek::SigningKey::from_bytes(&self.seed())
                .sign(message)
                .to_bytes()
                .to_vec(),
        }
    }

    /// The compact form of these claims, signed; `changes` go over the usual header.
    pub fn compact(self, claims: &[u8], changes: &Map<String, Value>) -> String {
        let mut header = Map::new();
        header.insert("typ".to_owned(), json!("at+jwt"));
        header.insert("alg".to_owned(), json!(self.algorithm().name()));
        header.insert("kid".to_owned(), json!(self.kid()));
        for (name, value) in changes {
            header.insert(name.clone(), value.clone());
        }
        let header = serde_json::to_vec(&header).expect("a header");
        let head = format!(
            "{}.{}",
            URL_SAFE_NO_PAD.encode(header),
            URL_SAFE_NO_PAD.encode(claims)
        );
        let signature = URL_SAFE_NO_PAD.encode(self.sign(head.as_bytes()));
        format!("{head}.{signature}")
    }

    /// Gives a zone the drills' keys: they verify, and never sign for the STS. What decides has to load anew.
    pub async fn plant(stack: &Stack, zone: &str) {
        let zone: uuid::Uuid = zone.parse().expect("a zone");
        let mut superuser = stack.superuser().await;
        for signer in Self::PLANTED {
            let made = sqlx::query(
                "INSERT INTO signing_keys (zone_id, kid, alg, public_key, sealed, state, created_at)
                 SELECT $1, $2, $3, $4, '\\x00', 'retired', min(created_at) FROM signing_keys WHERE zone_id = $1",
            )
            .bind(zone)
            .bind(signer.kid())
            .bind(signer.algorithm().name())
            .bind(signer.public())
            .execute(&mut superuser)
            .await
            .expect("planting a key");
            assert_eq!(made.rows_affected(), 1);
        }
    }
}

/// The claims of a compact mandate, unverified.
pub fn claims(compact: &str) -> Map<String, Value> {
    let part = compact.split('.').nth(1).expect("three parts");
    let bytes = URL_SAFE_NO_PAD.decode(part).expect("base64url");
    serde_json::from_slice(&bytes).expect("claims")
}
