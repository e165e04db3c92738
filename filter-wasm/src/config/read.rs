//! From JSON to a configuration. The document is walked by hand, so that everything wrong is found at once.

use std::time::Duration;

use mandate::canonical;
use mandate::id::{AttachmentName, IdError, Issuer, ZoneId};
use mandate::json;
use serde_json::{Map, Value};

use super::{Config, Finding, Mode, Route, Target, VERSION, Zone};

/// The longest time to wait for a decision.
const MOST_TIMEOUT: Duration = Duration::from_secs(10);

pub(super) fn config(text: &[u8]) -> Result<Config, Vec<Finding>> {
    let mut findings = Vec::new();
    let strict = json::check(text).is_ok();
    let document = serde_json::from_slice::<Value>(text)
        .ok()
        .filter(|_| strict);
    let Some(Value::Object(document)) = document else {
        find::<()>(&mut findings, "", "is no JSON object, or names a key twice");
        return Err(findings);
    };
    let root = Section::new("", &document);
    root.know(
        &[
            "version",
            "attachment",
            "zones",
            "authz",
            "feed",
            "routes",
            "mode",
        ],
        &mut findings,
    );
    let version = root.get("version").and_then(Value::as_u64);
    if version != Some(u64::from(VERSION)) {
        find::<()>(&mut findings, "version", "must be 1");
    }
    let attachment = root.parsed("attachment", AttachmentName::parse, &mut findings);
    let zones = zones(&root, &mut findings);
    let authz = section(
        &root,
        "authz",
        &["cluster", "authority", "timeout"],
        &mut findings,
    );
    let timeout = authz
        .as_ref()
        .and_then(|authz| timeout(authz, &mut findings));
    let authz = authz.and_then(|authz| target(&authz, &mut findings));
    let feed = section(&root, "feed", &["cluster", "authority"], &mut findings)
        .and_then(|feed| target(&feed, &mut findings));
    let routes = routes(&root, &mut findings);
    let mode = root.mode(&mut findings);
    let config = || {
        Some(Config {
            attachment: attachment?,
            zones,
            authz: authz?,
            timeout: timeout?,
            feed: feed?,
            routes,
            mode: mode?,
        })
    };
    match config() {
        Some(config) if findings.is_empty() => Ok(config),
        _ => Err(findings),
    }
}

/// One object of the document and where it is.
struct Section<'a> {
    path: String,
    members: &'a Map<String, Value>,
}

impl<'a> Section<'a> {
    fn new(path: impl Into<String>, members: &'a Map<String, Value>) -> Self {
        Self {
            path: path.into(),
            members,
        }
    }

    fn at(&self, key: &str) -> String {
        if self.path.is_empty() {
            key.to_owned()
        } else {
            format!("{}.{key}", self.path)
        }
    }

    fn get(&self, key: &str) -> Option<&'a Value> {
        self.members.get(key)
    }

    /// Finds members that are none of ours.
    fn know(&self, known: &[&str], findings: &mut Vec<Finding>) {
        for key in self
            .members
            .keys()
            .filter(|key| !known.contains(&key.as_str()))
        {
            find::<()>(findings, self.at(key), "is no key of this configuration");
        }
    }

    fn text(&self, key: &str, findings: &mut Vec<Finding>) -> Option<&'a str> {
        match self.get(key) {
            Some(Value::String(text)) => Some(text),
            Some(_) => find(findings, self.at(key), "must be a text"),
            None => find(findings, self.at(key), "is missing"),
        }
    }

    fn parsed<T>(
        &self,
        key: &str,
        parse: impl Fn(&str) -> Result<T, IdError>,
        findings: &mut Vec<Finding>,
    ) -> Option<T> {
        match parse(self.text(key, findings)?) {
            Ok(parsed) => Some(parsed),
            Err(error) => find(findings, self.at(key), error.to_string()),
        }
    }

    fn mode(&self, findings: &mut Vec<Finding>) -> Option<Mode> {
        match self.text("mode", findings)? {
            "enforce" => Some(Mode::Enforce),
            "verify_only" => Some(Mode::VerifyOnly),
            _ => find(
                findings,
                self.at("mode"),
                "must be `enforce` or `verify_only`",
            ),
        }
    }

    /// The objects of a list.
    fn list(&self, key: &str, findings: &mut Vec<Finding>) -> Vec<Section<'a>> {
        let items = match self.get(key) {
            Some(Value::Array(items)) => items.as_slice(),
            Some(_) => {
                find::<()>(findings, self.at(key), "must be a list");
                &[]
            }
            None => &[],
        };
        let object = |(index, item): (usize, &'a Value)| {
            let path = format!("{}[{index}]", self.at(key));
            match item {
                Value::Object(members) => Some(Section::new(path, members)),
                Value::Null
                | Value::Bool(_)
                | Value::Number(_)
                | Value::String(_)
                | Value::Array(_) => find(findings, path, "must be an object"),
            }
        };
        items.iter().enumerate().filter_map(object).collect()
    }
}

