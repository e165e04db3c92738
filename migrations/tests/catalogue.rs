//! What the catalogue says of the schema: every table of a zone is secured, and nothing crosses zones that is not
//! listed here.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeSet;

use kit::{Role, TestDb};
use sqlx::{Executor as _, PgPool};

/// Tables that are of the deployment, not of a zone, each reviewed: none holds a tenant's secret, and none is read by a
/// pool that serves tenants but for what the comment on the table says.
const GLOBAL: [&str; 5] = [
    "deployment",
    "positions",
    "readers",
    "schema_version",
    "stream_positions",
];

/// Who sees or changes rows across zones, where, and doing what (`r` select, `*` all).
const ACROSS: [(&str, &str, &str); 18] = [
    ("anchors", "caracal_retention", "*"),
    ("anchors", "caracal_snapshot", "r"),
    ("audit_events", "caracal_audit_operator", "r"),
    ("authority_records", "caracal_retention", "*"),
    ("bindings", "caracal_snapshot", "r"),
    ("idempotency_receipts", "caracal_retention", "*"),
    ("journal_cursors", "caracal_audit_operator", "r"),
    ("ledger_heads", "caracal_audit_operator", "r"),
    ("outbox", "caracal_sequencer", "*"),
    ("outbox_counters", "caracal_sequencer", "*"),
    ("policies", "caracal_snapshot", "r"),
    ("policy_heads", "caracal_snapshot", "r"),
    ("resources", "caracal_snapshot", "r"),
    ("signing_keys", "caracal_snapshot", "r"),
    ("tamper_cases", "caracal_audit_operator", "r"),
    ("zones", "caracal_keeper", "r"),
    ("zones", "caracal_operator", "r"),
    ("zones", "caracal_snapshot", "r"),
];

/// The only form of a zone's policy, as the catalogue prints it.
const FORM: &str =
    "(zone_id = (NULLIF(current_setting('caracal.zone_id'::text, true), ''::text))::uuid)";

/// Name, command, what it shows, what it takes, whether it permits.
type Policy = (String, String, Option<String>, Option<String>, bool);

/// A database with a partition of the ledger, which is a table of a zone like any other.
async fn database() -> (TestDb, PgPool) {
    let db = kit::database().await;
    let superuser = db.superuser().await;
    superuser
        .execute("SELECT audit_make_partition('2026-11-25T00:00:00Z')")
        .await
        .unwrap();
    (db, superuser)
}

async fn texts(pool: &PgPool, query: &'static str) -> Vec<String> {
    sqlx::query_scalar(query).fetch_all(pool).await.unwrap()
}

/// Tables of zones: all that are not on the reviewed list.
async fn zone_tables(pool: &PgPool) -> Vec<String> {
    let tables = texts(
        pool,
        "SELECT relname::text FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p')
         ORDER BY relname",
    )
    .await;
    let zoned: Vec<String> = tables
        .iter()
        .filter(|table| !GLOBAL.contains(&table.as_str()))
        .cloned()
        .collect();
    assert!(zoned.len() >= 20, "hardly anything was examined: {zoned:?}");
    for table in GLOBAL {
        assert!(
            tables.iter().any(|known| known == table),
            "the reviewed list names {table}, which is gone"
        );
    }
    zoned
}

#[tokio::test]
async fn every_table_of_a_zone_has_its_zone_and_forced_row_level_security() {
    let (_db, pool) = database().await;
    let secured: BTreeSet<String> = texts(
        &pool,
        "SELECT c.relname::text
         FROM pg_class AS c
         JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attname = 'zone_id'
         WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p')
           AND a.attnotnull AND a.atttypid = 'uuid'::regtype
           AND c.relrowsecurity AND c.relforcerowsecurity",
    )
    .await
    .into_iter()
    .collect();
    for table in zone_tables(&pool).await {
        assert!(
            secured.contains(&table),
            "{table} lacks zone_id or forced row-level security"
        );
    }
}

#[tokio::test]
async fn every_table_of_a_zone_has_the_one_policy_for_everybody() {
    let (_db, pool) = database().await;
    for table in zone_tables(&pool).await {
        let policies: Vec<Policy> = sqlx::query_as(
            "SELECT polname::text, polcmd::text, pg_get_expr(polqual, polrelid), pg_get_expr(polwithcheck, polrelid),
                    polpermissive
             FROM pg_policy
             WHERE polrelid = ('public.' || $1)::regclass AND polroles = '{0}'",
        )
        .bind(&table)
        .fetch_all(&pool)
        .await
        .unwrap();
        let form = Some(FORM.to_owned());
        assert_eq!(
            policies,
            [("zone".to_owned(), "*".to_owned(), form.clone(), form, true)],
            "{table}"
        );
    }
}

