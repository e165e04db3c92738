use std::time::Duration;

use serde_json::Value;

/// What came back through Envoy.
#[derive(Debug, Clone)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// The problem's code; empty for an answer of the upstream.
    pub code: String,
    /// `x-caracal-decision` of a refusal, or the one the upstream saw.
    pub decision_id: Option<String>,
    /// Response headers, lower case.
    pub headers: Vec<(String, String)>,
    /// The body as JSON, or null.
    pub body: Value,
}

impl Answer {
    /// The value of a header of the request as the echo upstream saw it.
    pub fn upstream_header(&self, name: &str) -> Option<String> {
        self.body["headers"].as_array()?.iter().find_map(|pair| {
            (pair[0].as_str()?.eq_ignore_ascii_case(name))
                .then(|| pair[1].as_str().unwrap_or("").to_owned())
        })
    }

    /// The value of a response header.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, value)| value.as_str())
    }
}

/// An HTTP client aimed at one base address.
#[derive(Debug, Clone)]
pub struct Client {
    http: reqwest::Client,
    base: String,
}

impl Client {
    /// A client for `base`, e.g. `http://127.0.0.1:8080`.
    pub fn new(base: &str) -> Self {
        let base = if base.contains("://") {
            base.to_owned()
        } else {
            format!("http://{base}")
        };
        let http = reqwest::Client::builder()
            .timeout(Duration::from_secs(10))
            .pool_max_idle_per_host(64)
            .build()
            .expect("building a client");
        Self {
            http,
            base: base.trim_end_matches('/').to_owned(),
        }
    }

    /// Sends one request with a host header and headers, and reads the answer.
    pub async fn send(
        &self,
        method: &str,
        host: &str,
        path: &str,
        headers: &[(&str, &str)],
    ) -> Answer {
        self.try_send(method, host, path, headers)
            .await
            .expect("an answer from Envoy")
    }

    /// As `send`, giving transport failures to the caller.
    ///
    /// # Errors
    /// When no HTTP answer came.
    pub async fn try_send(
        &self,
        method: &str,
        host: &str,
        path: &str,
        headers: &[(&str, &str)],
    ) -> Result<Answer, reqwest::Error> {
        let method = method.parse::<reqwest::Method>().expect("a method");
        let mut request = self
            .http
            .request(method, format!("{}{path}", self.base))
            .header("host", host);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = request.send().await?;
        let status = response.status().as_u16();
        let headers: Vec<(String, String)> = response
            .headers()
            .iter()
            .map(|(name, value)| {
                (
                    name.to_string(),
                    String::from_utf8_lossy(value.as_bytes()).into_owned(),
                )
            })
            .collect();
        let body: Value = serde_json::from_slice(&response.bytes().await?).unwrap_or(Value::Null);
        let mut answer = Answer {
            status,
            code: body["code"].as_str().unwrap_or("").to_owned(),
            decision_id: None,
            headers,
            body,
        };
        answer.decision_id = answer
            .header("x-caracal-decision")
            .map(str::to_owned)
            .or_else(|| answer.upstream_header("x-caracal-decision"));
        Ok(answer)
    }

    /// The text at a path.
    pub async fn text(&self, path: &str) -> String {
        let answer = self.http.get(format!("{}{path}", self.base)).send().await;
        answer.expect("an answer").text().await.expect("a text")
    }

    /// A JSON call with a bearer token; gives status and body.
    pub async fn json(
        &self,
        method: &str,
        path: &str,
        token: &str,
        body: Option<&Value>,
    ) -> (u16, Value) {
        let method = method.parse::<reqwest::Method>().expect("a method");
        let mut request = self
            .http
            .request(method, format!("{}{path}", self.base))
            .bearer_auth(token);
        if let Some(body) = body {
            request = request.json(body);
        }
        let response = request.send().await.expect("an answer");
        let status = response.status().as_u16();
        let bytes = response.bytes().await.expect("a body");
        (
            status,
            serde_json::from_slice(&bytes).unwrap_or(Value::Null),
        )
    }
}
