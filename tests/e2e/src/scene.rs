//! A stack, the mandates of a drill, and everything that was sent.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rustix::process::Signal;
use serde_json::Value;

use crate::case::{Altered, Case, Place, Recipe, Step, Table};
use crate::signer::claims;
use crate::{Book, Client, Evidence, Options, Reply, Signer, Stack, Way, socket};

/// How long a change may take to show.
const PATIENCE: Duration = Duration::from_secs(30);

/// A stack that knows the drills' keys, what was made in it, and what was sent to it.
#[derive(Debug)]
pub struct Scene {
    /// The stack.
    pub stack: Stack,
    /// Everything that was sent through Envoy.
    pub book: Book,
    /// Requests that our filter refuses where Envoy's own has nobody asked.
    pub unasked: u64,
    way: Way,
    coordinator: Client,
    admin: String,
    address: SocketAddr,
    names: BTreeMap<String, String>,
    mandates: BTreeMap<String, String>,
}

impl Scene {
    /// Brings a stack up this way and plants the drills' keys in its first zone.
    pub async fn new(way: Way) -> Self {
        let stack = Stack::start(&Options {
            way,
            ..Options::default()
        });
        Signer::plant(&stack, stack.zone()).await;
        // A snapshot is what knows of keys that no message told of.
        stack.signal("ext-authz", Signal::KILL);
        stack.wait_ready();
        let zone = stack.zone().to_owned();
        let other = stack.sample("other_zone")["zone"].as_str();
        let other = other.expect("another zone").to_owned();
        Self {
            way,
            coordinator: stack.client("coordinator"),
            admin: stack.admin_token(),
            address: stack.address("envoy"),
            names: BTreeMap::from([("zone".to_owned(), zone), ("other".to_owned(), other)]),
            mandates: BTreeMap::new(),
            book: Book::default(),
            unasked: 0,
            stack,
        }
    }

    /// Envoy's listener.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Mints what the table names, makes what it needs, and waits until the drills' keys verify.
    pub async fn set(&mut self, table: &Table) {
        let later = |name: &str| {
            let of = |step: &Step| matches!(step, Step::Mint(minted) if minted == name);
            table.setup.iter().any(of)
        };
        for name in table.mandates.keys().filter(|name| !later(name)) {
            self.mint(table, name);
        }
        for step in &table.setup {
            self.step(table, step).await;
        }
        let altered = Altered {
            of: "sample".to_owned(),
            signer: Signer::Es256.kid().to_owned(),
            set: serde_json::Map::new(),
            drop: Vec::new(),
            header: serde_json::Map::new(),
            raw: None,
        };
        let forged = self.alter(&altered);
        let request = request(
            &table.places["allow"],
            &[("authorization", &format!("Bearer {forged}"))],
        );
        self.until("the planted keys verify", &request, |reply| {
            reply.status == 200
        });
    }

