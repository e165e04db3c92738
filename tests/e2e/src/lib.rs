//! Whole stacks for the end-to-end drills: `caracal up` with real engines, driven over its public surface.
#![forbid(unsafe_code)]
#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::missing_panics_doc,
    reason = "test support: a failure here is a failed test"
)]

mod client;
mod stack;

pub use client::{Answer, Client};
pub use stack::{Options, Output, Stack, caracal};
