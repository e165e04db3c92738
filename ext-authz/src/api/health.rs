//! `grpc.health.v1`: whether Checks should be sent here.

use std::time::Duration;

use chassis::{Lifecycle, Readiness};
use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;

/// The service Envoy asks about by name.
pub const CHECK_SERVICE: &str = "envoy.service.auth.v3.Authorization";

/// How often it is looked at.
const EVERY: Duration = Duration::from_millis(100);

/// Tells what readiness says, until the soft token; then `NOT_SERVING` for good.
pub async fn tell(reporter: HealthReporter, readiness: Readiness, lifecycle: Lifecycle) {
    let mut told = None;
    loop {
        let draining = lifecycle.soft().is_cancelled();
        let serving = !draining && readiness.is_ready();
        if told != Some(serving) {
            let status = if serving {
                ServingStatus::Serving
            } else {
                ServingStatus::NotServing
            };
            reporter.set_service_status("", status).await;
            reporter.set_service_status(CHECK_SERVICE, status).await;
            told = Some(serving);
        }
        if draining {
            return;
        }
        tokio::select! {
            () = lifecycle.soft().cancelled() => {}
            () = tokio::time::sleep(EVERY) => {}
        }
    }
}
