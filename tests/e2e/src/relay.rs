use std::net::SocketAddr;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// What a relay does to what goes back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Line {
    /// It passes.
    Open,
    /// It waits until the line is open again.
    Held,
    /// The connection ends as soon as there is something.
    Cut,
}

/// Something between two parts that can hold up and cut off what one of them answers.
#[derive(Debug)]
pub struct Relay {
    address: SocketAddr,
    line: watch::Sender<Line>,
    serving: JoinHandle<()>,
}

impl Relay {
    /// A relay to an address, on a port of its own.
    pub async fn new(to: SocketAddr) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let (line, told) = watch::channel(Line::Open);
        #[expect(clippy::disallowed_methods, reason = "a test has no task tracker")]
        let serving = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                #[expect(clippy::disallowed_methods, reason = "a test has no task tracker")]
                tokio::spawn(join(stream, to, told.clone()));
            }
        });
        Self {
            address,
            line,
            serving,
        }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Changes what it does.
    pub fn set(&self, line: Line) {
        self.line.send_replace(line);
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

/// Joins a connection to another until either ends.
async fn join(stream: TcpStream, to: SocketAddr, line: watch::Receiver<Line>) {
    let Ok(other) = TcpStream::connect(to).await else {
        return;
    };
    let (mut from, back) = stream.into_split();
    let (answers, mut forth) = other.into_split();
    tokio::select! {
        _ = tokio::io::copy(&mut from, &mut forth) => {}
        () = answer(answers, back, line) => {}
    }
}

async fn answer(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mut line: watch::Receiver<Line>) {
    let mut buffer = [0; 16 * 1024];
    loop {
        let Ok(count @ 1..) = from.read(&mut buffer).await else {
            return;
        };
        let Ok(now) = line
            .wait_for(|line| *line != Line::Held)
            .await
            .map(|now| *now)
        else {
            return;
        };
        if now == Line::Cut || to.write_all(&buffer[..count]).await.is_err() {
            return;
        }
    }
}
