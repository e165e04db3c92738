//! Roles belong to the cluster, not to a database: made once, under a lock, never in a migration.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use sqlx::{AssertSqlSafe, Executor as _, PgConnection};

use crate::{MigrateError, database};

/// Owns every table. Nobody logs in as it.
pub const OWNER: &str = "caracal_owner";

/// One role per service and purpose; none owns anything or bypasses row-level security.
pub const ROLES: &[&str] = &[
    "caracal_sts",
    "caracal_keeper",
    "caracal_coordinator",
    "caracal_operator",
    "caracal_sequencer",
    "caracal_snapshot",
    "caracal_audit_writer",
    "caracal_audit_reader",
    "caracal_audit_operator",
    "caracal_retention",
];

/// Makes the roles that are missing, sets passwords where given, and lets the owner create in this database. Run by
/// someone who may create roles.
pub async fn bootstrap(
    connection: &mut PgConnection,
    passwords: &BTreeMap<&str, String>,
) -> Result<(), MigrateError> {
    let mut script =
        String::from("BEGIN; SELECT pg_advisory_xact_lock(hashtextextended('caracal/roles', 0));");
    for role in std::iter::once(&OWNER).chain(ROLES) {
        let login = if *role == OWNER { "NOLOGIN" } else { "LOGIN" };
        let _infallible = write!(script, 
            "DO $do$ BEGIN IF to_regrole('{role}') IS NULL THEN CREATE ROLE {role}; END IF; END $do$;
             ALTER ROLE {role} {login} NOSUPERUSER NOCREATEDB NOCREATEROLE NOBYPASSRLS NOREPLICATION NOINHERIT;"
        );
        if let Some(password) = passwords.get(role) {
            let password = password.replace('\'', "''");
            let _infallible = write!(script, "ALTER ROLE {role} PASSWORD '{password}';");
        }
    }
    let roles = ROLES.join(", ");
    let _infallible = write!(
        script,
        "REVOKE ALL ON SCHEMA public FROM PUBLIC;
         GRANT USAGE, CREATE ON SCHEMA public TO {OWNER};
         GRANT USAGE ON SCHEMA public TO {roles};
         COMMIT;"
    );
    connection
        .execute(sqlx::raw_sql(AssertSqlSafe(script)))
        .await
        .map_err(database("making the roles"))?;
    Ok(())
}
