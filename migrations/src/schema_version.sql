-- What was applied, for services that refuse a schema they do not know.
SET LOCAL ROLE caracal_owner;
CREATE TABLE schema_version (
    version     bigint      NOT NULL PRIMARY KEY,
    name        text        NOT NULL,
    sha256      bytea       NOT NULL CHECK (length(sha256) = 32),
    applied_at  timestamptz NOT NULL
);
GRANT SELECT ON schema_version
    TO caracal_sts, caracal_keeper, caracal_coordinator, caracal_operator, caracal_sequencer, caracal_snapshot,
       caracal_audit_writer, caracal_audit_reader, caracal_audit_operator, caracal_retention;
RESET ROLE;
