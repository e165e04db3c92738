//! What is asked: one request, read from the proxy's message and believed in nothing.

use std::net::IpAddr;

use mandate::Rejection;

/// One request to decide about. Borrowed from the message it came in.
#[derive(Clone, Debug, Default)]
pub struct Inquiry<'a> {
    /// The attachment that the proxy's own configuration names.
    pub attachment: Option<&'a str>,
    /// The method.
    pub method: &'a str,
    /// `:authority`, as received.
    pub host: &'a [u8],
    /// `:path` with its query, as received.
    pub path: &'a [u8],
    /// Every value of `authorization`.
    pub credentials: Vec<&'a [u8]>,
    /// Every value of `x-caracal-resource`.
    pub assertions: Vec<&'a [u8]>,
    /// Headers that read like ours to a server that takes `_` for `-`; to be removed.
    pub disguised: Vec<&'a str>,
    /// The first thing about the request's form that forbids deciding about it.
    pub fault: Option<Rejection>,
    /// Whether the caller wants its answer in gRPC's form.
    pub grpc: bool,
    /// Whether the proxy's own configuration keeps the mandate for a filter behind this one.
    pub keep: bool,
    /// The proxy's request id; an attribute for people, believed in nothing.
    pub request_id: &'a str,
    /// The address of the connection, as the proxy saw it.
    pub peer: Option<IpAddr>,
}

impl Inquiry<'_> {
    /// Records a fault; the first one counts.
    pub fn fault(&mut self, fault: Rejection) {
        self.fault.get_or_insert(fault);
    }
}
