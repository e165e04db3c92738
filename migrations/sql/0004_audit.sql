-- Why: the ledger: heads, chain keys, cursors, and events that nobody can change.
-- Locks: none; all tables are new. Old code: there is none.

CREATE TABLE ledger_heads (
    zone_id uuid NOT NULL,
    log integer NOT NULL DEFAULT 0,
    seq bigint NOT NULL CHECK (seq >= 0),
    link bytea NOT NULL CHECK (length(link) = 32),
    term bigint NOT NULL,
    key_epoch integer NOT NULL,
    updated_at timestamptz NOT NULL,
    PRIMARY KEY (zone_id, log)
) WITH (fillfactor = 50);
SELECT secure_zone_table('ledger_heads');

CREATE TABLE chain_keys (
    zone_id uuid NOT NULL,
    key_epoch integer NOT NULL,
    sealed bytea NOT NULL,
    created_at timestamptz NOT NULL,
    PRIMARY KEY (zone_id, key_epoch)
);
SELECT secure_zone_table('chain_keys');

CREATE TABLE journal_cursors (
    zone_id uuid NOT NULL,
    journal_id uuid NOT NULL,
    counter bigint NOT NULL CHECK (counter > 0),
    hash bytea NOT NULL CHECK (length(hash) = 32),
    PRIMARY KEY (zone_id, journal_id)
) WITH (fillfactor = 50);
SELECT secure_zone_table('journal_cursors');

-- Where a partition of the stream has been read to, and who reads it. Global: a partition holds several zones.
CREATE TABLE stream_positions (
    partition integer PRIMARY KEY,
    redis_id text NOT NULL,
    term bigint NOT NULL,
    holder text,
    lease_until timestamptz
) WITH (fillfactor = 50);

-- Every column can be derived from the leaf; verification compares them.
CREATE TABLE audit_events (
    zone_id uuid NOT NULL,
    seq bigint NOT NULL CHECK (seq > 0),
    appended_at timestamptz NOT NULL,
    journal_id uuid NOT NULL,
    counter bigint NOT NULL,
    kind text NOT NULL,
    at timestamptz NOT NULL,
    decision text,
    code text,
    decision_id uuid,
    request_id text,
    application_id uuid,
    session_id uuid,
    resource text,
    operation text,
    jti uuid,
    sid uuid,
    policy_version uuid,
    count bigint,
    sample_ids uuid[],
    link bytea NOT NULL,
    leaf bytea NOT NULL,
    PRIMARY KEY (zone_id, seq, appended_at)
) PARTITION BY RANGE (appended_at);
SELECT secure_zone_table('audit_events');
CREATE INDEX audit_events_decision ON audit_events (zone_id, decision_id) WHERE decision_id IS NOT NULL;
CREATE INDEX audit_events_request ON audit_events (zone_id, request_id) WHERE request_id IS NOT NULL;
CREATE INDEX audit_events_samples ON audit_events USING gin (sample_ids) WHERE sample_ids IS NOT NULL;

CREATE FUNCTION refuse_change() RETURNS trigger
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RAISE EXCEPTION 'the ledger is append-only' USING ERRCODE = 'insufficient_privilege';
END
$$;

CREATE TRIGGER append_only BEFORE UPDATE OR DELETE ON audit_events FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER no_truncate BEFORE TRUNCATE ON audit_events FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

-- Makes the partition of one UTC month. A child inherits neither row-level security nor statement triggers: both are
-- set here, and nothing is granted on it.
CREATE FUNCTION audit_make_partition(moment timestamptz) RETURNS void
LANGUAGE plpgsql
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    lower_end timestamptz := date_trunc('month', moment, 'UTC');
    upper_end timestamptz := date_trunc('month', moment, 'UTC') + interval '1 month';
    child text := 'audit_events_' || to_char(moment AT TIME ZONE 'UTC', 'YYYYMM');
BEGIN
    PERFORM pg_advisory_xact_lock(hashtextextended(child, 1));
    IF to_regclass('public.' || quote_ident(child)) IS NOT NULL THEN
        RETURN;
    END IF;
    EXECUTE format('CREATE TABLE public.%I PARTITION OF public.audit_events FOR VALUES FROM (%L) TO (%L)',
        child, lower_end, upper_end);
    PERFORM public.secure_zone_table(('public.' || quote_ident(child))::regclass);
    EXECUTE format('CREATE TRIGGER no_truncate BEFORE TRUNCATE ON public.%I
        FOR EACH STATEMENT EXECUTE FUNCTION public.refuse_change()', child);
END
$$;
REVOKE ALL ON FUNCTION audit_make_partition(timestamptz) FROM PUBLIC;

CREATE TABLE tamper_cases (
    zone_id uuid NOT NULL,
    id uuid NOT NULL,
    seq bigint,
    what text NOT NULL,
    opened_at timestamptz NOT NULL,
    PRIMARY KEY (zone_id, id)
);
SELECT secure_zone_table('tamper_cases');
