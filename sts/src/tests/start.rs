//! The whole process, as its configuration wires it.

use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chassis::config::{Environment, Mode, resolve};
use chassis::{App, Clock, Rng};
use uuid::Uuid;

use crate::RawConfig;

fn key(rng: &Rng) -> tempfile::TempPath {
    secret(&URL_SAFE_NO_PAD.encode(rng.bytes::<32>()))
}

/// An address without its password, and the password: configuration wants them apart.
fn apart(url: &str) -> (String, String) {
    let (place, query) = url.split_once('?').unwrap_or((url, ""));
    let is_password = |pair: &&str| pair.starts_with("password=");
    let (password, rest): (Vec<&str>, Vec<&str>) = query.split('&').partition(is_password);
    let password = password
        .first()
        .and_then(|pair| pair.strip_prefix("password="));
    (
        format!("{place}?{}", rest.join("&")),
        password.unwrap_or("none").to_owned(),
    )
}

fn secret(text: &str) -> tempfile::TempPath {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    let mode = std::fs::Permissions::from_mode(0o400);
    file.as_file().set_permissions(mode).unwrap();
    file.into_temp_path()
}

#[tokio::test]
async fn comes_up_ready_provisions_zones_and_ends_in_time() {
    let db = kit::database().await;
    let rng = Rng::from_system().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let (url, password) = apart(&db.url);
    let files = [key(&rng), key(&rng), key(&rng), secret(&password)];
    let path = |index: usize| files[index].to_str().unwrap().to_owned();
    let environment = Environment::of([
        ("CARACAL_MODE", "dev".to_owned()),
        ("DATABASE_URL", url),
        ("DATABASE_PASSWORD_FILE", path(3)),
        ("REDIS_URL", kit::valkey_url()),
        ("STS_KEK_FILE", path(0)),
        ("PEPPER_FILE", path(1)),
        ("EVENT_KEY_FILE", path(2)),
    ]);
    let text = format!(
        "[http]\nlisten = \"127.0.0.1:0\"\n[ops]\nlisten = \"127.0.0.1:0\"\n\
         [keys]\nprovision_every = \"20ms\"\n\
         [evidence]\ndir = {:?}\n",
        folder.path()
    );
    let config = resolve::<RawConfig>(&text, &environment).unwrap().config;
    let (app, mut watch) = App::with("sts", Mode::Dev, Clock::system(), rng.clone());
    crate::run(config, app.clone()).await.unwrap();

    let superuser = db.superuser().await;
    sqlx::query(
        "INSERT INTO zones (zone_id, name, issuer, state, freshness_bound_ms, version, created_at, updated_at)
         VALUES ($1, 'zone', 'https://sts.example.test/z/1', 'provisioning', 10000, 1, to_timestamp(0), to_timestamp(0))",
    )
    .bind(Uuid::from_u128(7))
    .execute(&superuser)
    .await
    .unwrap();
    let started = Instant::now();
    loop {
        let state: String = sqlx::query_scalar("SELECT state FROM zones")
            .fetch_one(&superuser)
            .await
            .unwrap();
        if app.readiness.is_ready() && state == "ready" {
            break;
        }
        let report = app.readiness.report();
        assert!(
            started.elapsed() < Duration::from_secs(10),
            "{state} {report:?}"
        );
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(
        app.lifecycle.drain(Duration::from_secs(5)).await,
        "tasks were left"
    );
    let failed = tokio::time::timeout(Duration::from_millis(50), watch.unexpected_end()).await;
    assert!(failed.is_err(), "a task ended by itself");
}
