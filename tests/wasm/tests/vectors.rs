//! The vectors inside wasmtime: the same verdicts as natively, and both as the file says.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use wasmtime::error::Context as _;
use wasmtime::{Engine, Instance, Module, Store, ensure};

const FILE: &str = include_str!("../../../mandate/tests/vectors/mandate.json");

/// Builds the guest in a target folder of its own, since cargo holds ours while tests are built.
fn build() -> wasmtime::Result<PathBuf> {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("wasm-guest");
    let status = Command::new(env!("CARGO"))
        .args(["build", "--locked", "--quiet", "--package", "wasm-guest"])
        .args(["--target", "wasm32-unknown-unknown", "--target-dir"])
        .arg(&target)
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .status()
        .context("starting cargo")?;
    ensure!(
        status.success(),
        "building the guest failed; is the target wasm32-unknown-unknown installed?"
    );
    Ok(target.join("wasm32-unknown-unknown/debug/wasm_guest.wasm"))
}

/// The guest in a VM that offers it nothing.
struct Guest {
    store: Store<()>,
    instance: Instance,
}

impl Guest {
    fn load() -> wasmtime::Result<Self> {
        let engine = Engine::default();
        let module = Module::from_file(&engine, build()?)?;
        ensure!(
            module.imports().len() == 0,
            "the guest imports {:?}",
            module.imports().collect::<Vec<_>>()
        );
        let mut store = Store::new(&engine, ());
        let instance = Instance::new(&mut store, &module, &[])?;
        Ok(Self { store, instance })
    }

    fn verdicts(&mut self, text: &str) -> wasmtime::Result<String> {
        let push = self
            .instance
            .get_typed_func::<u64, ()>(&mut self.store, "push")?;
        for chunk in text.as_bytes().chunks(8) {
            let word = chunk
                .iter()
                .rev()
                .fold(0, |word, byte| word << 8 | u64::from(*byte));
            push.call(&mut self.store, word)?;
        }
        let run = self
            .instance
            .get_typed_func::<u32, i64>(&mut self.store, "run")?;
        let length = run.call(&mut self.store, u32::try_from(text.len())?)?;
        let bytes = usize::try_from(length.unsigned_abs())?;
        let pull = self
            .instance
            .get_typed_func::<u32, u64>(&mut self.store, "pull")?;
        let mut answer = Vec::with_capacity(bytes + 8);
        for word in 0..u32::try_from(bytes.div_ceil(8))? {
            answer.extend(pull.call(&mut self.store, word)?.to_le_bytes());
        }
        answer.truncate(bytes);
        let answer = String::from_utf8(answer)?;
        ensure!(length >= 0, "the guest refuses the file: {answer}");
        Ok(answer)
    }
}

#[test]
fn a_wasm_vm_and_the_native_build_give_the_verdicts_of_the_file() {
    let inside = Guest::load().unwrap().verdicts(FILE).unwrap();
    assert_eq!(wasm_guest::verdicts(FILE).as_deref(), Ok(inside.as_str()));
    let file: Value = serde_json::from_str(FILE).unwrap();
    let verdicts: Vec<Value> = serde_json::from_str(&inside).unwrap();
    let lists = [
        "mandates",
        "credentials",
        "paths",
        "hosts",
        "methods",
        "headers",
        "operations",
    ];
    let cases: Vec<&Value> = lists
        .iter()
        .filter_map(|list| file[*list].as_array())
        .flatten()
        .collect();
    assert_eq!(cases.len(), verdicts.len());
    for (case, verdict) in cases.iter().zip(&verdicts) {
        assert_eq!(
            (&case["name"], &case["expect"]),
            (&verdict["name"], &verdict["verdict"])
        );
    }
}

#[test]
fn the_guest_refuses_a_file_that_is_none() {
    let refused = Guest::load().unwrap().verdicts("{}").unwrap_err();
    assert!(refused.to_string().contains("missing field"));
}
