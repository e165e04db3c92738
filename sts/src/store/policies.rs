//! Policy versions. They are immutable: what was read once need not be read again.

use chassis::db::ZoneTx;
use mandate::id::PolicyVersionId;

use crate::store::StoreError;

/// A version's canonical bytes and the hash that was taken of them on upload.
#[derive(Debug)]
pub(crate) struct PolicyRow {
    /// Canonical JSON.
    pub canonical: Vec<u8>,
    /// SHA-256 of it.
    pub content_sha256: Vec<u8>,
}

/// What a version says.
pub(crate) async fn read(
    tx: &mut ZoneTx,
    version: PolicyVersionId,
) -> Result<Option<PolicyRow>, StoreError> {
    let row = sqlx::query_as!(
        PolicyRow,
        r#"
        SELECT canonical, content_sha256
        FROM policies
        WHERE zone_id = $1 AND id = $2
        "#,
        tx.zone().as_uuid(),
        version.as_uuid(),
    )
    .fetch_optional(tx.as_mut())
    .await?;
    Ok(row)
}
