//! All tests, against one PostgreSQL and one Valkey that live as long as the command.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use engines::{Durability, Leash, Postgres, Valkey};
use xshell::{Shell, cmd};

/// Connections over the socket need none where durability is scratch; initdb wants one all the same.
const PASSWORD: &str = "scratch";
const PATIENCE: Duration = Duration::from_mins(1);

/// The engines of a run. Dropped, or left behind by a command that was killed, they end and leave nothing.
pub(crate) struct Engines {
    postgres: Postgres,
    valkey: Valkey,
    _leashes: [Leash; 2],
}

impl Engines {
    pub(crate) fn start() -> anyhow::Result<Self> {
        let tools = engines::install().context("installing the engines")?;
        let user = engines::unprivileged()?;
        let folder = |name: &str| -> anyhow::Result<PathBuf> {
            let path = std::env::temp_dir().join(format!("caracal-{name}-{}", std::process::id()));
            fs::create_dir_all(&path).with_context(|| format!("making {}", path.display()))?;
            fs::set_permissions(&path, fs::Permissions::from_mode(0o700))?;
            if let Some(user) = &user {
                chown(&path, Some(user.uid), Some(user.gid))?;
            }
            Ok(path)
        };
        let (data, news) = (folder("pg")?, folder("valkey")?);
        let postgres = Postgres::new(&tools, &data, &data, user.as_ref(), Durability::Scratch)?;
        postgres.initialise(PASSWORD)?;
        let postgres_leash = Leash::start(&postgres.launch(&data.join("log")), "INT", true)?;
        let valkey = Valkey::new(
            &tools,
            &news,
            &news.join("valkey.sock"),
            user.as_ref(),
            Durability::Scratch,
        )?;
        valkey.initialise(None)?;
        let valkey_leash = Leash::start(&valkey.launch(&news.join("log")), "TERM", true)?;
        postgres.wait_ready(PATIENCE)?;
        valkey.wait_ready(PATIENCE)?;
        Ok(Self {
            postgres,
            valkey,
            _leashes: [postgres_leash, valkey_leash],
        })
    }

    /// The superuser's address of the maintenance database.
    pub(crate) fn database_url(&self) -> String {
        self.postgres.superuser_url("postgres", PASSWORD)
    }

    /// Valkey's address.
    pub(crate) fn redis_url(&self) -> String {
        self.valkey.url()
    }
}

/// Runs the tests; arguments are passed to `cargo test`.
pub(crate) fn run(shell: &Shell, arguments: &[String]) -> anyhow::Result<()> {
    let engines = Engines::start()?;
    let _database = shell.push_env("CARACAL_TEST_DATABASE_URL", engines.database_url());
    let _redis = shell.push_env("CARACAL_TEST_REDIS_URL", engines.redis_url());
    cmd!(
        shell,
        "cargo test --locked --workspace --all-features {arguments...}"
    )
    .run()?;
    Ok(())
}
