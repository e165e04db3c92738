//! Builds what runs inside a wasm VM and holds its imports to a list.

use anyhow::{Context as _, bail};
use wasmparser::{Parser, Payload, TypeRef};
use xshell::{Shell, cmd};

use crate::steps;

/// One module: its package, its target, the largest size allowed, and what it may import.
struct Module {
    package: &'static str,
    target: &'static str,
    max_kib: usize,
    imports: &'static [&'static str],
}

const MODULES: &[Module] = &[Module {
    package: "wasm-guest",
    target: "wasm32-unknown-unknown",
    max_kib: 1024,
    imports: &[],
}];

/// Builds each module, prints its size and imports, refuses what exceeds its budget.
pub(crate) fn run(shell: &Shell, _: &[String]) -> anyhow::Result<()> {
    steps::targets(shell)?;
    for module in MODULES {
        let Module {
            package, target, ..
        } = module;
        cmd!(
            shell,
            "cargo build --locked --quiet --profile wasm --target {target} -p {package}"
        )
        .run()?;
        let root = std::env::var_os("CARGO_TARGET_DIR")
            .map_or_else(|| crate::root().join("target"), std::path::PathBuf::from);
        let path = root
            .join(target)
            .join("wasm")
            .join(format!("{}.wasm", package.replace('-', "_")));
        let bytes = std::fs::read(&path).with_context(|| format!("reading {}", path.display()))?;
        check(module, &bytes)?;
    }
    Ok(())
}

fn check(module: &Module, bytes: &[u8]) -> anyhow::Result<()> {
    let kib = bytes.len().div_ceil(1024);
    let imports = imports(bytes)?;
    println!(
        "{}: {kib} KiB of {}, imports {imports:?}",
        module.package, module.max_kib
    );
    if kib > module.max_kib {
        bail!(
            "{} is {kib} KiB, above its budget of {}",
            module.package,
            module.max_kib
        );
    }
    if let Some(new) = imports
        .iter()
        .find(|import| !module.imports.contains(&import.as_str()))
    {
        bail!(
            "{} imports `{new}`, which is not on its list in xtask/src/wasm.rs",
            module.package
        );
    }
    Ok(())
}

fn imports(bytes: &[u8]) -> anyhow::Result<Vec<String>> {
    let mut found = Vec::new();
    for payload in Parser::new(0).parse_all(bytes) {
        if let Payload::ImportSection(section) = payload.context("parsing the module")? {
            for import in section.into_imports() {
                let import = import?;
                if matches!(import.ty, TypeRef::Func(_)) {
                    found.push(format!("{}.{}", import.module, import.name));
                }
            }
        }
    }
    found.sort();
    Ok(found)
}
