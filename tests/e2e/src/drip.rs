use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// The pause between two pieces.
const PAUSE: Duration = Duration::from_millis(20);

/// An upstream that never comes to an end of its answer. The first thing it says is the decision that it was shown, on a
/// line of its own.
#[derive(Debug)]
pub struct Drip {
    address: SocketAddr,
    serving: JoinHandle<()>,
}

impl Drip {
    /// Serves on a port of its own.
    pub async fn new() -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
        let address = listener.local_addr().expect("an address");
        #[expect(clippy::disallowed_methods, reason = "a test has no task tracker")]
        let serving = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                #[expect(clippy::disallowed_methods, reason = "a test has no task tracker")]
                tokio::spawn(drip(stream));
            }
        });
        Self { address, serving }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Drip {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

/// Answers one request until nobody reads any more.
async fn drip(mut stream: TcpStream) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let Ok(byte) = stream.read_u8().await else {
            return;
        };
        head.push(byte);
    }
    let head = String::from_utf8_lossy(&head);
    let shown = head
        .lines()
        .find_map(|line| line.strip_prefix("x-caracal-decision: "));
    let mut piece = shown.unwrap_or_default().to_owned() + "\n";
    let begin =
        "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
    let mut sent = stream.write_all(begin.as_bytes()).await;
    while sent.is_ok() {
        let chunk = format!("{:x}\r\n{piece}\r\n", piece.len());
        sent = stream.write_all(chunk.as_bytes()).await;
        "more\n".clone_into(&mut piece);
        tokio::time::sleep(PAUSE).await;
    }
}
