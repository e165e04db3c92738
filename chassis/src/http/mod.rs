//! Serving HTTP: what every router of ours gets around it.

mod govern;
mod id;
mod serve;
#[cfg(test)]
mod tests;

pub use govern::{Principal, govern};
pub use id::{RequestId, request_id};
pub use serve::{bind, serve};
