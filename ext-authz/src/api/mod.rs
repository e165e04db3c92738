//! Envoy's protocol: what it asks, and the only ways to answer.

pub mod answer;
pub mod check;
pub mod health;
pub mod request;
pub mod serve;
