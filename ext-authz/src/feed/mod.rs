//! Keeps memory current: a snapshot, then every change by position, with proof of age.
//!
//! `tracker`, `age`, `memory` and `core` are pure; `run` moves messages between them, `stream` and
//! `source`.

pub mod age;
pub mod core;
pub mod memory;
pub mod run;
pub mod source;
mod stream;
pub mod tracker;
