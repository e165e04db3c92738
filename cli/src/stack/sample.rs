//! The sample: two zones, two resources at two hosts, one application each, one policy each.

use reqwest::Method;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::http::Client;
use crate::outcome::{Exit, Failure, Outcome};
use crate::stack::home::Home;

const FILE: &str = "run/sample.json";

/// The attachment of the stack's listener.
pub(crate) const ATTACHMENT: &str = "ingress";
/// The zones' ids are fixed, so that ext-authz's configuration can name them before they exist.
pub(crate) const ZONE: &str = "018f0000-0000-7000-8000-00000000000a";
pub(crate) const OTHER_ZONE: &str = "018f0000-0000-7000-8000-00000000000b";

const LABEL: &str = "agent";
const INVOICES: &str = "https://invoices.example.test/api";
const WIKI: &str = "https://wiki.example.test/api";
const PAYROLL: &str = "https://payroll.example.test/api";

/// What was provisioned.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Sample {
    /// The application of each zone.
    pub(crate) applications: Vec<Application>,
}

/// An application of the sample. Its secret lies in a file of its own.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Application {
    pub(crate) zone: String,
    pub(crate) id: String,
    pub(crate) name: String,
}

impl Application {
    /// Where its client secret lies.
    pub(crate) fn secret_file(&self) -> String {
        format!("secrets/application-{}", self.id)
    }
}

impl Sample {
    pub(crate) fn read(home: &Home) -> anyhow::Result<Option<Self>> {
        home.load(FILE)
    }

    /// The application of a zone, by id or name when given.
    pub(crate) fn application(&self, zone: &str, wanted: Option<&str>) -> Outcome<&Application> {
        self.applications
            .iter()
            .find(|known| {
                known.zone == zone
                    && wanted.is_none_or(|wanted| wanted == known.id || wanted == known.name)
            })
            .ok_or_else(|| {
                let known: Vec<String> = self
                    .applications
                    .iter()
                    .map(|known| format!("{} ({}) in {}", known.id, known.name, known.zone))
                    .collect();
                Failure::new(
                    Exit::Usage,
                    "usage",
                    format!(
                        "this stack holds no secret of that application; it has {}",
                        known.join(", ")
                    ),
                )
            })
    }

    /// What a fresh stack can be asked, for scripts.
    pub(crate) fn requests() -> Value {
        let scopes = |scope: &str| json!([scope]);
        json!({
            "allow": {
                "method": "GET", "host": "invoices.example.test", "path": "/v1/invoices/42",
                "resource": INVOICES, "scopes": scopes("invoices:read"),
            },
            "deny_scope": {
                "method": "GET", "host": "invoices.example.test", "path": "/v1/reports/2026",
                "resource": INVOICES, "scopes": scopes("invoices:report"),
            },
            "other_binding": {
                "method": "GET", "host": "wiki.example.test", "path": "/v1/pages/home",
                "resource": WIKI, "scopes": scopes("pages:read"),
            },
            "other_zone": {
                "zone": OTHER_ZONE, "method": "GET", "host": "payroll.example.test", "path": "/v1/slips/7",
                "resource": PAYROLL, "scopes": scopes("slips:read"),
            },
        })
    }
}

/// Provisions whatever of the sample is missing.
pub(crate) async fn provision(
    home: &Home,
    coordinator: &Client,
    admin: &str,
    sts: &str,
) -> Outcome<Sample> {
    if let Some(sample) = Sample::read(home)? {
        return Ok(sample);
    }
    let setup = Setup {
        home,
        coordinator,
        admin,
    };
    let mut applications = Vec::new();
    applications.push(
        setup
            .zone(
                ZONE,
                "demo",
                sts,
                &[
                    Protected {
                        identifier: INVOICES,
                        name: "invoices",
                        host: "invoices.example.test",
                        operations: &[
                            ("GET", "/v1/invoices/{id}", "invoices:read"),
                            ("GET", "/v1/invoices", "invoices:read"),
                            ("POST", "/v1/invoices", "invoices:write"),
                            ("GET", "/v1/reports/{year}", "invoices:report"),
                        ],
                    },
                    Protected {
                        identifier: WIKI,
                        name: "wiki",
                        host: "wiki.example.test",
                        operations: &[
                            ("GET", "/v1/pages/{page}", "pages:read"),
                            ("PUT", "/v1/pages/{page}", "pages:write"),
                        ],
                    },
                ],
            )
            .await?,
    );
    applications.push(
        setup
            .zone(
                OTHER_ZONE,
                "other",
                sts,
                &[Protected {
                    identifier: PAYROLL,
                    name: "payroll",
                    host: "payroll.example.test",
                    operations: &[("GET", "/v1/slips/{id}", "slips:read")],
                }],
            )
            .await?,
    );
    let sample = Sample { applications };
    home.save(FILE, &sample)?;
    Ok(sample)
}

/// A resource of the sample, and where it is reached.
struct Protected {
    identifier: &'static str,
    name: &'static str,
    host: &'static str,
    /// Method, template, scope.
    operations: &'static [(&'static str, &'static str, &'static str)],
}

impl Protected {
    fn scopes(&self) -> Vec<&'static str> {
        let mut scopes: Vec<&str> = self.operations.iter().map(|(_, _, scope)| *scope).collect();
        scopes.sort_unstable();
        scopes.dedup();
        scopes
    }
}

struct Setup<'a> {
    home: &'a Home,
    coordinator: &'a Client,
    admin: &'a str,
}

