-- What authority is made of: applications, resources, bindings, policies, sessions, records, revocations.
--
-- Why: the coordinator writes it, the STS mints from it, enforcement points hold a copy.
-- Lock: none held by anybody; the database is new.
-- Safe with older code: there is none.
--
-- Foreign keys stand on tables that change seldom. Sessions and authority records have none: the check would
-- lock the application's row for every start and every mint, which writes to the hottest rows there are. Mints
-- read what they refer to under its anchor's lock, and nothing that is referred to is ever deleted.

CREATE TABLE applications (
    zone_id            uuid        NOT NULL,
    id                 uuid        NOT NULL,
    name               text        NOT NULL CHECK (length(name) BETWEEN 1 AND 255),
    labels             text[]      NOT NULL CHECK (cardinality(labels) <= 32),
    max_session_ttl_s  integer     NOT NULL CHECK (max_session_ttl_s > 0),
    session_ceiling    text[]      CHECK (cardinality(session_ceiling) <= 64),
    version            bigint      NOT NULL CHECK (version > 0),
    created_at         timestamptz NOT NULL,
    updated_at         timestamptz NOT NULL,
    PRIMARY KEY (zone_id, id),
    FOREIGN KEY (zone_id) REFERENCES zones (zone_id)
);

ALTER TABLE applications ENABLE ROW LEVEL SECURITY;
ALTER TABLE applications FORCE ROW LEVEL SECURITY;
CREATE POLICY zone ON applications
    USING (zone_id = NULLIF(current_setting('caracal.zone_id', true), '')::uuid)
    WITH CHECK (zone_id = NULLIF(current_setting('caracal.zone_id', true), '')::uuid);

GRANT SELECT, INSERT, UPDATE (name, labels, max_session_ttl_s, session_ceiling, version, updated_at)
    ON applications TO caracal_coordinator;
GRANT SELECT ON applications TO caracal_sts;

-- Client secrets, as HMAC-SHA-256 under a pepper that is not in the database.
CREATE TABLE application_secrets (
    zone_id         uuid        NOT NULL,
    application_id  uuid        NOT NULL,
    id              uuid        NOT NULL,
    hmac            bytea       NOT NULL CHECK (length(hmac) = 32),
    created_at      timestamptz NOT NULL,
    expires_at      timestamptz,
    revoked_at      timestamptz,
    PRIMARY KEY (zone_id, application_id, id),
    FOREIGN KEY (zone_id, application_id) REFERENCES applications (zone_id, id)
);

ALTER TABLE application_secrets ENABLE ROW LEVEL SECURITY;
ALTER TABLE application_secrets FORCE ROW LEVEL SECURITY;
CREATE POLICY zone ON application_secrets
    USING (zone_id = NULLIF(current_setting('caracal.zone_id', true), '')::uuid)
    WITH CHECK (zone_id = NULLIF(current_setting('caracal.zone_id', true), '')::uuid);

-- The coordinator makes secrets and never reads one back.
GRANT SELECT (zone_id, application_id, id, created_at, expires_at, revoked_at), INSERT, UPDATE (expires_at, revoked_at)
    ON application_secrets TO caracal_coordinator;
GRANT SELECT ON application_secrets TO caracal_sts;

CREATE TABLE resources (
    zone_id     uuid        NOT NULL,
    id          uuid        NOT NULL,
    -- Compared byte for byte, hence the collation.
    identifier  text        COLLATE "C" NOT NULL CHECK (length(identifier) BETWEEN 1 AND 512),
    name        text        NOT NULL CHECK (length(name) BETWEEN 1 AND 255),
    scopes      text[]      NOT NULL CHECK (cardinality(scopes) <= 64),
    operations  jsonb       NOT NULL CHECK (jsonb_typeof(operations) = 'array'),
    upstream    text,
    version     bigint      NOT NULL CHECK (version > 0),
    created_at  timestamptz NOT NULL,
    updated_at  timestamptz NOT NULL,
    PRIMARY KEY (zone_id, id),
    UNIQUE (zone_id, identifier),
    FOREIGN KEY (zone_id) REFERENCES zones (zone_id)
);

