//! Documents name only what exists.

use std::path::Path;

use super::{Finding, Source, Tree};

/// Documents, or folders of them, whose tests, paths and commands are followed.
const DOCUMENTS: &[&str] = &[
    "ARCHITECTURE.md",
    "README.md",
    "CONTRIBUTING.md",
    "docs/",
    "bench/README.md",
    "envoy/README.md",
    "ext-authz/README.md",
];

/// Where `caracal` declares its commands.
const ARGUMENTS: &str = "cli/src/args.rs";

pub(super) fn references(tree: &Tree) -> anyhow::Result<Vec<Finding>> {
    let mut findings = Vec::new();
    let arguments = tree.files.iter().find(|source| source.path == ARGUMENTS);
    let arguments = arguments.map_or("", |source| source.text.as_str());
    for document in DOCUMENTS {
        let named = |source: &&Source| {
            let markdown = Path::new(&source.path).extension();
            source.path.starts_with(document) && markdown.is_some_and(|markdown| markdown == "md")
        };
        let mut sources = tree.files.iter().filter(named).peekable();
        if sources.peek().is_none() {
            findings.push(Finding::new(*document, "is missing"));
        }
        for source in sources {
            for (number, line) in source.text.lines().enumerate() {
                let place = format!("{}:{}", source.path, number.saturating_add(1));
                let broken = quoted(line).filter_map(|name| missing(tree, name));
                let unknown = unknown_commands(line, arguments);
                findings.extend(broken.chain(unknown).map(|what| Finding::new(&place, what)));
            }
        }
    }
    Ok(findings)
}

/// What a line calls that is no command of `cargo xtask` or of `caracal`.
fn unknown_commands(line: &str, arguments: &str) -> Vec<String> {
    let ours = |name: &str| crate::COMMANDS.iter().any(|command| command.name == name);
    let steps = called(line, "cargo xtask ")
        .filter(|(name, _)| !ours(name))
        .map(|(name, _)| format!("`cargo xtask {name}` does not exist"));
    let known = variants(arguments, "Command");
    let commands = called(line, "caracal ").filter_map(|(name, next)| {
        if !known.iter().any(|known| known == name) {
            return Some(format!("`caracal {name}` does not exist"));
        }
        let group = variants(arguments, &camel(name));
        let fits = group.is_empty() || next.is_empty() || group.iter().any(|one| one == next);
        (!fits).then(|| format!("`caracal {name} {next}` does not exist"))
    });
    steps.chain(commands).collect()
}

/// The two words behind a program's name, where it begins a line or a quotation or stands behind its folder; the
/// second is empty where it is an option or a placeholder.
fn called<'a>(line: &'a str, program: &'a str) -> impl Iterator<Item = (&'a str, &'a str)> {
    line.match_indices(program).filter_map(|(start, found)| {
        let (before, rest) = (line.get(..start)?, line.get(start..)?);
        let begins = before.is_empty() || before.ends_with(['`', '/', '(']);
        let mut words = rest.strip_prefix(found)?.split([' ', '`', ')', '\\', '|']);
        let name = |word: &&str| {
            !word.is_empty() && word.chars().all(|c| c.is_ascii_lowercase() || c == '-')
        };
        let first = words.next().filter(name).filter(|_| begins)?;
        let second = words
            .next()
            .filter(name)
            .filter(|word| !word.starts_with('-'));
        Some((first, second.unwrap_or_default()))
    })
}

/// The commands of a `clap` enum of this name: its variants, as they are typed; none where there is no such enum.
fn variants(text: &str, name: &str) -> Vec<String> {
    let lines = text
        .lines()
        .skip_while(|line| !line.ends_with(&format!("enum {name} {{")))
        .skip(1)
        .take_while(|line| *line != "}");
    lines
        .filter_map(|line| {
            let variant = line.strip_prefix("    ")?;
            let length = variant.find(|c: char| !c.is_ascii_alphanumeric())?;
            let variant = variant.get(..length)?;
            let begins = variant.starts_with(|c: char| c.is_ascii_uppercase());
            begins.then(|| variant.to_ascii_lowercase())
        })
        .collect()
}

