//! From bytes to a [`Mandate`]: steps 2 to 9.

use std::fmt;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use serde::Deserialize;
use sha2::{Digest as _, Sha256};

use crate::id::{Issuer, ZoneId};
use crate::{
    Algorithm, Claims, KeySet, Rejection, SignatureBackend, Use, VerifyingKey, backend, encode,
    json,
};

/// How far `nbf` and `iat` may lie ahead, in seconds. `exp` has no leeway.
const LEEWAY: i64 = 30;

/// The trust anchor, from configuration: never from the token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trust {
    /// The zone.
    pub zone: ZoneId,
    /// Its issuer.
    pub issuer: Issuer,
    /// The one use that is accepted.
    pub usage: Use,
}

/// A compact mandate whose signature nobody has checked. It reveals its key id and nothing else.
#[derive(Clone)]
pub struct UnverifiedMandate<'a> {
    compact: &'a [u8],
    signing_input: &'a [u8],
    header: Header,
    claims: Vec<u8>,
    signature: [u8; 64],
}

#[derive(Debug, Clone, Deserialize)]
struct Header {
    typ: String,
    alg: String,
    kid: String,
}

impl<'a> UnverifiedMandate<'a> {
    /// Takes the compact form apart: steps 2, 3 and 4.
    pub fn parse(compact: &'a [u8]) -> Result<Self, Rejection> {
        if compact.len() > crate::credential::MAX_BYTES {
            return Err(Rejection::CredentialTooLong);
        }
        let mut dots = compact
            .iter()
            .enumerate()
            .filter(|(_, byte)| **byte == b'.')
            .map(|(index, _)| index);
        let (Some(first), Some(second), None) = (dots.next(), dots.next(), dots.next()) else {
            return Err(Rejection::Malformed);
        };
        let (signing_input, signature) = compact
            .split_at_checked(second)
            .ok_or(Rejection::Malformed)?;
        let (header, claims) = signing_input
            .split_at_checked(first)
            .ok_or(Rejection::Malformed)?;
        let part = |bytes: &[u8]| {
            URL_SAFE_NO_PAD
                .decode(bytes)
                .map_err(|_| Rejection::Malformed)
        };
        let header = part(header)?;
        let claims = part(claims.strip_prefix(b".").ok_or(Rejection::Malformed)?)?;
        let signature = part(signature.strip_prefix(b".").ok_or(Rejection::Malformed)?)?;
        let header = parse_header(&header)?;
        json::check(&claims).map_err(|json::Refused| Rejection::JsonRefused)?;
        let signature = signature
            .as_slice()
            .try_into()
            .map_err(|_| Rejection::SignatureInvalid)?;
        Ok(Self {
            compact,
            signing_input,
            header,
            claims,
            signature,
        })
    }

    /// The key id, to look the key up. The one thing that is revealed before the signature is checked.
    pub fn key_id(&self) -> &str {
        &self.header.kid
    }

    /// Checks signature, times, issuer, zone, use, audience and form: steps 5 to 9. The result may be cached;
    /// only [`Mandate::expired`] is to be asked again.
    pub fn authenticate(
        self,
        trust: &Trust,
        keys: &KeySet,
        backend: &impl SignatureBackend,
        now: Timestamp,
    ) -> Result<Mandate, Rejection> {
        let key = keys.find(&self.header.kid).ok_or(Rejection::KeyUnknown)?;
        if Algorithm::parse(&self.header.alg) != Some(key.algorithm()) {
            return Err(Rejection::AlgorithmRefused);
        }
        self.verify_signature(key, backend)?;
        let envelope: Envelope =
            json::parse(&self.claims).map_err(|json::Refused| Rejection::TimesMalformed)?;
        envelope.check(trust, now)?;
        let claims: Claims =
            json::parse(&self.claims).map_err(|json::Refused| Rejection::ClaimsMalformed)?;
        check_audience(&claims, trust)?;
        claims.validate()?;
        let verified = Verified {
            claims,
            kid: key.kid().clone(),
            digest: Sha256::digest(self.compact).into(),
        };
        Ok(Mandate(Arc::new(verified)))
    }

    fn verify_signature(
        &self,
        key: &VerifyingKey,
        backend: &impl SignatureBackend,
    ) -> Result<(), Rejection> {
        let checked = match key.algorithm() {
            Algorithm::Es256 => backend.es256(key.public(), self.signing_input, &self.signature),
            Algorithm::EdDsa => backend::eddsa(key.public(), self.signing_input, &self.signature),
        };
        // What could not be checked is not genuine.
        if checked == Ok(true) {
            Ok(())
        } else {
            Err(Rejection::SignatureInvalid)
        }
    }
}

