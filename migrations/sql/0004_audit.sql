-- The ledger: events, chains, cursors.
--
-- Why: every decision is kept as evidence that cannot be changed by whoever writes or reads it.
-- Lock: none held by anybody; the database is new.
-- Safe with older code: there is none.
--
-- Zone `00000000-…` is the system's own ledger, for what has no zone. So nothing here refers to `zones`.

-- The end of each zone's chain. A batch moves it from what its writer saw, under its writer's term, or not at all.
CREATE TABLE ledger_heads (
    zone_id     uuid        NOT NULL,
    log         integer     NOT NULL DEFAULT 0 CHECK (log >= 0),
    seq         bigint      NOT NULL CHECK (seq >= 0),
    link        bytea       NOT NULL CHECK (length(link) = 32),
    term        bigint      NOT NULL CHECK (term >= 0),
    key_epoch   integer     NOT NULL CHECK (key_epoch > 0),
    updated_at  timestamptz NOT NULL,
    PRIMARY KEY (zone_id, log)
);

ALTER TABLE ledger_heads ENABLE ROW LEVEL SECURITY;
ALTER TABLE ledger_heads FORCE ROW LEVEL SECURITY;
CREATE POLICY zone ON ledger_heads
    USING (zone_id = NULLIF(current_setting('caracal.zone_id', true), '')::uuid)
    WITH CHECK (zone_id = NULLIF(current_setting('caracal.zone_id', true), '')::uuid);
CREATE POLICY across_audit_operator ON ledger_heads FOR SELECT TO caracal_audit_operator USING (true);

GRANT SELECT, INSERT, UPDATE (seq, link, term, key_epoch, updated_at) ON ledger_heads TO caracal_audit_writer;
GRANT SELECT ON ledger_heads TO caracal_audit_reader, caracal_audit_operator;

-- The keys of the chains, sealed under the root key of audit. Rotated ones stay.
CREATE TABLE chain_keys (
    zone_id     uuid        NOT NULL,
    key_epoch   integer     NOT NULL CHECK (key_epoch > 0),
    sealed      bytea       NOT NULL,
    created_at  timestamptz NOT NULL,
    PRIMARY KEY (zone_id, key_epoch)
);

ALTER TABLE chain_keys ENABLE ROW LEVEL SECURITY;
ALTER TABLE chain_keys FORCE ROW LEVEL SECURITY;
CREATE POLICY zone ON chain_keys
    USING (zone_id = NULLIF(current_setting('caracal.zone_id', true), '')::uuid)
    WITH CHECK (zone_id = NULLIF(current_setting('caracal.zone_id', true), '')::uuid);

GRANT SELECT, INSERT ON chain_keys TO caracal_audit_writer;
GRANT SELECT ON chain_keys TO caracal_audit_reader;

-- How far each journal is in each zone: the one record of what was taken already.
CREATE TABLE journal_cursors (
    zone_id     uuid        NOT NULL,
    journal_id  uuid        NOT NULL,
    counter     bigint      NOT NULL CHECK (counter >= 0),
    hash        bytea       NOT NULL CHECK (length(hash) = 32),
    PRIMARY KEY (zone_id, journal_id)
);

ALTER TABLE journal_cursors ENABLE ROW LEVEL SECURITY;
ALTER TABLE journal_cursors FORCE ROW LEVEL SECURITY;
CREATE POLICY zone ON journal_cursors
    USING (zone_id = NULLIF(current_setting('caracal.zone_id', true), '')::uuid)
    WITH CHECK (zone_id = NULLIF(current_setting('caracal.zone_id', true), '')::uuid);
CREATE POLICY across_audit_operator ON journal_cursors FOR SELECT TO caracal_audit_operator USING (true);

GRANT SELECT, INSERT, UPDATE (counter, hash) ON journal_cursors TO caracal_audit_writer;
GRANT SELECT ON journal_cursors TO caracal_audit_reader, caracal_audit_operator;

-- Global: who reads which partition of the event streams, and how far.
CREATE TABLE stream_positions (
    partition    integer     NOT NULL CHECK (partition >= 0),
    redis_id     text        NOT NULL,
    term         bigint      NOT NULL CHECK (term >= 0),
    holder       text,
    lease_until  timestamptz,
    PRIMARY KEY (partition)
);

GRANT SELECT, INSERT, UPDATE (redis_id, term, holder, lease_until) ON stream_positions TO caracal_audit_writer;
GRANT SELECT ON stream_positions TO caracal_audit_operator;

