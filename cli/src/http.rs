//! Calls to the stack's own services.

use std::time::Duration;

use anyhow::Context as _;
use reqwest::{Method, Response};
use serde_json::Value;

use crate::outcome::{Exit, Failure, Outcome};

/// An answer with its body read.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: Value,
    pub(crate) decision: Option<String>,
}

impl Answer {
    /// The problem's code.
    pub(crate) fn code(&self) -> &str {
        self.body
            .get("code")
            .or_else(|| self.body.get("error"))
            .and_then(Value::as_str)
            .unwrap_or("")
    }

    /// The body, or the refusal as a failure of the command.
    pub(crate) fn accepted(self, doing: &str) -> Outcome<Value> {
        if (200..300).contains(&self.status) {
            return Ok(self.body);
        }
        let exit = match self.status {
            502..=504 => Exit::Unavailable,
            500 | 501 => Exit::Failed,
            _ => Exit::Refused,
        };
        let word = |name: &str| self.body.get(name).and_then(Value::as_str);
        let why = word("detail")
            .or_else(|| word("error_description"))
            .or_else(|| word("title"))
            .unwrap_or("");
        Err(Failure::new(
            exit,
            self.code(),
            format!("{doing}: {} {}: {why}", self.status, self.code()),
        ))
    }
}

/// How long an answer may take, where nothing else is said.
const PATIENCE: Duration = Duration::from_secs(30);

/// A client with a base address.
#[derive(Debug, Clone)]
pub(crate) struct Client {
    http: reqwest::Client,
    base: String,
    patience: Duration,
}

impl Client {
    pub(crate) fn new(port: u16) -> anyhow::Result<Self> {
        let http = reqwest::Client::builder()
            .build()
            .context("building an HTTP client")?;
        Ok(Self {
            http,
            base: format!("http://127.0.0.1:{port}"),
            patience: PATIENCE,
        })
    }

    /// The same, for calls that may take so long.
    pub(crate) fn patient(&self, patience: Duration) -> Self {
        Self {
            patience,
            ..self.clone()
        }
    }

    /// A JSON call with a bearer token.
    pub(crate) async fn json(
        &self,
        method: Method,
        path: &str,
        token: &str,
        body: Option<&Value>,
    ) -> Outcome<Answer> {
        let mut request = self.http.request(method, self.url(path)).bearer_auth(token);
        if let Some(body) = body {
            request = request.json(body);
        }
        self.read(request.timeout(self.patience).send().await).await
    }

    /// A form call with client credentials.
    pub(crate) async fn form(
        &self,
        path: &str,
        client: (&str, &str),
        form: &[(&str, &str)],
    ) -> Outcome<Answer> {
        let request = self
            .http
            .post(self.url(path))
            .basic_auth(client.0, Some(client.1))
            .form(form);
        self.read(request.timeout(self.patience).send().await).await
    }

    /// A request as an agent sends it through Envoy.
    pub(crate) async fn through(
        &self,
        method: &str,
        host: &str,
        path: &str,
        mandate: Option<&str>,
    ) -> Outcome<Answer> {
        let method: Method = method
            .parse()
            .map_err(|_| Failure::new(Exit::Usage, "usage", "no such method"))?;
        let mut request = self
            .http
            .request(method, self.url(path))
            .header("host", host);
        if let Some(mandate) = mandate {
            request = request.bearer_auth(mandate);
        }
        self.read(request.timeout(self.patience).send().await).await
    }

    /// Whether a readiness probe answers 200.
    pub(crate) async fn ready(&self, path: &str, token: Option<&str>) -> bool {
        let mut request = self
            .http
            .get(self.url(path))
            .timeout(Duration::from_secs(2));
        if let Some(token) = token {
            request = request.bearer_auth(token);
        }
        request
            .send()
            .await
            .is_ok_and(|response| response.status().is_success())
    }

    /// The text at a path, for a bearer of this token.
    pub(crate) async fn text(&self, path: &str, token: &str) -> Option<String> {
        let request = self.http.get(self.url(path)).bearer_auth(token);
        let response = request.timeout(Duration::from_secs(2)).send().await.ok()?;
        response.error_for_status().ok()?.text().await.ok()
    }

    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.base)
    }

    async fn read(&self, sent: Result<Response, reqwest::Error>) -> Outcome<Answer> {
        let gone = |error: reqwest::Error| {
            let why = if error.is_timeout() {
                format!("not within {} s", self.patience.as_secs())
            } else {
                error.to_string()
            };
            Failure::unavailable(format!(
                "{} does not answer ({why}); `caracal status` shows the stack",
                self.base
            ))
        };
        let response = sent.map_err(gone)?;
        let status = response.status().as_u16();
        let decision = response
            .headers()
            .get("x-caracal-decision")
            .and_then(|value| value.to_str().ok())
            .map(str::to_owned);
        let bytes = response.bytes().await.map_err(gone)?;
        let body = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
        Ok(Answer {
            status,
            body,
            decision,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_call_is_given_up_after_its_own_patience() {
        // The connection is made, and nobody answers.
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let client = Client::new(listener.local_addr().unwrap().port()).unwrap();
        assert_eq!(client.patience, PATIENCE);
        let hasty = client.patient(Duration::from_millis(50));
        let failure = hasty.json(Method::GET, "/", "", None).await.unwrap_err();
        assert_eq!(failure.exit, Exit::Unavailable);
        assert!(failure.message.contains("not within"), "{failure}");
    }
}
