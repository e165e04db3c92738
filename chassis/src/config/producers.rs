//! Whose signatures are believed, and about what: configuration, never learned.

use std::collections::BTreeSet;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ledger::envelope::{Producer, Producers};
use mandate::id::KeyId;
use serde::{Deserialize, Serialize};

use super::checks::Checks;
use super::published;
use crate::crypto::EventKey;
use crate::secrets::{Key32, Shape};

/// One `[[producer]]`: a key and what may be said under it. Two keys of one service may overlap.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawProducer {
    /// The key's id.
    pub kid: String,
    /// The Ed25519 public key, 32 bytes as base64url.
    pub public_key: String,
    /// The service that holds the private key.
    pub service: String,
    /// The kinds of messages and events it may sign.
    pub kinds: Vec<String>,
}

impl RawProducer {
    /// Checks the entries at `key`.
    pub fn resolve_all(
        entries: Vec<Self>,
        key: &str,
        checks: &mut Checks<'_>,
    ) -> Option<Producers> {
        let mut seen = BTreeSet::new();
        let mut producers = Vec::with_capacity(entries.len());
        for (index, entry) in entries.into_iter().enumerate() {
            let key = format!("{key}[{index}]");
            checks.ensure(
                seen.insert(entry.kid.clone()),
                format!("{key}.kid"),
                "is the kid of an earlier producer too",
            );
            checks.ensure(
                !entry.service.is_empty(),
                format!("{key}.service"),
                "is empty: say whose key it is",
            );
            checks.ensure(
                !entry.kinds.is_empty(),
                format!("{key}.kinds"),
                "is empty: nothing would be believed",
            );
            producers.push(entry.resolve(&key, checks));
        }
        producers
            .into_iter()
            .collect::<Option<Vec<_>>>()
            .map(Producers::new)
    }

    fn resolve(self, key: &str, checks: &mut Checks<'_>) -> Option<Producer> {
        let kid = checks.take(format!("{key}.kid"), KeyId::parse(&self.kid));
        let public_key = URL_SAFE_NO_PAD
            .decode(&self.public_key)
            .ok()
            .and_then(|bytes| <[u8; 32]>::try_from(bytes).ok())
            .ok_or("is not 32 bytes as base64url without padding");
        let public_key = checks.take(format!("{key}.public_key"), public_key);
        Some(Producer {
            kid: kid?,
            public_key: public_key?,
            service: self.service,
            kinds: self.kinds.into_iter().collect(),
        })
    }
}

/// The key that a service signs with; its seed lies in a file of its own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawSigner {
    /// The key's id, as the readers' `[[producer]]` has it.
    pub kid: String,
}

impl RawSigner {
    /// Checks the section at `key`; takes the seed from the file that `variable` names, such as
    /// `EVENT_KEY_FILE`.
    pub fn resolve(self, key: &str, variable: &str, checks: &mut Checks<'_>) -> Option<EventKey> {
        let kid = checks.take(format!("{key}.kid"), KeyId::parse(&self.kid));
        let seed = checks.secret(variable, Shape::Key32);
        let seed = Key32::of(&seed?)?;
        let signer = checks.take(variable, EventKey::new(kid?, &seed))?;
        checks.ensure_stable(
            !published::is_published(&signer.public()),
            variable,
            "holds the seed of a test key of RFC 8032, which everybody knows; make one of your own",
        );
        Some(signer)
    }
}
