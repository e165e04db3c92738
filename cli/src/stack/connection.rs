//! A running stack as commands use it: clients, tokens, the sample's applications.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};

use crate::args::{Common, Use};
use crate::http::Client;
use crate::outcome::{Exit, Failure, Outcome};
use crate::stack::home::Home;
use crate::stack::ports::Ports;
use crate::stack::sample::{Application, Sample};
use crate::stack::secrets;
use crate::stack::state::State;

/// The coordinator answers a revocation that waits after 65 s at the latest.
const WAIT: Duration = Duration::from_secs(75);
/// The audit service takes 10 minutes for a verification at the most.
const VERIFICATION: Duration = Duration::from_mins(11);

/// Clients of a running stack.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) home: Home,
    pub(crate) ports: Ports,
    pub(crate) envoy: Client,
    pub(crate) sts: Client,
    pub(crate) coordinator: Client,
    pub(crate) audit: Client,
    pub(crate) admin: String,
    pub(crate) audit_token: String,
}

/// What to mint.
#[derive(Debug, Clone)]
pub(crate) struct Wanted<'a> {
    pub(crate) usage: Use,
    pub(crate) resource: &'a str,
    pub(crate) scopes: Vec<&'a str>,
    pub(crate) ttl_seconds: u64,
}

/// A minted mandate and the session it belongs to.
#[derive(Debug, Clone)]
pub(crate) struct Minted {
    pub(crate) mandate: String,
    pub(crate) session: Option<String>,
}

impl Connection {
    /// Connects to the stack of this home.
    pub(crate) fn open(common: &Common) -> Outcome<Self> {
        let home = Home::locate(common.home.as_deref())?;
        let state = State::read(&home)?.filter(State::alive).ok_or_else(|| {
            Failure::unavailable(format!(
                "no stack runs in {}; `caracal up` starts one",
                home.dir().display()
            ))
        })?;
        Self::to(home, state.ports)
    }

    /// Connects by ports.
    pub(crate) fn to(home: Home, ports: Ports) -> Outcome<Self> {
        Ok(Self {
            envoy: Client::new(ports.envoy())?,
            sts: Client::new(ports.sts())?,
            coordinator: Client::new(ports.coordinator())?,
            audit: Client::new(ports.audit())?,
            admin: home.secret(secrets::ADMIN_TOKEN)?,
            audit_token: home.secret(secrets::SERVICE_TOKEN)?,
            home,
            ports,
        })
    }

    /// The sample, which `up` provisioned.
    pub(crate) fn sample(&self) -> Outcome<Sample> {
        Sample::read(&self.home)?.ok_or_else(|| {
            Failure::unavailable("the sample is not provisioned yet; run `caracal up` again")
        })
    }

    /// The application's session mandate (`client_credentials`, RFC 6749 §4.4).
    pub(crate) async fn session_mandate(&self, application: &Application) -> Outcome<String> {
        let secret = self.home.secret(&application.secret_file())?;
        let path = format!("/z/{}/token", application.zone);
        let form = [("grant_type", "client_credentials")];
        let answer = self
            .sts
            .form(&path, (&application.id, &secret), &form)
            .await?;
        token(&answer.accepted("asking the STS for a session mandate")?)
    }

    /// Starts a session of the application.
    pub(crate) async fn start_session(
        &self,
        application: &Application,
        bearer: &str,
    ) -> Outcome<String> {
        let path = format!("/v1/zones/{}/sessions", application.zone);
        let body = json!({ "ttl_seconds": 3600 });
        let answer = self
            .coordinator
            .json(Method::POST, &path, bearer, Some(&body))
            .await?;
        let body = answer.accepted("starting a session")?;
        body.get("id")
            .and_then(Value::as_str)
            .map(str::to_owned)
            .ok_or_else(no_id)
    }

