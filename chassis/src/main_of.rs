//! From a configuration file to an exit code.

use std::future::Future;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};

use crate::clock::Clock;
use crate::config::{self, Loaded, Mode, Raw};
use crate::failure::Failure;
use crate::lifecycle::{Lifecycle, Watch};
use crate::metrics::Registry;
use crate::readiness::Readiness;
use crate::rng::Rng;
use crate::telemetry;

/// How a service was asked to run.
#[derive(Clone, Debug)]
pub struct ServeArgs {
    /// The configuration file.
    pub config: PathBuf,
    /// Only say whether the configuration is valid.
    pub check: bool,
}

/// What a process gives its service. Clones are the same process.
#[derive(Clone, Debug)]
pub struct App {
    /// The service's name.
    pub service: &'static str,
    /// How strict the process is with its surroundings.
    pub mode: Mode,
    /// The time.
    pub clock: Clock,
    /// Randomness.
    pub rng: Rng,
    /// Tasks.
    pub lifecycle: Lifecycle,
    /// Metrics.
    pub metrics: Registry,
    /// Whether it can do its work.
    pub readiness: Readiness,
}

impl App {
    /// An app on the system's clock and randomness, and the watch over its tasks.
    pub fn of_system(service: &'static str, mode: Mode) -> Result<(Self, Watch), Failure> {
        let rng = Rng::from_system().map_err(Failure::internal)?;
        Ok(Self::with(service, mode, Clock::system(), rng))
    }

    /// An app on a given clock and generator.
    pub fn with(service: &'static str, mode: Mode, clock: Clock, rng: Rng) -> (Self, Watch) {
        let (lifecycle, watch) = Lifecycle::new();
        let metrics = Registry::new(service);
        let readiness = Readiness::new();
        (
            Self {
                service,
                mode,
                clock,
                rng,
                lifecycle,
                metrics,
                readiness,
            },
            watch,
        )
    }
}

/// Runs a service: reads its configuration, starts it with `run`, waits for a signal or for a task
/// that ends by itself, drains, and says how it went.
///
/// `run` brings the service up: it connects, binds, spawns its tasks on the lifecycle and returns.
/// It may also stay until the soft token. Exit codes: 0 ended as asked or `--check` found nothing,
/// 1 something failed, 64 invalid configuration, 69 a dependency is unavailable.
pub fn main_of<R, F, Fut>(arguments: ServeArgs, run: F) -> ExitCode
where
    R: Raw,
    F: FnOnce(R::Config, App) -> Fut,
    Fut: Future<Output = Result<(), Failure>>,
{
    let ServeArgs { config, check } = arguments;
    ExitCode::from(code_of::<R, F, Fut>(&config, check, run))
}

fn code_of<R, F, Fut>(file: &Path, check: bool, run: F) -> u8
where
    R: Raw,
    F: FnOnce(R::Config, App) -> Fut,
    Fut: Future<Output = Result<(), Failure>>,
{
    let loaded = match config::load::<R>(file) {
        Ok(loaded) => loaded,
        Err(findings) => {
            let failure = Failure::from(findings);
            say(R::SERVICE, file, &failure);
            return failure.exit_code();
        }
    };
    if check {
        return 0;
    }
    telemetry::start(&loaded.log);
    match start::<R, F, Fut>(loaded, run) {
        Ok(()) => 0,
        Err(failure) => {
            tracing::error!(
                service = R::SERVICE,
                exit.code = failure.exit_code(),
                error = crate::problem::chain(&failure),
                "ended"
            );
            if matches!(failure, Failure::Configuration(_)) {
                say(R::SERVICE, file, &failure);
            }
            failure.exit_code()
        }
    }
}

/// Findings are for people: they go to stderr as lines.
fn say(service: &str, config: &Path, failure: &Failure) {
    let mut stderr = std::io::stderr().lock();
    // Where stderr is gone the exit code still tells.
    let _told = writeln!(stderr, "{service}: {}: {failure}", config.display());
}

