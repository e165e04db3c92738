//! Metrics: one registry a process, handed to each component.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

/// The registry of a process. Clones are the same.
#[derive(Clone)]
pub struct Registry {
    inner: Arc<Mutex<prometheus_client::registry::Registry>>,
    plain: Arc<Mutex<prometheus_client::registry::Registry>>,
}

impl Registry {
    /// An empty registry; every name starts with `prefix` and an underscore.
    pub fn new(prefix: &str) -> Self {
        let prefix = prefix.replace('-', "_");
        let inner = prometheus_client::registry::Registry::with_prefix(prefix);
        Self {
            inner: Arc::new(Mutex::new(inner)),
            plain: Arc::default(),
        }
    }

    /// Lets a component register its metrics and keep them.
    pub fn register<T>(
        &self,
        register: impl FnOnce(&mut prometheus_client::registry::Registry) -> T,
    ) -> T {
        register(&mut self.inner.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The same without the prefix, for the few names that alerts and manuals know in full.
    pub fn register_plain<T>(
        &self,
        register: impl FnOnce(&mut prometheus_client::registry::Registry) -> T,
    ) -> T {
        register(&mut self.plain.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// All of it in the `OpenMetrics` text format.
    pub fn expose(&self) -> Result<String, fmt::Error> {
        let mut text = String::new();
        for registry in [&self.inner, &self.plain] {
            let registry = registry.lock().unwrap_or_else(PoisonError::into_inner);
            prometheus_client::encoding::text::encode_registry(&mut text, &registry)?;
        }
        prometheus_client::encoding::text::encode_eof(&mut text)?;
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

    #[test]
    fn exposes_plain_names_beside_prefixed_ones_and_ends_once() {
        let registry = Registry::new("audit");
        let counter: Counter = Counter::default();
        registry.register_plain(|registry| registry.register("known", "Known", counter.clone()));
        registry.register(|registry| registry.register("own", "Own", counter.clone()));
        let text = registry.expose().unwrap();
        assert!(text.contains("\nknown_total 0"), "{text}");
        assert!(text.contains("audit_own_total 0"), "{text}");
        assert_eq!(text.matches("# EOF").count(), 1);
    }
}
