//! A process that cannot outlive the one that started it, not even one that was killed.

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::Context as _;

use crate::launch::Launch;

/// Runs the program until the pipe on standard input ends, which it does when whoever holds the other end is
/// gone; then ends the program, and removes the folder if one is named.
const SCRIPT: &str = r#"
signal=$1; remove=$2; shift 2
"$@" </dev/null &
child=$!
cat >/dev/null
kill -s "$signal" "$child" 2>/dev/null
wait "$child"
cd /
[ -z "$remove" ] || rm -rf -- "$remove"
"#;

/// How long a program may take to end.
const PATIENCE: Duration = Duration::from_secs(20);

/// A running program. Dropped, or left behind by a process that died, it ends.
#[derive(Debug)]
pub struct Leash {
    shell: Child,
}

impl Leash {
    /// Starts `launch`; ended by `signal` (`INT`, `TERM`, …). `remove`: its folder goes with it.
    pub fn start(launch: &Launch, signal: &str, remove: bool) -> anyhow::Result<Self> {
        let mut command = Command::new("/bin/sh");
        let folder = if remove {
            launch.folder.as_os_str()
        } else {
            "".as_ref()
        };
        command
            .args(["-c", SCRIPT, "sh", signal])
            .arg(folder)
            .arg(&launch.program)
            .args(&launch.arguments);
        launch.dress(&mut command)?;
        command.env("PATH", "/usr/bin:/bin").stdin(Stdio::piped());
        let shell = command
            .spawn()
            .with_context(|| format!("starting {}", launch.program.display()))?;
        Ok(Self { shell })
    }

    /// Ends the program and waits for it.
    pub fn end(&mut self) {
        drop(self.shell.stdin.take());
        let started = Instant::now();
        while started.elapsed() < PATIENCE {
            match self.shell.try_wait() {
                Ok(None) => std::thread::sleep(Duration::from_millis(5)),
                Ok(Some(_)) | Err(_) => return,
            }
        }
    }
}

impl Drop for Leash {
    fn drop(&mut self) {
        self.end();
    }
}
