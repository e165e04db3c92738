use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;

use chassis::config::{Environment, resolve, unmentioned};

use crate::RawConfig;

const KEY: &str = "9bLrEyYd4tVSWkgQwFMtx2dwJhz5tIfw5Jch2jy9m5o";
const TOKEN: &str = "v9XkP2mQz7LwR4tYbN8sJc3Dv9XkP2mQ";

struct Files(tempfile::TempDir);

impl Files {
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

    fn environment(&self, mode: &str) -> Environment {
        Environment::of([
            ("CARACAL_MODE", mode.to_owned()),
            (
                "DATABASE_URL",
                "postgres:///caracal?host=/run/caracal".to_owned(),
            ),
            ("REDIS_URL", "unix:///run/caracal/valkey.sock".to_owned()),
            ("DATABASE_PASSWORD_FILE", self.file("database", TOKEN)),
            ("REDIS_PASSWORD_FILE", self.file("redis", TOKEN)),
            ("EVENT_KEY_FILE", self.file("event", KEY)),
            ("AUDIT_KEK_FILE", self.file("kek", KEY)),
            ("SERVICE_TOKEN_FILE", self.file("service", TOKEN)),
            ("METRICS_TOKEN_FILE", self.file("metrics", TOKEN)),
        ])
    }
}

fn sample(name: &str) -> String {
    let path = format!("{}/../docs/config/{name}.toml", env!("CARGO_MANIFEST_DIR"));
    std::fs::read_to_string(path).unwrap()
}

fn findings(text: &str) -> Vec<String> {
    findings_in("stable", text)
}

fn findings_in(mode: &str, text: &str) -> Vec<String> {
    let files = Files(tempfile::tempdir().unwrap());
    match resolve::<RawConfig>(text, &files.environment(mode)) {
        Ok(_) => Vec::new(),
        Err(findings) => findings.0.into_iter().map(|finding| finding.key).collect(),
    }
}

#[test]
fn the_samples_are_valid_but_for_their_keys_and_the_full_one_mentions_every_field() {
    for name in ["audit", "audit.full"] {
        let text = sample(name);
        assert_eq!(findings_in("dev", &text), Vec::<String>::new(), "{name}");
        // Whoever copies one puts in keys of their own.
        let keys: Vec<String> = (0..4)
            .map(|index| format!("producer[{index}].public_key"))
            .collect();
        assert_eq!(findings(&text), keys, "{name}");
    }
    assert_eq!(
        unmentioned::<RawConfig>(&sample("audit.full")).unwrap(),
        Vec::<String>::new()
    );
}

#[test]
fn everything_that_is_wrong_is_told_at_once() {
    let wrong = "
        [ingest]
        partitions = 0
        [verify]
        timeout = \"0s\"
        [limits]
        calls_per_second = 0
    ";
    let mut found = findings(wrong);
    found.sort();
    assert_eq!(
        found,
        [
            "ingest.partitions",
            "limits.calls_per_second",
            "producer",
            "signer.kid",
            "verify.timeout"
        ]
    );
}
