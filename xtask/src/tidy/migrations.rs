//! A migration that may have been applied somewhere never changes.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use anyhow::Context as _;
use sha2::{Digest as _, Sha256};

use super::{Finding, Tree};

const SUMS: &str = "migrations/sql/SHA256SUMS";

pub(super) fn checksums(tree: &Tree) -> anyhow::Result<Vec<Finding>> {
    let listed =
        std::fs::read_to_string(tree.root.join(SUMS)).with_context(|| format!("reading {SUMS}"))?;
    let listed: BTreeMap<&str, &str> = listed
        .lines()
        .filter_map(|line| line.split_once("  "))
        .map(|(sum, name)| (name, sum))
        .collect();
    let present = sums(&tree.root)?;
    let mut findings = Vec::new();
    for (name, sum) in &present {
        match listed.get(name.as_str()) {
            None => findings.push(Finding::new(
                SUMS,
                format!("does not list {name}; `cargo xtask gen` adds it"),
            )),
            Some(known) if known != sum => {
                findings.push(Finding::new(
                    format!("migrations/sql/{name}"),
                    "was changed after it was listed; add a new migration",
                ));
            }
            Some(_) => {}
        }
    }
    for name in listed.keys().filter(|name| !present.contains_key(**name)) {
        findings.push(Finding::new(SUMS, format!("lists {name}, which is gone")));
    }
    Ok(findings)
}

/// Lists new migrations. Those listed keep their sum unless `rewrite`, which is for the time before a release.
pub(crate) fn write_checksums(root: &std::path::Path, rewrite: bool) -> anyhow::Result<()> {
    let mut present = sums(root)?;
    if !rewrite {
        let listed = std::fs::read_to_string(root.join(SUMS)).unwrap_or_default();
        for (sum, name) in listed.lines().filter_map(|line| line.split_once("  ")) {
            present.insert(name.to_owned(), sum.to_owned());
        }
    }
    let mut text = String::new();
    for (name, sum) in present {
        writeln!(text, "{sum}  {name}")?;
    }
    std::fs::write(root.join(SUMS), text).with_context(|| format!("writing {SUMS}"))
}

fn sums(root: &std::path::Path) -> anyhow::Result<BTreeMap<String, String>> {
    let folder = root.join("migrations/sql");
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(&folder).context("listing migrations/sql")? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "sql") {
            let mut sum = String::new();
            for byte in Sha256::digest(std::fs::read(&path)?) {
                write!(sum, "{byte:02x}")?;
            }
            let name = path
                .file_name()
                .map(|name| name.to_string_lossy().into_owned())
                .unwrap_or_default();
            found.insert(name, sum);
        }
    }
    anyhow::ensure!(
        !found.is_empty(),
        "migrations/sql holds no migration: nothing was examined"
    );
    Ok(found)
}