fn start<R, F, Fut>(loaded: Loaded<R::Config>, run: F) -> Result<(), Failure>
where
    R: Raw,
    F: FnOnce(R::Config, App) -> Fut,
    Fut: Future<Output = Result<(), Failure>>,
{
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(Failure::internal)?;
    let ended = runtime.block_on(async {
        let (app, watch) = App::of_system(R::SERVICE, loaded.mode)?;
        tracing::info!(
            service = R::SERVICE,
            mode = loaded.mode.as_str(),
            "starting"
        );
        let running = run(loaded.config, app.clone());
        live(&app, watch, running, loaded.drain).await
    });
    runtime.shutdown_timeout(Duration::from_secs(1));
    ended
}

/// Lives until a signal or an end that should not be, then drains.
async fn live(
    app: &App,
    mut watch: Watch,
    running: impl Future<Output = Result<(), Failure>>,
    drain: Duration,
) -> Result<(), Failure> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut running = std::pin::pin!(running);
    let mut up = false;
    let ended = loop {
        tokio::select! {
            _ = terminate.recv() => break Ok(()),
            _ = interrupt.recv() => break Ok(()),
            end = watch.unexpected_end() => break Err(Failure::internal(end)),
            result = &mut running, if !up => match result {
                Ok(()) => {
                    up = true;
                    tracing::info!(service = app.service, "up");
                }
                Err(failure) => break Err(failure),
            },
        }
    };
    app.readiness.drain();
    app.lifecycle.soft().cancel();
    if !up && ended.is_ok() {
        // A service that stays in `run` ends there; one that was still starting is dropped.
        let _stopped = tokio::time::timeout(drain, running).await;
    }
    let finished = app.lifecycle.drain(drain).await;
    tracing::info!(service = app.service, drain.finished = finished, "ended");
    ended
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use serde::{Deserialize, Serialize};

    use super::*;
    use crate::config::Checks;

    #[derive(Debug, Default, Serialize, Deserialize)]
    #[serde(deny_unknown_fields, default)]
    struct RawSample {
        name: String,
    }

    impl Raw for RawSample {
        type Config = String;
        const SERVICE: &'static str = "sample";

        fn resolve(self, checks: &mut Checks<'_>) -> Option<String> {
            checks.ensure(!self.name.contains(' '), "name", "must not have spaces");
            Some(self.name)
        }
    }

    fn code<Fut>(text: &str, check: bool, run: impl FnOnce(String, App) -> Fut) -> u8
    where
        Fut: Future<Output = Result<(), Failure>>,
    {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(text.as_bytes()).unwrap();
        code_of::<RawSample, _, _>(file.path(), check, run)
    }

    async fn never_run(_: String, _: App) -> Result<(), Failure> {
        panic!("must not run")
    }

    #[test]
    fn invalid_configuration_ends_with_64_before_anything_runs() {
        assert_eq!(code("name = \"a b\"", false, never_run), 64);
        assert_eq!(code("name = \"a b\"", true, never_run), 64);
        assert_eq!(code("nonsense = 1", false, never_run), 64);
        let missing = Path::new("/nonexistent/sample.toml");
        assert_eq!(code_of::<RawSample, _, _>(missing, false, never_run), 64);
    }

    #[test]
    fn a_check_of_a_valid_file_ends_with_0_and_runs_nothing() {
        assert_eq!(code("name = \"a\"", true, never_run), 0);
    }

    #[test]
    fn an_unreachable_dependency_ends_with_69() {
        let ended = code("", false, async |_, _| {
            Err(Failure::dependency("redis", "refused"))
        });
        assert_eq!(ended, 69);
    }

    #[test]
    fn findings_of_the_start_checks_end_with_64() {
        let ended = code("", false, async |_, app: App| {
            let mut preflight = crate::preflight::Preflight::new(app.mode);
            preflight.find("REDIS_URL", "the server runs with appendonly no");
            preflight.finish()
        });
        assert_eq!(ended, 64);
    }

    #[test]
    fn a_panic_in_one_task_ends_the_process_with_1() {
        let ended = code("", false, async |_, app: App| {
            let boom = std::future::poll_fn(|_| -> std::task::Poll<()> { panic!("boom") });
            app.lifecycle.spawn("boom", boom);
            Ok(())
        });
        assert_eq!(ended, 1);
    }
}
