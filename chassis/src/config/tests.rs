use std::io::Write;
use std::os::unix::fs::PermissionsExt;

use serde::{Deserialize, Serialize};

use super::*;

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RawSample {
    log: String,
    http: RawHttp,
    ops: RawOps,
    database: RawDatabase,
    redis: RawRedis,
    thing: Vec<RawThing>,
    producer: Vec<RawProducer>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawThing {
    name: String,
    #[serde(default)]
    weight: u8,
}

#[derive(Debug)]
struct Sample {
    http: Http,
    database: Database,
    redis: Redis,
    ops: Ops,
}

impl Raw for RawSample {
    type Config = Sample;
    const SERVICE: &'static str = "sample";

    fn resolve(self, checks: &mut Checks<'_>) -> Option<Sample> {
        let http = self.http.resolve("http", 8081, checks);
        let ops = self.ops.resolve("ops", 9081, checks);
        let database = self.database.resolve("database", &["caracal_sts"], checks);
        let redis = self.redis.resolve("redis", checks);
        let _producers = RawProducer::resolve_all(self.producer, "producer", checks);
        Some(Sample {
            http: http?,
            ops: ops?,
            database: database?,
            redis: redis?,
        })
    }

    fn log(&self) -> Option<&str> {
        Some(self.log.as_str()).filter(|filter| !filter.is_empty())
    }
}

fn secret_file(text: &str) -> tempfile::TempPath {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    file.as_file()
        .set_permissions(std::fs::Permissions::from_mode(0o400))
        .unwrap();
    file.into_temp_path()
}

fn dev() -> Environment {
    Environment::of([
        ("CARACAL_MODE", "dev"),
        ("DATABASE_URL", "postgres:///caracal?host=/tmp/pg"),
        ("REDIS_URL", "unix:///tmp/valkey.sock"),
        ("PATH", "/bin"),
    ])
}

fn findings(text: &str, environment: &Environment) -> Vec<(String, String)> {
    let findings = resolve::<RawSample>(text, environment).unwrap_err();
    findings
        .0
        .into_iter()
        .map(|finding| (finding.key, finding.what))
        .collect()
}

fn keys(text: &str, environment: &Environment) -> Vec<String> {
    findings(text, environment)
        .into_iter()
        .map(|(key, _)| key)
        .collect()
}

#[test]
fn an_empty_file_is_loopback_and_defaults() {
    let loaded = resolve::<RawSample>("", &dev()).unwrap();
    assert_eq!(loaded.mode, Mode::Dev);
    assert_eq!(loaded.config.http.listen.to_string(), "127.0.0.1:8081");
    assert_eq!(loaded.config.ops.listen.to_string(), "127.0.0.1:9081");
    assert_eq!(
        loaded.config.redis.timeout,
        std::time::Duration::from_millis(500)
    );
    assert!(loaded.config.database.password("caracal_sts").is_none());
}

#[test]
fn reports_every_structural_error_with_its_path() {
    let text = r#"
        unknown = 1
        [http]
        listen = "nowhere"
        timeout = "soon"
        colour = "red"
        max_body_bytes = -1
        [[thing]]
        name = "a"
        [[thing]]
        name = "b"
        weight = 900
        size = 3
        [nothing]
        x = 1
    "#;
    let mut found = keys(text, &dev());
    found.sort();
    assert_eq!(
        found,
        [
            "http.colour",
            "http.listen",
            "http.max_body_bytes",
            "http.timeout",
            "nothing",
            "thing[1].size",
            "thing[1].weight",
            "unknown"
        ]
    );
}

#[test]
fn a_missing_field_is_told_by_its_table() {
    for text in [
        "[http]\n[[thing]]\nweight = 1\n",
        "thing = [{ weight = 1 }]",
    ] {
        let found = findings(text, &dev());
        assert_eq!(
            found,
            [("thing[0]".to_owned(), "missing field `name`".to_owned())]
        );
    }
}

#[test]
fn a_text_that_is_not_toml_is_told_by_its_line() {
    assert_eq!(keys("[http]\nlisten =\n", &dev()), ["line 2"]);
}

#[test]
fn structural_and_cross_field_findings_come_together() {
    let text = "[http]\ncolour = 1\nmax_in_flight = 0\n[database]\nmax_connections = 0";
    let environment = Environment::of([("CARACAL_MODE", "dev"), ("REDIS_URL", "ftp://x")]);
    assert_eq!(
        keys(text, &environment),
        [
            "http.colour",
            "http.max_in_flight",
            "database.max_connections",
            "DATABASE_URL",
            "REDIS_URL"
        ]
    );
}

#[test]
fn stable_is_the_default_and_refuses_what_dev_allows() {
    let environment = Environment::of([
        ("DATABASE_URL", "postgres://db.internal/caracal"),
        ("REDIS_URL", "redis://cache.internal:6379"),
    ]);
    let text = "[http]\nlisten = \"0.0.0.0:80\"";
    assert_eq!(
        keys(text, &environment),
        [
            "http.listen",
            "METRICS_TOKEN_FILE",
            "DATABASE_PASSWORD_FILE",
            "DATABASE_URL",
            "REDIS_PASSWORD_FILE",
            "REDIS_URL"
        ]
    );
}

#[test]
fn stable_starts_with_everything_in_place() {
    let password = secret_file("v9XkP2mQz7LwR4tYbN8sJc3D");
    let token = secret_file("v9XkP2mQz7LwR4tYbN8sJc3D-v9XkP2mQz7LwR4tYbN8sJc3D");
    let path = |file: &tempfile::TempPath| file.to_str().unwrap().to_owned();
    let environment = Environment::of([
        (
            "DATABASE_URL",
            "postgres:///caracal?host=/tmp/pg".to_owned(),
        ),
        ("DATABASE_PASSWORD_FILE_STS", path(&password)),
        ("REDIS_URL", "redis://sts@127.0.0.1:6379/0".to_owned()),
        ("REDIS_PASSWORD_FILE", path(&password)),
        ("METRICS_TOKEN_FILE", path(&token)),
    ]);
    let loaded = resolve::<RawSample>("", &environment).unwrap();
    assert_eq!(loaded.mode, Mode::Stable);
    assert!(loaded.config.database.password("caracal_sts").is_some());
    assert!(loaded.config.ops.token.is_some());
    let settings = loaded.config.redis.info.redis_settings();
    assert_eq!(settings.username(), Some("sts"));
    assert!(settings.password().is_some());
}

#[test]
fn a_password_in_a_url_is_refused_and_never_repeated() {
    let environment = Environment::of([
        ("CARACAL_MODE", "dev"),
        ("DATABASE_URL", "postgres://sts:hunter2@127.0.0.1/caracal"),
        ("REDIS_URL", "redis://:hunter2@127.0.0.1"),
    ]);
    let found = resolve::<RawSample>("", &environment).unwrap_err();
    assert_eq!(found.0.len(), 2);
    assert!(!found.to_string().contains("hunter2"));
}

#[test]
fn a_mode_that_is_not_one_is_a_finding_and_is_treated_as_stable() {
    let environment = Environment::of([
        ("CARACAL_MODE", "Dev"),
        ("DATABASE_URL", "postgres:///caracal?host=/tmp/pg"),
        ("REDIS_URL", "unix:///tmp/valkey.sock"),
    ]);
    assert!(keys("", &environment).contains(&"CARACAL_MODE".to_owned()));
    assert!(keys("", &environment).contains(&"METRICS_TOKEN_FILE".to_owned()));
}

#[test]
fn a_log_filter_that_is_none_is_a_finding() {
    assert_eq!(keys("log = \"a=b=c\"", &dev()), ["log"]);
}

#[test]
fn tells_what_a_full_sample_does_not_mention() {
    let missing = unmentioned::<RawSample>("[http]\nmax_in_flight = 3").unwrap();
    assert!(missing.contains(&"http.timeout".to_owned()));
    assert!(!missing.contains(&"http.max_in_flight".to_owned()));
}

#[test]
fn every_bad_producer_is_told_by_its_place() {
    let text = r#"
        [[producer]]
        kid = "sts-1"
        public_key = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"
        service = "sts"
        kinds = ["mint"]
        [[producer]]
        kid = "sts-1"
        public_key = "short"
        service = "sts"
        kinds = []
        [[producer]]
        kid = "with space"
        public_key = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"
        service = ""
        kinds = ["cursor"]
    "#;
    assert_eq!(
        keys(text, &dev()),
        [
            "producer[1].kid",
            "producer[1].kinds",
            "producer[1].public_key",
            "producer[2].service",
            "producer[2].kid"
        ]
    );
}

#[test]
fn stable_takes_no_key_whose_seed_is_in_a_standard() {
    let text = r#"
        [[producer]]
        kid = "sts-1"
        public_key = "uWXr1R5S9VH7LwY4tYbN8sJc3Dv9XkP2mQz7LwR4tYY"
        service = "sts"
        kinds = ["mint"]
        [[producer]]
        kid = "audit-1"
        public_key = "J4EX_BRMcjQPZ9DyMW6Dhs7_vyskKMnFH-98WX8dQm4"
        service = "audit"
        kinds = ["cursor"]
    "#;
    let of_producers = |environment: &Environment| {
        let mut found = keys(text, environment);
        found.retain(|key| key.starts_with("producer"));
        found
    };
    assert!(resolve::<RawSample>(text, &dev()).is_ok());
    assert_eq!(
        of_producers(&Environment::default()),
        ["producer[1].public_key"]
    );
}

#[test]
fn stable_signs_with_no_seed_that_is_in_a_standard() {
    // RFC 8032 §7.1, test 1.
    let seed = secret_file("nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A");
    let check = |mode: &'static str| {
        let environment = Environment::of([
            ("CARACAL_MODE", mode),
            ("EVENT_KEY_FILE", seed.to_str().unwrap()),
        ]);
        let mut checks = Checks::new(&environment, Findings::default());
        let raw = RawSigner {
            kid: "sts-1".to_owned(),
        };
        assert!(raw.resolve("key", "EVENT_KEY_FILE", &mut checks).is_some());
        checks.into_findings().0.len()
    };
    assert_eq!(check("dev"), 0);
    assert_eq!(check("stable"), 1);
}

#[test]
fn stable_wants_an_https_issuer_and_a_journal_that_lasts() {
    let stable = Environment::default();
    let found = |environment: &Environment, url: &str, path: &str, attested: &str| {
        let mut checks = Checks::new(environment, Findings::default());
        let _issuer = checks.issuer("issuer", url);
        checks.durable_path("journal.dir", path.as_ref(), attested);
        checks
            .into_findings()
            .0
            .into_iter()
            .map(|finding| finding.key)
            .collect::<Vec<_>>()
    };
    let home = std::env::current_dir().unwrap().join("not/there/yet");
    let home = home.to_str().unwrap();
    assert_eq!(
        found(&stable, "http://127.0.0.1:8081", "/dev/shm/x", ""),
        ["issuer", "journal.dir"]
    );
    assert_eq!(
        found(&stable, "https://sts.example.org", "/dev/shm/x", "tests"),
        [""; 0]
    );
    assert_eq!(found(&stable, "no url", home, "attested"), ["issuer"]);
    assert_eq!(
        found(&dev(), "http://127.0.0.1:8081", "/dev/shm/x", ""),
        [""; 0]
    );
}
