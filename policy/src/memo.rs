//! Verdicts remembered, so that equal questions under one policy are evaluated once.
//!
//! The key is the policy's version and the exact bytes of every field that the rules read, compared in full: a hash only
//! picks the bucket. Bounded, in two generations: when the young one is full it becomes the old one, and what was in the
//! old one is forgotten. Errors are never remembered.

use std::collections::HashMap;

use mandate::id::PolicyVersionId;

use crate::input::{Input, Verdict};

type Generation = HashMap<Box<[u8]>, Verdict, foldhash::fast::RandomState>;

/// The verdicts of one zone.
#[derive(Debug)]
pub struct Memo {
    most: usize,
    young: Generation,
    old: Generation,
    /// The key last looked for; kept to be written over.
    key: Vec<u8>,
}

impl Memo {
    /// Remembers at most `most` verdicts in each of two generations.
    pub fn new(most: usize) -> Self {
        Self {
            most,
            young: Generation::default(),
            old: Generation::default(),
            key: Vec::new(),
        }
    }

    /// The verdict remembered of an input, or the one that `evaluate` gives. Whoever shares a memo does better to
    /// [`find`](Self::find) and [`hold`](Self::hold), so that nobody waits for an evaluation.
    pub fn verdict<E>(
        &mut self,
        version: PolicyVersionId,
        input: &Input<'_>,
        evaluate: impl FnOnce() -> Result<Verdict, E>,
    ) -> Result<Verdict, E> {
        if let Some(verdict) = self.find(version, input) {
            return Ok(verdict);
        }
        let verdict = evaluate()?;
        self.hold(version, input, verdict);
        Ok(verdict)
    }

    /// The verdict remembered of an input.
    pub fn find(&mut self, version: PolicyVersionId, input: &Input<'_>) -> Option<Verdict> {
        self.write_key(version, input);
        if let Some(verdict) = self.young.get(self.key.as_slice()) {
            return Some(*verdict);
        }
        // Used again: it moves on to the young generation.
        let (key, verdict) = self.old.remove_entry(self.key.as_slice())?;
        self.insert(key, verdict);
        Some(verdict)
    }

    /// Remembers a verdict.
    pub fn hold(&mut self, version: PolicyVersionId, input: &Input<'_>, verdict: Verdict) {
        self.write_key(version, input);
        let key = self.key.as_slice().into();
        self.insert(key, verdict);
    }

    /// How many verdicts are remembered.
    pub fn len(&self) -> usize {
        self.young.len().saturating_add(self.old.len())
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn insert(&mut self, key: Box<[u8]>, verdict: Verdict) {
        if self.most == 0 {
            return;
        }
        if self.young.len() >= self.most {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(key, verdict);
    }

    fn write_key(&mut self, version: PolicyVersionId, input: &Input<'_>) {
        self.key.clear();
        self.key.extend_from_slice(version.as_uuid().as_bytes());
        input.write_key(&mut self.key);
    }
}

#[cfg(test)]
mod tests;