impl Setup<'_> {
    async fn zone(
        &self,
        id: &str,
        name: &str,
        sts: &str,
        protected: &[Protected],
    ) -> Outcome<Application> {
        let known = self
            .coordinator
            .json(Method::GET, &format!("/v1/zones/{id}"), self.admin, None)
            .await?;
        if known.status == 404 {
            let body = json!({ "id": id, "name": name, "issuer": format!("{sts}/z/{id}") });
            self.post("/v1/zones", &body).await?;
        } else {
            known.accepted("looking for the sample's zone")?;
        }
        self.wait_until_ready(id).await?;

        let application = self.application(id, &format!("{name}-agent")).await?;

        for resource in protected {
            self.resource(id, resource).await?;
        }
        let policy = policy(&application, protected);
        let version = self
            .post(
                &format!("/v1/zones/{id}/policies"),
                &json!({ "data": policy }),
            )
            .await?;
        let version = text(&version, "id")?;
        self.post(
            &format!("/v1/zones/{id}/policies/{version}/activate"),
            &json!({}),
        )
        .await?;
        Ok(application)
    }

    /// The application of that name, with its secret in a file. One whose secret was never written, because an
    /// earlier attempt was interrupted, gets another.
    async fn application(&self, zone: &str, name: &str) -> Outcome<Application> {
        let path = format!("/v1/zones/{zone}/applications");
        let answer = self
            .coordinator
            .json(Method::GET, &path, self.admin, None)
            .await?;
        let listed = answer.accepted("looking for the sample's application")?;
        let items = listed.get("items").and_then(Value::as_array);
        let known = items
            .into_iter()
            .flatten()
            .find(|item| item.get("name").and_then(Value::as_str) == Some(name));
        let known = known.map(|item| text(item, "id")).transpose()?;
        let (id, secret) = if let Some(id) = known {
            let body = json!({ "overlap_seconds": 0 });
            let made = self.post(&format!("{path}/{id}/secrets"), &body).await?;
            (id, text(&made, "client_secret")?)
        } else {
            let body = json!({ "name": name, "labels": [LABEL] });
            let made = self.post(&path, &body).await?;
            (text(&made, "id")?, text(&made, "client_secret")?)
        };
        let application = Application {
            zone: zone.to_owned(),
            id,
            name: name.to_owned(),
        };
        self.home
            .write(&application.secret_file(), secret.as_bytes())?;
        Ok(application)
    }

    async fn resource(&self, zone: &str, resource: &Protected) -> Outcome<()> {
        let operations: Vec<Value> = resource
            .operations
            .iter()
            .map(|(method, template, scope)| json!({ "method": method, "template": template, "scopes": [scope] }))
            .collect();
        let body = json!({
            "identifier": resource.identifier, "name": resource.name, "scopes": resource.scopes(), "operations": operations,
        });
        self.ensure(
            &format!("/v1/zones/{zone}/resources"),
            &body,
            "identifier_taken",
        )
        .await?;
        let body = json!({
            "attachment": ATTACHMENT, "resource": resource.identifier, "hosts": [resource.host], "path_prefix": "/",
            "upstream_clusters": ["upstream"], "public_url": format!("https://{}", resource.host),
        });
        self.ensure(
            &format!("/v1/zones/{zone}/bindings"),
            &body,
            "binding_taken",
        )
        .await
    }

    /// A zone is ready when the STS has made its first key.
    async fn wait_until_ready(&self, zone: &str) -> Outcome<()> {
        for _ in 0..300_u32 {
            let answer = self
                .coordinator
                .json(Method::GET, &format!("/v1/zones/{zone}"), self.admin, None)
                .await?;
            let body = answer.accepted("waiting for the sample's zone")?;
            if body.get("state").and_then(Value::as_str) == Some("ready") {
                return Ok(());
            }
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
        Err(Failure::unavailable(format!(
            "zone {zone} did not become ready in 30 s; see the logs of sts"
        )))
    }

    /// As `post`, where it may be there already.
    async fn ensure(&self, path: &str, body: &Value, taken: &str) -> Outcome<()> {
        let answer = self
            .coordinator
            .json(Method::POST, path, self.admin, Some(body))
            .await?;
        if answer.status == 409 && answer.code() == taken {
            return Ok(());
        }
        answer.accepted(&format!("POST {path}")).map(drop)
    }

    async fn post(&self, path: &str, body: &Value) -> Outcome<Value> {
        let answer = self
            .coordinator
            .json(Method::POST, path, self.admin, Some(body))
            .await?;
        answer.accepted(&format!("POST {path}"))
    }
}

fn policy(application: &Application, protected: &[Protected]) -> Value {
    let grants: serde_json::Map<String, Value> = protected
        .iter()
        .map(|resource| {
            let roles = json!({ &application.name: { "roles": { LABEL: resource.scopes() } } });
            (resource.identifier.to_owned(), roles)
        })
        .collect();
    json!({
        "app_ids": { &application.name: application.id },
        "grants": grants,
        "confinement": {},
        "restrict": { "zone": false, "resources": {}, "applications": {} },
        "risk": {},
        "approval_tiers": {},
    })
}

fn text(body: &Value, name: &str) -> Outcome<String> {
    body.get(name)
        .and_then(Value::as_str)
        .map(str::to_owned)
        .ok_or_else(|| {
            Failure::new(
                Exit::Failed,
                "failed",
                format!("the coordinator's answer has no `{name}`"),
            )
        })
}
