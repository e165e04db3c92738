//! The sample's upstream: it answers with the request it received.

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::Path;
use std::process::ExitCode;

use anyhow::Context as _;
use axum::extract::Request;
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::{Value, json};

/// The largest body that is counted.
const MAX_BODY: usize = 16 * 1024 * 1024;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    listen: SocketAddr,
}

pub(crate) fn run(config: &Path) -> ExitCode {
    match serve(config) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(std::io::stderr().lock(), "upstream: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn serve(config: &Path) -> anyhow::Result<()> {
    let text = std::fs::read_to_string(config).with_context(|| format!("reading {}", config.display()))?;
    let config: Config = toml::from_str(&text).with_context(|| format!("parsing {}", config.display()))?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::bind(config.listen).await.context("binding")?;
        axum::serve(listener, Router::new().fallback(echo)).await.context("serving")
    })
}

async fn echo(request: Request) -> Json<Value> {
    let (parts, body) = request.into_parts();
    let headers: Vec<Value> = parts
        .headers
        .iter()
        .map(|(name, value)| json!([name.as_str(), String::from_utf8_lossy(value.as_bytes())]))
        .collect();
    let body = axum::body::to_bytes(body, MAX_BODY).await.map(|bytes| bytes.len()).ok();
    let path = parts.uri.path_and_query().map_or("", |path| path.as_str());
    Json(json!({ "method": parts.method.as_str(), "path": path, "headers": headers, "body_bytes": body }))
}
