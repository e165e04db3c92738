//! Keys under keys: a root key per holder seals one key per zone, and that seals the zone's keys.
//! What is sealed is bound to its place (purpose, zone, row, version), so that nothing can be
//! exchanged for something else or for an older one.

use std::fmt;

use mandate::id::ZoneId;
use uuid::Uuid;

use super::CryptoError;
use super::aead::{Sealed, SealingKey};
use crate::rng::Rng;
use crate::secrets::Key32;

/// What a sealed key is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// A zone's key-encryption key, under the holder's root.
    ZoneKek,
    /// A zone's mandate signing key.
    MandateSigning,
    /// A zone's ledger chain key.
    LedgerChain,
}

impl Purpose {
    fn as_str(self) -> &'static str {
        match self {
            Self::ZoneKek => "zone-kek",
            Self::MandateSigning => "mandate-signing",
            Self::LedgerChain => "ledger-chain",
        }
    }
}

/// Who holds a root key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holder {
    /// The token service.
    Sts,
    /// The audit writer.
    Audit,
}

impl Holder {
    /// As rows and associated data carry it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Sts => "sts",
            Self::Audit => "audit",
        }
    }
}

/// The place that a sealed key belongs to.
#[derive(Clone, Copy, Debug)]
pub struct SealContext<'a> {
    /// What it is for.
    pub purpose: Purpose,
    /// The row within the zone: a key id, an epoch.
    pub row: &'a str,
    /// Its version.
    pub version: u64,
}

impl SealContext<'_> {
    /// Every part after its length, so that no two places read the same.
    fn associated(&self, holder: Holder, zone: Uuid) -> Vec<u8> {
        let mut bytes = b"caracal-seal-v1\0".to_vec();
        let version = self.version.to_be_bytes();
        let parts: [&[u8]; 5] = [
            holder.as_str().as_bytes(),
            self.purpose.as_str().as_bytes(),
            zone.as_bytes(),
            self.row.as_bytes(),
            &version,
        ];
        for part in parts {
            let length = u64::try_from(part.len()).unwrap_or(u64::MAX);
            bytes.extend_from_slice(&length.to_be_bytes());
            bytes.extend_from_slice(part);
        }
        bytes
    }
}

/// A holder's root key, from a file.
pub struct RootKek {
    holder: Holder,
    key: SealingKey,
}

impl RootKek {
    /// From 32 bytes.
    pub fn new(holder: Holder, key: &Key32) -> Result<Self, CryptoError> {
        Ok(Self {
            holder,
            key: SealingKey::new(key)?,
        })
    }

    /// Makes a zone's key and seals it.
    pub fn create_zone(
        &self,
        zone: ZoneId,
        version: u64,
        rng: &Rng,
    ) -> Result<(ZoneKek, Sealed), CryptoError> {
        let key = Key32::new(rng.bytes());
        let associated = self.associated(zone, version);
        let sealed = self.key.seal(&associated, key.expose(), rng)?;
        Ok((self.zone_kek(zone, &key)?, sealed))
    }

    /// Opens a zone's key.
    pub fn open_zone(
        &self,
        zone: ZoneId,
        version: u64,
        sealed: &[u8],
    ) -> Result<ZoneKek, CryptoError> {
        let plain = self.key.open(&self.associated(zone, version), sealed)?;
        let bytes = <[u8; 32]>::try_from(plain.as_slice()).map_err(|_| CryptoError::NotAKey)?;
        self.zone_kek(zone, &Key32::new(bytes))
    }

    fn associated(&self, zone: ZoneId, version: u64) -> Vec<u8> {
        let context = SealContext {
            purpose: Purpose::ZoneKek,
            row: self.holder.as_str(),
            version,
        };
        context.associated(self.holder, zone.as_uuid())
    }

    fn zone_kek(&self, zone: ZoneId, key: &Key32) -> Result<ZoneKek, CryptoError> {
        Ok(ZoneKek {
            holder: self.holder,
            zone,
            key: SealingKey::new(key)?,
        })
    }
}

impl fmt::Debug for RootKek {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RootKek")
            .field("holder", &self.holder)
            .finish_non_exhaustive()
    }
}

/// A zone's key-encryption key, for one holder.
pub struct ZoneKek {
    holder: Holder,
    zone: ZoneId,
    key: SealingKey,
}

impl ZoneKek {
    /// Seals a key of this zone for its place.
    pub fn seal(
        &self,
        context: &SealContext<'_>,
        plain: &Key32,
        rng: &Rng,
    ) -> Result<Sealed, CryptoError> {
        let associated = context.associated(self.holder, self.zone.as_uuid());
        self.key.seal(&associated, plain.expose(), rng)
    }

    /// Opens a key of this zone at its place.
    pub fn open(&self, context: &SealContext<'_>, sealed: &[u8]) -> Result<Key32, CryptoError> {
        let plain = self.key.open(
            &context.associated(self.holder, self.zone.as_uuid()),
            sealed,
        )?;
        let bytes = <[u8; 32]>::try_from(plain.as_slice()).map_err(|_| CryptoError::NotAKey)?;
        Ok(Key32::new(bytes))
    }

    /// The zone.
    pub fn zone(&self) -> ZoneId {
        self.zone
    }
}

impl fmt::Debug for ZoneKek {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ZoneKek")
            .field("zone", &self.zone)
            .finish_non_exhaustive()
    }
}
