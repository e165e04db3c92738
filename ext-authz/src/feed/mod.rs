//! Keeps memory current: a snapshot, then every change by position, with proof of age.

pub mod age;
pub mod source;
pub mod stream;
pub mod tracker;
