//! A zone's signing keys: made once by the keeper, read and opened here, held in memory while
//! they are fresh. A private key exists in the clear nowhere else.

pub(crate) mod keeper;
pub(crate) mod ring;

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use chassis::crypto::{CryptoError, Es256Key, Purpose, RootKek, SealContext, sha256};
use mandate::id::{Issuer, KeyId, ZoneId};
use mandate::{Algorithm, Claims, KeySet, VerifyingKey, encode};

use crate::error::{BoxError, Error, Refusal, Unavailable};
use crate::store::keys::{KeyRow, ZoneRow};

/// The version under which signing keys are sealed.
pub(crate) const SEAL_VERSION: u64 = 1;

/// Where a signing key's sealed half belongs.
pub(crate) fn place(kid: &KeyId) -> SealContext<'_> {
    SealContext {
        purpose: Purpose::MandateSigning,
        row: kid.as_str(),
        version: SEAL_VERSION,
    }
}

/// What stands for issuing in a zone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ZoneState {
    /// It has no key yet.
    Provisioning,
    /// It issues.
    Ready,
    /// It issues nothing and its keys are not published.
    Archived,
}

/// A key that signs.
pub(crate) struct Signer {
    kid: KeyId,
    key: Es256Key,
}

impl Signer {
    /// `kid`.
    pub(crate) fn kid(&self) -> &KeyId {
        &self.kid
    }

    /// Signs claims: a mandate in compact form.
    pub(crate) fn sign(&self, claims: &Claims) -> Result<String, CryptoError> {
        let input = encode::signing_input(Algorithm::Es256, &self.kid, claims);
        let signature = self.key.sign(input.as_bytes())?;
        Ok(encode::compact(&input, &signature))
    }
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Signer")
            .field("kid", &self.kid)
            .finish_non_exhaustive()
    }
}

/// A zone's keys as of one moment.
#[derive(Debug)]
pub(crate) struct ZoneKeys {
    /// The zone.
    pub zone: ZoneId,
    /// `iss`.
    pub issuer: Issuer,
    /// What stands for issuing.
    pub state: ZoneState,
    /// Keys that verify, and those that will.
    pub set: KeySet,
    /// The set as published.
    pub jwks: Bytes,
    /// Its strong `ETag`.
    pub etag: String,
    /// The key that signs.
    pub signer: Option<Signer>,
}

/// Keys that issue: those of a zone that is ready.
#[derive(Clone, Debug)]
pub(crate) struct Issuing(Arc<ZoneKeys>);

impl Issuing {
    /// The zone's keys.
    pub(crate) fn keys(&self) -> &ZoneKeys {
        &self.0
    }

    /// The key that signs.
    pub(crate) fn signer(&self) -> Result<&Signer, Unavailable> {
        self.0.signer.as_ref().ok_or(Unavailable::NoSigningKey)
    }
}

impl ZoneKeys {
    /// Refuses unless the zone is ready.
    pub(crate) fn issuing(self: Arc<Self>) -> Result<Issuing, Error> {
        match self.state {
            ZoneState::Ready => Ok(Issuing(self)),
            ZoneState::Provisioning => Err(Unavailable::Provisioning.into()),
            ZoneState::Archived => Err(Refusal::ZoneArchived.into()),
        }
    }

    /// Opens what the database holds.
    pub(crate) fn open(
        zone: ZoneId,
        row: ZoneRow,
        rows: Vec<KeyRow>,
        root: &RootKek,
    ) -> Result<Self, BoxError> {
        let state = match row.state.as_str() {
            "ready" => ZoneState::Ready,
            "provisioning" => ZoneState::Provisioning,
            "archived" => ZoneState::Archived,
            other => return Err(format!("zone {zone} is in an unknown state: {other}").into()),
        };
        let mut signer = None;
        let mut verifying = Vec::with_capacity(rows.len());
        for key in rows {
            let alg = algorithm(&key)?;
            // The newest active key signs; those published ahead and the retired only verify.
            if key.state == "active" && signer.is_none() && alg == Algorithm::Es256 {
                signer = Some(signer_of(zone, &row, &key, root)?);
            }
            verifying.push(VerifyingKey::new(key.kid, alg, &key.public_key)?);
        }
        let set = KeySet::new(verifying);
        let jwks = Bytes::from(set.to_jwks());
        let etag = etag(&jwks);
        Ok(Self {
            zone,
            issuer: row.issuer,
            state,
            set,
            jwks,
            etag,
            signer,
        })
    }
}

fn algorithm(key: &KeyRow) -> Result<Algorithm, BoxError> {
    Algorithm::parse(&key.alg)
        .ok_or_else(|| format!("key {} has an unknown algorithm: {}", key.kid, key.alg).into())
}

fn signer_of(
    zone: ZoneId,
    row: &ZoneRow,
    key: &KeyRow,
    root: &RootKek,
) -> Result<Signer, BoxError> {
    let (version, sealed) = row
        .sealing_key
        .as_ref()
        .ok_or_else(|| format!("zone {zone} has keys but none over them"))?;
    let sealing = root.open_zone(zone, u64::try_from(*version)?, sealed)?;
    let scalar = sealing.open(&place(&key.kid), &key.sealed)?;
    let opened = Es256Key::of_scalar(&scalar)?;
    if opened.public_sec1().as_slice() != key.public_key.as_slice() {
        return Err(format!(
            "key {} is not the private half of what is published",
            key.kid
        )
        .into());
    }
    Ok(Signer {
        kid: key.kid.clone(),
        key: opened,
    })
}

fn etag(body: &[u8]) -> String {
    use std::fmt::Write as _;
    let mut text = String::with_capacity(34);
    text.push('"');
    for byte in sha256(body).iter().take(16) {
        let _infallible = write!(text, "{byte:02x}");
    }
    text.push('"');
    text
}
