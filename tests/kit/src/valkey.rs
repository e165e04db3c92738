//! Valkeys: one that tests share, a database of it for each; or one of a test's own, to be broken.

use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::OnceLock;
use std::time::Duration;

use engines::{Durability, Leash, Valkey};
use rustix::process::{Pid, Signal, kill_process};

use crate::folder::folder;

const PATIENCE: Duration = Duration::from_secs(30);
/// How many databases the shared server has.
const DATABASES: u32 = 1024;

/// The address of an empty database that no other test has, on the shared server.
pub fn valkey_url() -> String {
    let base = shared();
    let socket = base
        .strip_prefix("unix://")
        .expect("CARACAL_TEST_REDIS_URL is unix:///path");
    let mut connection = BufReader::new(UnixStream::connect(socket).expect("connecting to Valkey"));
    // Database 0 holds the count.
    let number: u32 = ask(&mut connection, "INCR caracal:kit")
        .trim_start_matches(':')
        .parse()
        .expect("a number");
    let database = 1 + number % (DATABASES - 1);
    assert_eq!(ask(&mut connection, &format!("SELECT {database}")), "+OK");
    assert_eq!(ask(&mut connection, "FLUSHDB"), "+OK");
    format!("{base}?db={database}")
}

fn ask(connection: &mut BufReader<UnixStream>, command: &str) -> String {
    connection
        .get_mut()
        .write_all(format!("{command}\r\n").as_bytes())
        .expect("asking Valkey");
    let mut line = String::new();
    connection.read_line(&mut line).expect("Valkey's answer");
    line.trim_end().to_owned()
}

fn shared() -> &'static str {
    static SHARED: OnceLock<String> = OnceLock::new();
    static OWN: OnceLock<OwnValkey> = OnceLock::new();
    SHARED.get_or_init(|| {
        if let Ok(url) = std::env::var("CARACAL_TEST_REDIS_URL") {
            return url;
        }
        let own = start(Durability::Scratch);
        let url = own.url();
        OWN.set(own).expect("one server a process");
        url
    })
}

/// A server of the test's own, to be stopped, killed and flushed at will. What is written survives both.
pub fn own_valkey() -> OwnValkey {
    start(Durability::Safe)
}

fn start(durability: Durability) -> OwnValkey {
    let user = engines::unprivileged().expect("an account to run as");
    let folder = folder(user.as_ref());
    let socket = folder.join("valkey.sock");
    let valkey = Valkey::new(&crate::tools(), &folder, &socket, user.as_ref(), durability)
        .expect("a Valkey");
    valkey.initialise(None).expect("its configuration");
    let mut own = OwnValkey {
        valkey,
        folder,
        leash: None,
    };
    own.start();
    own
}

/// A server with its folder. Dropped, both are gone.
#[derive(Debug)]
pub struct OwnValkey {
    valkey: Valkey,
    folder: PathBuf,
    leash: Option<Leash>,
}

impl OwnValkey {
    /// Its address.
    pub fn url(&self) -> String {
        self.valkey.url()
    }

    /// The pid of the server that runs.
    pub fn pid(&self) -> u32 {
        self.valkey.pid().expect("a running server")
    }

    /// Starts it again, with what it held.
    pub fn start(&mut self) {
        self.stop();
        let launch = self.valkey.launch(&self.folder.join("log"));
        self.leash = Some(Leash::start(&launch, "TERM", false).expect("starting Valkey"));
        self.valkey.wait_ready(PATIENCE).expect("Valkey");
    }

    /// Stops it and waits for its end.
    pub fn stop(&mut self) {
        self.leash.take();
    }

    /// Ends it where it stands (SIGKILL).
    pub fn kill(&mut self) {
        let pid = i32::try_from(self.pid())
            .ok()
            .and_then(Pid::from_raw)
            .expect("a pid");
        kill_process(pid, Signal::KILL).expect("killing Valkey");
        self.stop();
    }
}

impl Drop for OwnValkey {
    fn drop(&mut self) {
        self.stop();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn say(url: &str, commands: &[&str]) -> Vec<String> {
        let (socket, database) = url
            .strip_prefix("unix://")
            .unwrap()
            .split_once("?db=")
            .unwrap();
        let mut connection = BufReader::new(UnixStream::connect(socket).unwrap());
        ask(&mut connection, &format!("SELECT {database}"));
        commands
            .iter()
            .map(|command| ask(&mut connection, command))
            .collect()
    }

    #[test]
    fn tests_do_not_see_each_others_keys() {
        let (one, other) = (valkey_url(), valkey_url());
        assert_eq!(say(&one, &["SET k v", "EXISTS k"]), ["+OK", ":1"]);
        assert_eq!(say(&other, &["EXISTS k"]), [":0"]);
    }

    #[test]
    fn one_of_its_own_can_be_killed_and_holds_what_it_held() {
        let mut own = own_valkey();
        let url = format!("{}?db=0", own.url());
        assert_eq!(
            say(&url, &["CONFIG SET appendfsync always", "SET k v"]),
            ["+OK", "+OK"]
        );
        let pid = own.pid();
        own.kill();
        own.start();
        assert_ne!(own.pid(), pid);
        assert_eq!(say(&url, &["EXISTS k"]), [":1"]);
    }
}
