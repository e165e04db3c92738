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
