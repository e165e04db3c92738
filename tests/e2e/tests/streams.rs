//! An answer that goes on when its authority ends is cut off, never ended as if it were complete; others go on; and the
//! ledger says what became of it.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use e2e::attack::{Draft, HOST, PATH};
use e2e::frames::{Frames, Outcome};
use e2e::socket::connect;
use e2e::{Drip, Options, Stack, Way};
use serde_json::Value;

/// Nothing here takes longer.
const PATIENCE: Duration = Duration::from_secs(20);

/// An answer over HTTP/1.1 that is being read.
struct Reading {
    stream: TcpStream,
    bytes: Vec<u8>,
}

impl Reading {
    fn begin(address: SocketAddr, mandate: &str) -> Self {
        let mut stream = connect(address);
        stream.write_all(&Draft::new(mandate).bytes()).unwrap();
        let mut reading = Self {
            stream,
            bytes: Vec::new(),
        };
        while reading.pieces() < 3 {
            assert!(reading.more(), "it ended early: {}", reading.text());
        }
        assert!(reading.text().starts_with("HTTP/1.1 200"));
        reading
    }

    /// Whether more came; false at the end, whatever kind of end that is.
    fn more(&mut self) -> bool {
        let mut buffer = [0; 4096];
        match self.stream.read(&mut buffer) {
            Ok(0) => false,
            Ok(count) => {
                self.bytes.extend(buffer.iter().take(count));
                true
            }
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => false,
            Err(error) => panic!("{error}: {}", self.text()),
        }
    }

    /// Reads until the end, which must not be one of the answer.
    fn is_cut_off(mut self) -> String {
        while self.more() {}
        assert!(
            !self.text().ends_with("0\r\n\r\n"),
            "it looks complete: {}",
            self.text()
        );
        self.decision()
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes).into_owned()
    }

    fn pieces(&self) -> usize {
        self.text().matches("more\n").count()
    }

    fn decision(&self) -> String {
        let text = self.text();
        let (_, body) = text.split_once("\r\n\r\n").unwrap();
        body.lines().nth(1).unwrap().to_owned()
    }
}

/// The same over HTTP/2, once it has begun: what comes of it at its end.
fn reading_frames(address: SocketAddr, mandate: &str) -> JoinHandle<Outcome> {
    let credential = format!("Bearer {mandate}");
    let frames = Frames::default().headers(
        &[
            (":method", b"GET"),
            (":scheme", b"http"),
            (":authority", HOST.as_bytes()),
            (":path", PATH.as_bytes()),
            ("authorization", credential.as_bytes()),
        ],
        true,
    );
    let (tell, told) = std::sync::mpsc::channel();
    let reading = std::thread::spawn(move || {
        // Nobody listens any more once it has begun.
        frames.exchange_telling(address, &mut || drop(tell.send(())))
    });
    told.recv_timeout(PATIENCE).expect("a piece of the answer");
    reading
}

fn mandate(minted: &Value) -> &str {
    minted["mandate"].as_str().unwrap()
}

/// What the ledger has of a decision: kind, decision and code of each event, the oldest first.
fn story(stack: &Stack, decision: &str) -> Vec<[String; 3]> {
    let found = stack.ok(&["audit", "search"]).lines();
    let mut story: Vec<_> = found
        .iter()
        .filter(|event| event["decision_id"] == decision)
        .map(|event| {
            ["kind", "decision", "code"].map(|name| event[name].as_str().unwrap_or("").to_owned())
        })
        .collect();
    story.sort();
    story
}

fn is_told(stack: &Stack, decision: &str, code: &str) {
    let wanted = [["decision", "allow", "allowed"], ["outcome", "", code]];
    let started = Instant::now();
    loop {
        let story = story(stack, decision);
        if story == wanted {
            return;
        }
        assert!(started.elapsed() < PATIENCE, "{decision}: {story:?}");
        std::thread::sleep(Duration::from_millis(250));
    }
}

async fn cut_off_with_its_authority(way: Way) {
    let stack = Stack::start(&Options { way, workers: 2 });
    let drip = Drip::new().await;
    let upstream = stack.address("upstream").port();
    stack.change_envoy(|text| {
        text.replace(
            &format!("port_value: {upstream} }}"),
            &format!("port_value: {} }}", drip.address().port()),
        )
    });
    let address = stack.address("envoy");

    let [first, second] = [stack.mint_sample(), stack.mint_sample()];
    let old = Reading::begin(address, mandate(&first));
    let same = Reading::begin(address, mandate(&first));
    let framed = reading_frames(address, mandate(&first));
    let mut other = Reading::begin(address, mandate(&second));
    let session = first["session"].as_str().unwrap();
    stack.ok(&["revoke", "session", session, "--wait", "everywhere"]);
    let mut decisions = vec![old.is_cut_off(), same.is_cut_off()];
    match framed.join().unwrap() {
        Outcome::Cut(reply) => {
            let body = String::from_utf8(reply.body).unwrap();
            assert_eq!(reply.status, 200);
            decisions.push(body.lines().next().unwrap().to_owned());
        }
        outcome => panic!("{outcome:?}"),
    }
    let before = other.pieces();
    while other.pieces() < before + 20 {
        assert!(other.more(), "the other one ended, too: {}", other.text());
    }
    for decision in &decisions {
        is_told(&stack, decision, "revoked");
    }

    let short = stack.mint_sample_with(&["--ttl", "3s"]);
    let ends = Reading::begin(address, mandate(&short)).is_cut_off();
    is_told(&stack, &ends, "expired");

    assert!(other.more(), "the other one ended, too: {}", other.text());
    let allowed = [["decision", "allow", "allowed"]];
    assert_eq!(story(&stack, &other.decision()), allowed);
    let cut = stack.counted("wasmcustom.caracal_filter_streams_cut").await;
    assert_eq!(cut, 4);
    assert_eq!(stack.ok(&["audit", "verify"]).json()["ok"], true);
    println!("{way}: three answers cut off by a revocation, one by its mandate's end, one went on");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_the_filter_an_answer_ends_with_its_authority() {
    cut_off_with_its_authority(Way::Filter).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_both_an_answer_ends_with_its_authority() {
    cut_off_with_its_authority(Way::Both).await;
}