ALTER TABLE resources ENABLE ROW LEVEL SECURITY;
ALTER TABLE resources FORCE ROW LEVEL SECURITY;
CREATE POLICY zone ON resources
    USING (zone_id = NULLIF(current_setting('caracal.zone_id', true), '')::uuid)
    WITH CHECK (zone_id = NULLIF(current_setting('caracal.zone_id', true), '')::uuid);
CREATE POLICY across_snapshot ON resources FOR SELECT TO caracal_snapshot USING (true);

GRANT SELECT, INSERT, UPDATE (name, scopes, operations, upstream, version, updated_at) ON resources TO caracal_coordinator;
GRANT SELECT (zone_id, id, identifier, scopes) ON resources TO caracal_sts;
GRANT SELECT ON resources TO caracal_snapshot;

CREATE TABLE bindings (
    zone_id            uuid        NOT NULL,
    id                 uuid        NOT NULL,
    attachment         text        NOT NULL CHECK (length(attachment) BETWEEN 1 AND 63),
    resource_id        uuid        NOT NULL,
    hosts              text[]      NOT NULL CHECK (cardinality(hosts) BETWEEN 1 AND 64),
    path_prefix        text        NOT NULL CHECK (path_prefix LIKE '/%'),
    upstream_clusters  text[]      NOT NULL,
    public_url         text        NOT NULL,
    evidence           text        NOT NULL CHECK (evidence IN ('per_request', 'lease')),
    max_hops           integer     NOT NULL CHECK (max_hops BETWEEN 0 AND 10),
    forward_mandate    text        NOT NULL CHECK (forward_mandate IN ('strip', 'keep', 'exchange')),
    state              text        NOT NULL CHECK (state IN ('active', 'disabled', 'archived')),
    version            bigint      NOT NULL CHECK (version > 0),
    created_at         timestamptz NOT NULL,
    updated_at         timestamptz NOT NULL,
    PRIMARY KEY (zone_id, id),
    FOREIGN KEY (zone_id, resource_id) REFERENCES resources (zone_id, id)
);

ALTER TABLE bindings ENABLE ROW LEVEL SECURITY;
ALTER TABLE bindings FORCE ROW LEVEL SECURITY;
CREATE POLICY zone ON bindings
    USING (zone_id = NULLIF(current_setting('caracal.zone_id', true), '')::uuid)
    WITH CHECK (zone_id = NULLIF(current_setting('caracal.zone_id', true), '')::uuid);
CREATE POLICY across_snapshot ON bindings FOR SELECT TO caracal_snapshot USING (true);

GRANT SELECT, INSERT,
      UPDATE (attachment, resource_id, hosts, path_prefix, upstream_clusters, public_url, evidence, max_hops,
              forward_mandate, state, version, updated_at)
    ON bindings TO caracal_coordinator;
GRANT SELECT ON bindings TO caracal_snapshot;

-- A place is one binding's within a zone. Two zones that claim one place are found when a request is decided.
CREATE TABLE binding_hosts (
    zone_id      uuid NOT NULL,
    attachment   text NOT NULL,
    host         text NOT NULL CHECK (length(host) BETWEEN 1 AND 255),
    path_prefix  text NOT NULL,
    binding_id   uuid NOT NULL,
    PRIMARY KEY (zone_id, attachment, host, path_prefix),
    FOREIGN KEY (zone_id, binding_id) REFERENCES bindings (zone_id, id)
);
CREATE INDEX binding_hosts_of_binding ON binding_hosts (zone_id, binding_id);

ALTER TABLE binding_hosts ENABLE ROW LEVEL SECURITY;
ALTER TABLE binding_hosts FORCE ROW LEVEL SECURITY;
CREATE POLICY zone ON binding_hosts
    USING (zone_id = NULLIF(current_setting('caracal.zone_id', true), '')::uuid)
    WITH CHECK (zone_id = NULLIF(current_setting('caracal.zone_id', true), '')::uuid);

GRANT SELECT, INSERT, DELETE ON binding_hosts TO caracal_coordinator;

