//! What is wrong with a configuration: all of it.

use std::fmt;

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
pub struct Finding {
    /// Where: a key path of the file, or the name of an environment variable.
    pub key: String,
    /// What.
    pub what: String,
}

impl Finding {
    /// A finding.
    pub fn new(key: impl Into<String>, what: impl Into<String>) -> Self {
        Self {
            key: key.into(),
            what: what.into(),
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.key, self.what)
    }
}

/// Everything that is wrong.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Findings(pub Vec<Finding>);

impl Findings {
    /// Adds one, unless it is there already.
    pub fn add(&mut self, key: impl Into<String>, what: impl Into<String>) {
        let finding = Finding::new(key, what);
        if !self.0.contains(&finding) {
            self.0.push(finding);
        }
    }

    /// Adds all of `other`.
    pub fn extend(&mut self, other: Self) {
        for finding in other.0 {
            self.add(finding.key, finding.what);
        }
    }

    /// Whether nothing is wrong.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// `Ok` when nothing is wrong.
    pub fn into_result(self) -> Result<(), Self> {
        if self.is_empty() { Ok(()) } else { Err(self) }
    }
}

impl fmt::Display for Findings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, finding) in self.0.iter().enumerate() {
            if index > 0 {
                writeln!(f)?;
            }
            write!(f, "  {finding}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Findings {}
