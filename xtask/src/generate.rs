//! What is committed but made by a program.

use anyhow::Context as _;
use xshell::{Shell, cmd};

use crate::{test, tidy};

/// Crates whose SQL is described in a committed `.sqlx` folder.
const QUERIES: [&str; 4] = ["chassis", "coordinator", "sts", "audit"];

/// Regenerates documents and checksums.
pub(crate) fn run(shell: &Shell, arguments: &[String]) -> anyhow::Result<()> {
    let rewrite = arguments
        .iter()
        .any(|argument| argument == "--rewrite-migrations");
    tidy::write_checksums(&crate::root(), rewrite)?;
    let _update = shell.push_env("UPDATE_GENERATED", "1");
    for package in ["policy", "coordinator"] {
        cmd!(
            shell,
            "cargo test --locked -p {package} --all-features generated"
        )
        .run()?;
    }
    Ok(())
}

/// Describes the SQL of each crate, or of those named, against a freshly migrated database.
pub(crate) fn sqlx(shell: &Shell, arguments: &[String]) -> anyhow::Result<()> {
    let engines = test::Engines::start()?;
    let database = engines.database_url();
    cmd!(
        shell,
        "cargo run --locked --quiet -p migrations --example migrate -- {database}"
    )
    .run()?;
    let _offline = shell.push_env("SQLX_OFFLINE", "false");
    let _url = shell.push_env("DATABASE_URL", database);
    let target = crate::root().join("target/sqlx");
    let _target = shell.push_env("CARGO_TARGET_DIR", &target);
    let wanted =
        |package: &str| arguments.is_empty() || arguments.iter().any(|name| name == package);
    for package in QUERIES.into_iter().filter(|package| wanted(package)) {
        let folder = crate::root().join(package).join(".sqlx");
        if folder.exists() {
            std::fs::remove_dir_all(&folder)
                .with_context(|| format!("emptying {}", folder.display()))?;
        }
        std::fs::create_dir_all(&folder)?;
        let _folder = shell.push_env("SQLX_OFFLINE_DIR", &folder);
        cmd!(shell, "cargo clean --quiet -p {package}").run()?;
        cmd!(
            shell,
            "cargo check --locked --quiet --all-targets -p {package}"
        )
        .run()?;
        if std::fs::read_dir(&folder)?.next().is_none() {
            std::fs::remove_dir(&folder)?;
        }
    }
    Ok(())
}