#[tokio::test]
async fn nothing_crosses_zones_but_what_is_listed() {
    let (_db, pool) = database().await;
    let found: BTreeSet<(String, String, String)> = sqlx::query_as(
        "SELECT p.polrelid::regclass::text, r.rolname::text, p.polcmd::text
         FROM pg_policy AS p
         CROSS JOIN unnest(p.polroles) AS of(role)
         JOIN pg_roles AS r ON r.oid = of.role
         WHERE p.polroles <> '{0}'",
    )
    .fetch_all(&pool)
    .await
    .unwrap()
    .into_iter()
    .collect();
    let listed: BTreeSet<(String, String, String)> = ACROSS
        .iter()
        .map(|(table, role, command)| {
            (
                (*table).to_owned(),
                (*role).to_owned(),
                (*command).to_owned(),
            )
        })
        .collect();
    assert_eq!(found, listed);
    let several = texts(
        &pool,
        "SELECT polname::text FROM pg_policy WHERE polroles <> '{0}' AND cardinality(polroles) <> 1",
    )
    .await;
    assert!(
        several.is_empty(),
        "policies across zones name one role each: {several:?}"
    );
}

#[tokio::test]
async fn every_key_of_a_zones_table_begins_with_the_zone() {
    let (_db, pool) = database().await;
    let tables = zone_tables(&pool).await;
    let keys: Vec<(String, String, String)> = sqlx::query_as(
        "SELECT i.indrelid::regclass::text, i.indexrelid::regclass::text,
                pg_get_indexdef(i.indexrelid, 1, true)
         FROM pg_index AS i
         JOIN pg_class AS c ON c.oid = i.indrelid
         WHERE c.relnamespace = 'public'::regnamespace AND (i.indisunique OR i.indisexclusion)",
    )
    .fetch_all(&pool)
    .await
    .unwrap();
    assert!(
        keys.len() >= tables.len() - 1,
        "hardly any key was examined"
    );
    for (table, key, first) in keys {
        assert!(
            !tables.contains(&table) || first == "zone_id",
            "{key} of {table} begins with {first}"
        );
    }
    let references: Vec<(String, String, String, String)> = sqlx::query_as(
        "SELECT k.conrelid::regclass::text, k.conname::text, a.attname::text, f.attname::text
         FROM pg_constraint AS k
         JOIN pg_attribute AS a ON a.attrelid = k.conrelid AND a.attnum = k.conkey[1]
         JOIN pg_attribute AS f ON f.attrelid = k.confrelid AND f.attnum = k.confkey[1]
         WHERE k.contype = 'f' AND k.connamespace = 'public'::regnamespace",
    )
    .fetch_all(&pool)
    .await
    .unwrap();
    assert!(references.len() >= 8, "hardly any foreign key was examined");
    for (table, name, column, target) in references {
        assert_eq!(
            (column.as_str(), target.as_str()),
            ("zone_id", "zone_id"),
            "{name} of {table}"
        );
    }
}

#[tokio::test]
async fn roles_own_nothing_and_pass_by_nothing() {
    let (_db, pool) = database().await;
    let names = Role::ALL.map(|role| role.name().to_owned()).to_vec();
    let roles: Vec<(String, bool, bool)> = sqlx::query_as(
        "SELECT rolname::text, rolcanlogin,
                rolsuper OR rolbypassrls OR rolcreaterole OR rolcreatedb OR rolreplication
         FROM pg_roles WHERE rolname LIKE 'caracal\\_%' AND rolname <> 'caracal_superuser' ORDER BY rolname",
    )
    .fetch_all(&pool)
    .await
    .unwrap();
    assert_eq!(roles.len(), names.len() + 1);
    for (name, login, above) in roles {
        assert_eq!(login, names.contains(&name), "{name}");
        assert!(!above, "{name}");
    }
    let members = texts(
        &pool,
        "SELECT member::regrole::text FROM pg_auth_members
         WHERE member::regrole::text LIKE 'caracal\\_%' OR roleid::regrole::text LIKE 'caracal\\_%'",
    )
    .await;
    assert!(members.is_empty(), "{members:?} are members of other roles");
    let others = texts(
        &pool,
        "SELECT relname::text FROM pg_class
         WHERE relnamespace = 'public'::regnamespace AND relowner <> 'caracal_owner'::regrole
         UNION ALL
         SELECT proname::text FROM pg_proc
         WHERE pronamespace = 'public'::regnamespace AND proowner <> 'caracal_owner'::regrole",
    )
    .await;
    assert!(others.is_empty(), "{others:?} are not the owner's");
}

