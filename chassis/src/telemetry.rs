//! Log lines: JSON on stderr.

use tracing_subscriber::EnvFilter;

/// Writes log lines that `filter` lets through as JSON to stderr. A process that has a subscriber
/// already keeps it.
pub fn start(filter: &str) {
    let filter = filter
        .parse::<EnvFilter>()
        .unwrap_or_else(|_| EnvFilter::new("info"));
    let started = tracing_subscriber::fmt()
        .json()
        .flatten_event(true)
        .with_current_span(true)
        .with_span_list(false)
        .with_target(true)
        // A log that cannot be written is lost; saying so on the same stderr would panic.
        .log_internal_errors(false)
        .with_writer(std::io::stderr)
        .with_env_filter(filter)
        .try_init();
    if started.is_err() {
        tracing::debug!("a subscriber was there already");
    }
}