-- Policy versions. Nobody has the right to change one.
CREATE TABLE policies (
    zone_id         uuid        NOT NULL,
    id              uuid        NOT NULL,
    number          integer     NOT NULL CHECK (number > 0),
    data            jsonb       NOT NULL,
    -- The bytes that the hash is of.
    canonical       bytea       NOT NULL,
    content_sha256  bytea       NOT NULL CHECK (content_sha256 = sha256(canonical)),
    created_at      timestamptz NOT NULL,
    created_by      text        NOT NULL,
    PRIMARY KEY (zone_id, id),
    UNIQUE (zone_id, number),
    FOREIGN KEY (zone_id) REFERENCES zones (zone_id)
);

ALTER TABLE policies ENABLE ROW LEVEL SECURITY;
ALTER TABLE policies FORCE ROW LEVEL SECURITY;
CREATE POLICY zone ON policies
    USING (zone_id = NULLIF(current_setting('caracal.zone_id', true), '')::uuid)
    WITH CHECK (zone_id = NULLIF(current_setting('caracal.zone_id', true), '')::uuid);
CREATE POLICY across_snapshot ON policies FOR SELECT TO caracal_snapshot USING (true);

GRANT SELECT, INSERT ON policies TO caracal_coordinator;
GRANT SELECT ON policies TO caracal_sts, caracal_snapshot;

-- The one active version of a zone.
CREATE TABLE policy_heads (
    zone_id    uuid   NOT NULL,
    active_id  uuid   NOT NULL,
    version    bigint NOT NULL CHECK (version > 0),
    PRIMARY KEY (zone_id),
    FOREIGN KEY (zone_id, active_id) REFERENCES policies (zone_id, id)
);

ALTER TABLE policy_heads ENABLE ROW LEVEL SECURITY;
ALTER TABLE policy_heads FORCE ROW LEVEL SECURITY;
CREATE POLICY zone ON policy_heads
    USING (zone_id = NULLIF(current_setting('caracal.zone_id', true), '')::uuid)
    WITH CHECK (zone_id = NULLIF(current_setting('caracal.zone_id', true), '')::uuid);
CREATE POLICY across_snapshot ON policy_heads FOR SELECT TO caracal_snapshot USING (true);

GRANT SELECT, INSERT, UPDATE (active_id, version) ON policy_heads TO caracal_coordinator;
GRANT SELECT ON policy_heads TO caracal_sts, caracal_snapshot;

CREATE TABLE sessions (
    zone_id         uuid        NOT NULL,
    id              uuid        NOT NULL,
    application_id  uuid        NOT NULL,
    kind            text        NOT NULL CHECK (kind IN ('task', 'service')),
    labels          text[]      NOT NULL CHECK (cardinality(labels) <= 32),
    ceiling         text[]      CHECK (cardinality(ceiling) <= 64),
    resources       text[]      CHECK (cardinality(resources) <= 64),
    state           text        NOT NULL CHECK (state IN ('active', 'suspended', 'ended', 'expired')),
    started_at      timestamptz NOT NULL,
    expires_at      timestamptz NOT NULL CHECK (expires_at > started_at),
    ended_at        timestamptz,
    parent_id       uuid,
    root_id         uuid        NOT NULL,
    depth           integer     NOT NULL CHECK (depth BETWEEN 0 AND 31),
    version         bigint      NOT NULL CHECK (version > 0),
    PRIMARY KEY (zone_id, id),
    CHECK ((parent_id IS NULL) = (depth = 0) AND (depth > 0 OR root_id = id))
);
CREATE INDEX sessions_of_application ON sessions (zone_id, application_id, id);
CREATE INDEX sessions_running ON sessions (zone_id, expires_at) WHERE state IN ('active', 'suspended');

ALTER TABLE sessions ENABLE ROW LEVEL SECURITY;
ALTER TABLE sessions FORCE ROW LEVEL SECURITY;
CREATE POLICY zone ON sessions
    USING (zone_id = NULLIF(current_setting('caracal.zone_id', true), '')::uuid)
    WITH CHECK (zone_id = NULLIF(current_setting('caracal.zone_id', true), '')::uuid);