#[tokio::test]
async fn nobody_may_empty_a_table_or_make_one() {
    let (_db, pool) = database().await;
    for role in Role::ALL {
        let may: Vec<String> = sqlx::query_scalar(
            "SELECT relname::text || ' ' || privilege
             FROM pg_class
             CROSS JOIN unnest(ARRAY['TRUNCATE', 'REFERENCES', 'TRIGGER']) AS privilege
             WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p')
               AND has_table_privilege($1, oid, privilege)",
        )
        .bind(role.name())
        .fetch_all(&pool)
        .await
        .unwrap();
        assert!(may.is_empty(), "{role}: {may:?}");
        let create: bool = sqlx::query_scalar(
            "SELECT has_schema_privilege($1, 'public', 'CREATE')
                 OR has_database_privilege($1, current_database(), 'CREATE')
                 OR has_database_privilege($1, current_database(), 'TEMP')",
        )
        .bind(role.name())
        .fetch_one(&pool)
        .await
        .unwrap();
        assert!(!create, "{role} may create");
    }
}

#[tokio::test]
async fn nothing_is_granted_on_a_partition() {
    let (_db, pool) = database().await;
    let partitions: Vec<(String, Option<String>)> = sqlx::query_as(
        "SELECT relname::text, array_to_string(relacl, ' ')
         FROM pg_class WHERE relispartition AND relkind = 'r' AND relnamespace = 'public'::regnamespace",
    )
    .fetch_all(&pool)
    .await
    .unwrap();
    assert_eq!(partitions, [("audit_events_202611".to_owned(), None)]);
}

#[tokio::test]
async fn functions_with_the_owners_rights_are_pinned_and_not_everybodys() {
    let (_db, pool) = database().await;
    let definers: Vec<(String, bool, bool)> = sqlx::query_as(
        "SELECT proname::text,
                coalesce('search_path=pg_catalog, pg_temp' = ANY (proconfig), false),
                EXISTS (SELECT FROM aclexplode(coalesce(proacl, acldefault('f', proowner))) WHERE grantee = 0)
         FROM pg_proc WHERE pronamespace = 'public'::regnamespace AND prosecdef",
    )
    .fetch_all(&pool)
    .await
    .unwrap();
    assert_eq!(definers, [("audit_make_partition".to_owned(), true, false)]);
    let views = texts(
        &pool,
        "SELECT relname::text FROM pg_class
         WHERE relnamespace = 'public'::regnamespace AND relkind IN ('v', 'm')
           AND NOT coalesce(reloptions @> '{security_invoker=true}', false)",
    )
    .await;
    assert!(views.is_empty(), "{views:?} show what their owner sees");
}

#[tokio::test]
async fn secrets_at_rest_are_readable_by_their_holder_alone() {
    let (_db, pool) = database().await;
    let check = async |table: &str, column: &str, expected: &[Role]| {
        let mut readers = Vec::new();
        for role in Role::ALL {
            let may: bool = sqlx::query_scalar("SELECT has_column_privilege($1, $2, $3, 'SELECT')")
                .bind(role.name())
                .bind(table)
                .bind(column)
                .fetch_one(&pool)
                .await
                .unwrap();
            if may {
                readers.push(role);
            }
        }
        assert_eq!(readers, expected, "{table}.{column}");
    };
    check("signing_keys", "sealed", &[Role::Sts, Role::Keeper]).await;
    check("application_secrets", "hmac", &[Role::Sts]).await;
    check(
        "zone_keys",
        "sealed",
        &[Role::Sts, Role::Keeper, Role::AuditWriter],
    )
    .await;
    check(
        "chain_keys",
        "sealed",
        &[Role::AuditWriter, Role::AuditReader],
    )
    .await;
}
