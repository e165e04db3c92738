//! Rules asked one after another: the platform's first, then further ones that can only deny.

use super::Prepared;
use crate::denial::PolicyError;
use crate::input::{Input, Verdict};

/// The platform's rules with one policy's data, and its guards.
#[derive(Debug)]
pub struct Law {
    rules: Prepared,
    guards: Vec<Prepared>,
}

impl Law {
    /// The platform's rules alone.
    pub fn new(rules: Prepared) -> Self {
        Self {
            rules,
            guards: Vec::new(),
        }
    }

    /// Adds a guard. It is asked when all before it allow, and can only turn that into a denial.
    #[must_use]
    pub fn guarded_by(mut self, guard: Prepared) -> Self {
        self.guards.push(guard);
        self
    }

    /// What all of them together answer.
    pub fn evaluate(&self, input: &Input<'_>) -> Result<Verdict, PolicyError> {
        let first = self.rules.evaluate(input)?;
        self.guards
            .iter()
            .try_fold(first, |verdict, guard| match verdict {
                Verdict::Allow => Ok(verdict.narrowed_by(guard.evaluate(input)?)),
                Verdict::Deny(_) => Ok(verdict),
            })
    }
}
