//! The environment variables a service knows. Everything else in the environment is not read.

use std::collections::BTreeMap;

/// The variables that are not files of secrets.
const NAMES: [&str; 3] = ["CARACAL_MODE", "DATABASE_URL", "REDIS_URL"];

/// What the environment says: the mode, the two addresses, and where each secret lies.
#[derive(Clone, Debug, Default)]
pub struct Environment {
    values: BTreeMap<String, String>,
}

impl Environment {
    /// The environment of the process. Values that are not UTF-8 are as good as not set.
    pub fn of_process() -> Self {
        Self::of(std::env::vars_os().filter_map(|(name, value)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        }))
    }

    /// An environment of the given pairs; unknown names are left out.
    pub fn of<N: Into<String>, V: Into<String>>(pairs: impl IntoIterator<Item = (N, V)>) -> Self {
        let known = |name: &str| {
            NAMES.contains(&name)
                || name.ends_with("_FILE")
                || name.starts_with("DATABASE_PASSWORD_FILE_")
        };
        let values = pairs
            .into_iter()
            .map(|(name, value)| (name.into(), value.into()))
            .filter(|(name, _)| known(name))
            .collect();
        Self { values }
    }

    /// The value of a variable, if it is set and not empty.
    pub fn value(&self, name: &str) -> Option<&str> {
        self.values
            .get(name)
            .map(String::as_str)
            .filter(|value| !value.is_empty())
    }
}