GRANT SELECT, INSERT, UPDATE (state, ended_at, version) ON sessions TO caracal_coordinator;
GRANT SELECT ON sessions TO caracal_sts;

-- What each mandate was minted from, one row a mint, until no mandate can rest on it.
CREATE TABLE authority_records (
    zone_id         uuid        NOT NULL,
    id              uuid        NOT NULL,
    root_id         uuid        NOT NULL,
    parent_id       uuid,
    application_id  uuid        NOT NULL,
    session_id      uuid,
    usage           text        NOT NULL CHECK (usage IN ('session', 'gateway', 'resource')),
    expires_at      timestamptz NOT NULL,
    created_at      timestamptz NOT NULL,
    PRIMARY KEY (zone_id, id),
    CHECK (expires_at > created_at)
);
CREATE INDEX authority_records_expiry ON authority_records (expires_at);

ALTER TABLE authority_records ENABLE ROW LEVEL SECURITY;
ALTER TABLE authority_records FORCE ROW LEVEL SECURITY;
CREATE POLICY zone ON authority_records
    USING (zone_id = NULLIF(current_setting('caracal.zone_id', true), '')::uuid)
    WITH CHECK (zone_id = NULLIF(current_setting('caracal.zone_id', true), '')::uuid);
CREATE POLICY across_retention ON authority_records TO caracal_retention USING (true);

GRANT SELECT, INSERT ON authority_records TO caracal_sts;
GRANT SELECT ON authority_records TO caracal_coordinator;
GRANT SELECT, DELETE ON authority_records TO caracal_retention;

-- What was revoked, by whom and why. What it brought about stands in `anchors`.
CREATE TABLE revocations (
    zone_id       uuid        NOT NULL,
    id            uuid        NOT NULL,
    kind          text        NOT NULL CHECK (kind IN ('dead', 'cut_off')),
    anchor_kind   text        NOT NULL,
    anchor_id     text        NOT NULL,
    reason        text        NOT NULL,
    not_before_s  bigint,
    dead_until    timestamptz,
    by_actor      text        NOT NULL,
    committed_at  timestamptz NOT NULL,
    PRIMARY KEY (zone_id, id),
    CHECK ((kind = 'dead') = (dead_until IS NOT NULL) AND (kind = 'cut_off') = (not_before_s IS NOT NULL))
);

ALTER TABLE revocations ENABLE ROW LEVEL SECURITY;
ALTER TABLE revocations FORCE ROW LEVEL SECURITY;
CREATE POLICY zone ON revocations
    USING (zone_id = NULLIF(current_setting('caracal.zone_id', true), '')::uuid)
    WITH CHECK (zone_id = NULLIF(current_setting('caracal.zone_id', true), '')::uuid);

GRANT SELECT, INSERT ON revocations TO caracal_coordinator;

-- What was answered under an idempotency key. Keys are digests; answers hold no secret.
CREATE TABLE idempotency_receipts (
    zone_id         uuid        NOT NULL,
    key_digest      bytea       NOT NULL CHECK (length(key_digest) = 32),
    request_digest  bytea       NOT NULL CHECK (length(request_digest) = 32),
    status          integer     NOT NULL,
    body            jsonb,
    created_at      timestamptz NOT NULL,
    PRIMARY KEY (zone_id, key_digest)
);
CREATE INDEX idempotency_receipts_age ON idempotency_receipts (zone_id, created_at);

ALTER TABLE idempotency_receipts ENABLE ROW LEVEL SECURITY;
ALTER TABLE idempotency_receipts FORCE ROW LEVEL SECURITY;
CREATE POLICY zone ON idempotency_receipts
    USING (zone_id = NULLIF(current_setting('caracal.zone_id', true), '')::uuid)
    WITH CHECK (zone_id = NULLIF(current_setting('caracal.zone_id', true), '')::uuid);

CREATE POLICY across_retention ON idempotency_receipts TO caracal_retention USING (true);

GRANT SELECT, INSERT, UPDATE (status, body) ON idempotency_receipts TO caracal_coordinator;
GRANT SELECT, DELETE ON idempotency_receipts TO caracal_retention;
