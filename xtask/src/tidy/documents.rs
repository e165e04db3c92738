//! Documents name only what exists.

use super::{Finding, Tree};

/// Documents whose `` `path::to::test` `` and `` `folder/` `` references are followed.
const DOCUMENTS: &[&str] = &[
    "ARCHITECTURE.md",
    "README.md",
    "CONTRIBUTING.md",
    "docs/threat-model.md",
    "ext-authz/README.md",
];

pub(super) fn references(tree: &Tree) -> anyhow::Result<Vec<Finding>> {
    let mut findings = Vec::new();
    for document in DOCUMENTS {
        let Some(source) = tree.files.iter().find(|source| source.path == *document) else {
            findings.push(Finding::new(*document, "is missing"));
            continue;
        };
        for (number, line) in source.text.lines().enumerate() {
            let place = format!("{document}:{}", number.saturating_add(1));
            for name in quoted(line) {
                if let Some(what) = missing(tree, name) {
                    findings.push(Finding::new(&place, what));
                }
            }
        }
    }
    Ok(findings)
}

/// Where services name their codes, and where each is explained.
const CODES: &[&str] = &[
    "coordinator/src/error.rs",
    "sts/src/error.rs",
    "audit/src/error.rs",
    "chassis/src/ops.rs",
    "chassis/src/grpc.rs",
    "chassis/src/http/govern.rs",
    "chassis/src/problem.rs",
];
const EXPLAINED: &str = "docs/errors-services.md";

/// Every code that a service answers with is explained.
pub(super) fn codes(tree: &Tree) -> anyhow::Result<Vec<Finding>> {
    let text = |path: &str| {
        let source = tree.files.iter().find(|source| source.path == path);
        source.map_or("", |source| source.text.as_str())
    };
    let mut findings = Vec::new();
    for path in CODES {
        let source = tree.files.iter().find(|source| source.path == *path);
        let Some(source) = source else {
            findings.push(Finding::new(*path, "is missing"));
            continue;
        };
        for (number, line) in source.product_lines() {
            let explained = |code: &&str| !text(EXPLAINED).contains(&format!("| `{code}` |"));
            for code in coded(line).filter(explained) {
                let what = format!("`{code}` is not explained in {EXPLAINED}");
                findings.push(Finding::new(format!("{path}:{number}"), what));
            }
        }
    }
    Ok(findings)
}

/// The codes a line gives: what an arm of a match comes to, or a problem is made with.
fn coded(line: &str) -> impl Iterator<Item = &str> {
    ["=> \"", "Problem::new(\"", "Self::new(\""]
        .into_iter()
        .filter_map(move |before| line.split_once(before)?.1.split('"').next())
        .filter(|code| !code.is_empty() && code.chars().all(|c| c.is_ascii_lowercase() || c == '_'))
}

/// What is between single backticks.
fn quoted(line: &str) -> impl Iterator<Item = &str> {
    line.split('`').skip(1).step_by(2)
}

/// Why a reference leads nowhere, if it does.
fn missing(tree: &Tree, name: &str) -> Option<String> {
    if let Some(test) = name.strip_prefix("test:") {
        let (path, function) = test.split_once("::")?;
        let found = tree.files.iter().any(|source| {
            source.path.starts_with(path) && source.text.contains(&format!("fn {function}("))
        });
        return (!found).then(|| format!("no test `{function}` below {path}"));
    }
    let looks_like_a_path = name.contains('/')
        && name
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "/._-".contains(c));
    let relative = looks_like_a_path && !name.starts_with('/') && !name.starts_with("./");
    let first = name.split('/').next().unwrap_or_default();
    let ours = tree
        .files
        .iter()
        .any(|source| source.path.starts_with(&format!("{first}/")));
    (relative && ours && !tree.root.join(name).exists()).then(|| format!("`{name}` does not exist"))
}