fn find<T>(
    findings: &mut Vec<Finding>,
    key: impl Into<String>,
    what: impl Into<String>,
) -> Option<T> {
    findings.push(Finding {
        key: key.into(),
        what: what.into(),
    });
    None
}

fn section<'a>(
    root: &Section<'a>,
    key: &str,
    known: &[&str],
    findings: &mut Vec<Finding>,
) -> Option<Section<'a>> {
    match root.get(key) {
        Some(Value::Object(members)) => {
            let section = Section::new(root.at(key), members);
            section.know(known, findings);
            Some(section)
        }
        Some(_) => find(findings, root.at(key), "must be an object"),
        None => find(findings, root.at(key), "is missing"),
    }
}

fn target(section: &Section<'_>, findings: &mut Vec<Finding>) -> Option<Target> {
    let cluster = section.text("cluster", findings);
    let authority = section.text("authority", findings);
    match Target::new(cluster?, authority?) {
        Some(target) => Some(target),
        None => find(
            findings,
            section.at("cluster"),
            "and the authority must be visible ASCII, at most 123 bytes together",
        ),
    }
}

fn timeout(authz: &Section<'_>, findings: &mut Vec<Finding>) -> Option<Duration> {
    let text = authz.text("timeout", findings)?;
    let parsed = match (text.strip_suffix("ms"), text.strip_suffix('s')) {
        (Some(millis), _) => millis.parse().ok().map(Duration::from_millis),
        (None, Some(seconds)) => seconds.parse().ok().map(Duration::from_secs),
        (None, None) => None,
    };
    let fit = |timeout: &Duration| !timeout.is_zero() && *timeout <= MOST_TIMEOUT;
    parsed.filter(fit).or_else(|| {
        find(
            findings,
            authz.at("timeout"),
            "must be like `500ms` or `1s`, more than nothing and at most 10s",
        )
    })
}

fn zones(root: &Section<'_>, findings: &mut Vec<Finding>) -> Vec<Zone> {
    let mut zones: Vec<Zone> = Vec::new();
    let sections = root.list("zones", findings);
    if sections.is_empty() {
        find::<()>(findings, "zones", "names no zone");
    }
    for section in sections {
        section.know(&["id", "issuer"], findings);
        let id = section.parsed("id", ZoneId::parse, findings);
        let issuer = section.parsed("issuer", Issuer::parse, findings);
        let (Some(id), Some(issuer)) = (id, issuer) else {
            continue;
        };
        if zones.iter().any(|zone| zone.id == id) {
            find::<()>(findings, section.at("id"), "is named twice");
        }
        zones.push(Zone { id, issuer });
    }
    zones
}

fn routes(root: &Section<'_>, findings: &mut Vec<Finding>) -> Vec<(Route, Mode)> {
    let mut routes = Vec::new();
    let mut seen = Vec::new();
    for section in root.list("routes", findings) {
        section.know(&["route_name", "host", "mode"], findings);
        let mode = section.mode(findings);
        let route = route(&section, findings);
        let name = (section.get("route_name"), section.get("host"));
        let name = (
            name.0.and_then(Value::as_str),
            name.1.and_then(Value::as_str),
        );
        if seen.contains(&name) {
            find::<()>(findings, section.path.clone(), "is named twice");
        }
        seen.push(name);
        if let (Some(route), Some(mode)) = (route, mode) {
            routes.push((route, mode));
        }
    }
    routes
}

fn route(section: &Section<'_>, findings: &mut Vec<Finding>) -> Option<Route> {
    match (section.get("route_name"), section.get("host")) {
        (Some(_), None) => {
            let name = section.text("route_name", findings)?;
            Some(Route::Name(name.to_owned()))
        }
        (None, Some(_)) => {
            let text = section.text("host", findings)?;
            match canonical::host(text.as_bytes()) {
                Ok(host) if host.as_str() == text => Some(Route::Host(host)),
                _ => find(findings, section.at("host"), "is no canonical host"),
            }
        }
        (Some(_), Some(_)) | (None, None) => find(
            findings,
            section.path.clone(),
            "must have one of `route_name` and `host`",
        ),
    }
}
