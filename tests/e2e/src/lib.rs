//! Whole stacks for the end-to-end drills: `caracal up` with real engines, driven over its public surface.
#![forbid(unsafe_code)]
#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::missing_panics_doc,
    reason = "test support: a failure here is a failed test"
)]

pub mod attack;
mod authorizer;
mod book;
pub mod case;
mod client;
mod drip;
pub mod frames;
mod load;
mod relay;
mod replica;
pub mod scene;
mod signer;
pub mod socket;
mod stack;
mod way;

pub use authorizer::{Authorizer, Says};
pub use book::{Book, Evidence};
pub use client::{Answer, Client};
pub use drip::Drip;
pub use load::{Load, Tally};
pub use relay::{Line, Relay};
pub use replica::Replica;
pub use scene::Scene;
pub use signer::{Signer, claims};
pub use socket::Reply;
pub use stack::{Options, Output, Stack, caracal};
pub use way::Way;