impl fmt::Debug for UnverifiedMandate<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("UnverifiedMandate")
            .field("kid", &self.header.kid)
            .finish_non_exhaustive()
    }
}

fn parse_header(bytes: &[u8]) -> Result<Header, Rejection> {
    // RFC 7515 §4.1: what would move the key elsewhere, or change what is signed, is refused by name.
    const REFUSED: [&str; 9] = [
        "crit", "jwk", "jku", "x5u", "x5c", "zip", "b64", "enc", "epk",
    ];
    json::check(bytes).map_err(|json::Refused| Rejection::JsonRefused)?;
    let members: serde_json::Map<String, serde_json::Value> =
        json::parse(bytes).map_err(|json::Refused| Rejection::HeaderRefused)?;
    if REFUSED.iter().any(|name| members.contains_key(*name)) {
        return Err(Rejection::HeaderRefused);
    }
    let header: Header = json::parse(bytes).map_err(|json::Refused| Rejection::HeaderRefused)?;
    let kid = crate::id::KeyId::parse(&header.kid).is_ok();
    let typ = header.typ == encode::TYPE || header.typ == "application/at+jwt";
    if !kid || !typ {
        return Err(Rejection::HeaderRefused);
    }
    if Algorithm::parse(&header.alg).is_none() {
        return Err(Rejection::AlgorithmRefused);
    }
    Ok(header)
}

/// What is looked at before the claims as a whole, so that each refusal says the first thing wrong.
#[derive(Deserialize)]
struct Envelope {
    exp: i64,
    nbf: i64,
    iat: i64,
    #[serde(default)]
    iss: serde_json::Value,
    #[serde(default)]
    zone_id: serde_json::Value,
    #[serde(default, rename = "use")]
    usage: serde_json::Value,
}

impl Envelope {
    fn check(&self, trust: &Trust, now: Timestamp) -> Result<(), Rejection> {
        let now = now.as_second();
        let latest = now.saturating_add(LEEWAY);
        if now >= self.exp {
            return Err(Rejection::Expired);
        }
        if self.nbf > latest || self.iat > latest {
            return Err(Rejection::NotYetValid);
        }
        let lifetime = self.exp.saturating_sub(self.iat.min(self.nbf));
        if lifetime > trust.usage.max_lifetime() && self.usage == trust.usage.name() {
            return Err(Rejection::LifetimeTooLong);
        }
        if self.iss != trust.issuer.as_str() {
            return Err(Rejection::WrongIssuer);
        }
        if self.zone_id != trust.zone.to_string().as_str() {
            return Err(Rejection::WrongZone);
        }
        if self.usage != trust.usage.name() {
            return Err(Rejection::WrongUse);
        }
        Ok(())
    }
}

/// RFC 9068 §4: `session` and `gateway` are for the issuer alone, `resource` for exactly its targets.
fn check_audience(claims: &Claims, trust: &Trust) -> Result<(), Rejection> {
    let issuer = trust.issuer.as_str();
    let fits = match trust.usage {
        Use::Session | Use::Gateway => {
            claims.aud.len() == 1 && claims.aud.iter().all(|aud| aud == issuer)
        }
        Use::Resource => {
            let distinct = claims.aud.iter().enumerate().all(|(index, aud)| {
                !claims
                    .aud
                    .iter()
                    .skip(index.saturating_add(1))
                    .any(|other| other == aud)
            });
            distinct
                && claims.aud.len() == claims.target.len()
                && claims.aud.iter().all(|aud| {
                    aud != issuer && claims.target.iter().any(|target| target.as_str() == aud)
                })
        }
    };
    if fits {
        Ok(())
    } else {
        Err(Rejection::WrongAudience)
    }
}

/// A genuine mandate of a known zone. Clones share.
#[derive(Debug, Clone)]
pub struct Mandate(Arc<Verified>);

#[derive(Debug)]
struct Verified {
    claims: Claims,
    kid: crate::id::KeyId,
    digest: [u8; 32],
}

impl Mandate {
    /// Its claims.
    pub fn claims(&self) -> &Claims {
        &self.0.claims
    }

    /// The key that signed it.
    pub fn kid(&self) -> &crate::id::KeyId {
        &self.0.kid
    }

    /// SHA-256 of the compact form.
    pub fn digest(&self) -> [u8; 32] {
        self.0.digest
    }

    /// Whether it has expired: the one question to a cached mandate.
    pub fn expired(&self, now: Timestamp) -> bool {
        now.as_second() >= self.0.claims.exp
    }
}
