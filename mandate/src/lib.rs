//! What a mandate is, when it is genuine, and what it admits.
//!
//! Two functions are used everywhere: [`UnverifiedMandate::authenticate`], whose result may be cached, and
//! [`Mandate::admit`], which runs on every request. [`rejection`] is the one table of refusals. The crate also holds
//! the canonical form of paths and hosts, operation templates, key sets and the revocation set.
//!
//! Not here: policy and bindings (`policy`), evidence (`ledger`), anything that reads a clock or a socket.
#![forbid(unsafe_code)]
#![deny(clippy::arithmetic_side_effects, clippy::as_conversions)]

mod admit;
mod backend;
mod baggage;
pub mod canonical;
mod claims;
pub mod credential;
pub mod encode;
pub mod headers;
pub mod id;
pub mod json;
mod key;
pub mod rejection;
pub mod request;
mod revocation;
pub mod template;
mod verify;

pub use admit::{Admitted, Demand, Proof};
pub use backend::{BackendError, RustCrypto, SignatureBackend, uncompressed};
pub use claims::{Actor, Claims, Confirmation, Hop, SubjectType, Use};
pub use headers::{OVERRIDE_HEADERS, OWNED_HEADERS, is_owned};
pub use key::{Algorithm, Jwk, KeyError, KeySet, VerifyingKey};
pub use rejection::{Challenge, Rejection};
pub use revocation::{CutOffAnchor, DeadId, ObjectState, Revocations, StateAnchor};
pub use verify::{Mandate, Trust, UnverifiedMandate};
