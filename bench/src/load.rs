//! A closed-loop HTTP/1.1 driver: each connection sends, reads the answer, sends again.

use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// What a round of load saw.
#[derive(Debug, Default)]
pub(crate) struct Round {
    pub(crate) requests: u64,
    pub(crate) seconds: f64,
    /// Answers of another status than expected.
    pub(crate) others: u64,
    pub(crate) latencies_us: Vec<f64>,
}

/// One request as bytes on the wire.
pub(crate) fn request(method: &str, host: &str, path: &str, mandate: &str) -> Vec<u8> {
    format!("{method} {path} HTTP/1.1\r\nhost: {host}\r\nauthorization: Bearer {mandate}\r\naccept: */*\r\n\r\n").into_bytes()
}

/// Sends `request` over `connections` for `time`; every answer must be `status`.
pub(crate) async fn run(
    port: u16,
    request: &[u8],
    connections: usize,
    time: Duration,
    status: u16,
) -> anyhow::Result<Round> {
    let started = Instant::now();
    let deadline = started + time;
    let mut tasks = Vec::new();
    for _ in 0..connections {
        let request = request.to_vec();
        tasks.push(tokio::spawn(connection(port, request, deadline, status)));
    }
    let mut round = Round::default();
    for task in tasks {
        let (latencies, others) = task.await??;
        round.others += others;
        round.requests += latencies.len() as u64;
        round.latencies_us.extend(latencies);
    }
    // A stall of the disk makes a few answers come too late to decide; more of them would be another benchmark.
    if round.others * 100 > round.requests {
        bail!(
            "{} of {} answers had another status than {status}",
            round.others,
            round.requests
        );
    }
    round.seconds = started.elapsed().as_secs_f64();
    Ok(round)
}

async fn connection(
    port: u16,
    request: Vec<u8>,
    deadline: Instant,
    status: u16,
) -> anyhow::Result<(Vec<f64>, u64)> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))
        .await
        .context("connecting to Envoy")?;
    stream.set_nodelay(true)?;
    let mut buffer = Vec::with_capacity(8192);
    let (mut latencies, mut others) = (Vec::new(), 0);
    while Instant::now() < deadline {
        let sent = Instant::now();
        stream.write_all(&request).await?;
        let answered = answer(&mut stream, &mut buffer).await?;
        if answered != status {
            others += 1;
        }
        latencies.push(sent.elapsed().as_secs_f64() * 1e6);
        buffer.clear();
    }
    Ok((latencies, others))
}

/// Sends one request on an open connection and gives the status.
pub(crate) async fn once(
    stream: &mut TcpStream,
    request: &[u8],
    buffer: &mut Vec<u8>,
) -> anyhow::Result<u16> {
    buffer.clear();
    stream.write_all(request).await?;
    answer(stream, buffer).await
}

/// Reads one answer with a content length or chunks; gives its status.
async fn answer(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> anyhow::Result<u16> {
    loop {
        if let Some(head) = find(buffer, b"\r\n\r\n") {
            let text = String::from_utf8_lossy(buffer.get(..head).unwrap_or_default())
                .to_ascii_lowercase();
            let complete = if let Some(length) = text
                .lines()
                .find_map(|line| line.strip_prefix("content-length:"))
            {
                buffer.len()
                    >= head + 4 + length.trim().parse::<usize>().context("content-length")?
            } else {
                !text.contains("transfer-encoding: chunked") || buffer.ends_with(b"0\r\n\r\n")
            };
            if complete {
                let status = text.split_whitespace().nth(1).context("a status line")?;
                return status.parse().context("a status");
            }
        }
        if stream.read_buf(buffer).await? == 0 {
            bail!("Envoy closed the connection");
        }
    }
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack
        .windows(needle.len())
        .position(|window| window == needle)
}
