//! Starts the real servers, as the user they run as, and ends them.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::time::Duration;

use engines::{Durability, Leash, Postgres, User, Valkey, install, unprivileged};

const PATIENCE: Duration = Duration::from_secs(30);

fn folder(user: Option<&User>) -> PathBuf {
    let folder = tempfile::Builder::new()
        .prefix("caracal-")
        .tempdir_in("/tmp")
        .unwrap()
        .keep();
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o700)).unwrap();
    if let Some(user) = user {
        chown(&folder, Some(user.uid), Some(user.gid)).unwrap();
    }
    folder
}

fn gone(path: &Path) -> bool {
    (0..500).any(|_| {
        std::thread::sleep(Duration::from_millis(10));
        !path.exists()
    })
}

#[test]
fn postgres_starts_and_leaves_nothing_behind() {
    let tools = install().unwrap();
    let user = unprivileged().unwrap();
    let folder = folder(user.as_ref());
    let postgres =
        Postgres::new(&tools, &folder, &folder, user.as_ref(), Durability::Scratch).unwrap();
    postgres.initialise("secret").unwrap();
    postgres.initialise("secret").unwrap();
    let leash = Leash::start(&postgres.launch(&folder.join("log")), "INT", true).unwrap();
    postgres.wait_ready(PATIENCE).unwrap();
    drop(leash);
    assert!(!postgres.ready());
    assert!(gone(&folder), "{} is still there", folder.display());
}

#[test]
fn valkey_starts_and_leaves_nothing_behind() {
    let tools = install().unwrap();
    let user = unprivileged().unwrap();
    let folder = folder(user.as_ref());
    let socket = folder.join("valkey.sock");
    let valkey = Valkey::new(&tools, &folder, &socket, user.as_ref(), Durability::Safe).unwrap();
    valkey.initialise(Some("secret")).unwrap();
    let leash = Leash::start(&valkey.launch(&folder.join("log")), "TERM", true).unwrap();
    valkey.wait_ready(PATIENCE).unwrap();
    drop(leash);
    assert!(!valkey.ready());
    assert!(gone(&folder), "{} is still there", folder.display());
}

#[test]
fn a_socket_path_that_the_system_would_cut_is_refused() {
    let tools = install().unwrap();
    let long = PathBuf::from("/tmp").join("x".repeat(100));
    assert!(Postgres::new(&tools, &long, &long, None, Durability::Safe).is_err());
    assert!(
        Valkey::new(
            &tools,
            &long,
            &long.join("valkey.sock"),
            None,
            Durability::Safe
        )
        .is_err()
    );
}
