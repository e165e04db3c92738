//! `POST /v1/verify`.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;

use super::Desk;
use super::events::ledger;
use crate::error::Error;

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Request {
    zone: Option<String>,
}

/// Walks one ledger or all of them and reports. One at a time: it reads everything.
pub(crate) async fn verify(State(desk): State<Arc<Desk>>, body: Bytes) -> Result<Response, Error> {
    let request: Request = if body.is_empty() {
        Request::default()
    } else {
        serde_json::from_slice(&body).map_err(|error| Error::Invalid(error.to_string()))?
    };
    let zone = request.zone.as_deref().map(ledger).transpose()?;
    let Ok(_alone) = desk.verifying.try_lock() else {
        return Err(Error::RateLimited(Duration::from_secs(5)));
    };
    Ok(Json(desk.sweep.verify(zone).await?).into_response())
}
