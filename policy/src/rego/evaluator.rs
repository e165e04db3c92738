//! Compiled once, evaluated often. Everything that is not a result of the contract's form is an error, and an error
//! refuses.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};

use regorus::languages::rego::compiler::Compiler;
use regorus::rvm::program::Program;
use regorus::rvm::vm::{RegoVM, VmError};
use regorus::{Engine, Value};

use super::value;
use crate::data::PolicyData;
use crate::denial::{PolicyDenial, PolicyError};
use crate::input::{Input, Verdict};

/// The most instructions of one evaluation. The platform's rules take less than half of it for the largest input.
pub const MAX_INSTRUCTIONS: usize = 20_000;

/// Machines kept of one policy; more are made when more evaluate at once.
const MOST_IDLE: usize = 16;

/// The platform's rules.
pub(super) const RULES: &str = include_str!("caracal.rego");
/// What they answer.
pub(super) const RESULT: &str = "data.caracal.authz.result";

/// The rules, compiled.
#[derive(Clone)]
pub struct Evaluator {
    program: Arc<Program>,
    max_instructions: usize,
}

impl Evaluator {
    /// Compiles the platform's rules.
    pub fn new() -> Result<Self, PolicyError> {
        Self::compile(RULES, MAX_INSTRUCTIONS)
    }

    pub(super) fn compile(rules: &str, max_instructions: usize) -> Result<Self, PolicyError> {
        let mut engine = Engine::new();
        engine.set_strict_builtin_errors(false);
        engine
            .add_policy("caracal.rego".to_owned(), rules.to_owned())
            .map_err(|_| PolicyError::Rules)?;
        let policy = engine
            .compile_with_entrypoint(&RESULT.into())
            .map_err(|_| PolicyError::Rules)?;
        let program =
            Compiler::compile_from_policy(&policy, &[RESULT]).map_err(|_| PolicyError::Rules)?;
        Ok(Self {
            program,
            max_instructions,
        })
    }

    /// Makes a policy ready to be evaluated.
    pub fn prepare(&self, policy: &PolicyData) -> Result<Prepared, PolicyError> {
        self.prepare_value(value::data(policy))
    }

    pub(super) fn prepare_value(&self, data: Value) -> Result<Prepared, PolicyError> {
        let prepared = Prepared {
            evaluator: self.clone(),
            data,
            idle: Mutex::default(),
        };
        let machine = guarded(|| prepared.machine())?;
        prepared.keep(machine);
        Ok(prepared)
    }
}

impl fmt::Debug for Evaluator {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Evaluator").finish_non_exhaustive()
    }
}

/// The rules with one policy's data.
pub struct Prepared {
    evaluator: Evaluator,
    data: Value,
    idle: Mutex<Vec<RegoVM>>,
}

impl Prepared {
    /// Evaluates. A machine that failed in any way is not used again.
    pub fn evaluate(&self, input: &Input<'_>) -> Result<Verdict, PolicyError> {
        input.check()?;
        let result = self.execute(value::input(input))?;
        verdict(&result)
    }

    pub(super) fn execute(&self, input: Value) -> Result<Value, PolicyError> {
        let idle = self
            .idle
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .pop();
        let (result, machine) = guarded(|| {
            let mut machine = match idle {
                Some(machine) => machine,
                None => self.machine()?,
            };
            machine.set_input(input);
            let result = machine.execute().map_err(|error| of_engine(&error))?;
            // Nothing of a request stays behind in a machine that waits.
            machine.set_input(Value::Undefined);
            Ok((result, machine))
        })?;
        self.keep(machine);
        Ok(result)
    }

    fn machine(&self) -> Result<RegoVM, PolicyError> {
        let mut machine = RegoVM::new();
        machine.set_strict_builtin_errors(false);
        machine.set_max_instructions(self.evaluator.max_instructions);
        machine.load_program(Arc::clone(&self.evaluator.program));
        machine
            .set_data(self.data.clone())
            .map_err(|error| of_engine(&error))?;
        Ok(machine)
    }

    fn keep(&self, machine: RegoVM) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < MOST_IDLE {
            idle.push(machine);
        }
    }
}

impl fmt::Debug for Prepared {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Prepared").finish_non_exhaustive()
    }
}

/// Runs what may panic, though it never should. What it borrows is thrown away with it.
fn guarded<T>(run: impl FnOnce() -> Result<T, PolicyError>) -> Result<T, PolicyError> {
    catch_unwind(AssertUnwindSafe(run)).unwrap_or(Err(PolicyError::Panicked))
}

fn of_engine(error: &VmError) -> PolicyError {
    if let VmError::InstructionLimitExceeded { .. } | VmError::TimeLimitExceeded { .. } = error {
        PolicyError::Budget
    } else {
        PolicyError::Evaluation
    }
}

/// Reads a result. Only the two forms of the contract are one.
pub(super) fn verdict(result: &Value) -> Result<Verdict, PolicyError> {
    if *result == Value::Undefined {
        return Err(PolicyError::Undefined);
    }
    let object = result.as_object().map_err(|_| PolicyError::Malformed)?;
    let text = |name: &str| {
        let value = object.get(&Value::from(name))?;
        value.as_string().ok().map(ToString::to_string)
    };
    match (
        object.len(),
        text("decision").as_deref(),
        text("code").as_deref(),
    ) {
        (1, Some("allow"), None) => Ok(Verdict::Allow),
        (2, Some("deny"), Some(code)) => PolicyDenial::of_rules(code)
            .map(Verdict::Deny)
            .ok_or(PolicyError::Malformed),
        _ => Err(PolicyError::Malformed),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_of_the_engine_is_an_error() {
        assert_eq!(
            guarded(|| -> Result<(), _> { panic!("a fault of the engine") }),
            Err(PolicyError::Panicked)
        );
        assert_eq!(guarded(|| Ok(1)), Ok(1));
    }
}
