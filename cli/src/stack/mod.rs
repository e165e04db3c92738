//! The embedded stack: where it lives, what it is configured with, who keeps it running.

pub(crate) mod acl;
pub(crate) mod configuration;
pub(crate) mod connection;
pub(crate) mod environment;
pub(crate) mod envoy;
pub(crate) mod home;
pub(crate) mod keep;
pub(crate) mod ports;
pub(crate) mod sample;
pub(crate) mod secrets;
pub(crate) mod state;
