use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::{Client, Way};

/// How a stack is started.
#[derive(Debug, Clone)]
pub struct Options {
    /// Envoy's worker threads.
    pub workers: u32,
    /// How its listener is protected.
    pub way: Way,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            workers: 1,
            way: Way::default(),
        }
    }
}

/// What a command left behind.
#[derive(Debug)]
pub struct Output {
    /// Exit code.
    pub code: i32,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl Output {
    /// The one JSON document on standard output.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout)
            .unwrap_or_else(|error| panic!("{error} in {:?}; {}", self.stdout, self.stderr))
    }

    /// The JSON documents on standard output, one a line.
    pub fn lines(&self) -> Vec<Value> {
        self.stdout
            .lines()
            .filter(|line| !line.trim().is_empty())
            .map(|line| {
                serde_json::from_str(line).unwrap_or_else(|error| panic!("{error} in {line:?}"))
            })
            .collect()
    }
}

/// A running stack with a home of its own; dropped, it is taken down with its data.
#[derive(Debug)]
pub struct Stack {
    home: PathBuf,
    _folder: tempfile::TempDir,
    status: Value,
    options: Options,
}

impl Stack {
    /// Starts a stack and waits until it is ready.
    pub fn start(options: &Options) -> Self {
        let folder = tempfile::Builder::new()
            .prefix("caracal-e2e-")
            .tempdir()
            .expect("a folder");
        let home = folder.path().join("home");
        let base = free_port_base();
        let workers = options.workers.to_string();
        let base = base.to_string();
        let output = caracal(&[
            "up",
            "--json",
            "--attach",
            options.way.name(),
            "--home",
            path(&home),
            "--port-base",
            &base,
            "--workers",
            &workers,
        ]);
        assert_eq!(
            output.code, 0,
            "caracal up: {}{}",
            output.stdout, output.stderr
        );
        let status = output.json();
        assert_eq!(status["ready"], true, "{status}");
        Self {
            home,
            _folder: folder,
            status,
            options: options.clone(),
        }
    }

    /// How it was started.
    pub fn options(&self) -> &Options {
        &self.options
    }

    /// `caracal` with this stack's home, in JSON.
    pub fn run(&self, arguments: &[&str]) -> Output {
        let mut all = arguments.to_vec();
        all.extend(["--json", "--home", path(&self.home)]);
        caracal(&all)
    }

    /// As `run`, and it must succeed.
    pub fn ok(&self, arguments: &[&str]) -> Output {
        let output = self.run(arguments);
        assert_eq!(
            output.code, 0,
            "caracal {arguments:?}: {}{}",
            output.stdout, output.stderr
        );
        output
    }

    /// The folder that holds everything of this stack.
    pub fn home(&self) -> &Path {
        &self.home
    }

    /// The status `up` printed.
    pub fn status(&self) -> &Value {
        &self.status
    }

    /// The status now.
    pub fn status_now(&self) -> Value {
        self.run(&["status"]).json()
    }

    /// The zone of the sample.
    pub fn zone(&self) -> &str {
        self.status["zone"].as_str().expect("a zone")
    }

    /// One part of the sample, e.g. `allow`.
    pub fn sample(&self, part: &str) -> &Value {
        &self.status["sample"][part]
    }

    /// A client for an endpoint, e.g. `envoy`.
    pub fn client(&self, endpoint: &str) -> Client {
        Client::new(
            self.status["endpoints"][endpoint]
                .as_str()
                .unwrap_or_else(|| panic!("no endpoint {endpoint}")),
        )
    }

    /// Where an endpoint listens.
    pub fn address(&self, endpoint: &str) -> SocketAddr {
        let url = self.status["endpoints"][endpoint].as_str();
        url.and_then(|url| url.strip_prefix("http://"))
            .and_then(|address| address.parse().ok())
            .unwrap_or_else(|| panic!("no endpoint {endpoint}"))
    }

    /// The bootstrap admin token.
    pub fn admin_token(&self) -> String {
        let file = self.status["admin_token_file"]
            .as_str()
            .expect("admin_token_file");
        std::fs::read_to_string(file)
            .expect("the admin token")
            .trim()
            .to_owned()
    }

    /// A URL held in a file of the status, e.g. `database_url_file`.
    pub fn url(&self, name: &str) -> String {
        let file = self.status[name]
            .as_str()
            .unwrap_or_else(|| panic!("no {name}"));
        std::fs::read_to_string(file)
            .expect("a URL file")
            .trim()
            .to_owned()
    }

    /// A connection as the database's superuser.
    pub async fn superuser(&self) -> sqlx::PgConnection {
        use sqlx::Connection as _;
        sqlx::PgConnection::connect(&self.url("database_url_file"))
            .await
            .expect("the superuser's connection")
    }

    /// Mints with more arguments; gives the command's JSON.
    pub fn mint(&self, arguments: &[&str]) -> Value {
        let mut all = vec!["mandate", "mint"];
        all.extend_from_slice(arguments);
        self.ok(&all).json()
    }

    /// Mints a mandate for the sample's allowed request.
    pub fn mint_sample(&self) -> Value {
        self.mint_sample_with(&[])
    }

