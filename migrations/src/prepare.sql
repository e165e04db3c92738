-- A database, before its first migration: what is in it belongs to the owner, and nobody but the roles of the
-- services may go in. Runs as a superuser.
DO $$
BEGIN
    EXECUTE format('REVOKE ALL ON DATABASE %I FROM PUBLIC', current_database());
    EXECUTE format('GRANT CONNECT ON DATABASE %I TO caracal_sts, caracal_keeper, caracal_coordinator, caracal_operator, caracal_sequencer, caracal_snapshot, caracal_audit_writer, caracal_audit_reader, caracal_audit_operator, caracal_retention', current_database());
END
$$;
ALTER SCHEMA public OWNER TO caracal_owner;
REVOKE ALL ON SCHEMA public FROM PUBLIC;
GRANT USAGE ON SCHEMA public
    TO caracal_sts, caracal_keeper, caracal_coordinator, caracal_operator, caracal_sequencer, caracal_snapshot,
       caracal_audit_writer, caracal_audit_reader, caracal_audit_operator, caracal_retention;
