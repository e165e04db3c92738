//! HTTP/2 frame by frame, so that it may break every rule.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};

use crate::Reply;
use crate::socket::connect;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const GOAWAY: u8 = 7;
const CONTINUATION: u8 = 9;

const END_STREAM: u8 = 1;
const ACK: u8 = 1;
const END_HEADERS: u8 = 4;

/// What came of one HTTP/2 request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// An answer. Of its headers only the status is read.
    Answer(Reply),
    /// The stream was reset, or the connection ended.
    Refused,
    /// The same, when this much of an answer had come.
    Cut(Reply),
}

/// One HTTP/2 request (RFC 9113), written frame by frame, so that it may break every rule.
#[derive(Debug, Clone, Default)]
pub struct Frames {
    bytes: Vec<u8>,
}

impl Frames {
    /// A header block, whole in one frame. Names and values go in as they are.
    #[must_use]
    pub fn headers(self, fields: &[(&str, &[u8])], end: bool) -> Self {
        let flags = END_HEADERS | if end { END_STREAM } else { 0 };
        self.frame(HEADERS, flags, 1, &block(fields))
    }

    /// A header block over many frames (RFC 9113 §6.10).
    #[must_use]
    pub fn in_pieces(mut self, fields: &[(&str, &[u8])], size: usize) -> Self {
        let block = block(fields);
        let count = block.chunks(size).count();
        for (at, piece) in block.chunks(size).enumerate() {
            let kind = if at == 0 { HEADERS } else { CONTINUATION };
            let mut flags = if at + 1 == count { END_HEADERS } else { 0 };
            if at == 0 {
                flags |= END_STREAM;
            }
            self = self.frame(kind, flags, 1, piece);
        }
        self
    }

    /// A piece of the body.
    #[must_use]
    pub fn data(self, bytes: &[u8], end: bool) -> Self {
        self.frame(DATA, if end { END_STREAM } else { 0 }, 1, bytes)
    }

    /// The end of the stream by its client.
    #[must_use]
    pub fn reset(self) -> Self {
        self.frame(RST_STREAM, 0, 1, &8_u32.to_be_bytes())
    }

    fn frame(mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Self {
        let length = u32::try_from(payload.len()).expect("a frame").to_be_bytes();
        self.bytes.extend_from_slice(&length[1..]);
        self.bytes.extend([kind, flags]);
        self.bytes.extend(stream.to_be_bytes());
        self.bytes.extend_from_slice(payload);
        self
    }

    /// Sends it on a connection of its own and reads what comes of it.
    pub fn exchange(&self, address: SocketAddr) -> Outcome {
        self.exchange_telling(address, &mut || {})
    }

    /// As `exchange`; calls `begun` with each piece of the body that comes.
    pub fn exchange_telling(&self, address: SocketAddr, begun: &mut dyn FnMut()) -> Outcome {
        let mut stream = connect(address);
        let mut opening = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
        // No table of headers: each answer can be read by itself (RFC 7541 §4.2).
        let settings = Self::default().frame(SETTINGS, 0, 0, &[0, 1, 0, 0, 0, 0]);
        opening.extend(settings.bytes);
        opening.extend(&self.bytes);
        let _ = stream.write_all(&opening);
        outcome(&mut stream, begun)
    }
}

fn outcome(stream: &mut TcpStream, begun: &mut dyn FnMut()) -> Outcome {
    let mut reply = Reply {
        status: 0,
        headers: Vec::new(),
        body: Vec::new(),
    };
    while let Some((kind, flags, id, payload)) = next(stream) {
        match kind {
            SETTINGS if flags & ACK == 0 => {
                let acknowledged = Frames::default().frame(SETTINGS, ACK, 0, &[]);
                let _ = stream.write_all(&acknowledged.bytes);
            }
            HEADERS if id == 1 => reply.status = status(&payload),
            DATA if id == 1 => {
                reply.body.extend_from_slice(&payload);
                begun();
            }
            RST_STREAM if id == 1 => break,
            GOAWAY => break,
            _ => {}
        }
        if id == 1 && matches!(kind, HEADERS | DATA) && flags & END_STREAM != 0 {
            return Outcome::Answer(reply);
        }
    }
    if reply.status == 0 {
        Outcome::Refused
    } else {
        Outcome::Cut(reply)
    }
}

/// The next frame; none at the end of the connection.
fn next(stream: &mut TcpStream) -> Option<(u8, u8, u32, Vec<u8>)> {
    let mut head = [0; 9];
    stream.read_exact(&mut head).ok()?;
    let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
    let mut payload = vec![0; usize::try_from(length).ok()?];
    stream.read_exact(&mut payload).ok()?;
    let id = u32::from_be_bytes([head[5] & 0x7f, head[6], head[7], head[8]]);
    Some((head[3], head[4], id, payload))
}

/// Literal fields without indexing, names and values as they are (RFC 7541 §6.2.2).
fn block(fields: &[(&str, &[u8])]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        string(&mut block, name.as_bytes());
        string(&mut block, value);
    }
    block
}

fn string(block: &mut Vec<u8>, bytes: &[u8]) {
    let mut length = bytes.len();
    if length < 127 {
        block.push(u8::try_from(length).expect("a length"));
    } else {
        block.push(127);
        length -= 127;
        while length >= 128 {
            block.push(u8::try_from(length % 128 + 128).expect("seven bits"));
            length /= 128;
        }
        block.push(u8::try_from(length).expect("a length"));
    }
    block.extend_from_slice(bytes);
}

/// `:status`, which comes first: an entry of the static table, or a literal of digits (RFC 7541 §6, appendices A and B).
fn status(block: &[u8]) -> u16 {
    const STATIC: [u16; 7] = [200, 204, 206, 304, 400, 404, 500];
    // An answer may begin with the size of its table.
    let block = match block {
        [size, rest @ ..] if size & 0xe0 == 0x20 => rest,
        whole => whole,
    };
    match block {
        [indexed, ..] if indexed & 0x80 != 0 => STATIC[usize::from(indexed & 0x7f) - 8],
        [_, length, rest @ ..] => {
            let digits = &rest[..usize::from(length & 0x7f)];
            let text = if length & 0x80 == 0 {
                digits.iter().map(|digit| char::from(*digit)).collect()
            } else {
                unpacked(digits)
            };
            text.parse().expect("a status")
        }
        _ => panic!("no status in {block:?}"),
    }
}

/// Digits in the code of appendix B: `0` to `2` take five bits, the others six.
fn unpacked(bytes: &[u8]) -> String {
    let mut bits = bytes
        .iter()
        .flat_map(|byte| (0..8).rev().map(move |at| u32::from(byte >> at & 1)));
    let mut text = String::new();
    let mut code = 0;
    let mut length = 0;
    for bit in &mut bits {
        code = code * 2 + bit;
        length += 1;
        let digit = match (length, code) {
            (5, 0..=2) => Some(code),
            (6, 0b01_1001..=0b01_1111) => Some(code - 0b01_1001 + 3),
            _ => None,
        };
        if let Some(digit) = digit {
            text.push(char::from_digit(digit, 10).expect("a digit"));
            (code, length) = (0, 0);
        }
    }
    text
}
