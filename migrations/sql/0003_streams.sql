-- The way from a committed change to whoever has to know: outbox, positions, readers.
--
-- Why: what leaves the database leaves it in one order that can be asked for again.
-- Lock: none held by anybody; the database is new.
-- Safe with older code: there is none.

-- Messages that leave with the transaction that caused them. Lane `authority`: unnumbered, taken out when a
-- position is given. Lane `audit`: numbered by `pos` within its zone and the outbox's journal, and taken out when
-- the ledger has it. No foreign key to the zone: its check would lock the zone's row for every mint.
CREATE TABLE outbox (
    zone_id     uuid        NOT NULL,
    id          bigint      NOT NULL GENERATED ALWAYS AS IDENTITY,
    lane        text        NOT NULL CHECK (lane IN ('authority', 'audit')),
    kind        text        NOT NULL,
    payload     bytea       NOT NULL,
    created_at  timestamptz NOT NULL,
    pos         bigint      CHECK (pos > 0),
    PRIMARY KEY (zone_id, id)
);
CREATE INDEX outbox_authority ON outbox (id) WHERE lane = 'authority' AND pos IS NULL;
CREATE INDEX outbox_audit ON outbox (id) WHERE lane = 'audit' AND pos IS NULL;
CREATE INDEX outbox_unconfirmed ON outbox (zone_id, pos) WHERE lane = 'audit' AND pos IS NOT NULL;

ALTER TABLE outbox ENABLE ROW LEVEL SECURITY;
ALTER TABLE outbox FORCE ROW LEVEL SECURITY;
CREATE POLICY zone ON outbox
    USING (zone_id = NULLIF(current_setting('caracal.zone_id', true), '')::uuid)
    WITH CHECK (zone_id = NULLIF(current_setting('caracal.zone_id', true), '')::uuid);
CREATE POLICY across_sequencer ON outbox TO caracal_sequencer USING (true) WITH CHECK (true);

GRANT SELECT (zone_id, id, lane, kind, created_at, pos), INSERT (zone_id, lane, kind, payload, created_at)
    ON outbox TO caracal_coordinator, caracal_keeper, caracal_sts;
GRANT SELECT, UPDATE (pos, payload), DELETE ON outbox TO caracal_sequencer;

-- The next counter of a zone in a journal of the outbox.
CREATE TABLE outbox_counters (
    zone_id     uuid   NOT NULL,
    journal_id  uuid   NOT NULL,
    next        bigint NOT NULL CHECK (next > 0),
    PRIMARY KEY (zone_id, journal_id)
);

ALTER TABLE outbox_counters ENABLE ROW LEVEL SECURITY;
ALTER TABLE outbox_counters FORCE ROW LEVEL SECURITY;
CREATE POLICY zone ON outbox_counters
    USING (zone_id = NULLIF(current_setting('caracal.zone_id', true), '')::uuid)
    WITH CHECK (zone_id = NULLIF(current_setting('caracal.zone_id', true), '')::uuid);
CREATE POLICY across_sequencer ON outbox_counters TO caracal_sequencer USING (true) WITH CHECK (true);

GRANT SELECT, INSERT, UPDATE (next) ON outbox_counters TO caracal_sequencer;

-- Global: the one row of the deployment, and who numbers.
CREATE TABLE deployment (
    one                boolean     NOT NULL DEFAULT true CHECK (one),
    epoch              bytea       NOT NULL CHECK (length(epoch) = 16),
    system_identifier  text        NOT NULL,
    timeline           integer     NOT NULL,
    pos                bigint      NOT NULL CHECK (pos >= 0),
    as_of              timestamptz NOT NULL,
    term               bigint      NOT NULL CHECK (term >= 0),
    holder             text,
    lease_until        timestamptz,
    outbox_journal_id  uuid        NOT NULL,
    PRIMARY KEY (one)
);

GRANT SELECT ON deployment TO caracal_coordinator, caracal_snapshot, caracal_sts;
GRANT SELECT,
      INSERT (epoch, system_identifier, timeline, pos, as_of, term, outbox_journal_id),
      UPDATE (epoch, system_identifier, timeline, pos, as_of, term, holder, lease_until, outbox_journal_id)
    ON deployment TO caracal_sequencer;

-- Global: changes of authority in their one order, as the signed bytes that were sent. They hold public keys,
-- resources, bindings, policies and revocations, never a secret; only the control plane reads them.
CREATE TABLE positions (
    pos         bigint      NOT NULL CHECK (pos > 0),
    zone_id     uuid        NOT NULL,
    outbox_id   bigint      NOT NULL,
    envelope    bytea       NOT NULL,
    created_at  timestamptz NOT NULL,
    PRIMARY KEY (pos)
);
CREATE INDEX positions_of_zone ON positions (zone_id, pos);
CREATE INDEX positions_of_outbox ON positions (zone_id, outbox_id);

GRANT SELECT ON positions TO caracal_coordinator, caracal_snapshot;
GRANT SELECT, INSERT, DELETE ON positions TO caracal_sequencer;

-- Global: enforcement points that have registered, and how far they are.
CREATE TABLE readers (
    reader    text        NOT NULL CHECK (length(reader) BETWEEN 1 AND 255),
    service   text        NOT NULL,
    epoch     bytea       NOT NULL CHECK (length(epoch) = 16),
    pos       bigint      NOT NULL CHECK (pos >= 0),
    bound_ms  integer     NOT NULL,
    seen_at   timestamptz NOT NULL,
    PRIMARY KEY (reader)
);

GRANT SELECT, INSERT, UPDATE (service, epoch, pos, bound_ms, seen_at) ON readers TO caracal_coordinator;
GRANT SELECT ON readers TO caracal_snapshot;
GRANT SELECT, DELETE ON readers TO caracal_sequencer;
