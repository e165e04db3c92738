//! Every manifest of `envoy/` is one that Envoy takes, and keeps what it must.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What every manifest keeps; `envoy/README.md` says why.
const KEPT: [&str; 5] = [
    "headers_with_underscores_action: REJECT_REQUEST",
    "normalize_path: false",
    "merge_slashes: false",
    "max_stream_duration:",
    "path_with_escaped_slashes_action: KEEP_UNCHANGED",
];

/// What stands between a manifest with Envoy's own filter and a request that nobody decided on.
const KEPT_BY_EXT_AUTHZ: [&str; 6] = [
    "timeout: 0.5s",
    "failure_mode_allow: false",
    "status_on_error: { code: ServiceUnavailable }",
    "encode_raw_headers: true",
    "caracal.bindings:",
    "transport_api_version: V3",
];

/// The same with ours.
const KEPT_BY_FILTER: [&str; 3] = [
    "failure_policy: FAIL_RELOAD",
    "reload_config:",
    r#""timeout":"500ms""#,
];

/// Where our filter decides alone, and where it comes behind Envoy's own.
const ALONE: &str = r#""mode":"enforce""#;
const BEHIND: &str = r#""mode":"verify_only""#;

/// The identity headers, which a client must not send on any route.
const OWNED: [&str; 7] = [
    "zone", "subject", "actor", "client", "session", "scope", "decision",
];

fn manifests() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../envoy");
    let mut found: Vec<PathBuf> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "yaml")
        })
        .collect();
    found.sort();
    assert!(!found.is_empty(), "nothing was examined");
    found
}

/// The filter, built as `cargo xtask wasm` builds it, and where: after that command nothing is left to do.
fn filter() -> PathBuf {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap();
    let status = Command::new(env!("CARGO"))
        .args(["build", "--locked", "--quiet", "--package", "filter-wasm"])
        .args(["--profile", "wasm", "--target", "wasm32-wasip1"])
        .arg("--target-dir")
        .arg(target)
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .status()
        .unwrap();
    assert!(
        status.success(),
        "building the filter failed; is the target wasm32-wasip1 installed?"
    );
    target.join("wasm32-wasip1/wasm/filter_wasm.wasm")
}

#[test]
fn envoy_takes_every_manifest() {
    let tools = engines::install().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let module = filter();
    for manifest in manifests() {
        let text = fs::read_to_string(&manifest).unwrap();
        let text = text.replace("/etc/envoy/caracal-filter.wasm", module.to_str().unwrap());
        let own = folder.path().join(manifest.file_name().unwrap());
        fs::write(&own, text).unwrap();
        let output = Command::new(&tools.envoy)
            .args(["--mode", "validate", "--log-level", "error"])
            .arg("--config-path")
            .arg(&own)
            .output()
            .unwrap();
        let words = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{}: {words}", manifest.display());
    }
}

#[test]
fn no_manifest_lets_undecided_requests_through() {
    for manifest in manifests() {
        let text = fs::read_to_string(&manifest).unwrap();
        let has =
            |part: &str| assert!(text.contains(part), "{} lacks `{part}`", manifest.display());
        let native = text.find("- name: envoy.filters.http.ext_authz");
        let ours = text.find("- name: envoy.filters.http.wasm");
        let mut kept = KEPT.to_vec();
        if native.is_some() {
            kept.extend(KEPT_BY_EXT_AUTHZ);
        }
        if ours.is_some() {
            kept.extend(KEPT_BY_FILTER);
        }
        for part in kept {
            has(part);
        }
        match (native, ours) {
            // Behind an allow the mandate is gone, unless it is asked for.
            (Some(native), Some(ours)) => {
                assert!(
                    native < ours,
                    "{}: who decides comes first",
                    manifest.display()
                );
                has("caracal.mandate: keep");
                has(BEHIND);
            }
            (None, Some(_)) => has(ALONE),
            (Some(_), None) => assert!(!text.contains("caracal.mandate"), "{}", manifest.display()),
            (None, None) => panic!("{}: nobody decides", manifest.display()),
        }
        for name in OWNED {
            has(&format!("- remove: x-caracal-{name}"));
        }
        let strip = text.find("envoy.filters.http.header_mutation").unwrap();
        let decide = native.or(ours).unwrap();
        assert!(
            strip < decide,
            "{}: owned headers are removed first",
            manifest.display()
        );
    }
}
