//! Metrics: one registry a process, handed to each component.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

/// The registry of a process. Clones are the same.
#[derive(Clone)]
pub struct Registry {
    inner: Arc<Mutex<prometheus_client::registry::Registry>>,
}

impl Registry {
    /// An empty registry; every name starts with `prefix` and an underscore.
    pub fn new(prefix: &str) -> Self {
        let prefix = prefix.replace('-', "_");
        let inner = prometheus_client::registry::Registry::with_prefix(prefix);
        Self {
            inner: Arc::new(Mutex::new(inner)),
        }
    }

    /// Lets a component register its metrics and keep them.
    pub fn register<T>(
        &self,
        register: impl FnOnce(&mut prometheus_client::registry::Registry) -> T,
    ) -> T {
        register(&mut self.inner.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// All of it in the `OpenMetrics` text format.
    pub fn expose(&self) -> Result<String, fmt::Error> {
        let mut text = String::new();
        let inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        prometheus_client::encoding::text::encode(&mut text, &inner)?;
        Ok(text)
    }
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registry").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use prometheus_client::metrics::counter::Counter;

    use super::*;

    #[test]
    fn exposes_what_components_registered_under_the_prefix() {
        let registry = Registry::new("ext-authz");
        let checks: Counter = registry.register(|registry| {
            let counter = Counter::default();
            registry.register("checks", "Checks answered", counter.clone());
            counter
        });
        checks.inc();
        let text = registry.expose().unwrap();
        assert!(text.contains("ext_authz_checks_total 1"), "{text}");
    }
}