    /// Mints: a session mandate, or an exchange of it (RFC 8693) under a session.
    pub(crate) async fn mint(
        &self,
        application: &Application,
        session: Option<&str>,
        wanted: &Wanted<'_>,
    ) -> Outcome<Minted> {
        let subject = self.session_mandate(application).await?;
        if wanted.usage == Use::Session {
            return Ok(Minted {
                mandate: subject,
                session: session.map(str::to_owned),
            });
        }
        let session = match session {
            Some(session) => session.to_owned(),
            None => self.start_session(application, &subject).await?,
        };
        let secret = self.home.secret(&application.secret_file())?;
        let (scope, ttl) = (wanted.scopes.join(" "), wanted.ttl_seconds.to_string());
        let mut form = vec![
            (
                "grant_type",
                "urn:ietf:params:oauth:grant-type:token-exchange",
            ),
            ("subject_token", subject.as_str()),
            (
                "subject_token_type",
                "urn:ietf:params:oauth:token-type:access_token",
            ),
            ("session", session.as_str()),
            ("resource", wanted.resource),
            ("ttl", ttl.as_str()),
        ];
        if !scope.is_empty() {
            form.push(("scope", &scope));
        }
        if wanted.usage == Use::Gateway {
            form.push(("mandate_use", "gateway"));
        }
        let path = format!("/z/{}/token", application.zone);
        let answer = self
            .sts
            .form(&path, (&application.id, &secret), &form)
            .await?;
        let mandate = token(&answer.accepted("exchanging the session mandate")?)?;
        Ok(Minted {
            mandate,
            session: Some(session),
        })
    }

    /// Revokes one anchor; waits for all enforcement points when asked.
    pub(crate) async fn revoke(
        &self,
        zone: &str,
        kind: &str,
        id: &str,
        reason: &str,
        everywhere: bool,
    ) -> Outcome<Value> {
        let mut body = json!({ "anchor": { "kind": kind, "id": id }, "reason": reason });
        if everywhere && let Some(fields) = body.as_object_mut() {
            fields.insert("wait".to_owned(), json!("everywhere"));
        }
        let path = format!("/v1/zones/{zone}/revocations");
        let coordinator = if everywhere {
            self.coordinator.patient(WAIT)
        } else {
            self.coordinator.clone()
        };
        let answer = coordinator
            .json(Method::POST, &path, &self.admin, Some(&body))
            .await?;
        answer.accepted(&format!("revoking {kind} {id}"))
    }

    /// Recomputes every hash, link and signature of one zone's ledger, or of all; the audit service's report.
    pub(crate) async fn verify(&self, zone: Option<&str>) -> Outcome<Value> {
        let body = zone.map_or_else(|| json!({}), |zone| json!({ "zone": zone }));
        let answer = self
            .audit
            .patient(VERIFICATION)
            .json(Method::POST, "/v1/verify", &self.audit_token, Some(&body))
            .await?;
        answer.accepted("verifying the ledger")
    }

    /// Events of the ledger that match a query string.
    pub(crate) async fn search(
        &self,
        zone: Option<&str>,
        query: &[(&str, String)],
    ) -> Outcome<Vec<Value>> {
        let base = zone.map_or_else(
            || "/v1/events".to_owned(),
            |zone| format!("/v1/zones/{zone}/events"),
        );
        let mut found = Vec::new();
        let mut cursor: Option<String> = None;
        loop {
            let mut pairs: Vec<(&str, String)> = query.to_vec();
            pairs.extend(cursor.take().map(|cursor| ("cursor", cursor)));
            let encoded = reqwest::Url::parse_with_params("http://localhost/", &pairs)
                .map_err(|error| Failure::new(Exit::Usage, "usage", error.to_string()))?;
            let path = format!("{base}?{}", encoded.query().unwrap_or(""));
            let answer = self
                .audit
                .json(Method::GET, &path, &self.audit_token, None)
                .await?;
            let mut body = answer.accepted("searching the ledger")?;
            if let Some(events) = body.get_mut("events").and_then(Value::as_array_mut) {
                found.append(events);
            }
            match body.get("next").and_then(Value::as_str) {
                Some(next) => cursor = Some(next.to_owned()),
                None => return Ok(found),
            }
        }
    }
}

fn token(body: &Value) -> Outcome<String> {
    body.get("access_token")
        .and_then(Value::as_str)
        .map(str::to_owned)
        .ok_or_else(|| {
            Failure::new(
                Exit::Failed,
                "failed",
                "the STS's answer has no `access_token`",
            )
        })
}

fn no_id() -> Failure {
    Failure::new(
        Exit::Failed,
        "failed",
        "the coordinator's answer has no `id`",
    )
}
