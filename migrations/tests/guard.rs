//! Migrations only ever expand: each statement is of a kind that old code does not notice.
#![expect(clippy::unwrap_used, reason = "tests")]

use migrations::MIGRATIONS;
use sqlparser::ast::{AlterTableOperation, Statement};
use sqlparser::dialect::PostgreSqlDialect;
use sqlparser::parser::Parser;

/// Clauses that the parser does not know. The catalogue's test looks at what they bring about.
const UNKNOWN: [&str; 2] = ["SECURITY DEFINER", "SET search_path = pg_catalog, pg_temp"];

/// The statements of a file.
fn statements(sql: &str) -> Vec<Statement> {
    let known: Vec<String> = sql
        .lines()
        .filter(|line| !line.trim_end().ends_with("FORCE ROW LEVEL SECURITY;"))
        .map(|line| {
            UNKNOWN
                .iter()
                .fold(line.to_owned(), |line, clause| line.replace(clause, ""))
        })
        .collect();
    Parser::parse_sql(&PostgreSqlDialect {}, &known.join("\n")).unwrap()
}

/// Whether a statement only adds. A contract step needs a tag that names the release that stopped using what goes.
fn expands(statement: &Statement) -> bool {
    let adds = matches!(
        statement,
        Statement::CreateTable(_)
            | Statement::CreateIndex(_)
            | Statement::CreateFunction(_)
            | Statement::CreateTrigger(_)
            | Statement::CreatePolicy { .. }
            | Statement::Grant { .. }
            | Statement::Revoke { .. }
    );
    adds || secures(statement)
}

/// Whether it turns row-level security on.
fn secures(statement: &Statement) -> bool {
    let Statement::AlterTable { operations, .. } = statement else {
        return false;
    };
    operations
        .iter()
        .all(|operation| matches!(operation, AlterTableOperation::EnableRowLevelSecurity))
}

#[test]
fn every_statement_only_adds() {
    for migration in MIGRATIONS {
        let statements = statements(migration.sql);
        assert!(
            !statements.is_empty(),
            "{}: nothing was examined",
            migration.name
        );
        for statement in &statements {
            assert!(expands(statement), "{}: {statement}", migration.name);
        }
    }
}

#[test]
fn what_takes_something_away_is_noticed() {
    for sql in [
        "DROP TABLE zones",
        "ALTER TABLE zones DROP COLUMN name",
        "ALTER TABLE zones RENAME COLUMN name TO title",
        "UPDATE zones SET name = ''",
        "TRUNCATE zones",
    ] {
        let parsed = Parser::parse_sql(&PostgreSqlDialect {}, sql).unwrap();
        assert!(!parsed.iter().any(expands), "{sql}");
    }
}
