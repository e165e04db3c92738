//! What stable mode wants of a database before it starts: findings, not warnings.

use std::ops::RangeInclusive;

use sqlx::Row;

use super::Pool;
use super::error::DbError;
use crate::config::Findings;

const KEY: &str = "DATABASE_URL";

/// Durability: `fsync`, `full_page_writes`, `synchronous_commit`, and a synchronous standby where
/// there are standbys at all. `attested` is the operator's word that a loss is meant so.
pub async fn check_database(pool: &Pool, attested: Option<&str>) -> Result<Findings, DbError> {
    let row = sqlx::query(
        "SELECT current_setting('fsync') AS fsync,
                current_setting('full_page_writes') AS full_page_writes,
                current_setting('synchronous_commit') AS synchronous_commit,
                current_setting('synchronous_standby_names') AS standbys,
                (SELECT count(*) FROM pg_stat_replication) AS replicas",
    )
    .fetch_one(pool.inner())
    .await?;
    let settings = Durability {
        fsync: row.try_get("fsync")?,
        full_page_writes: row.try_get("full_page_writes")?,
        synchronous_commit: row.try_get("synchronous_commit")?,
        standbys: row.try_get("standbys")?,
        replicas: row.try_get("replicas")?,
    };
    Ok(settings.findings(attested))
}

struct Durability {
    fsync: String,
    full_page_writes: String,
    synchronous_commit: String,
    standbys: String,
    replicas: i64,
}

impl Durability {
    fn findings(&self, attested: Option<&str>) -> Findings {
        let mut findings = Findings::default();
        let mut refuse = |what: String| {
            if attested.is_none() {
                findings.add(KEY, what);
            }
        };
        for (name, value) in [
            ("fsync", &self.fsync),
            ("full_page_writes", &self.full_page_writes),
        ] {
            if value != "on" {
                refuse(format!("the database runs with {name} = {value}"));
            }
        }
        if matches!(self.synchronous_commit.as_str(), "off") {
            refuse("the database runs with synchronous_commit = off".to_owned());
        }
        let replicated = self.replicas > 0;
        let waits = !self.standbys.is_empty() && self.synchronous_commit != "local";
        if replicated && !waits {
            refuse("the database has replicas and none of them is synchronous".to_owned());
        }
        findings
    }
}

/// The role: it must be the one asked for, own nothing it works on, and not bypass row-level
/// security, also not by what it is a member of.
pub async fn check_role(pool: &Pool) -> Result<Findings, DbError> {
    let row = sqlx::query(
        "SELECT current_user::text AS name,
                bool_or(r.rolsuper OR r.rolbypassrls) AS bypasses,
                (SELECT count(*)
                   FROM pg_class c
                   JOIN pg_namespace n ON n.oid = c.relnamespace
                  WHERE n.nspname = 'public'
                    AND c.relkind IN ('r', 'p')
                    AND pg_has_role(current_user, c.relowner, 'MEMBER')) AS owned
           FROM pg_roles r
          WHERE pg_has_role(current_user, r.oid, 'MEMBER')",
    )
    .fetch_one(pool.inner())
    .await?;
    let name: String = row.try_get("name")?;
    let bypasses: Option<bool> = row.try_get("bypasses")?;
    let owned: i64 = row.try_get("owned")?;
    let mut findings = Findings::default();
    if name != pool.role() {
        findings.add(
            KEY,
            format!("logs in as {name} where {} is meant", pool.role()),
        );
    }
    if bypasses != Some(false) {
        findings.add(KEY, format!("role {name} can bypass row-level security"));
    }
    if owned > 0 {
        findings.add(
            KEY,
            format!("role {name} owns tables and so is above their policies"),
        );
    }
    Ok(findings)
}

/// Whether a pooler in transaction mode stands before the database: it would lend one server
/// process to two connections that are open at once, and LISTEN would hear nothing.
pub async fn check_listen(pool: &Pool) -> Result<Findings, DbError> {
    const PID: &str = "SELECT pg_backend_pid()";
    let mut findings = Findings::default();
    if pool.inner().options().get_max_connections() < 2 {
        findings.add(
            "database.max_connections",
            "must be at least 2 where changes are listened for",
        );
        return Ok(findings);
    }
    let mut one = pool.inner().acquire().await?;
    let mut other = pool.inner().acquire().await?;
    for _ in 0..3 {
        let first: i32 = sqlx::query_scalar(PID).fetch_one(&mut *one).await?;
        let second: i32 = sqlx::query_scalar(PID).fetch_one(&mut *other).await?;
        if first == second {
            findings.add(
                KEY,
                "a pooler in transaction mode stands before the database",
            );
            break;
        }
    }
    Ok(findings)
}

/// The schema version, which must lie in what this build works with.
pub async fn check_schema_version(
    pool: &Pool,
    supported: RangeInclusive<i64>,
) -> Result<Findings, DbError> {
    let version: Option<i64> = sqlx::query_scalar("SELECT max(version) FROM schema_version")
        .fetch_one(pool.inner())
        .await?;
    let mut findings = Findings::default();
    match version {
        Some(version) if supported.contains(&version) => {}
        Some(version) => findings.add(
            KEY,
            format!(
                "the schema has version {version}; this build works with {} to {}",
                supported.start(),
                supported.end()
            ),
        ),
        None => findings.add(KEY, "the schema has no version; run the migrations"),
    }
    Ok(findings)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn safe() -> Durability {
        Durability {
            fsync: "on".into(),
            full_page_writes: "on".into(),
            synchronous_commit: "on".into(),
            standbys: String::new(),
            replicas: 0,
        }
    }

    #[test]
    fn finds_each_thing_that_can_lose_commits() {
        let count = |settings: Durability| settings.findings(None).0.len();
        assert_eq!(count(safe()), 0);
        assert_eq!(
            count(Durability {
                fsync: "off".into(),
                ..safe()
            }),
            1
        );
        assert_eq!(
            count(Durability {
                full_page_writes: "off".into(),
                ..safe()
            }),
            1
        );
        assert_eq!(
            count(Durability {
                synchronous_commit: "off".into(),
                ..safe()
            }),
            1
        );
        assert_eq!(
            count(Durability {
                replicas: 1,
                ..safe()
            }),
            1
        );
        let standbys = "ANY 1 (*)".to_owned();
        assert_eq!(
            count(Durability {
                replicas: 1,
                standbys: standbys.clone(),
                ..safe()
            }),
            0
        );
        let local = "local".to_owned();
        let settings = Durability {
            replicas: 1,
            standbys,
            synchronous_commit: local,
            ..safe()
        };
        assert_eq!(count(settings), 1);
    }

    #[test]
    fn an_attested_loss_is_the_operators_word() {
        let settings = Durability {
            fsync: "off".into(),
            replicas: 2,
            ..safe()
        };
        assert!(
            settings
                .findings(Some("up to 1 s of audit on failover"))
                .is_empty()
        );
    }
}
