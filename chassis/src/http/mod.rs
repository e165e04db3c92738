//! Serving HTTP: what every router of ours gets around it.

mod govern;
mod id;
mod measure;
mod serve;
#[cfg(test)]
mod tests;

pub use govern::{Principal, govern};
pub use id::{RequestId, request_id};
pub use measure::measure;
pub use serve::{bind, serve};
