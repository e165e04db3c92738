-- Why: zones, what they hold, and the anchors that mints share and revocations take.
-- Locks: none; all tables are new. Old code: there is none.

-- Makes a table a zone's: row-level security that binds the owner too, and one policy for everybody. Unset means no rows.
CREATE FUNCTION secure_zone_table(target regclass) RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    EXECUTE format('ALTER TABLE %s ENABLE ROW LEVEL SECURITY', target);
    EXECUTE format('ALTER TABLE %s FORCE ROW LEVEL SECURITY', target);
    EXECUTE format(
        'CREATE POLICY own_zone ON %s
            USING (zone_id = NULLIF(current_setting(''caracal.zone_id'', true), '''')::uuid)
            WITH CHECK (zone_id = NULLIF(current_setting(''caracal.zone_id'', true), '''')::uuid)', target);
END
$$;
REVOKE ALL ON FUNCTION secure_zone_table(regclass) FROM PUBLIC;

-- The advisory lock of an anchor: shared by mints, exclusive to whoever revokes.
CREATE FUNCTION anchor_lock_key(zone uuid, kind text, id text) RETURNS bigint
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$ SELECT hashtextextended(zone::text || '/' || kind || '/' || id, 0) $$;

CREATE TABLE zones (
    zone_id uuid PRIMARY KEY,
    name text NOT NULL CHECK (length(name) BETWEEN 1 AND 128),
    issuer text NOT NULL,
    state text NOT NULL CHECK (state IN ('provisioning', 'ready', 'archived')),
    mandate_alg text NOT NULL DEFAULT 'ES256' CHECK (mandate_alg IN ('ES256', 'EdDSA')),
    freshness_bound_ms integer NOT NULL CHECK (freshness_bound_ms BETWEEN 1000 AND 60000),
    version bigint NOT NULL,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL
);
SELECT secure_zone_table('zones');

-- Everything that can be revoked, suspended or activated has one row here. Versions rise by one a change.
CREATE TABLE anchors (
    zone_id uuid NOT NULL REFERENCES zones,
    kind text NOT NULL CHECK (kind IN
        ('zone', 'policy', 'application', 'subject', 'resource', 'session', 'delegation', 'record', 'mandate', 'key')),
    id text NOT NULL CHECK (length(id) BETWEEN 1 AND 512),
    state text NOT NULL DEFAULT 'active' CHECK (state IN ('active', 'suspended', 'disabled', 'archived', 'ended')),
    not_before_s bigint NOT NULL DEFAULT 0,
    dead_until timestamptz,
    version bigint NOT NULL DEFAULT 1,
    PRIMARY KEY (zone_id, kind, id)
) WITH (fillfactor = 80);
SELECT secure_zone_table('anchors');
-- What a snapshot reads: few rows among many.
CREATE INDEX anchors_marked ON anchors (zone_id, kind, id)
    WHERE dead_until IS NOT NULL OR not_before_s > 0 OR state <> 'active';

CREATE TABLE applications (
    zone_id uuid NOT NULL REFERENCES zones,
    id uuid NOT NULL,
    name text NOT NULL,
    labels text[] NOT NULL,
    max_session_ttl_s integer NOT NULL CHECK (max_session_ttl_s > 0),
    session_ceiling text[],
    version bigint NOT NULL,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    PRIMARY KEY (zone_id, id),
    CONSTRAINT applications_name UNIQUE (zone_id, name)
);
SELECT secure_zone_table('applications');

CREATE TABLE application_secrets (
    zone_id uuid NOT NULL,
    application_id uuid NOT NULL,
    id uuid NOT NULL,
    hmac bytea NOT NULL CHECK (length(hmac) = 32),
    created_at timestamptz NOT NULL,
    expires_at timestamptz,
    revoked_at timestamptz,
    PRIMARY KEY (zone_id, id),
    FOREIGN KEY (zone_id, application_id) REFERENCES applications (zone_id, id)
);
SELECT secure_zone_table('application_secrets');
CREATE INDEX application_secrets_of ON application_secrets (zone_id, application_id);

CREATE TABLE resources (
    zone_id uuid NOT NULL REFERENCES zones,
    id uuid NOT NULL,
    identifier text NOT NULL,
    name text NOT NULL,
    scopes text[] NOT NULL,
    operations jsonb NOT NULL,
    upstream text,
    version bigint NOT NULL,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    PRIMARY KEY (zone_id, id),
    CONSTRAINT resources_identifier UNIQUE (zone_id, identifier)
);
SELECT secure_zone_table('resources');

CREATE TABLE bindings (
    zone_id uuid NOT NULL,
    id uuid NOT NULL,
    attachment text NOT NULL,
    resource_id uuid NOT NULL,
    hosts text[] NOT NULL,
    path_prefix text NOT NULL,
    upstream_clusters text[] NOT NULL,
    public_url text NOT NULL,
    evidence text NOT NULL CHECK (evidence IN ('per_request', 'lease')),
    max_hops integer NOT NULL CHECK (max_hops BETWEEN 0 AND 10),
    forward_mandate text NOT NULL CHECK (forward_mandate IN ('strip', 'keep')),
    state text NOT NULL CHECK (state IN ('active', 'archived')),
    version bigint NOT NULL,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    PRIMARY KEY (zone_id, id),
    FOREIGN KEY (zone_id, resource_id) REFERENCES resources (zone_id, id)
);
SELECT secure_zone_table('bindings');

CREATE TABLE binding_hosts (
    zone_id uuid NOT NULL,
    attachment text NOT NULL,
    host text NOT NULL,
    path_prefix text NOT NULL,
    binding_id uuid NOT NULL,
    CONSTRAINT binding_hosts_place PRIMARY KEY (zone_id, attachment, host, path_prefix),
    FOREIGN KEY (zone_id, binding_id) REFERENCES bindings (zone_id, id)
);
SELECT secure_zone_table('binding_hosts');
CREATE INDEX binding_hosts_of ON binding_hosts (zone_id, binding_id);

CREATE TABLE policies (
    zone_id uuid NOT NULL REFERENCES zones,
    id uuid NOT NULL,
    number integer NOT NULL CHECK (number > 0),
    data jsonb NOT NULL,
    canonical bytea NOT NULL,
    content_sha256 bytea NOT NULL CHECK (length(content_sha256) = 32),
    created_at timestamptz NOT NULL,
    created_by text NOT NULL,
    PRIMARY KEY (zone_id, id),
    CONSTRAINT policies_number UNIQUE (zone_id, number)
);
SELECT secure_zone_table('policies');

CREATE TABLE policy_heads (
    zone_id uuid PRIMARY KEY,
    active_id uuid NOT NULL,
    version bigint NOT NULL,
    FOREIGN KEY (zone_id, active_id) REFERENCES policies (zone_id, id)
);
SELECT secure_zone_table('policy_heads');

CREATE TABLE sessions (
    zone_id uuid NOT NULL,
    id uuid NOT NULL,
    application_id uuid NOT NULL,
    kind text NOT NULL CHECK (kind IN ('task', 'service')),
    labels text[] NOT NULL,
    ceiling text[],
    resources text[],
    state text NOT NULL CHECK (state IN ('active', 'suspended', 'ended', 'expired')),
    started_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL,
    ended_at timestamptz,
    parent_id uuid,
    root_id uuid NOT NULL,
    depth integer NOT NULL CHECK (depth BETWEEN 0 AND 10),
    version bigint NOT NULL,
    PRIMARY KEY (zone_id, id),
    FOREIGN KEY (zone_id, application_id) REFERENCES applications (zone_id, id),
    FOREIGN KEY (zone_id, parent_id) REFERENCES sessions (zone_id, id)
) WITH (fillfactor = 80);
SELECT secure_zone_table('sessions');
CREATE INDEX sessions_due ON sessions (zone_id, expires_at) WHERE state IN ('active', 'suspended');
CREATE INDEX sessions_of ON sessions (zone_id, application_id, id);
