-- Why: what leaves with a transaction, and the one order it is given.
-- Locks: none; all tables are new. Old code: there is none.

CREATE TABLE outbox (
    zone_id uuid NOT NULL REFERENCES zones,
    id bigint GENERATED ALWAYS AS IDENTITY,
    lane text NOT NULL CHECK (lane IN ('authority', 'audit')),
    kind text NOT NULL,
    payload bytea NOT NULL,
    created_at timestamptz NOT NULL,
    pos bigint,
    PRIMARY KEY (zone_id, id)
);
SELECT secure_zone_table('outbox');
CREATE INDEX outbox_waiting ON outbox (lane, id) WHERE pos IS NULL;
CREATE INDEX outbox_numbered ON outbox (zone_id, id) WHERE lane = 'audit' AND pos IS NOT NULL;

CREATE TABLE outbox_counters (
    zone_id uuid NOT NULL REFERENCES zones,
    journal_id uuid NOT NULL,
    next bigint NOT NULL CHECK (next > 0),
    PRIMARY KEY (zone_id, journal_id)
);
SELECT secure_zone_table('outbox_counters');

-- Global tables: the order is the deployment's, and only the sequencer's roles see them.
CREATE TABLE positions (
    pos bigint PRIMARY KEY CHECK (pos > 0),
    zone_id uuid NOT NULL,
    outbox_id bigint NOT NULL,
    envelope bytea NOT NULL,
    created_at timestamptz NOT NULL,
    UNIQUE (zone_id, outbox_id)
);
CREATE INDEX positions_old ON positions (created_at);

CREATE TABLE deployment (
    one boolean PRIMARY KEY DEFAULT true CHECK (one),
    epoch bytea NOT NULL CHECK (length(epoch) = 16),
    system_identifier text NOT NULL,
    timeline integer NOT NULL,
    pos bigint NOT NULL CHECK (pos >= 0),
    as_of timestamptz NOT NULL,
    term bigint NOT NULL,
    holder text,
    lease_until timestamptz,
    outbox_journal_id uuid NOT NULL
) WITH (fillfactor = 50);

CREATE TABLE readers (
    reader text PRIMARY KEY CHECK (length(reader) BETWEEN 1 AND 256),
    service text NOT NULL,
    epoch bytea NOT NULL CHECK (length(epoch) = 16),
    pos bigint NOT NULL CHECK (pos >= 0),
    bound_ms integer NOT NULL,
    seen_at timestamptz NOT NULL
) WITH (fillfactor = 50);
