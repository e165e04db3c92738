//! Builds what runs inside a wasm VM and holds its imports to a list.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use sha2::{Digest as _, Sha256};
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

const MODULES: &[Module] = &[
    Module {
        package: "wasm-guest",
        target: "wasm32-unknown-unknown",
        max_kib: 1024,
        imports: &[],
    },
    Module {
        package: "filter-wasm",
        target: "wasm32-wasip1",
        max_kib: 600,
        imports: FILTER,
    },
];

/// What the filter asks of the proxy, and of its host what the standard library does.
const FILTER: &[&str] = &[
    "env.proxy_call_foreign_function",
    "env.proxy_close_stream",
    "env.proxy_continue_stream",
    "env.proxy_define_metric",
    "env.proxy_get_buffer_bytes",
    "env.proxy_get_current_time_nanoseconds",
    "env.proxy_get_header_map_pairs",
    "env.proxy_get_property",
    "env.proxy_grpc_call",
    "env.proxy_grpc_cancel",
    "env.proxy_grpc_send",
    "env.proxy_grpc_stream",
    "env.proxy_increment_metric",
    "env.proxy_log",
    "env.proxy_record_metric",
    "env.proxy_remove_header_map_value",
    "env.proxy_replace_header_map_value",
    "env.proxy_send_local_response",
    "env.proxy_set_effective_context",
    "env.proxy_set_property",
    "env.proxy_set_tick_period_milliseconds",
    "wasi_snapshot_preview1.clock_time_get",
    "wasi_snapshot_preview1.environ_get",
    "wasi_snapshot_preview1.environ_sizes_get",
    "wasi_snapshot_preview1.fd_write",
    "wasi_snapshot_preview1.proc_exit",
    "wasi_snapshot_preview1.random_get",
];

/// Builds each module, prints its size, imports and sum, refuses what exceeds its budget. `--twice` builds each again
/// elsewhere: the same sources must give the same bytes.
pub(crate) fn run(shell: &Shell, arguments: &[String]) -> anyhow::Result<()> {
    steps::targets(shell)?;
    for module in MODULES {
        let path = build(shell, module.package, module.target)?;
        let bytes = read(&path)?;
        check(module, &bytes)?;
        if arguments.iter().any(|argument| argument == "--twice") {
            let apart = target_folder().join("again");
            let again = read(&build_in(shell, module.package, module.target, &apart)?)?;
            if bytes != again {
                bail!("two builds of {} differ", module.package);
            }
            println!("{}: two builds give the same bytes", module.package);
        }
    }
    Ok(())
}

/// Builds a module for a proxy; where it is then.
pub(crate) fn build(shell: &Shell, package: &str, target: &str) -> anyhow::Result<PathBuf> {
    build_in(shell, package, target, &target_folder())
}

/// No path of this machine goes into the bytes.
fn build_in(shell: &Shell, package: &str, target: &str, folder: &Path) -> anyhow::Result<PathBuf> {
    let home = std::env::var_os("CARGO_HOME")
        .map(PathBuf::from)
        .or_else(|| std::env::home_dir().map(|home| home.join(".cargo")))
        .context("finding cargo's folder")?;
    let registry = home.join("registry/src");
    // Of two that fit the last one counts, and the folder usually lies within the checkout.
    let mut flags = vec![
        format!("--remap-path-prefix={}=/w", crate::root().display()),
        format!("--remap-path-prefix={}=/t", folder.display()),
        // Rounds in a loop: a sixth of the size, and where each mandate is hashed once that is all it costs. In
        // .cargo/config.toml too, which these flags replace.
        "--cfg".to_owned(),
        "sha2_backend_soft=\"compact\"".to_owned(),
    ];
    // The name of a registry's folder is its own on every machine.
    let sources = std::fs::read_dir(&registry).into_iter().flatten().flatten();
    for source in sources {
        flags.push(format!(
            "--remap-path-prefix={}=/r",
            source.path().display()
        ));
    }
    let _flags = shell.push_env("CARGO_ENCODED_RUSTFLAGS", flags.join("\x1f"));
    cmd!(
        shell,
        "cargo build --locked --profile wasm --target {target} --target-dir {folder} -p {package}"
    )
    .run()?;
    let name = format!("{}.wasm", package.replace('-', "_"));
    Ok(folder.join(target).join("wasm").join(name))
}

fn target_folder() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| crate::root().join("target"), PathBuf::from)
}

fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    std::fs::read(path).with_context(|| format!("reading {}", path.display()))
}

fn check(module: &Module, bytes: &[u8]) -> anyhow::Result<()> {
    let kib = bytes.len().div_ceil(1024);
    let imports = imports(bytes)?;
    let mut sum = String::new();
    for byte in Sha256::digest(bytes) {
        write!(sum, "{byte:02x}")?;
    }
    println!(
        "{}: {kib} KiB of {}, imports {imports:?}, SHA-256 {sum}",
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
