//! Gives every new zone its first key. That one is active at once: nobody can hold anything that
//! another key signed, so there is nobody to publish it ahead for.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chassis::Dependency;
use chassis::clock::Clock;
use chassis::crypto::{Es256Key, EventKey, RootKek, ZoneKek, sha256};
use chassis::db::{OperatorStore, Store, ZoneTx};
use chassis::outbox;
use chassis::rng::Rng;
use jiff::Timestamp;
use ledger::event::{Event, EventKind};
use mandate::id::{KeyId, ZoneId};
use tokio_util::sync::CancellationToken;
use wire::pb::caracal::authority::v1 as pb;
use wire::pb::caracal::authority::v1::change::What;

use crate::error::BoxError;
use crate::keys::place;
use crate::store::keys;
use crate::store::provision::{self, Ready};

/// The version of a zone's first sealing key.
const FIRST: i32 = 1;
/// A key's version is how far it has come: pending, active, retired, removed.
const ACTIVE: u64 = 2;

/// Provisions zones.
#[derive(Debug)]
pub(crate) struct Keeper {
    /// Zones, across zones.
    pub(crate) zones: OperatorStore,
    /// One zone at a time, as the same role.
    pub(crate) store: Store,
    pub(crate) root: Arc<RootKek>,
    pub(crate) events: Arc<EventKey>,
    pub(crate) clock: Clock,
    pub(crate) rng: Rng,
}

impl Keeper {
    /// Looks for zones without a key until told to stop.
    pub(crate) async fn keep(
        self,
        every: Duration,
        dependency: Dependency,
        stop: CancellationToken,
    ) {
        loop {
            let round = self.round().await;
            if let Err(error) = &round {
                tracing::warn!(error = %error, "provisioning keys failed");
            }
            dependency.observe(&round);
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(every) => {}
            }
        }
    }

    /// Provisions every zone that waits; one that fails does not hold up the others.
    pub(crate) async fn round(&self) -> Result<(), BoxError> {
        let mut tx = self.zones.begin().await?;
        let waiting = provision::waiting(&mut tx).await?;
        tx.rollback().await?;
        let mut failed = None;
        for zone in waiting {
            match self.provision(zone).await {
                Ok(()) => tracing::info!(zone = %zone, "zone is ready"),
                Err(error) => failed = Some(error),
            }
        }
        failed.map_or(Ok(()), Err)
    }

    async fn provision(&self, zone: ZoneId) -> Result<(), BoxError> {
        let now = self.clock.now();
        let mut tx = self.store.begin(zone).await?;
        provision::lock(&mut tx).await?;
        let Some(row) = keys::zone(&mut tx)
            .await?
            .filter(|row| row.state == "provisioning")
        else {
            // Another keeper was faster.
            return Ok(tx.rollback().await?);
        };
        let sealing = match &row.sealing_key {
            Some((version, sealed)) => {
                self.root
                    .open_zone(zone, u64::try_from(*version)?, sealed)?
            }
            None => self.create_sealing_key(&mut tx, zone, now).await?,
        };
        let key = Es256Key::generate(&self.rng)?;
        let public = key.public_sec1();
        let kid = thumbprint(&public)?;
        let sealed = sealing.seal(&place(&kid), &key.scalar()?, &self.rng)?;
        provision::insert_signing_key(&mut tx, &kid, &public, &sealed, now).await?;
        let ready = provision::mark_ready(&mut tx, now)
            .await?
            .ok_or("the zone changed its state under our lock")?;
        self.tell(&mut tx, &kid, &public, &ready, now).await?;
        Ok(tx.commit().await?)
    }

    async fn create_sealing_key(
        &self,
        tx: &mut ZoneTx,
        zone: ZoneId,
        now: Timestamp,
    ) -> Result<ZoneKek, BoxError> {
        let (key, sealed) = self
            .root
            .create_zone(zone, u64::try_from(FIRST)?, &self.rng)?;
        provision::insert_zone_key(tx, FIRST, &sealed, now).await?;
        Ok(key)
    }

    /// Enforcement points and the ledger, in the same transaction.
    async fn tell(
        &self,
        tx: &mut ZoneTx,
        kid: &KeyId,
        public: &[u8],
        ready: &Ready,
        now: Timestamp,
    ) -> Result<(), BoxError> {
        let zone_id = tx.zone().to_string();
        let zone = pb::Change {
            version: u64::try_from(ready.version)?,
            what: Some(What::Zone(pb::Zone {
                zone_id: zone_id.clone(),
                name: ready.name.clone(),
                issuer: ready.issuer.clone(),
                state: pb::State::Active.into(),
                freshness_bound_ms: u32::try_from(ready.freshness_bound_ms)?,
            })),
        };
        let key = pb::Change {
            version: ACTIVE,
            what: Some(What::Key(pb::SigningKey {
                zone_id,
                kid: kid.as_str().to_owned(),
                alg: "ES256".to_owned(),
                public_key: public.to_vec(),
                state: "active".to_owned(),
            })),
        };
        outbox::authority(tx, "zone", &zone, now).await?;
        outbox::authority(tx, "key", &key, now).await?;
        let at_ns = i64::try_from(now.as_nanosecond())?;
        let mut event = Event::new(EventKind::KeyChanged, at_ns);
        event.zone = Some(tx.zone());
        event.actor = Some("sts".to_owned());
        event.object_kind = Some("key".to_owned());
        event.object_id = Some(kid.as_str().to_owned());
        event.detail = Some("active".to_owned());
        Ok(outbox::audit(tx, event, &*self.events, now).await?)
    }
}

/// RFC 7638 §3: a key names itself.
fn thumbprint(public_sec1: &[u8]) -> Result<KeyId, BoxError> {
    let point = public_sec1.get(1..65).ok_or("not an uncompressed point")?;
    let (x, y) = point.split_at(32);
    let (x, y) = (URL_SAFE_NO_PAD.encode(x), URL_SAFE_NO_PAD.encode(y));
    let jwk = format!(r#"{{"crv":"P-256","kty":"EC","x":"{x}","y":"{y}"}}"#);
    Ok(KeyId::parse(
        &URL_SAFE_NO_PAD.encode(sha256(jwk.as_bytes())),
    )?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_named_by_its_thumbprint() {
        // RFC 7517 §A.1, the EC key.
        let decode = |text| URL_SAFE_NO_PAD.decode(text).unwrap();
        let mut point = vec![4];
        point.extend(decode("MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4"));
        point.extend(decode("4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM"));
        // Computed apart with `printf | openssl sha256`.
        assert_eq!(
            thumbprint(&point).unwrap().as_str(),
            "cn-I_WNMClehiVp51i_0VpOENW1upEerA8sEam5hn-s"
        );
        assert!(thumbprint(&point[..64]).is_err());
    }
}