/// A command as its enum is called.
fn camel(name: &str) -> String {
    let (first, rest) = name.split_at_checked(1).unwrap_or_default();
    format!("{}{rest}", first.to_ascii_uppercase())
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
/// Where a filter's session is refused or ended with a code.
const SESSIONS: &str = "ext-authz/src/filter/";
const EXPLAINED: &str = "docs/errors-services.md";

/// Every code that a service answers with is explained.
pub(super) fn codes(tree: &Tree) -> anyhow::Result<Vec<Finding>> {
    let text = |path: &str| {
        let source = tree.files.iter().find(|source| source.path == path);
        source.map_or("", |source| source.text.as_str())
    };
    let unexplained = |code: &&str| !text(EXPLAINED).contains(&format!("| `{code}` |"));
    let mut findings = Vec::new();
    let sessions = tree.files.iter();
    for source in sessions.filter(|source| source.path.starts_with(SESSIONS)) {
        for code in refused(&source.text).filter(unexplained) {
            let what = format!("`{code}` is not explained in {EXPLAINED}");
            findings.push(Finding::new(&source.path, what));
        }
    }
    for path in CODES {
        let source = tree.files.iter().find(|source| source.path == *path);
        let Some(source) = source else {
            findings.push(Finding::new(*path, "is missing"));
            continue;
        };
        for (number, line) in source.product_lines() {
            for code in coded(line).filter(unexplained) {
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
        .filter(is_code)
}

/// The codes that sessions are refused or ended with: the first text that each `refusal` is made of.
fn refused(text: &str) -> impl Iterator<Item = &str> {
    text.split("refusal(")
        .skip(1)
        .filter_map(|call| call.split('"').nth(1))
        .filter(is_code)
}

fn is_code(text: &&str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_ascii_lowercase() || c == '_')
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

#[cfg(test)]
mod tests {
    use super::{refused, unknown_commands};

    const ARGUMENTS: &str = "pub(crate) enum Command {\n    /// Starts.\n    Up(Up),\n    #[command(subcommand)]\n    Audit(Audit),\n}\n\npub(crate) enum Audit {\n    Verify {\n        zone: Option<String>,\n    },\n}\n";

    #[test]
    fn a_refusal_is_found_by_its_code_wherever_that_stands() {
        let text = "refusal(Code::Aborted, \"gone\", \"it is\"); refusal(\n  Code::Ok,\n  \"two_words\",\n \"x\")\nfn refusal(word: &str) { format!(\"{word}: \") }";
        assert_eq!(refused(text).collect::<Vec<_>>(), ["gone", "two_words"]);
    }

    #[test]
    fn a_command_that_does_not_exist_is_told_from_one_that_does() {
        for line in [
            "`cargo xtask` lists them; `cargo xtask tidy` checks them",
            "cargo xtask test NAME   # some",
            "caracal audit verify    # exit 4",
            "target/release/caracal up --attach both",
            "| `caracal audit [--zone Z]` | `caracal up` |",
            "the binary is `caracal`, and caracal itself starts it",
        ] {
            assert_eq!(unknown_commands(line, ARGUMENTS), [""; 0], "{line}");
        }
        for (line, wrong) in [
            (
                "`cargo xtask verify`",
                "`cargo xtask verify` does not exist",
            ),
            ("caracal down --purge", "`caracal down` does not exist"),
            ("M=$(caracal mint)", "`caracal mint` does not exist"),
            (
                "| `caracal audit export\\|verify` |",
                "`caracal audit export` does not exist",
            ),
        ] {
            assert_eq!(unknown_commands(line, ARGUMENTS), [wrong], "{line}");
        }
    }
}
