//! Supply chain checks that need cargo tools; apart from `ci`, which compiles none.

use anyhow::Context as _;
use xshell::{Shell, cmd};

/// Runs cargo-deny and cargo-audit. `ADVISORY_DB` names a local advisory database.
pub(crate) fn run(shell: &Shell, _: &[String]) -> anyhow::Result<()> {
    cmd!(shell, "cargo deny check bans licenses sources")
        .run()
        .context("running cargo-deny; `cargo install --locked cargo-deny` if it is missing")?;
    let audit = if let Some(database) = std::env::var_os("ADVISORY_DB") {
        cmd!(shell, "cargo audit --db {database} --no-fetch")
    } else {
        cmd!(shell, "cargo audit")
    };
    audit
        .run()
        .context("running cargo-audit; `cargo install --locked cargo-audit` if it is missing")
}
