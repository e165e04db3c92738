-- The roles of a cluster. Runs as a superuser, in the database `postgres`: advisory locks are a database's own, so
-- whoever bootstraps must meet there.
DO $$
DECLARE
    role text;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtextextended('caracal.roles', 0));
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'caracal_owner') THEN
        CREATE ROLE caracal_owner NOLOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOINHERIT NOREPLICATION NOBYPASSRLS;
    END IF;
    FOREACH role IN ARRAY ARRAY['caracal_sts', 'caracal_keeper', 'caracal_coordinator', 'caracal_operator',
                                'caracal_sequencer', 'caracal_snapshot', 'caracal_audit_writer', 'caracal_audit_reader',
                                'caracal_audit_operator', 'caracal_retention']
    LOOP
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = role) THEN
            EXECUTE format('CREATE ROLE %I LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOINHERIT NOREPLICATION NOBYPASSRLS', role);
        END IF;
    END LOOP;
END
$$;
