-- Why: keys, what mandates were minted from, revocations, and the receipts of idempotent calls.
-- Locks: none; all tables are new. Old code: there is none.

-- A zone's key-encryption key, one row a holder, sealed under that holder's root key. The ledger of what has no zone has
-- one too, so there is no reference to zones.
CREATE TABLE zone_keys (
    zone_id uuid NOT NULL,
    holder text NOT NULL CHECK (holder IN ('sts', 'audit', 'pool')),
    version integer NOT NULL CHECK (version > 0),
    sealed bytea NOT NULL,
    created_at timestamptz NOT NULL,
    PRIMARY KEY (zone_id, holder, version)
);
SELECT secure_zone_table('zone_keys');

CREATE TABLE signing_keys (
    zone_id uuid NOT NULL REFERENCES zones,
    kid text NOT NULL,
    alg text NOT NULL CHECK (alg IN ('ES256', 'EdDSA')),
    public_key bytea NOT NULL,
    sealed bytea NOT NULL,
    state text NOT NULL CHECK (state IN ('pending', 'active', 'retired', 'removed', 'distrusted')),
    created_at timestamptz NOT NULL,
    version bigint NOT NULL DEFAULT 1,
    PRIMARY KEY (zone_id, kid)
);
SELECT secure_zone_table('signing_keys');
CREATE UNIQUE INDEX signing_keys_one_active ON signing_keys (zone_id) WHERE state = 'active';

-- One row a mint; removed after it expired.
CREATE TABLE authority_records (
    zone_id uuid NOT NULL,
    id uuid NOT NULL,
    root_id uuid NOT NULL,
    parent_id uuid,
    application_id uuid NOT NULL,
    session_id uuid,
    usage text NOT NULL CHECK (usage IN ('session', 'gateway', 'resource')),
    expires_at timestamptz NOT NULL,
    created_at timestamptz NOT NULL,
    PRIMARY KEY (zone_id, id),
    FOREIGN KEY (zone_id, application_id) REFERENCES applications (zone_id, id),
    FOREIGN KEY (zone_id, session_id) REFERENCES sessions (zone_id, id)
);
SELECT secure_zone_table('authority_records');
CREATE INDEX authority_records_expired ON authority_records (expires_at);

CREATE TABLE revocations (
    zone_id uuid NOT NULL,
    id uuid NOT NULL,
    kind text NOT NULL CHECK (kind IN ('dead', 'cut_off')),
    anchor_kind text NOT NULL,
    anchor_id text NOT NULL,
    reason text NOT NULL CHECK (length(reason) <= 512),
    not_before_s bigint,
    dead_until timestamptz,
    by_actor text NOT NULL,
    committed_at timestamptz NOT NULL,
    PRIMARY KEY (zone_id, id),
    FOREIGN KEY (zone_id, anchor_kind, anchor_id) REFERENCES anchors (zone_id, kind, id)
);
SELECT secure_zone_table('revocations');

CREATE TABLE idempotency_receipts (
    zone_id uuid NOT NULL REFERENCES zones,
    key_digest bytea NOT NULL CHECK (length(key_digest) = 32),
    request_digest bytea NOT NULL CHECK (length(request_digest) = 32),
    status integer NOT NULL,
    body jsonb,
    created_at timestamptz NOT NULL,
    PRIMARY KEY (zone_id, key_digest)
);
SELECT secure_zone_table('idempotency_receipts');
CREATE INDEX idempotency_receipts_old ON idempotency_receipts (created_at);
