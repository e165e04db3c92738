//! The rules of the house that a machine can check. Every rule reports all its findings.

#![expect(clippy::unnecessary_wraps, reason = "all rules have one signature")]

mod documents;
mod manifests;
mod migrations;
mod sources;

pub(crate) use migrations::write_checksums;

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use xshell::Shell;

/// One broken rule and where.
pub(crate) struct Finding {
    place: String,
    what: String,
}

impl Finding {
    pub(crate) fn new(place: impl Into<String>, what: impl Into<String>) -> Self {
        Self {
            place: place.into(),
            what: what.into(),
        }
    }
}

/// A rule: its name, and the function that looks for what breaks it.
type Rule = (&'static str, fn(&Tree) -> anyhow::Result<Vec<Finding>>);

const RULES: &[Rule] = &[
    (
        "pure crates depend on their allow-list only",
        manifests::pure_allow_list,
    ),
    ("dependencies point inwards", manifests::direction),
    (
        "every manifest takes the workspace's lints",
        manifests::lints,
    ),
    (
        "no banned crate, one version of each but those listed",
        manifests::bans_and_duplicates,
    ),
    (
        "licences and sources are known ones",
        manifests::licences_and_sources,
    ),
    ("crate roots forbid unsafe code", sources::forbid_unsafe),
    (
        "unsafe code is in filter-wasm/src/hostcall.rs only",
        sources::unsafe_code,
    ),
    (
        "services read the environment through chassis",
        sources::environment,
    ),
    ("service SQL takes time and ids as parameters", sources::sql),
    (
        "a permit is made in policy/src/permit.rs only",
        sources::permit,
    ),
    (
        "files stay below 600 lines, open ends name an issue",
        sources::size_and_todos,
    ),
    ("applied migrations are unchanged", migrations::checksums),
    (
        "documents name tests, folders and commands that exist",
        documents::references,
    ),
    ("every code of a service is explained", documents::codes),
];

/// The checkout as the rules see it.
pub(crate) struct Tree {
    root: PathBuf,
    metadata: cargo_metadata::Metadata,
    files: Vec<Source>,
}

/// A tracked text file.
pub(crate) struct Source {
    /// Relative to the root, with `/`.
    path: String,
    text: String,
}

impl Source {
    fn is_rust(&self) -> bool {
        Path::new(&self.path)
            .extension()
            .is_some_and(|extension| extension == "rs")
    }

    /// Whether the file exists for tests, benchmarks, builds or developers only.
    fn is_apart(&self) -> bool {
        ["tests/", "bench/", "xtask/"]
            .iter()
            .any(|folder| self.path.starts_with(folder))
            || ["/tests/", "/benches/", "/examples/"]
                .iter()
                .any(|folder| self.path.contains(folder))
            || self.path.ends_with("/tests.rs")
            || self.path.ends_with("build.rs")
    }

    /// The lines before the file's test module.
    fn product_lines(&self) -> impl Iterator<Item = (usize, &str)> {
        self.text
            .lines()
            .enumerate()
            .take_while(|(_, line)| !line.starts_with("#[cfg(test)]"))
            .map(|(index, line)| (index.saturating_add(1), line))
    }
}

impl Tree {
    fn read(shell: &Shell) -> anyhow::Result<Self> {
        let root = crate::root();
        let metadata = cargo_metadata::MetadataCommand::new()
            .current_dir(&root)
            .other_options(vec!["--locked".to_owned()])
            .exec()
            .context("running cargo metadata")?;
        let listed = xshell::cmd!(shell, "git ls-files --cached --others --exclude-standard")
            .quiet()
            .read()?;
        let mut files = Vec::new();
        for path in listed.lines() {
            if let Ok(text) = std::fs::read_to_string(root.join(path)) {
                files.push(Source {
                    path: path.to_owned(),
                    text,
                });
            }
        }
        if files.is_empty() {
            bail!("git lists no file: nothing was examined");
        }
        Ok(Self {
            root,
            metadata,
            files,
        })
    }
}

/// Checks every rule; fails with all findings.
pub(crate) fn run(shell: &Shell, _: &[String]) -> anyhow::Result<()> {
    let tree = Tree::read(shell)?;
    let mut broken = 0_usize;
    for (name, rule) in RULES {
        let findings = rule(&tree).with_context(|| format!("checking that {name}"))?;
        println!(
            "{} {name}",
            if findings.is_empty() {
                "ok    "
            } else {
                "BROKEN"
            }
        );
        for Finding { place, what } in &findings {
            println!("         {place}: {what}");
        }
        broken = broken.saturating_add(findings.len());
    }
    if broken > 0 {
        bail!("{broken} findings");
    }
    Ok(())
}
