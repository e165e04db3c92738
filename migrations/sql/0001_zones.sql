-- Zones, the anchors of everything in them that can be revoked, and their signing keys.
--
-- Why: the isolation that every later table follows is set up here.
-- Lock: none held by anybody; the database is new.
-- Safe with older code: there is none.
--
-- Rules for every table of a zone, checked by a test that reads the catalogue: `zone_id` first in every key,
-- row-level security enabled and forced, one policy `zone` in the form below, and nothing across zones but what
-- a policy `across_<role>` gives exactly one role. Without a zone set, no rows.

-- The key of an anchor's advisory lock. Mints hold it shared, whoever revokes holds it exclusively.
CREATE FUNCTION anchor_lock_key(zone uuid, kind text, id text) RETURNS bigint
    LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
    RETURN pg_catalog.hashtextextended(zone::text || '/' || kind || '/' || id, 0);
REVOKE EXECUTE ON FUNCTION anchor_lock_key(uuid, text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION anchor_lock_key(uuid, text, text) TO caracal_coordinator, caracal_sts, caracal_keeper;

CREATE TABLE zones (
    zone_id             uuid        NOT NULL,
    name                text        NOT NULL CHECK (length(name) BETWEEN 1 AND 255),
    issuer              text        NOT NULL CHECK (length(issuer) BETWEEN 1 AND 512),
    state               text        NOT NULL CHECK (state IN ('provisioning', 'ready', 'archived')),
    mandate_alg         text        NOT NULL DEFAULT 'ES256' CHECK (mandate_alg IN ('ES256', 'EdDSA')),
    freshness_bound_ms  integer     NOT NULL DEFAULT 10000 CHECK (freshness_bound_ms BETWEEN 1000 AND 60000),
    version             bigint      NOT NULL CHECK (version > 0),
    created_at          timestamptz NOT NULL,
    updated_at          timestamptz NOT NULL,
    PRIMARY KEY (zone_id)
);
CREATE INDEX zones_provisioning ON zones (zone_id) WHERE state = 'provisioning';

ALTER TABLE zones ENABLE ROW LEVEL SECURITY;
ALTER TABLE zones FORCE ROW LEVEL SECURITY;
CREATE POLICY zone ON zones
    USING (zone_id = NULLIF(current_setting('caracal.zone_id', true), '')::uuid)
    WITH CHECK (zone_id = NULLIF(current_setting('caracal.zone_id', true), '')::uuid);
CREATE POLICY across_operator ON zones FOR SELECT TO caracal_operator USING (true);
CREATE POLICY across_snapshot ON zones FOR SELECT TO caracal_snapshot USING (true);
-- The keeper looks for work in all zones, and for nothing else.
CREATE POLICY across_keeper ON zones FOR SELECT TO caracal_keeper USING (state = 'provisioning');

GRANT SELECT, INSERT, UPDATE (name, state, freshness_bound_ms, version, updated_at) ON zones TO caracal_coordinator;
GRANT SELECT ON zones TO caracal_operator, caracal_snapshot, caracal_sts;
GRANT SELECT, UPDATE (state, version, updated_at) ON zones TO caracal_keeper;

-- One row for each object that can be revoked. `id` is a UUID's text, a resource's identifier, a subject or a key
-- id. Rows of mandates, subjects and keys appear when they are first revoked.
CREATE TABLE anchors (
    zone_id       uuid        NOT NULL,
    kind          text        NOT NULL CHECK (kind IN ('zone', 'policy', 'application', 'subject', 'resource',
                                                       'session', 'delegation', 'record', 'mandate', 'key')),
    id            text        NOT NULL CHECK (length(id) BETWEEN 1 AND 512),
    state         text        NOT NULL DEFAULT 'active'
                              CHECK (state IN ('active', 'suspended', 'disabled', 'archived', 'ended', 'expired')),
    -- Refuses every `iat` at or before it, in seconds. Only rises.
    not_before_s  bigint      NOT NULL DEFAULT 0 CHECK (not_before_s >= 0),
    -- Dead, and until when a mandate may still carry the id.
    dead_until    timestamptz,
    version       bigint      NOT NULL DEFAULT 1 CHECK (version > 0),
    PRIMARY KEY (zone_id, kind, id)
);
-- What enforcement points must know, among millions of anchors that are as they began.
CREATE INDEX anchors_changed ON anchors (zone_id, kind, id)
    WHERE dead_until IS NOT NULL OR not_before_s > 0 OR state <> 'active';
CREATE INDEX anchors_cut_off ON anchors (zone_id, not_before_s) WHERE not_before_s > 0;

ALTER TABLE anchors ENABLE ROW LEVEL SECURITY;
ALTER TABLE anchors FORCE ROW LEVEL SECURITY;
CREATE POLICY zone ON anchors
    USING (zone_id = NULLIF(current_setting('caracal.zone_id', true), '')::uuid)
    WITH CHECK (zone_id = NULLIF(current_setting('caracal.zone_id', true), '')::uuid);
CREATE POLICY across_snapshot ON anchors FOR SELECT TO caracal_snapshot USING (true);
CREATE POLICY across_retention ON anchors TO caracal_retention USING (true);

GRANT SELECT, INSERT, UPDATE (state, not_before_s, dead_until, version) ON anchors TO caracal_coordinator;
GRANT SELECT, INSERT (zone_id, kind, id) ON anchors TO caracal_sts, caracal_keeper;
GRANT SELECT ON anchors TO caracal_snapshot;
GRANT SELECT, DELETE ON anchors TO caracal_retention;

-- A cut-off that fell would let revoked mandates in again.
CREATE FUNCTION anchor_only_rises() RETURNS trigger
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF NEW.not_before_s < OLD.not_before_s THEN
        RAISE EXCEPTION 'a cut-off only rises' USING ERRCODE = 'integrity_constraint_violation', CONSTRAINT = 'anchors_only_rise';
    END IF;
    IF NEW.version <= OLD.version THEN
        RAISE EXCEPTION 'a version only rises' USING ERRCODE = 'integrity_constraint_violation', CONSTRAINT = 'anchors_only_rise';
    END IF;
    IF OLD.dead_until IS NOT NULL AND (NEW.dead_until IS NULL OR NEW.dead_until < OLD.dead_until) THEN
        RAISE EXCEPTION 'what is dead stays dead' USING ERRCODE = 'integrity_constraint_violation', CONSTRAINT = 'anchors_only_rise';
    END IF;
    RETURN NEW;
END
$$;
CREATE TRIGGER only_rises BEFORE UPDATE ON anchors FOR EACH ROW EXECUTE FUNCTION anchor_only_rises();

-- A zone's key-encryption key, sealed to one holder under that holder's root key. The ledger of what has no zone has
-- one too, hence no foreign key.
CREATE TABLE zone_keys (
    zone_id     uuid        NOT NULL,
    holder      text        NOT NULL CHECK (holder IN ('sts', 'audit', 'pool')),
    version     integer     NOT NULL CHECK (version > 0),
    sealed      bytea       NOT NULL,
    created_at  timestamptz NOT NULL,
    PRIMARY KEY (zone_id, holder, version)
);

ALTER TABLE zone_keys ENABLE ROW LEVEL SECURITY;
ALTER TABLE zone_keys FORCE ROW LEVEL SECURITY;
CREATE POLICY zone ON zone_keys
    USING (zone_id = NULLIF(current_setting('caracal.zone_id', true), '')::uuid)
    WITH CHECK (zone_id = NULLIF(current_setting('caracal.zone_id', true), '')::uuid);

GRANT SELECT ON zone_keys TO caracal_sts;
GRANT SELECT, INSERT ON zone_keys TO caracal_keeper, caracal_audit_writer;

-- Keys that sign mandates. The private half is sealed under the zone's key of the STS.
CREATE TABLE signing_keys (
    zone_id     uuid        NOT NULL,
    kid         text        NOT NULL CHECK (length(kid) BETWEEN 1 AND 64),
    alg         text        NOT NULL CHECK (alg IN ('ES256', 'EdDSA')),
    public_key  bytea       NOT NULL,
    sealed      bytea       NOT NULL,
    state       text        NOT NULL CHECK (state IN ('pending', 'active', 'retired', 'removed')),
    created_at  timestamptz NOT NULL,
    version     bigint      NOT NULL DEFAULT 1 CHECK (version > 0),
    PRIMARY KEY (zone_id, kid),
    FOREIGN KEY (zone_id) REFERENCES zones (zone_id),
    CHECK (length(public_key) = CASE alg WHEN 'ES256' THEN 65 ELSE 32 END)
);

CREATE UNIQUE INDEX signing_keys_one_signs ON signing_keys (zone_id) WHERE state = 'active';

ALTER TABLE signing_keys ENABLE ROW LEVEL SECURITY;
ALTER TABLE signing_keys FORCE ROW LEVEL SECURITY;
CREATE POLICY zone ON signing_keys
    USING (zone_id = NULLIF(current_setting('caracal.zone_id', true), '')::uuid)
    WITH CHECK (zone_id = NULLIF(current_setting('caracal.zone_id', true), '')::uuid);
CREATE POLICY across_snapshot ON signing_keys FOR SELECT TO caracal_snapshot USING (true);

GRANT SELECT ON signing_keys TO caracal_sts;
GRANT SELECT, INSERT ON signing_keys TO caracal_keeper;
GRANT SELECT (zone_id, kid, alg, public_key, state, created_at, version) ON signing_keys TO caracal_coordinator, caracal_snapshot;
