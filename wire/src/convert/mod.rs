//! From wire types to domain types and back. Every `TryFrom` refuses what it does not understand
//! and names the field.

mod authority;
mod envelope;
mod error;
mod resource;
mod revocation;
mod stream;
#[cfg(test)]
mod tests;

pub use authority::AuthorityChange;
pub use envelope::{envelope_from_bytes, envelope_to_bytes};
pub use error::{ConvertError, Wrong};
pub use revocation::{CutOff, Dead, DeadKind, StateChange};
pub use stream::{Cursor, Heartbeat};
