//! The sample's upstream: it answers with the request it received.

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::Path;

use anyhow::Context as _;
use axum::extract::Request;
use axum::{Json, Router};
use chassis::ServeArgs;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::signal::unix::{SignalKind, signal};

/// Invalid configuration, as the services say it.
const INVALID: u8 = 64;
/// The largest body that is counted.
const MAX_BODY: usize = 16 * 1024 * 1024;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    listen: SocketAddr,
}

/// Runs it, or checks its configuration; gives the exit code.
pub(crate) fn run(serve: &ServeArgs) -> anyhow::Result<u8> {
    let config = match read(&serve.config) {
        Ok(config) => config,
        Err(error) => {
            writeln!(std::io::stderr().lock(), "upstream: {error:#}")?;
            return Ok(INVALID);
        }
    };
    if serve.check {
        return Ok(0);
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::bind(config.listen)
            .await
            .context("binding")?;
        let mut terminate = signal(SignalKind::terminate())?;
        let end = async move {
            terminate.recv().await;
        };
        axum::serve(listener, Router::new().fallback(echo))
            .with_graceful_shutdown(end)
            .await
            .context("serving")
    })?;
    Ok(0)
}

fn read(path: &Path) -> anyhow::Result<Config> {
    let text =
        std::fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
    toml::from_str(&text).with_context(|| format!("parsing {}", path.display()))
}

async fn echo(request: Request) -> Json<Value> {
    let (parts, body) = request.into_parts();
    let headers: Vec<Value> = parts
        .headers
        .iter()
        .map(|(name, value)| json!([name.as_str(), String::from_utf8_lossy(value.as_bytes())]))
        .collect();
    let body = axum::body::to_bytes(body, MAX_BODY)
        .await
        .map(|bytes| bytes.len())
        .ok();
    let path = parts.uri.path_and_query().map_or("", |path| path.as_str());
    Json(
        json!({ "method": parts.method.as_str(), "path": path, "headers": headers, "body_bytes": body }),
    )
}
