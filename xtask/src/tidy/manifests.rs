//! Rules about dependencies, from `cargo metadata`.

use std::collections::BTreeMap;

use anyhow::Context as _;
use cargo_metadata::{DependencyKind, Package};

use super::{Finding, Tree};

/// What a pure crate may depend on. No clock, no I/O, no randomness, no runtime.
const PURE: &[(&str, &[&str])] = &[
    (
        "mandate",
        &[
            "base64",
            "ed25519-dalek",
            "hashbrown",
            "jiff",
            "p256",
            "serde",
            "serde_json",
            "sha2",
            "subtle",
            "thiserror",
            "uuid",
        ],
    ),
    (
        "policy",
        &[
            "foldhash",
            "hashbrown",
            "jiff",
            "mandate",
            "regorus",
            "serde",
            "serde_json",
            "sha2",
            "thiserror",
            "uuid",
        ],
    ),
    (
        "ledger",
        &[
            "ed25519-dalek",
            "hmac",
            "jiff",
            "mandate",
            "sha2",
            "subtle",
            "thiserror",
            "uuid",
            "zeroize",
        ],
    ),
];

/// What each crate of ours may depend on among ours, normal dependencies.
const INWARDS: &[(&str, &[&str])] = &[
    ("mandate", &[]),
    ("policy", &["mandate"]),
    ("ledger", &["mandate"]),
    ("wire", &["mandate", "policy", "ledger"]),
    ("filter-wasm", &["mandate", "policy", "wire"]),
    ("chassis", &["mandate", "policy", "ledger", "wire"]),
    (
        "ext-authz",
        &["mandate", "policy", "ledger", "wire", "chassis"],
    ),
    ("sts", &["mandate", "policy", "ledger", "wire", "chassis"]),
    (
        "coordinator",
        &["mandate", "policy", "ledger", "wire", "chassis"],
    ),
    ("audit", &["mandate", "policy", "ledger", "wire", "chassis"]),
    ("migrations", &[]),
    ("engines", &[]),
    ("kit", &["engines", "migrations", "mandate", "ledger"]),
    ("xtask", &["engines"]),
];

const BANNED: &[&str] = &[
    "openssl",
    "openssl-sys",
    "native-tls",
    "prometheus",
    "dashmap",
];

const LICENCES: &[&str] = &[
    "MIT",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "ISC",
    "Unicode-3.0",
    "Zlib",
    "CC0-1.0",
    "Unlicense",
    "0BSD",
    "MPL-2.0",
    "OpenSSL",
    "BSL-1.0",
    "MIT-0",
    "CDLA-Permissive-2.0",
    "BlueOak-1.0.0",
    "LGPL-2.1-or-later",
];

/// The crates of which two versions are known and accepted, one a line, in a committed file.
const DUPLICATES: &str = "xtask/duplicates.txt";

pub(super) fn pure_allow_list(tree: &Tree) -> anyhow::Result<Vec<Finding>> {
    let mut findings = Vec::new();
    for (name, allowed) in PURE {
        for dependency in normal(package(tree, name)?) {
            if !allowed.contains(&dependency) {
                findings.push(Finding::new(*name, format!("depends on `{dependency}`")));
            }
        }
    }
    Ok(findings)
}

pub(super) fn direction(tree: &Tree) -> anyhow::Result<Vec<Finding>> {
    let ours: Vec<String> = tree
        .metadata
        .workspace_packages()
        .iter()
        .map(|package| package.name.to_string())
        .collect();
    let mut findings = Vec::new();
    for (name, allowed) in INWARDS {
        for dependency in normal(package(tree, name)?) {
            if ours.iter().any(|our| our == dependency) && !allowed.contains(&dependency) {
                findings.push(Finding::new(
                    *name,
                    format!("may not depend on `{dependency}`"),
                ));
            }
        }
    }
    Ok(findings)
}

