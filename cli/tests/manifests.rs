//! Every manifest of `envoy/` is one that Envoy takes, and keeps what it must.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What stands between a manifest and a request that nobody decided on; `envoy/README.md` says why.
const KEPT: [&str; 10] = [
    "failure_mode_allow: false",
    "status_on_error: { code: ServiceUnavailable }",
    "encode_raw_headers: true",
    "timeout: 0.5s",
    "headers_with_underscores_action: REJECT_REQUEST",
    "normalize_path: false",
    "merge_slashes: false",
    "caracal.bindings:",
    "max_stream_duration:",
    "transport_api_version: V3",
];

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

#[test]
fn envoy_takes_every_manifest() {
    let tools = engines::install().unwrap();
    for manifest in manifests() {
        let output = Command::new(&tools.envoy)
            .args([
                "--mode",
                "validate",
                "--log-level",
                "error",
                "--config-path",
            ])
            .arg(&manifest)
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
        for line in KEPT {
            assert!(text.contains(line), "{} lacks `{line}`", manifest.display());
        }
        for name in OWNED {
            let line = format!("- remove: x-caracal-{name}");
            assert!(
                text.contains(&line),
                "{} lacks `{line}`",
                manifest.display()
            );
        }
        let strip = text.find("envoy.filters.http.header_mutation").unwrap();
        let decide = text.find("- name: envoy.filters.http.ext_authz").unwrap();
        assert!(
            strip < decide,
            "{}: owned headers are removed first",
            manifest.display()
        );
    }
}
