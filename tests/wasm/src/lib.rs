//! Tests of what runs inside a wasm VM: the rules of the pure crates, and what hosts them.
//!
//! There is no library here; the tests lie in `tests/`, and `guest/` is the module that they load.
#![forbid(unsafe_code)]
