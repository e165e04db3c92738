//! Rules about source text.

use super::{Finding, Source, Tree};

/// Who else may read the environment, and why.
const ENVIRONMENT: &[&str] = &[
    "chassis/", // the one reader on behalf of the services
    "cli/",     // CARACAL_HOME, and what it hands to its children
    "engines/", // where the cache folder is
];

/// Files whose SQL reads the database's clock, because that clock is what they are about.
const DATABASE_CLOCK: &[&str] = &[
    "coordinator/src/store/clock.rs",
    "coordinator/src/sequencer/heartbeat.rs",
    "chassis/src/db/skew.rs",
];

const MAX_LINES: usize = 600;

pub(super) fn forbid_unsafe(tree: &Tree) -> anyhow::Result<Vec<Finding>> {
    let mut findings = Vec::new();
    for package in tree.metadata.workspace_packages() {
        for target in &package.targets {
            let library_or_binary = target.is_lib() || target.is_bin() || target.is_cdylib();
            let root = target
                .src_path
                .strip_prefix(&tree.root)
                .map_or_else(|_| target.src_path.as_str(), |path| path.as_str());
            let Some(source) = tree.files.iter().find(|source| source.path == root) else {
                continue;
            };
            // What a wasm host calls is exported by an unsafe attribute.
            let exports = root.starts_with("filter-wasm/") || root.starts_with("tests/wasm/guest/");
            let expected = if exports {
                "unsafe_code"
            } else {
                "#![forbid(unsafe_code)]"
            };
            if library_or_binary && !source.text.contains(expected) {
                findings.push(Finding::new(root, format!("lacks `{expected}`")));
            }
        }
    }
    Ok(findings)
}

/// The one file of the product with unsafe code.
const UNSAFE: &str = "filter-wasm/src/hostcall.rs";

pub(super) fn unsafe_code(tree: &Tree) -> anyhow::Result<Vec<Finding>> {
    let product = |source: &&Source| source.is_rust() && !source.is_apart();
    let mut findings = Vec::new();
    for source in tree.files.iter().filter(product) {
        // Whole files: what stands behind a test module counts, too.
        for (index, line) in source.text.lines().enumerate() {
            if source.path != UNSAFE && is_unsafe(line) {
                let what = format!("has or permits unsafe code; that belongs in {UNSAFE}");
                findings.push(at(source, index.saturating_add(1), &what));
            }
        }
    }
    Ok(findings)
}

/// Whether a line is unsafe code, or names the lint otherwise than to forbid it.
fn is_unsafe(line: &str) -> bool {
    let code = line.split("//").next().unwrap_or_default();
    let mut words = code.split(|c: char| !c.is_alphanumeric() && c != '_');
    let permits = code.contains("unsafe_code")
        && !code.contains("forbid(unsafe_code")
        && !code.contains("deny(unsafe_code");
    permits || words.any(|word| word == "unsafe")
}

pub(super) fn environment(tree: &Tree) -> anyhow::Result<Vec<Finding>> {
    let applies = |source: &Source| {
        !source.is_apart()
            && !ENVIRONMENT
                .iter()
                .any(|folder| source.path.starts_with(folder))
    };
    Ok(lines(tree, applies)
        .filter(|(_, _, line)| line.contains("std::env") || line.contains("env::var"))
        .map(|(source, number, _)| {
            at(
                source,
                number,
                "reads the environment; take it from chassis::config",
            )
        })
        .collect())
}

pub(super) fn sql(tree: &Tree) -> anyhow::Result<Vec<Finding>> {
    const SERVICES: [&str; 5] = [
        "sts/src/",
        "coordinator/src/",
        "audit/src/",
        "ext-authz/src/",
        "chassis/src/",
    ];
    const AMBIENT: [&str; 5] = [
        "now()",
        "clock_timestamp()",
        "current_timestamp",
        "gen_random_uuid()",
        "uuidv7()",
    ];
    let applies = |source: &Source| {
        SERVICES
            .iter()
            .any(|service| source.path.starts_with(service))
            && !source.is_apart()
            && !DATABASE_CLOCK.contains(&source.path.as_str())
    };
    Ok(lines(tree, applies)
        .filter(|(_, _, line)| !line.trim_start().starts_with("//"))
        .filter(|(_, _, line)| {
            let line = line.to_ascii_lowercase();
            AMBIENT.iter().any(|ambient| sql_call(&line, ambient))
        })
        .map(|(source, number, _)| at(source, number, "SQL takes time and ids as bind parameters"))
        .collect())
}