pub(super) fn lints(tree: &Tree) -> anyhow::Result<Vec<Finding>> {
    let mut findings = Vec::new();
    for package in tree.metadata.workspace_packages() {
        let text = std::fs::read_to_string(&package.manifest_path)
            .with_context(|| format!("reading {}", package.manifest_path))?;
        let manifest: toml::Table = text
            .parse()
            .with_context(|| format!("parsing {}", package.manifest_path))?;
        let taken = manifest
            .get("lints")
            .and_then(|lints| lints.get("workspace"))
            .and_then(toml::Value::as_bool);
        if taken != Some(true) {
            findings.push(Finding::new(
                package.name.as_str(),
                "its manifest lacks `[lints] workspace = true`",
            ));
        }
    }
    Ok(findings)
}

pub(super) fn bans_and_duplicates(tree: &Tree) -> anyhow::Result<Vec<Finding>> {
    let listed = std::fs::read_to_string(tree.root.join(DUPLICATES))
        .context("reading the list of duplicates")?;
    let listed: Vec<&str> = listed
        .lines()
        .filter(|line| !line.starts_with('#') && !line.is_empty())
        .collect();
    let mut versions: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    let mut findings = Vec::new();
    for package in &tree.metadata.packages {
        versions
            .entry(package.name.as_str())
            .or_default()
            .push(package.version.to_string());
        if BANNED.contains(&package.name.as_str()) {
            findings.push(Finding::new(
                "Cargo.lock",
                format!("`{}` is banned", package.name),
            ));
        }
    }
    for (name, versions) in &versions {
        let known = listed.contains(name);
        if versions.len() > 1 && !known {
            findings.push(Finding::new(
                DUPLICATES,
                format!("`{name}` has versions {}", versions.join(", ")),
            ));
        }
        if versions.len() == 1 && known {
            findings.push(Finding::new(
                DUPLICATES,
                format!("`{name}` has one version; delete its line"),
            ));
        }
    }
    Ok(findings)
}

pub(super) fn licences_and_sources(tree: &Tree) -> anyhow::Result<Vec<Finding>> {
    let mut findings = Vec::new();
    for package in &tree.metadata.packages {
        match package.license.as_deref() {
            Some(licence) if known_licence(licence) => {}
            Some(licence) => findings.push(Finding::new(
                package.name.as_str(),
                format!("licence `{licence}`"),
            )),
            None => findings.push(Finding::new(package.name.as_str(), "names no licence")),
        }
        if let Some(source) = &package.source
            && !source.is_crates_io()
        {
            findings.push(Finding::new(
                package.name.as_str(),
                format!("comes from {source}"),
            ));
        }
    }
    Ok(findings)
}

/// Whether an SPDX expression can be met with known licences: one side of each `OR`, all of each `AND`.
fn known_licence(expression: &str) -> bool {
    let plain = expression.replace(['(', ')'], " ").replace('/', " OR ");
    plain
        .split(" AND ")
        .all(|all| all.split(" OR ").any(|one| LICENCES.contains(&one.trim())))
}

fn package<'a>(tree: &'a Tree, name: &str) -> anyhow::Result<&'a Package> {
    tree.metadata
        .packages
        .iter()
        .find(|package| package.name.as_str() == name && package.source.is_none())
        .with_context(|| format!("the workspace has no crate `{name}`"))
}

fn normal(package: &Package) -> impl Iterator<Item = &str> {
    package
        .dependencies
        .iter()
        .filter(|dependency| dependency.kind == DependencyKind::Normal)
        .map(|dependency| dependency.name.as_str())
}

#[cfg(test)]
mod tests {
    use super::known_licence;

    #[test]
    fn a_licence_expression_needs_one_of_each_or_and_all_of_each_and() {
        assert!(known_licence("MIT OR GPL-3.0"));
        assert!(known_licence("(MIT OR Apache-2.0) AND Unicode-3.0"));
        assert!(known_licence("MIT/Apache-2.0"));
        assert!(!known_licence("GPL-3.0"));
        assert!(!known_licence("MIT AND GPL-3.0"));
    }
}
