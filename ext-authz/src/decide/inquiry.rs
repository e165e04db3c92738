//! What is asked: one request, read from the proxy's message and believed in nothing.

use std::net::IpAddr;

use mandate::request::Form;

/// One request to decide about. Borrowed from the message it came in.
#[derive(Clone, Debug, Default)]
pub struct Inquiry<'a> {
    /// The attachment that the proxy's own configuration names.
    pub attachment: Option<&'a str>,
    /// What the request says about itself.
    pub form: Form<'a>,
    /// Whether the proxy's own configuration keeps the mandate for a filter behind this one.
    pub keep: bool,
    /// The proxy's request id; an attribute for people, believed in nothing.
    pub request_id: &'a str,
    /// The address of the connection, as the proxy saw it.
    pub peer: Option<IpAddr>,
}
