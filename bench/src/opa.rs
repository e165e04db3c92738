//! Another authorizer about the same question: opa-envoy-plugin with `opa/policy.rego`, whose binary the caller names.

use std::path::Path;
use std::process::{Child, Command, Stdio};

use anyhow::Context as _;
use serde_json::{Map, Value, json};

use crate::compare::Facts;

/// Revocations that it holds, as many as a zone may well have.
const REVOKED: u64 = 1_000;

/// A running one; dropped, it ends.
#[derive(Debug)]
pub(crate) struct Opa(Child);

impl Drop for Opa {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Opa {
    /// Starts it on two ports of loopback, one for Checks and one for its own diagnostics, with the facts that a mandate
    /// and its operation are checked against.
    pub(crate) fn start(
        binary: &Path,
        (port, diagnostics): (u16, u16),
        facts: &Facts,
        allow: &Value,
        folder: &Path,
    ) -> anyhow::Result<Self> {
        let claims = &facts.claims;
        let revoked: Map<String, Value> = (0..REVOKED)
            .map(|number| {
                (
                    format!("00000000-0000-7000-8000-{number:012x}"),
                    json!(true),
                )
            })
            .collect();
        let path = allow["path"].as_str().unwrap_or_default();
        let (parent, _) = path.rsplit_once('/').unwrap_or_default();
        let data = json!({
            "jwks": facts.jwks,
            "issuer": claims["iss"],
            "audience": allow["resource"],
            "zone": claims["zone_id"],
            "host": allow["host"],
            "operations": [{
                "method": allow["method"],
                "path": format!("{parent}/*"),
                "scopes": allow["scopes"]
            }],
            "revoked": revoked
        });
        let (policy, known) = (folder.join("policy.rego"), folder.join("data.json"));
        std::fs::write(&policy, include_str!("../opa/policy.rego"))?;
        std::fs::write(&known, data.to_string())?;
        let child = Command::new(binary)
            .args(["run", "--server", "--log-level", "error"])
            .args(["--addr", &format!("127.0.0.1:{diagnostics}")])
            .args(["--skip-version-check", "--set"])
            .arg(format!(
                "plugins.envoy_ext_authz_grpc.addr=127.0.0.1:{port}"
            ))
            .args([
                "--set",
                "plugins.envoy_ext_authz_grpc.path=caracal/authz/allow",
            ])
            .args([&policy, &known])
            .stdout(Stdio::null())
            .spawn()
            .with_context(|| format!("starting {}", binary.display()))?;
        Ok(Self(child))
    }

    pub(crate) fn pid(&self) -> u32 {
        self.0.id()
    }
}
