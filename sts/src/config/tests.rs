use std::io::Write;
use std::os::unix::fs::PermissionsExt;

use chassis::config::{Environment, resolve, unmentioned};

use super::*;

const MINIMAL: &str = include_str!("../../../docs/config/sts.toml");
const FULL: &str = include_str!("../../../docs/config/sts.full.toml");

fn key_file(byte: u8) -> tempfile::TempPath {
    use base64::Engine;
    let mut file = tempfile::NamedTempFile::new().unwrap();
    let key: Vec<u8> = (0..32u8)
        .map(|n| n.wrapping_mul(37).wrapping_add(byte))
        .collect();
    let text = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(key);
    file.write_all(text.as_bytes()).unwrap();
    let mode = std::fs::Permissions::from_mode(0o400);
    file.as_file().set_permissions(mode).unwrap();
    file.into_temp_path()
}

fn keys_of(text: &str, mode: &str) -> Result<Config, Vec<String>> {
    let files = [key_file(1), key_file(2), key_file(3)];
    let path = |index: usize| files[index].to_str().unwrap().to_owned();
    let environment = Environment::of([
        ("CARACAL_MODE", mode.to_owned()),
        (
            "DATABASE_URL",
            "postgres:///caracal?host=/tmp/pg".to_owned(),
        ),
        ("REDIS_URL", "unix:///tmp/valkey.sock".to_owned()),
        ("STS_KEK_FILE", path(0)),
        ("PEPPER_FILE", path(1)),
        ("EVENT_KEY_FILE", path(2)),
    ]);
    resolve::<RawConfig>(text, &environment)
        .map(|loaded| loaded.config)
        .map_err(|findings| findings.0.into_iter().map(|finding| finding.key).collect())
}

#[test]
fn both_samples_are_valid_and_the_full_one_mentions_every_field() {
    assert_eq!(keys_of(MINIMAL, "dev").unwrap().http.listen.port(), 8081);
    assert!(keys_of(FULL, "dev").is_ok());
    assert_eq!(
        unmentioned::<RawConfig>(FULL).unwrap(),
        Vec::<String>::new()
    );
}

#[test]
fn everything_wrong_is_found_at_once() {
    let text = "[keys]\nrefresh = \"40s\"\nzones = 0\n[failures]\nburst = 0\n[evidence]\nkid = \"!\"\nmax_bytes = 5\n";
    let found = keys_of(text, "dev").unwrap_err();
    for key in [
        "keys.refresh",
        "keys.zones",
        "failures.burst",
        "evidence.kid",
        "evidence.max_bytes",
        "evidence.reserve_bytes",
    ] {
        assert!(found.iter().any(|found| found == key), "{key}: {found:?}");
    }
    assert!(keys_of("[keys]\nrefrehs = \"1s\"", "dev").is_err());
}

#[test]
fn stable_mode_wants_passwords_and_a_metrics_token() {
    let found = keys_of(MINIMAL, "stable").unwrap_err();
    for key in [
        "DATABASE_PASSWORD_FILE",
        "REDIS_PASSWORD_FILE",
        "METRICS_TOKEN_FILE",
    ] {
        assert!(found.iter().any(|found| found == key), "{key}: {found:?}");
    }
}
