//! HTTP/1.1 over plain sockets: what is sent is what was written.

use std::io::{Error, ErrorKind, Read as _, Result, Write as _};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::Value;

/// Nobody takes longer to answer: Envoy gives up on ext-authz after half a second.
const PATIENCE: Duration = Duration::from_secs(20);

/// One HTTP/1.1 answer, as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// HTTP status.
    pub status: u16,
    /// Headers; names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

impl Reply {
    /// The first value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str())
    }

    /// The body as JSON, or null.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or(Value::Null)
    }

    /// The stable code: of the problem document, or of the message of a gRPC status. `allowed` for what the echo
    /// upstream answered; empty for anybody else's answer.
    pub fn code(&self) -> String {
        let body = self.json();
        if let Some(code) = body["code"].as_str() {
            return code.to_owned();
        }
        if body["headers"].is_array() {
            return "allowed".to_owned();
        }
        let message = self.header("grpc-message").unwrap_or("");
        let ours = self.header("x-caracal-decision").is_some();
        let code = message.split(':').next().unwrap_or("");
        if ours { code.to_owned() } else { String::new() }
    }

    /// Our id of the decision: of a refusal, or the one the upstream saw.
    pub fn decision(&self) -> Option<String> {
        let refused = self.header("x-caracal-decision").map(str::to_owned);
        let told = self.json()["decision_id"].as_str().map(str::to_owned);
        refused
            .or(told)
            .or_else(|| self.seen("x-caracal-decision").pop())
    }

    /// The values of a header of the request as the echo upstream saw it.
    pub fn seen(&self, name: &str) -> Vec<String> {
        let body = self.json();
        let pairs = body["headers"].as_array().cloned().unwrap_or_default();
        pairs
            .iter()
            .filter(|pair| pair[0].as_str() == Some(name))
            .map(|pair| pair[1].as_str().unwrap_or("").to_owned())
            .collect()
    }
}

/// A connection on which one request follows the other's answer.
#[derive(Debug)]
pub struct Connection {
    stream: TcpStream,
    rest: Vec<u8>,
}

impl Connection {
    /// Connects.
    pub fn open(address: SocketAddr) -> Self {
        Self {
            stream: connect(address),
            rest: Vec::new(),
        }
    }

    /// Sends a request and reads its answer; none when the connection ends without.
    ///
    /// # Errors
    /// When there was no whole answer, or neither an answer nor an end in time.
    pub fn ask(&mut self, request: &[u8]) -> Result<Option<Reply>> {
        send(&mut self.stream, request);
        read(&mut self.stream, &mut self.rest, is_head(request))
    }
}

/// Sends bytes on a connection of their own and reads the first answer; none when the connection ends without.
pub fn exchange(address: SocketAddr, request: &[u8]) -> Option<Reply> {
    attempt(address, request).expect("an answer, or an end")
}

/// As `exchange`, where Envoy may be away, or end in the middle of an answer.
///
/// # Errors
/// When there was no connection, no whole answer, or neither an answer nor an end in time.
pub fn attempt(address: SocketAddr, request: &[u8]) -> Result<Option<Reply>> {
    let (stream, rest) = (open(address)?, Vec::new());
    Connection { stream, rest }.ask(request)
}

/// Sends bytes on a connection of their own and reads every answer, until one says that it is the last. What only tells
/// to go on is no answer.
pub fn exchange_all(address: SocketAddr, request: &[u8]) -> Vec<Reply> {
    let mut stream = connect(address);
    send(&mut stream, request);
    let mut rest = Vec::new();
    let mut replies = Vec::new();
    while let Some(reply) =
        read(&mut stream, &mut rest, is_head(request)).expect("an answer, or an end")
    {
        let last = reply.header("connection") == Some("close");
        if reply.status >= 200 {
            replies.push(reply);
        }
        if last {
            break;
        }
    }
    replies
}

/// Sends bytes and goes without waiting for an answer.
pub fn abandon(address: SocketAddr, request: &[u8]) {
    let mut stream = connect(address);
    send(&mut stream, request);
    let _ = stream.shutdown(Shutdown::Both);
}

/// A connection.
pub fn connect(address: SocketAddr) -> TcpStream {
    open(address).expect("connecting to Envoy")
}

fn open(address: SocketAddr) -> Result<TcpStream> {
    let stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    Ok(stream)
}

/// Sends what the other side takes: one that has already refused may close in between.
fn send(stream: &mut TcpStream, request: &[u8]) {
    let _ = stream.write_all(request).and_then(|()| stream.flush());
}

fn is_head(request: &[u8]) -> bool {
    request.starts_with(b"HEAD ")
}

/// Reads one answer; `rest` holds what came beyond it.
fn read(stream: &mut TcpStream, rest: &mut Vec<u8>, head: bool) -> Result<Option<Reply>> {
    let end = loop {
        if let Some(at) = find(rest, b"\r\n\r\n") {
            break at;
        }
        if !more(stream, rest)? {
            return if rest.is_empty() {
                Ok(None)
            } else {
                Err(half(rest))
            };
        }
    };
    let reply = head_of(&rest[..end]);
    rest.drain(..end + 4);
    let bodiless = head || (100..200).contains(&reply.status) || matches!(reply.status, 204 | 304);
    let body = if bodiless {
        Vec::new()
    } else if reply.header("transfer-encoding") == Some("chunked") {
        chunks(stream, rest)?
    } else if let Some(length) = reply.header("content-length") {
        let length: usize = length.parse().expect("a length");
        fill(stream, rest, length)?;
        rest.drain(..length).collect()
    } else {
        while more(stream, rest)? {}
        std::mem::take(rest)
    };
    Ok(Some(Reply { body, ..reply }))
}

fn head_of(bytes: &[u8]) -> Reply {
    let text = text(bytes);
    let mut lines = text.split("\r\n");
    let line = lines.next().expect("a status line");
    let status = line
        .split(' ')
        .nth(1)
        .and_then(|status| status.parse().ok());
    let headers = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    Reply {
        status: status.unwrap_or_else(|| panic!("no status line: {line:?}")),
        headers,
        body: Vec::new(),
    }
}

fn chunks(stream: &mut TcpStream, rest: &mut Vec<u8>) -> Result<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let line = loop {
            if let Some(at) = find(rest, b"\r\n") {
                break at;
            }
            if !more(stream, rest)? {
                return Err(half(rest));
            }
        };
        let size = usize::from_str_radix(text(&rest[..line]).trim(), 16).expect("a chunk's size");
        fill(stream, rest, line + 2 + size + 2)?;
        body.extend_from_slice(&rest[line + 2..line + 2 + size]);
        rest.drain(..line + 2 + size + 2);
        if size == 0 {
            return Ok(body);
        }
    }
}

/// Reads until there are so many bytes.
fn fill(stream: &mut TcpStream, rest: &mut Vec<u8>, length: usize) -> Result<()> {
    while rest.len() < length {
        if !more(stream, rest)? {
            return Err(half(rest));
        }
    }
    Ok(())
}

/// Whether more bytes came. A reset is an end.
fn more(stream: &mut TcpStream, rest: &mut Vec<u8>) -> Result<bool> {
    let mut buffer = [0; 8192];
    match stream.read(&mut buffer) {
        Ok(0) => Ok(false),
        Ok(count) => {
            rest.extend_from_slice(&buffer[..count]);
            Ok(true)
        }
        Err(error) if error.kind() == ErrorKind::ConnectionReset => Ok(false),
        Err(error) => Err(error),
    }
}

fn half(rest: &[u8]) -> Error {
    Error::other(format!("half an answer: {}", text(rest)))
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).position(|part| part == wanted)
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
