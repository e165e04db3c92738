use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;

use chassis::config::{Environment, resolve, unmentioned};

use super::*;

const KEY: &str = "9bLrEyYd4tVSWkgQwFMtx2dwJhz5tIfw5Jch2jy9m5o";
const TOKEN: &str = "v9XkP2mQz7LwR4tYbN8sJc3Dv9XkP2mQ";

struct Files(tempfile::TempDir);

impl Files {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn file(&self, name: &str, text: &str) -> String {
        let path = self.0.path().join(name);
        // Of an earlier call: nobody but root writes over a file that is read-only.
        let _absent = std::fs::remove_file(&path);
        std::fs::File::create(&path)
            .unwrap()
            .write_all(text.as_bytes())
            .unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o400)).unwrap();
        path.display().to_string()
    }

    fn environment(&self) -> Environment {
        Environment::of([
            ("CARACAL_MODE", "dev".to_owned()),
            ("REDIS_URL", "unix:///run/caracal/valkey.sock".to_owned()),
            ("REDIS_PASSWORD_FILE", self.file("redis", TOKEN)),
            ("EVENT_KEY_FILE", self.file("event", KEY)),
            ("SERVICE_TOKEN_FILE", self.file("service", TOKEN)),
            ("METRICS_TOKEN_FILE", self.file("metrics", TOKEN)),
        ])
    }
}

fn sample(name: &str) -> String {
    let path = format!("{}/../docs/config/{name}.toml", env!("CARGO_MANIFEST_DIR"));
    std::fs::read_to_string(path).unwrap()
}

fn findings(change: impl Fn(&str) -> String) -> Vec<String> {
    let text = change(&sample("ext-authz"));
    match resolve::<RawConfig>(&text, &Files::new().environment()) {
        Ok(_) => Vec::new(),
        Err(findings) => findings.0.into_iter().map(|finding| finding.key).collect(),
    }
}

#[test]
fn the_samples_are_valid_and_the_full_one_mentions_every_field() {
    let files = Files::new();
    for name in ["ext-authz", "ext-authz.full"] {
        let loaded = resolve::<RawConfig>(&sample(name), &files.environment());
        assert!(loaded.is_ok(), "{name}: {}", loaded.unwrap_err());
    }
    assert_eq!(
        unmentioned::<RawConfig>(&sample("ext-authz.full")).unwrap(),
        Vec::<String>::new()
    );
}

#[test]
fn listens_nowhere_that_a_stranger_reaches() {
    for (listen, valid) in [
        ("127.0.0.1:9090", true),
        ("[::1]:9090", true),
        ("unix:/run/caracal/check.sock", true),
        ("0.0.0.0:9090", false),
        ("10.0.0.1:9090", false),
        ("[::]:9090", false),
        ("unix:check.sock", false),
        ("localhost", false),
    ] {
        let found = findings(|text| {
            text.replacen(
                "[ops]",
                &format!("[check]\nlisten = \"{listen}\"\n\n[ops]"),
                1,
            )
        });
        assert_eq!(found.is_empty(), valid, "{listen}: {found:?}");
    }
}

#[test]
fn tells_all_findings_at_once() {
    let found = findings(|text| {
        text.replace("zones = [", "zones = [\"not-a-zone\", ")
            .replace("kid = \"coordinator-stream-1\"", "kid = \"not a kid\"")
            .replace(
                "[ops]",
                "[cache]\nmandates = 0\n[filter]\nmax_vms = 0\nmax_report_bytes = 1\n[ops]",
            )
    });
    assert_eq!(
        found,
        [
            "filter.max_vms",
            "filter.max_report_bytes",
            "cache.mandates",
            "attachment[0].zones[0]",
            "producer[0].kid"
        ]
    );
}

#[test]
fn an_attachment_names_its_zones() {
    assert_eq!(
        findings(|text| text.replace("name = \"ingress\"", "name = \"Ingress\"")),
        ["attachment[0].name"]
    );
    let none = findings(|text| {
        let (before, _) = text.split_once("[[attachment]]").unwrap();
        let (_, after) = text.split_once("[[producer]]").unwrap();
        format!("{before}[[producer]]{after}")
    });
    assert_eq!(none, ["attachment"]);
}
