//! The filter that Envoy loads: it verifies every mandate by itself, refuses what does not hold, and forwards nothing
//! without the word of ext-authz for that very request.
//!
//! `exchange` is the state machine of one HTTP exchange and `worker` the memory of one VM; both are pure: events, a
//! moment and facts go in, effects come out. `abi` turns the proxy's callbacks into events, `host` performs effects,
//! `hostcall` is the one file with unsafe code. The three exist inside a VM only; everything else is tested natively.
//!
//! Not here: what makes a mandate genuine (`mandate`), which binding applies and what a refusal looks like (`policy`),
//! whether policy allows a request (`ext-authz`).
#![deny(unsafe_code, clippy::arithmetic_side_effects, clippy::as_conversions)]

#[cfg(target_arch = "wasm32")]
mod abi;
pub mod answer;
pub mod cache;
pub mod check;
pub mod config;
pub mod exchange;
pub mod feed;
#[cfg(test)]
#[expect(unreachable_pub, reason = "tests of the built module share it")]
mod fixture;
#[cfg(target_arch = "wasm32")]
mod host;
#[cfg(target_arch = "wasm32")]
mod hostcall;
pub mod ids;
pub mod memory;
pub mod reply;
pub mod report;
pub mod signature;
pub mod verify;
pub mod worker;

pub use config::{Config, Finding, Mode, RawConfig};
