//! The rules, evaluated: regorus' virtual machine over the platform's contract in `caracal.rego`.

mod evaluator;
mod law;
mod value;

pub use evaluator::{Evaluator, MAX_INSTRUCTIONS, Prepared};
pub use law::Law;

#[cfg(test)]
mod tests;
