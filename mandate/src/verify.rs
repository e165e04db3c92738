//! From bytes to a [`Mandate`]: steps 2 to 9.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::id::{Issuer, KeyId, ZoneId};
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

/// A compact mandate whose signature nobody has checked. Only its debug output names something of it: the key id.
#[derive(Clone)]
pub struct UnverifiedMandate<'a> {
    compact: &'a [u8],
    signing_input: &'a [u8],
    header: Header,
    claims: Vec<u8>,
    signature: Vec<u8>,
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
        Ok(Self {
            compact,
            signing_input,
            header,
            claims,
            signature,
        })
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
        let signature: &[u8; 64] = self
            .signature
            .as_slice()
            .try_into()
            .map_err(|_| Rejection::SignatureInvalid)?;
        let checked = match key.algorithm() {
            Algorithm::Es256 => backend.es256(key.public(), self.signing_input, signature),
            Algorithm::EdDsa => backend::eddsa(key.public(), self.signing_input, signature),
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
    let members: serde_json::Map<String, Value> =
        json::parse(bytes).map_err(|json::Refused| Rejection::HeaderRefused)?;
    if REFUSED.iter().any(|name| members.contains_key(*name)) {
        return Err(Rejection::HeaderRefused);
    }
    let header: Header = json::parse(bytes).map_err(|json::Refused| Rejection::HeaderRefused)?;
    let kid = KeyId::parse(&header.kid).is_ok();
    let typ = header.typ == encode::TYPE || header.typ == "application/at+jwt";
    if !kid || !typ {
        return Err(Rejection::HeaderRefused);
    }
    if Algorithm::parse(&header.alg).is_none() {
        return Err(Rejection::AlgorithmRefused);
    }
    Ok(header)
}

/// What is looked at before the claims as a whole, so that a refusal names the first thing wrong. Steps 7 and 8.
#[derive(Deserialize)]
struct Envelope {
    exp: i64,
    nbf: i64,
    iat: i64,
    #[serde(default)]
    iss: Value,
    #[serde(default)]
    zone_id: Value,
    #[serde(default, rename = "use")]
    usage: Value,
    #[serde(default)]
    aud: Value,
    #[serde(default)]
    target: Value,
}

impl Envelope {
    fn check(&self, trust: &Trust, now: Timestamp) -> Result<(), Rejection> {
        self.check_times(trust, now.as_second())?;
        if self.iss != trust.issuer.as_str() {
            return Err(Rejection::WrongIssuer);
        }
        if self.zone_id != trust.zone.to_string().as_str() {
            return Err(Rejection::WrongZone);
        }
        if self.usage != trust.usage.name() {
            return Err(Rejection::WrongUse);
        }
        if self.fits_audience(trust) {
            Ok(())
        } else {
            Err(Rejection::WrongAudience)
        }
    }

    fn check_times(&self, trust: &Trust, now: i64) -> Result<(), Rejection> {
        let latest = now.saturating_add(LEEWAY);
        if now >= self.exp {
            return Err(Rejection::Expired);
        }
        if self.nbf > latest || self.iat > latest {
            return Err(Rejection::NotYetValid);
        }
        if self.exp <= self.iat || self.exp <= self.nbf {
            return Err(Rejection::TimesMalformed);
        }
        // The bound is that of the mandate's own use; another use than the trusted one is refused for that.
        let lifetime = self.exp.saturating_sub(self.iat.min(self.nbf));
        if lifetime > trust.usage.max_lifetime() && self.usage == trust.usage.name() {
            return Err(Rejection::LifetimeTooLong);
        }
        Ok(())
    }

    /// RFC 9068 §4: `session` and `gateway` are for the issuer alone, `resource` for exactly its targets.
    fn fits_audience(&self, trust: &Trust) -> bool {
        let issuer = trust.issuer.as_str();
        let Some(audience) = distinct(&self.aud) else {
            return false;
        };
        match trust.usage {
            Use::Session | Use::Gateway => audience.len() == 1 && audience.contains(issuer),
            Use::Resource => {
                let array = self.target.is_array();
                let target = distinct(&self.target);
                array && target.as_ref() == Some(&audience) && !audience.contains(issuer)
            }
        }
    }
}

/// A string, or an array of strings of which none occurs twice.
fn distinct(value: &Value) -> Option<BTreeSet<&str>> {
    let values = match value {
        Value::String(one) => return Some(BTreeSet::from([one.as_str()])),
        Value::Array(many) => many,
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => return None,
    };
    let set: BTreeSet<&str> = values.iter().map(Value::as_str).collect::<Option<_>>()?;
    (!set.is_empty() && set.len() == values.len()).then_some(set)
}

/// A genuine mandate of a known zone. Clones share.
#[derive(Debug, Clone)]
pub struct Mandate(Arc<Verified>);

#[derive(Debug)]
struct Verified {
    claims: Claims,
    kid: KeyId,
    digest: [u8; 32],
}

impl Mandate {
    /// Its claims.
    pub fn claims(&self) -> &Claims {
        &self.0.claims
    }

    /// The key that signed it.
    pub fn kid(&self) -> &KeyId {
        &self.0.kid
    }

    /// SHA-256 of the compact form.
    pub fn digest(&self) -> [u8; 32] {
        self.0.digest
    }

    /// The same in lower-case hexadecimal.
    pub fn digest_text(&self) -> String {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let mut text = [0; 64];
        for (pair, byte) in text.chunks_exact_mut(2).zip(&self.0.digest) {
            for (place, digit) in pair.iter_mut().zip([byte >> 4, byte & 15]) {
                *place = DIGITS.get(usize::from(digit)).copied().unwrap_or(b'?');
            }
        }
        String::from_utf8_lossy(&text).into_owned()
    }

    /// Whether it has expired: the one question to a cached mandate.
    pub fn expired(&self, now: Timestamp) -> bool {
        now.as_second() >= self.0.claims.exp
    }
}
