//! The rules of `mandate` over its vectors, as a module for a wasm VM and as a library: one code in both.
//!
//! The host hands the text over eight bytes a call and takes the verdicts back the same way, so that no pointer crosses
//! the boundary. The module imports nothing.
#![deny(unsafe_code)]

#[cfg(target_arch = "wasm32")]
mod export;
#[path = "../../../../mandate/tests/vectors/run.rs"]
mod run;

/// The verdicts of a file of vectors: a JSON array of `{name, verdict}`, or why the file is none.
pub fn verdicts(text: &str) -> Result<String, String> {
    let verdicts = run::verdicts(text)?;
    serde_json::to_string(&verdicts).map_err(|error| error.to_string())
}
