//! One row of every table of a zone, the same in each zone but for ids.

use sqlx::{AssertSqlSafe, PgPool};
use uuid::Uuid;

/// The row of each table, in an order that foreign keys allow. `{z}` is the zone, `{i}` an id of its own.
pub(crate) const ROWS: [(&str, &str); 22] = [
    ("zones", "(zone_id, name, issuer, state, version, created_at, updated_at)
               VALUES ('{z}', 'n', 'https://i', 'ready', 1, now(), now())"),
    ("anchors", "(zone_id, kind, id) VALUES ('{z}', 'application', '{i}')"),
    ("zone_keys", "(zone_id, holder, version, sealed, created_at) VALUES ('{z}', 'sts', 1, '\\x00', now())"),
    ("signing_keys", "(zone_id, kid, alg, public_key, sealed, state, created_at)
                      VALUES ('{z}', 'k1', 'EdDSA', decode(repeat('00', 32), 'hex'), '\\x00', 'active', now())"),
    ("applications", "(zone_id, id, name, labels, max_session_ttl_s, version, created_at, updated_at)
                      VALUES ('{z}', '{i}', 'a', '{}', 60, 1, now(), now())"),
    ("application_secrets", "(zone_id, application_id, id, hmac, created_at)
                             VALUES ('{z}', '{i}', '{i}', decode(repeat('00', 32), 'hex'), now())"),
    ("resources", "(zone_id, id, identifier, name, scopes, operations, version, created_at, updated_at)
                   VALUES ('{z}', '{i}', 'https://r', 'r', '{}', '[]', 1, now(), now())"),
    ("bindings", "(zone_id, id, attachment, resource_id, hosts, path_prefix, upstream_clusters, public_url, evidence,
                   max_hops, forward_mandate, state, version, created_at, updated_at)
                  VALUES ('{z}', '{i}', 'ingress', '{i}', '{h}', '/', '{}', 'https://h', 'per_request', 0, 'strip',
                          'active', 1, now(), now())"),
    ("binding_hosts", "(zone_id, attachment, host, path_prefix, binding_id) VALUES ('{z}', 'ingress', 'h', '/', '{i}')"),
    ("policies", "(zone_id, id, number, data, canonical, content_sha256, created_at, created_by)
                  VALUES ('{z}', '{i}', 1, '{}', '\\x7b7d', sha256('\\x7b7d'), now(), 'me')"),
    ("policy_heads", "(zone_id, active_id, version) VALUES ('{z}', '{i}', 1)"),
    ("sessions", "(zone_id, id, application_id, kind, labels, state, started_at, expires_at, root_id, depth, version)
                  VALUES ('{z}', '{i}', '{i}', 'task', '{}', 'active', now(), now() + interval '1 h', '{i}', 0, 1)"),
    ("authority_records", "(zone_id, id, root_id, application_id, usage, expires_at, created_at)
                           VALUES ('{z}', '{i}', '{i}', '{i}', 'session', now() + interval '1 h', now())"),
    ("revocations", "(zone_id, id, kind, anchor_kind, anchor_id, reason, dead_until, by_actor, committed_at)
                     VALUES ('{z}', '{i}', 'dead', 'session', '{i}', 'r', now(), 'me', now())"),
    ("idempotency_receipts", "(zone_id, key_digest, request_digest, status, created_at)
                              VALUES ('{z}', sha256('k'), sha256('r'), 201, now())"),
    ("outbox", "(zone_id, lane, kind, payload, created_at) VALUES ('{z}', 'audit', 'mint', '\\x00', now())"),
    ("outbox_counters", "(zone_id, journal_id, next) VALUES ('{z}', '{j}', 1)"),
    ("ledger_heads", "(zone_id, seq, link, term, key_epoch, updated_at)
                      VALUES ('{z}', 1, sha256('l'), 1, 1, now())"),
    ("chain_keys", "(zone_id, key_epoch, sealed, created_at) VALUES ('{z}', 1, '\\x00', now())"),
    ("journal_cursors", "(zone_id, journal_id, counter, hash) VALUES ('{z}', '{j}', 1, sha256('c'))"),
    ("audit_events", "(zone_id, seq, appended_at, journal_id, counter, kind, at, link, leaf)
                      VALUES ('{z}', 1, '2026-11-25T12:00:00Z', '{j}', 1, 'decision', now(), sha256('l'), '\\x00')"),
    ("tamper_cases", "(zone_id, id, what, opened_at) VALUES ('{z}', '{i}', 'w', now())"),
];

/// A journal that both zones have events in.
const JOURNAL: Uuid = Uuid::from_u128(0xaa);

/// The statement that adds the row of `table`.
pub(crate) fn insert(table: &str, zone: Uuid, id: Uuid) -> String {
    let row = ROWS
        .iter()
        .find(|(name, _)| *name == table)
        .map_or("", |(_, row)| row);
    let row = row
        .replace("{z}", &zone.to_string())
        .replace("{i}", &id.to_string())
        .replace("{j}", &JOURNAL.to_string());
    format!("INSERT INTO {table} {row}")
}

/// Adds every row to a zone; its id is the zone's own.
pub(crate) async fn zone(superuser: &PgPool, zone: Uuid) -> Result<(), sqlx::Error> {
    sqlx::query("SELECT audit_make_partition('2026-11-25T00:00:00Z')")
        .execute(superuser)
        .await?;
    for (table, _) in ROWS {
        sqlx::query(AssertSqlSafe(insert(table, zone, zone)))
            .execute(superuser)
            .await?;
    }
    Ok(())
}
