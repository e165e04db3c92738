//! A zone's issuer and signing keys, as the process that signs reads them.

use chassis::db::ZoneTx;
use mandate::id::{Issuer, KeyId};

use crate::store::{StoreError, bad_row};

/// Who a zone's keys are sealed to: this service.
pub(crate) const HOLDER: &str = "sts";

/// A zone, as its issuer.
#[derive(Debug)]
pub(crate) struct ZoneRow {
    /// `iss` of everything it issues.
    pub issuer: Issuer,
    /// `provisioning`, `ready` or `archived`.
    pub state: String,
    /// The key that seals its keys, sealed itself, with its version; none before the first key.
    pub sealing_key: Option<(i32, Vec<u8>)>,
}

/// A signing key.
#[derive(Debug)]
pub(crate) struct KeyRow {
    /// `kid`.
    pub kid: KeyId,
    /// `ES256` or `EdDSA`.
    pub alg: String,
    /// The public half.
    pub public_key: Vec<u8>,
    /// The private half, sealed.
    pub sealed: Vec<u8>,
    /// `pending`, `active` or `retired`.
    pub state: String,
}

/// The zone, if there is one.
pub(crate) async fn zone(tx: &mut ZoneTx) -> Result<Option<ZoneRow>, StoreError> {
    let row = sqlx::query!(
        r#"
        SELECT z.issuer,
               z.state,
               k.version AS "version?",
               k.sealed AS "sealed?"
        FROM zones AS z
        LEFT JOIN zone_keys AS k ON k.zone_id = z.zone_id AND k.holder = $2
        WHERE z.zone_id = $1
        ORDER BY k.version DESC
        LIMIT 1
        "#,
        tx.zone().as_uuid(),
        HOLDER,
    )
    .fetch_optional(tx.as_mut())
    .await?;
    let Some(row) = row else { return Ok(None) };
    let issuer = Issuer::parse(&row.issuer).map_err(|_| bad_row("zones", &row.issuer))?;
    let sealing_key = row.version.zip(row.sealed);
    Ok(Some(ZoneRow {
        issuer,
        state: row.state,
        sealing_key,
    }))
}

/// Its keys that verify or will, newest first; a key that was revoked is none of them.
pub(crate) async fn signing_keys(tx: &mut ZoneTx) -> Result<Vec<KeyRow>, StoreError> {
    let rows = sqlx::query!(
        r#"
        SELECT k.kid, k.alg, k.public_key, k.sealed, k.state
        FROM signing_keys AS k
        WHERE k.zone_id = $1
          AND k.state IN ('pending', 'active', 'retired')
          AND NOT EXISTS (
                SELECT 1
                FROM anchors AS a
                WHERE a.zone_id = $1
                  AND a.kind = 'key'
                  AND a.id = k.kid
                  AND (a.dead_until IS NOT NULL OR a.state <> 'active'))
        ORDER BY k.created_at DESC, k.kid
        "#,
        tx.zone().as_uuid(),
    )
    .fetch_all(tx.as_mut())
    .await?;
    rows.into_iter()
        .map(|row| {
            let kid = KeyId::parse(&row.kid).map_err(|_| bad_row("signing_keys", &row.kid))?;
            Ok(KeyRow {
                kid,
                alg: row.alg,
                public_key: row.public_key,
                sealed: row.sealed,
                state: row.state,
            })
        })
        .collect()
}