    /// Sends a request until the answer is the wanted one.
    pub fn until(&mut self, what: &str, request: &[u8], wanted: impl Fn(&Reply) -> bool) -> Reply {
        let started = Instant::now();
        loop {
            let reply = socket::exchange(self.address, request);
            match &reply {
                Some(reply) => self.book.take(what, reply, Evidence::Any),
                // The filter cuts a stream off whose authority ends while it runs.
                None => self.book.may_have(1),
            }
            if let Some(reply) = reply.filter(&wanted) {
                return reply;
            }
            assert!(started.elapsed() < PATIENCE, "{what}: still not as wanted");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Does what a case needs, sends its request, and says what is wrong with the answer.
    pub async fn play(&mut self, table: &Table, case: &Case) -> Result<(), String> {
        for step in &case.before {
            self.step(table, step).await;
        }
        let request = self.request_of(table, case);
        if case.until {
            self.until(&case.name, &request, |reply| reply.code() == case.code);
        }
        let reply = socket::exchange(self.address, &request)
            .ok_or_else(|| format!("{}: no answer", case.name))?;
        self.book.take(&case.name, &reply, case.evidence);
        self.judge(case, &reply)
    }

    fn judge(&self, case: &Case, reply: &Reply) -> Result<(), String> {
        let mut wrong = Vec::new();
        let found = (reply.status, reply.code());
        if found != (case.status, case.code.clone()) {
            wrong.push(format!(
                "{} {} where {} {} was expected",
                found.0, found.1, case.status, case.code
            ));
        }
        if let Some(grpc) = case.grpc {
            let found = reply.header("grpc-status").unwrap_or("none");
            if found != grpc.to_string() || !reply.body.is_empty() {
                wrong.push(format!("gRPC status {found} where {grpc} was expected"));
            }
        }
        for (name, value) in &case.upstream {
            let value: Option<String> = value.as_ref().map(|value| self.fill(value));
            let seen = reply.seen(name);
            if seen.as_slice() != value.as_slice() {
                wrong.push(format!("the upstream saw {name}: {seen:?}"));
            }
        }
        if wrong.is_empty() {
            Ok(())
        } else {
            Err(format!("{}: {}", case.name, wrong.join("; ")))
        }
    }

    /// Waits for the ledger, and holds the books of Envoy and of the filter against the drill's: what reached the upstream
    /// was allowed or refused too late, and whatever was decided was answered. Gives how many were refused too late.
    pub async fn balance(&self) -> u64 {
        let forwarded = self.book.settle(&self.stack);
        let upstream = self
            .stack
            .counted("cluster.upstream.upstream_rq_total")
            .await;
        let least = self.book.allowed() + forwarded;
        let allowed = least..=least + self.book.unknown();
        assert!(
            allowed.contains(&upstream),
            "{upstream} requests reached the upstream, and {allowed:?} were allowed, {forwarded} of them refused then"
        );
        if self.way == Way::Filter {
            let ends = "wasmcustom.caracal_filter_(admitted|refused_.*|relayed_.*|abandoned)";
            let counted = self.stack.counted_all(ends).await;
            let known = self.book.decided()..=self.book.decided() + self.book.unknown();
            assert!(
                known.contains(&counted),
                "the filter counts {counted} decisions, and {known:?} were answered"
            );
            let withdrawn = "wasmcustom.caracal_filter_withdrawn_.*";
            let withdrawn = self.stack.counted_all(withdrawn).await;
            assert_eq!(withdrawn, forwarded, "refused after they had gone forward");
            return forwarded;
        }
        let mut asked = 0;
        for name in ["ok", "denied", "error"] {
            asked += self
                .stack
                .counted(&format!("http.ingress.ext_authz.{name}"))
                .await;
        }
        let least = self.book.decided() - self.unasked;
        let known = least..=self.book.decided() + self.book.unknown();
        assert!(
            known.contains(&asked),
            "{asked} Checks, and {known:?} answers"
        );
        forwarded
    }

    fn request_of(&self, table: &Table, case: &Case) -> Vec<u8> {
        let place = table
            .places
            .get(&case.at)
            .unwrap_or_else(|| panic!("{}: no place {}", case.name, case.at));
        let place = Place {
            method: case.method.clone().unwrap_or_else(|| place.method.clone()),
            host: case.host.clone().unwrap_or_else(|| place.host.clone()),
            path: case.path.clone().unwrap_or_else(|| place.path.clone()),
        };
        let mandate = case.mandate.as_ref().map(|recipe| self.cook(recipe));
        let mandate = mandate.unwrap_or_default();
        let usual = case.mandate.iter().map(|_| "Bearer {mandate}".to_owned());
        let credentials = case
            .authorization
            .clone()
            .unwrap_or_else(|| usual.collect());
        let credentials: Vec<String> = credentials
            .iter()
            .map(|value| value.replace("{mandate}", &mandate))
            .collect();
        let mut headers: Vec<(&str, &str)> = credentials
            .iter()
            .map(|value| ("authorization", value.as_str()))
            .collect();
        headers.extend(
            case.headers
                .iter()
                .map(|(name, value)| (name.as_str(), value.as_str())),
        );
        request(&place, &headers)
    }

    /// A mandate by its recipe.
    pub fn cook(&self, recipe: &Recipe) -> String {
        match recipe {
            Recipe::Minted(name) => self.minted(name).to_owned(),
            Recipe::Altered(altered) => self.alter(altered),
            Recipe::Text { text } => self.fill(text),
        }
    }

    /// A mandate of the table, as the STS made it.
    pub fn minted(&self, name: &str) -> &str {
        let found = self.mandates.get(name);
        found.unwrap_or_else(|| panic!("no mandate {name:?}"))
    }

    fn alter(&self, altered: &Altered) -> String {
        let mut made = claims(self.minted(&altered.of));
        for (name, value) in &altered.set {
            made.insert(name.clone(), self.filled(value));
        }
        for name in &altered.drop {
            made.remove(name);
        }
        let text = serde_json::to_string(&made).expect("claims");
        let inner = text.trim_start_matches('{').trim_end_matches('}');
        let text = match &altered.raw {
            Some(raw) => raw.replace("{claims}", inner),
            None => text,
        };
        Signer::named(&altered.signer).compact(text.as_bytes(), &altered.header)
    }

    /// Puts names, and seconds such as `now+60`, where they stand in strings.
    fn filled(&self, value: &Value) -> Value {
        match value {
            Value::String(text) => second(text).map_or_else(|| self.fill(text).into(), Value::from),
            Value::Array(values) => values.iter().map(|value| self.filled(value)).collect(),
            Value::Object(members) => members
                .iter()
                .map(|(name, value)| (self.fill(name), self.filled(value)))
                .collect(),
            Value::Null | Value::Bool(_) | Value::Number(_) => value.clone(),
        }
    }

    /// Puts in what is known by a name: `{zone}`, a mandate `{sample}`, a claim of it `{sample.jti}`, a part of it
    /// `{sample:head}`, or the whole with another signature `{sample:flipped}`.
    fn fill(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for (name, value) in &self.names {
            text = text.replace(&format!("{{{name}}}"), value);
        }
        for (name, mandate) in &self.mandates {
            if !text.contains(&format!("{{{name}")) {
                continue;
            }
            text = text.replace(&format!("{{{name}}}"), mandate);
            let (head, signature) = mandate.rsplit_once('.').expect("three parts");
            let mut rest = signature.chars();
            let first = if rest.next() == Some('A') { "B" } else { "A" };
            let flipped = format!("{head}.{first}{}", rest.as_str());
            let parts = [
                ("flipped", &*flipped),
                ("head", head),
                ("signature", signature),
            ];
            for (part, value) in parts {
                text = text.replace(&format!("{{{name}:{part}}}"), value);
            }
            for (claim, value) in claims(mandate) {
                if let Some(value) = value.as_str() {
                    text = text.replace(&format!("{{{name}.{claim}}}"), value);
                }
            }
        }
        text
    }

    fn mint(&mut self, table: &Table, name: &str) {
        let arguments = table
            .mandates
            .get(name)
            .unwrap_or_else(|| panic!("no mandate {name:?}"));
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let minted = self.stack.mint(&arguments);
        let mandate = minted["mandate"].as_str().expect("a mandate");
        self.mandates.insert(name.to_owned(), mandate.to_owned());
    }

    async fn step(&mut self, table: &Table, step: &Step) {
        match step {
            Step::Mint(name) => self.mint(table, name),
            Step::Revoke(arguments) => {
                let mut all = vec!["revoke".to_owned()];
                all.extend(arguments.iter().map(|argument| self.fill(argument)));
                all.extend(["--wait".to_owned(), "everywhere".to_owned()]);
                let all: Vec<&str> = all.iter().map(String::as_str).collect();
                self.stack.ok(&all);
            }
            Step::Call {
                method,
                path,
                body,
                keep,
            } => {
                let body = body.as_ref().map(|body| self.filled(body));
                let path = self.fill(path);
                let (status, answer) = self
                    .coordinator
                    .json(method, &path, &self.admin, body.as_ref())
                    .await;
                assert!((200..300).contains(&status), "{method} {path}: {answer}");
                for (name, member) in keep {
                    let kept = answer[member].as_str().expect("a member");
                    self.names.insert(name.clone(), kept.to_owned());
                }
            }
        }
    }
}

/// The bytes of a request that ends its connection.
pub fn request(place: &Place, headers: &[(&str, &str)]) -> Vec<u8> {
    let Place { method, host, path } = place;
    let mut text =
        format!("{method} {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n").into_bytes();
    for (name, value) in headers {
        text.extend(format!("{name}: {value}\r\n").into_bytes());
    }
    text.extend(b"\r\n");
    text
}

/// `now`, `now+60` or `now-60` as a second.
fn second(text: &str) -> Option<i64> {
    let offset = text.strip_prefix("now")?;
    let offset: i64 = if offset.is_empty() {
        0
    } else {
        offset.parse().ok()?
    };
    #[expect(
        clippy::disallowed_methods,
        reason = "mandates are judged by the wall clock"
    )]
    let now = SystemTime::now().duration_since(UNIX_EPOCH).ok()?;
    i64::try_from(now.as_secs()).ok()?.checked_add(offset)
}