    /// As `mint_sample`, with more arguments.
    pub fn mint_sample_with(&self, more: &[&str]) -> Value {
        let allow = self.sample("allow").clone();
        let mut arguments = vec![
            "--resource".to_owned(),
            allow["resource"].as_str().expect("resource").to_owned(),
        ];
        for scope in allow["scopes"].as_array().expect("scopes") {
            arguments.extend([
                "--scope".to_owned(),
                scope.as_str().expect("scope").to_owned(),
            ]);
        }
        let mut arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        arguments.extend(more);
        self.mint(&arguments)
    }

    /// The pid of a process now.
    pub fn pid(&self, name: &str) -> Pid {
        let status = self.status_now();
        let pid = status["processes"]
            .as_array()
            .and_then(|processes| processes.iter().find(|process| process["name"] == name))
            .and_then(|process| process["pid"].as_i64())
            .unwrap_or_else(|| panic!("no process {name} in {status}"));
        Pid::from_raw(i32::try_from(pid).expect("a pid")).expect("a pid")
    }

    /// Sends a signal to a process of the stack.
    pub fn signal(&self, name: &str, signal: Signal) {
        kill_process(self.pid(name), signal).expect("signalling");
    }

    /// A counter of Envoy's; 0 where it has none of that name.
    pub async fn counted(&self, name: &str) -> u64 {
        self.counted_all(&name.replace('.', "\\.")).await
    }

    /// The sum of Envoy's counters whose whole name fits an expression.
    pub async fn counted_all(&self, names: &str) -> u64 {
        let path = format!("/stats?filter=^{names}$");
        let text = self.client("envoy_admin").text(&path).await;
        let values = text.lines().filter_map(|line| line.rsplit_once(": "));
        values
            .map(|(_, value)| value.parse::<u64>().expect("a counter"))
            .sum()
    }

    /// The file that its Envoy runs from.
    pub fn envoy_config(&self) -> PathBuf {
        let pid = self.pid("envoy").as_raw_nonzero();
        let arguments = std::fs::read_to_string(format!("/proc/{pid}/cmdline")).expect("/proc");
        let mut arguments = arguments.split('\0');
        arguments.find(|argument| *argument == "--config-path");
        PathBuf::from(arguments.next().expect("a configuration"))
    }

    /// Changes the file that its Envoy runs from, starts Envoy anew, and waits until the stack is ready.
    pub fn change_envoy(&self, change: impl Fn(&str) -> String) {
        self.restart_envoy(change);
        self.wait_ready();
    }

    /// Changes the file that its Envoy runs from, and ends Envoy, which is started anew.
    pub(crate) fn restart_envoy(&self, change: impl Fn(&str) -> String) {
        let file = self.envoy_config();
        let text = std::fs::read_to_string(&file).expect("a configuration");
        let changed = change(&text);
        assert_ne!(text, changed, "nothing was changed");
        std::fs::write(&file, changed).expect("writing the configuration");
        self.signal("envoy", Signal::KILL);
    }

    /// The process that restarts the others.
    pub fn supervisor(&self) -> Pid {
        let child = self.pid("coordinator").as_raw_nonzero();
        let stat = std::fs::read_to_string(format!("/proc/{child}/stat")).expect("/proc");
        let after = stat.rsplit_once(')').expect("stat").1;
        let parent: i32 = after
            .split_whitespace()
            .nth(1)
            .expect("ppid")
            .parse()
            .expect("ppid");
        Pid::from_raw(parent).expect("a pid")
    }

    /// Waits until `status` says ready.
    pub fn wait_ready(&self) {
        let deadline = Instant::now() + Duration::from_mins(1);
        loop {
            let output = self.run(&["status", "--ready"]);
            if output.code == 0 {
                return;
            }
            assert!(
                Instant::now() < deadline,
                "not ready: {}{}",
                output.stdout,
                output.stderr
            );
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        let output = self.run(&["down", "--purge"]);
        let ended = output.code == 0 || std::thread::panicking();
        assert!(ended, "caracal down: {}{}", output.stdout, output.stderr);
    }
}

/// Runs the binary under test.
pub fn caracal(arguments: &[&str]) -> Output {
    let output = Command::new(binary())
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .expect("running caracal");
    Output {
        code: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

pub(crate) fn binary() -> PathBuf {
    if let Some(named) = std::env::var_os("CARACAL_BIN") {
        return PathBuf::from(named);
    }
    let own = std::env::current_exe().expect("the test's own path");
    let profile = own
        .parent()
        .and_then(Path::parent)
        .expect("target/<profile>/deps");
    let binary = profile.join("caracal");
    assert!(
        binary.exists(),
        "{} is missing; `cargo build -p cli` makes it",
        binary.display()
    );
    binary
}

/// A base such that the stack's ports are free: tests run side by side.
fn free_port_base() -> u16 {
    const OFFSETS: [u16; 12] = [80, 81, 82, 83, 99, 1081, 1082, 1083, 1090, 1091, 1092, 1901];
    let probe = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
    let seed = probe.local_addr().expect("an address").port();
    let free = |port: u16| TcpListener::bind(("127.0.0.1", port)).is_ok();
    (0..90)
        .map(|step| 10_000 + ((seed + step) % 90) * 200)
        .find(|base| OFFSETS.iter().all(|offset| free(base + offset)))
        .expect("free ports")
}

fn path(path: &Path) -> &str {
    path.to_str().expect("a UTF-8 path")
}
