//! The Redis client against a real server, also one that stops answering.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::time::{Duration, Instant};

use chassis::Problem;
use chassis::config::Redis;
use chassis::redis::{Client, RedisError};
use rustix::process::{Pid, Signal, kill_process};

const TIMEOUT: Duration = Duration::from_millis(200);

struct Server {
    valkey: kit::OwnValkey,
}

impl Server {
    fn start() -> Self {
        Self {
            valkey: kit::own_valkey(),
        }
    }

    fn client(&self) -> Client {
        Client::open(&Redis::at(&self.valkey.url(), TIMEOUT).unwrap()).unwrap()
    }

    fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.valkey.pid())
            .ok()
            .and_then(Pid::from_raw)
            .unwrap();
        kill_process(pid, signal).unwrap();
    }
}

fn cmd(words: &[&str]) -> redis::Cmd {
    let mut cmd = redis::Cmd::new();
    for word in words {
        cmd.arg(*word);
    }
    cmd
}

#[tokio::test]
async fn a_server_that_stops_answering_is_a_deadline_and_then_is_back() {
    let server = Server::start();
    let client = server.client();
    client.call::<()>(&cmd(&["SET", "k", "v"])).await.unwrap();

    server.signal(Signal::STOP);
    let asked = Instant::now();
    let error = client
        .call::<String>(&cmd(&["GET", "k"]))
        .await
        .unwrap_err();
    let took = asked.elapsed();
    server.signal(Signal::CONT);

    assert!(matches!(error, RedisError::Deadline(TIMEOUT)), "{error}");
    assert!(took >= TIMEOUT && took < TIMEOUT * 5, "{took:?}");
    let problem = Problem::from(error);
    assert_eq!(
        (problem.http, problem.grpc, problem.code),
        (503, 14, "unavailable")
    );
    assert!(problem.retry_after.is_some());
    let mut answer = client.call::<String>(&cmd(&["GET", "k"])).await;
    for _ in 0..50 {
        if answer.is_ok() {
            break;
        }
        answer = client.call::<String>(&cmd(&["GET", "k"])).await;
    }
    assert_eq!(answer.unwrap(), "v");
}

#[tokio::test]
async fn a_server_that_is_gone_is_unavailable_within_the_deadline() {
    let mut server = Server::start();
    let client = server.client();
    client.ping().await.unwrap();
    server.valkey.stop();
    for _ in 0..3 {
        let asked = Instant::now();
        let error = client.ping().await.unwrap_err();
        assert!(
            matches!(error, RedisError::Unavailable(_) | RedisError::Deadline(_)),
            "{error}"
        );
        assert!(asked.elapsed() < TIMEOUT * 5);
    }
}

#[tokio::test]
async fn a_blocking_command_has_a_connection_and_a_deadline_of_its_own() {
    let server = Server::start();
    let client = server.client();
    let block = Duration::from_millis(600);
    let mut dedicated = client.dedicated(block).await.unwrap();
    let read = cmd(&["XREAD", "BLOCK", "600", "STREAMS", "s", "$"]);
    let (read, ping) = tokio::join!(dedicated.call::<redis::Value>(&read), client.ping());
    assert_eq!(read.unwrap(), redis::Value::Nil);
    ping.unwrap();
}

#[tokio::test]
async fn a_refused_command_is_a_mistake_and_no_outage() {
    let server = Server::start();
    let error = server
        .client()
        .call::<()>(&cmd(&["NOSUCH"]))
        .await
        .unwrap_err();
    assert!(matches!(error, RedisError::Refused(_)), "{error}");
    assert_eq!(Problem::from(error).http, 500);
}

#[tokio::test]
async fn finds_a_server_that_evicts_or_forgets() {
    let server = Server::start();
    let client = server.client();
    let set = async |name: &str, value: &str| {
        client
            .call::<()>(&cmd(&["CONFIG", "SET", name, value]))
            .await
            .unwrap();
    };
    set("maxmemory-policy", "noeviction").await;
    set("appendonly", "yes").await;
    assert!(client.check(None).await.unwrap().is_empty());
    set("maxmemory-policy", "allkeys-lru").await;
    set("appendonly", "no").await;
    assert_eq!(client.check(None).await.unwrap().0.len(), 2);
    assert_eq!(client.check(Some("attested")).await.unwrap().0.len(), 2);
}

#[tokio::test]
async fn a_server_that_does_not_tell_wants_the_operators_word() {
    let server = Server::start();
    let root = server.client();
    let rules = [
        "ACL", "SETUSER", "limited", "on", ">pw", "~*", "+@all", "-config",
    ];
    root.call::<()>(&cmd(&rules)).await.unwrap();
    let url = format!("{}?user=limited&pass=pw", server.valkey.url());
    let limited = Client::open(&Redis::at(&url, TIMEOUT).unwrap()).unwrap();
    assert_eq!(limited.check(None).await.unwrap().0.len(), 2);
    assert!(
        limited
            .check(Some("managed by us"))
            .await
            .unwrap()
            .is_empty()
    );
    let Err(RedisError::Refused(_)) = limited.call::<()>(&cmd(&["CONFIG", "GET", "*"])).await
    else {
        panic!("was allowed")
    };
}
