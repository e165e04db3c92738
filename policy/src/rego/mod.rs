//! The rules, evaluated: regorus' virtual machine over the platform's contract in `caracal.rego`.

mod evaluator;
mod value;

pub use evaluator::{Evaluator, MAX_INSTRUCTIONS, Prepared};

#[cfg(test)]
mod tests;
