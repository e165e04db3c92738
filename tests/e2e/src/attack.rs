//! Requests that are meant to break in, byte by byte.

use crate::frames::Frames;

/// What must come of an attack.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Expected {
    /// We refuse, with this status and code.
    Ours(u16, &'static str),
    /// Envoy refuses with this status before anything of ours is asked.
    Envoy(u16),
    /// Envoy ends the connection, or the stream, without an answer.
    Closed,
    /// It passes, and the upstream saw this path and nothing that the client made up.
    Passes(&'static str),
}

/// What is sent, on a connection of its own.
#[derive(Debug, Clone)]
pub enum Shot {
    /// These bytes.
    Bytes(Vec<u8>),
    /// These frames of HTTP/2.
    Frames(Frames),
}

/// One attack.
#[derive(Debug, Clone)]
pub struct Attack {
    /// What it is.
    pub name: String,
    /// What is sent.
    pub shot: Shot,
    /// What must come of it.
    pub expected: Expected,
}

/// A request in the making, byte by byte: whatever is not changed is that of a request that would pass.
#[derive(Debug, Clone)]
pub struct Draft {
    method: Vec<u8>,
    target: Vec<u8>,
    version: &'static str,
    hosts: Vec<Vec<u8>>,
    credentials: Vec<Vec<u8>>,
    lines: Vec<Vec<u8>>,
    body: Vec<u8>,
}

/// The path of the request that would pass.
pub const PATH: &str = "/v1/invoices/42";
/// Its host.
pub const HOST: &str = "invoices.example.test";

impl Draft {
    /// A request that would pass with this mandate.
    pub fn new(mandate: &str) -> Self {
        Self {
            method: b"GET".to_vec(),
            target: PATH.into(),
            version: "HTTP/1.1",
            hosts: vec![HOST.into()],
            credentials: vec![format!("Bearer {mandate}").into_bytes()],
            lines: Vec::new(),
            body: Vec::new(),
        }
    }

    /// Another method.
    #[must_use]
    pub fn method(mut self, method: &[u8]) -> Self {
        self.method = method.to_vec();
        self
    }

    /// Another request target.
    #[must_use]
    pub fn target(mut self, target: &[u8]) -> Self {
        self.target = target.to_vec();
        self
    }

    /// Another version of HTTP.
    #[must_use]
    pub fn version(mut self, version: &'static str) -> Self {
        self.version = version;
        self
    }

    /// These hosts.
    #[must_use]
    pub fn hosts(mut self, hosts: &[&[u8]]) -> Self {
        self.hosts = hosts.iter().map(|host| host.to_vec()).collect();
        self
    }

    /// These credentials.
    #[must_use]
    pub fn credentials(mut self, credentials: &[&[u8]]) -> Self {
        self.credentials = credentials.iter().map(|value| value.to_vec()).collect();
        self
    }

    /// One more line of the head.
    #[must_use]
    pub fn line(mut self, line: &[u8]) -> Self {
        self.lines.push(line.to_vec());
        self
    }

    /// What follows the head.
    #[must_use]
    pub fn body(mut self, body: &[u8]) -> Self {
        self.body = body.to_vec();
        self
    }

    /// As bytes.
    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        let first = [&self.method, b" ".as_slice(), &self.target, b" "];
        bytes.extend(first.concat());
        bytes.extend(self.version.bytes());
        bytes.extend(b"\r\n");
        for host in &self.hosts {
            bytes.extend([b"host: ", host.as_slice(), b"\r\n"].concat());
        }
        for credential in &self.credentials {
            bytes.extend([b"authorization: ", credential.as_slice(), b"\r\n"].concat());
        }
        for line in &self.lines {
            bytes.extend([line.as_slice(), b"\r\n"].concat());
        }
        bytes.extend(b"\r\n");
        bytes.extend(&self.body);
        bytes
    }

    /// As an attack.
    pub fn attack(&self, name: &str, expected: Expected) -> Attack {
        Attack {
            name: name.to_owned(),
            shot: Shot::Bytes(self.bytes()),
            expected,
        }
    }
}