/// Whether `line` calls the SQL function, not a Rust method or path of the same name.
fn sql_call(line: &str, function: &str) -> bool {
    line.match_indices(function).any(|(start, _)| {
        let before = line.get(..start).and_then(|head| head.chars().next_back());
        !before.is_some_and(|before| before.is_alphanumeric() || matches!(before, '.' | ':' | '_'))
    })
}

pub(super) fn permit(tree: &Tree) -> anyhow::Result<Vec<Finding>> {
    Ok(lines(tree, |source| {
        source.path != "policy/src/permit.rs" && !source.path.starts_with("xtask/")
    })
    .filter(|(_, _, line)| {
        let line = line.trim_start();
        line.contains("Permit {")
            && !["impl", "pub struct", "struct", "//", "pub fn", "fn"]
                .iter()
                .any(|start| line.starts_with(start))
            && !line.contains("-> Permit {")
            && !line.contains("for Permit {")
    })
    .map(|(source, number, _)| at(source, number, "makes or opens a Permit"))
    .collect())
}

pub(super) fn size_and_todos(tree: &Tree) -> anyhow::Result<Vec<Finding>> {
    let mut findings = Vec::new();
    for source in tree.files.iter().filter(|source| source.is_rust()) {
        let count = source.product_lines().count();
        if count > MAX_LINES && !source.is_apart() {
            findings.push(Finding::new(
                &source.path,
                format!("{count} lines; split it by idea"),
            ));
        }
        for (number, line) in source.text.lines().enumerate() {
            let todo = concat!("TO", "DO");
            if line.contains(todo) && !line.contains(&format!("{todo}(#")) {
                findings.push(at(
                    source,
                    number.saturating_add(1),
                    "write the issue behind it: (#12)",
                ));
            }
        }
    }
    Ok(findings)
}

fn lines<'a>(
    tree: &'a Tree,
    applies: impl Fn(&Source) -> bool + 'a,
) -> impl Iterator<Item = (&'a Source, usize, &'a str)> + 'a {
    tree.files
        .iter()
        .filter(|source| source.is_rust())
        .filter(move |source| applies(source))
        .flat_map(|source| {
            source
                .product_lines()
                .map(move |(number, line)| (source, number, line))
        })
}

fn at(source: &Source, number: usize, what: &str) -> Finding {
    Finding::new(format!("{}:{number}", source.path), what)
}

#[cfg(test)]
mod tests {
    use super::{is_unsafe, sql_call};

    #[test]
    fn a_call_in_sql_is_told_from_a_method() {
        assert!(sql_call("values (now(), $1)", "now()"));
        assert!(sql_call("now()", "now()"));
        assert!(!sql_call("let now = clock.now();", "now()"));
        assert!(!sql_call("clock::now()", "now()"));
    }

    #[test]
    fn unsafe_code_and_leave_for_it_are_told_from_its_prohibition() {
        for line in [
            "    let taken = unsafe { read() };",
            "unsafe extern \"C\" {",
            "#[unsafe(no_mangle)]",
            "#![expect(unsafe_code, reason = \"\")]",
            "#[allow(unsafe_code)]",
            "    unsafe_code,",
        ] {
            assert!(is_unsafe(line), "{line}");
        }
        for line in [
            "#![forbid(unsafe_code)]",
            "#![deny(unsafe_code, clippy::as_conversions)]",
            "/// What is unsafe stops the start.",
            "let unsafely = 1;",
        ] {
            assert!(!is_unsafe(line), "{line}");
        }
    }
}
