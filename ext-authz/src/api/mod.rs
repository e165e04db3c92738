//! Envoy's protocol: what it asks, and the only ways to answer.

pub mod health;
pub mod request;
