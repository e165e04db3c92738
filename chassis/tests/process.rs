//! A process on the chassis, from outside: signals and exit codes.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use chassis::config::{Checks, Period, Raw};
use chassis::{App, Failure, ServeArgs};
use serde::{Deserialize, Serialize};

/// Names the configuration file when this test binary is to be the service itself.
const CHILD: &str = "CHASSIS_CHILD";

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawSample {
    stubborn: bool,
}

impl Raw for RawSample {
    type Config = bool;
    const SERVICE: &'static str = "sample";

    fn resolve(self, _checks: &mut Checks<'_>) -> Option<bool> {
        Some(self.stubborn)
    }

    fn drain(&self) -> Period {
        Period::from_millis(300)
    }
}

async fn run(stubborn: bool, app: App) -> Result<(), Failure> {
    let soft = app.lifecycle.soft().clone();
    app.lifecycle.spawn("work", async move {
        soft.cancelled().await;
        if stubborn {
            std::future::pending::<()>().await;
        }
    });
    Ok(())
}

/// Not a test by itself: the service that the tests below start.
#[test]
fn child() -> ExitCode {
    let Some(config) = std::env::var_os(CHILD) else {
        return ExitCode::SUCCESS;
    };
    let arguments = ServeArgs {
        config: config.into(),
        check: false,
    };
    chassis::main_of::<RawSample, _, _>(arguments, run)
}

fn start(text: &str) -> (Child, tempfile::NamedTempFile) {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child", "--nocapture"])
        .env(CHILD, file.path())
        .env("CARACAL_MODE", "dev")
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    (child, file)
}

/// Closes the reading end of the child's log on return: the child must live with that.
fn wait_until_up(child: &mut Child) {
    let stderr = BufReader::new(child.stderr.take().unwrap());
    let mut lines = stderr.lines().map_while(Result::ok);
    assert!(lines.any(|line| line.contains("\"up\"")), "never came up");
}

fn terminate(child: &mut Child) -> (Option<i32>, Duration) {
    let pid = rustix::process::Pid::from_raw(i32::try_from(child.id()).unwrap()).expect("a pid");
    let asked = Instant::now();
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    (child.wait().unwrap().code(), asked.elapsed())
}

#[test]
fn ends_with_0_when_asked_to() {
    let (mut child, _file) = start("stubborn = false");
    wait_until_up(&mut child);
    let (code, took) = terminate(&mut child);
    assert_eq!(code, Some(0));
    assert!(took < Duration::from_secs(5), "{took:?}");
}

#[test]
fn a_task_that_does_not_finish_is_dropped_at_the_deadline() {
    let (mut child, _file) = start("stubborn = true");
    wait_until_up(&mut child);
    let (code, took) = terminate(&mut child);
    assert_eq!(code, Some(0));
    assert!(took >= Duration::from_millis(250), "{took:?}");
    assert!(took < Duration::from_secs(5), "{took:?}");
}
