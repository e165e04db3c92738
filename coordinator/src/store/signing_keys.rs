//! The public half of the zones' signing keys. The sealed half is the STS's alone.

use chassis::db::ZoneTx;

use crate::error::Error;

/// A public key.
#[derive(Clone, Debug)]
pub(crate) struct PublicKey {
    pub(crate) kid: String,
    pub(crate) alg: String,
    pub(crate) public: Vec<u8>,
    pub(crate) state: String,
    pub(crate) version: i64,
}

/// Whether the zone has a key that signs.
pub(crate) async fn has_active(tx: &mut ZoneTx) -> Result<bool, Error> {
    let has = sqlx::query_scalar!(
        r#"
        SELECT EXISTS (
            SELECT 1
            FROM signing_keys
            WHERE zone_id = $1 AND state = 'active'
        ) AS "has!"
        "#,
        tx.zone().as_uuid(),
    )
    .fetch_one(tx.as_mut())
    .await?;
    Ok(has)
}

/// The keys whose signatures are accepted.
pub(crate) async fn verifying(tx: &mut ZoneTx) -> Result<Vec<PublicKey>, Error> {
    let keys = sqlx::query_as!(
        PublicKey,
        r#"
        SELECT kid, alg, public_key AS public, state, version
        FROM signing_keys
        WHERE zone_id = $1 AND state IN ('pending', 'active', 'retired')
        "#,
        tx.zone().as_uuid(),
    )
    .fetch_all(tx.as_mut())
    .await?;
    Ok(keys)
}

/// Whether the zone ever had this key.
pub(crate) async fn exists(tx: &mut ZoneTx, kid: &str) -> Result<bool, Error> {
    let exists = sqlx::query_scalar!(
        r#"
        SELECT EXISTS (
            SELECT 1
            FROM signing_keys
            WHERE zone_id = $1 AND kid = $2
        ) AS "exists!"
        "#,
        tx.zone().as_uuid(),
        kid,
    )
    .fetch_one(tx.as_mut())
    .await?;
    Ok(exists)
}