-- The events. `leaf` holds the signed bytes, and every other column but `link` and `appended_at` repeats what they
-- say, for search. Partitioned by when they were appended, which never decreases within a zone.
CREATE TABLE audit_events (
    zone_id         uuid        NOT NULL,
    seq             bigint      NOT NULL CHECK (seq > 0),
    appended_at     timestamptz NOT NULL,
    journal_id      uuid        NOT NULL,
    counter         bigint      NOT NULL CHECK (counter >= 0),
    kind            text        NOT NULL,
    at              timestamptz NOT NULL,
    decision        text        CHECK (decision IN ('allow', 'deny', 'unavailable')),
    code            text,
    decision_id     uuid,
    request_id      text,
    application_id  uuid,
    session_id      uuid,
    resource        text,
    operation       text,
    jti             uuid,
    sid             uuid,
    policy_version  uuid,
    count           bigint,
    sample_ids      uuid[],
    link            bytea       NOT NULL CHECK (length(link) = 32),
    leaf            bytea       NOT NULL
) PARTITION BY RANGE (appended_at);

ALTER TABLE audit_events ENABLE ROW LEVEL SECURITY;
ALTER TABLE audit_events FORCE ROW LEVEL SECURITY;
CREATE POLICY zone ON audit_events
    USING (zone_id = NULLIF(current_setting('caracal.zone_id', true), '')::uuid)
    WITH CHECK (zone_id = NULLIF(current_setting('caracal.zone_id', true), '')::uuid);
CREATE POLICY across_audit_operator ON audit_events FOR SELECT TO caracal_audit_operator USING (true);

CREATE INDEX audit_events_decision ON audit_events (zone_id, decision_id) WHERE decision_id IS NOT NULL;
CREATE INDEX audit_events_request ON audit_events (zone_id, request_id) WHERE request_id IS NOT NULL;
CREATE INDEX audit_events_samples ON audit_events USING gin (sample_ids) WHERE sample_ids IS NOT NULL;
CREATE INDEX audit_events_at ON audit_events (zone_id, at);

GRANT SELECT, INSERT ON audit_events TO caracal_audit_writer;
GRANT SELECT ON audit_events TO caracal_audit_reader, caracal_audit_operator;

CREATE FUNCTION refuse_change() RETURNS trigger
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RAISE EXCEPTION 'evidence is only ever added to: % on % refused', TG_OP, TG_TABLE_NAME
        USING ERRCODE = 'insufficient_privilege';
END
$$;
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE ON audit_events FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER no_truncate BEFORE TRUNCATE ON audit_events FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

-- Makes the partition that holds `moment`, a UTC month, unless there is one. A partition inherits neither the
-- security nor all triggers of its parent; it gets its own, and nobody is granted anything on it.
CREATE FUNCTION audit_make_partition(moment timestamptz) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    since timestamptz := date_trunc('month', moment, 'UTC');
    until timestamptz := date_trunc('month', moment, 'UTC') + interval '1 month';
    child text := 'audit_events_' || to_char(moment AT TIME ZONE 'UTC', 'YYYYMM');
BEGIN
    IF to_regclass('public.' || child) IS NOT NULL THEN
        RETURN;
    END IF;
    PERFORM pg_advisory_xact_lock(hashtextextended('audit_make_partition', 0));
    IF to_regclass('public.' || child) IS NOT NULL THEN
        RETURN;
    END IF;
    EXECUTE format('CREATE TABLE public.%I PARTITION OF public.audit_events (PRIMARY KEY (zone_id, seq)) FOR VALUES FROM (%L) TO (%L)',
                   child, since, until);
    EXECUTE format('ALTER TABLE public.%I ENABLE ROW LEVEL SECURITY', child);
    EXECUTE format('ALTER TABLE public.%I FORCE ROW LEVEL SECURITY', child);
    EXECUTE format('CREATE POLICY zone ON public.%I USING (zone_id = NULLIF(current_setting(''caracal.zone_id'', true), '''')::uuid) WITH CHECK (zone_id = NULLIF(current_setting(''caracal.zone_id'', true), '''')::uuid)', child);
    EXECUTE format('CREATE TRIGGER no_truncate BEFORE TRUNCATE ON public.%I FOR EACH STATEMENT EXECUTE FUNCTION public.refuse_change()', child);
END
$$;
REVOKE EXECUTE ON FUNCTION audit_make_partition(timestamptz) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION audit_make_partition(timestamptz) TO caracal_audit_writer;

-- What verification found. Nothing here is ever rewritten; a case is closed by an event.
CREATE TABLE tamper_cases (
    zone_id    uuid        NOT NULL,
    id         uuid        NOT NULL,
    seq        bigint,
    what       text        NOT NULL,
    opened_at  timestamptz NOT NULL,
    PRIMARY KEY (zone_id, id)
);

ALTER TABLE tamper_cases ENABLE ROW LEVEL SECURITY;
ALTER TABLE tamper_cases FORCE ROW LEVEL SECURITY;
CREATE POLICY zone ON tamper_cases
    USING (zone_id = NULLIF(current_setting('caracal.zone_id', true), '')::uuid)
    WITH CHECK (zone_id = NULLIF(current_setting('caracal.zone_id', true), '')::uuid);
CREATE POLICY across_audit_operator ON tamper_cases FOR SELECT TO caracal_audit_operator USING (true);

GRANT SELECT, INSERT ON tamper_cases TO caracal_audit_writer;
GRANT SELECT ON tamper_cases TO caracal_audit_reader, caracal_audit_operator;
