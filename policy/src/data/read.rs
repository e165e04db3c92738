//! From JSON to a policy, collecting everything that is wrong.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use mandate::id::{ApplicationId, IdError, Label, ResourceUri, Scope, ScopeSet};

use super::tree::{self, Node, below};
use super::{ApprovalTier, Approver, Finding, MAX_BYTES, PolicyData, Restrict, Roles};

/// More findings than this help nobody.
const MOST_FINDINGS: usize = 100;
/// The longest reason, in characters.
const MAX_REASON: usize = 256;
/// The longest wait for an approval: a week.
const MAX_TTL_SECONDS: u32 = 7 * 24 * 60 * 60;

/// Parses a policy.
pub(super) fn policy(json: &[u8]) -> Result<PolicyData, Vec<Finding>> {
    if json.len() > MAX_BYTES {
        return Err(vec![Finding::new(
            "",
            format!("has more than {MAX_BYTES} bytes"),
        )]);
    }
    let document = tree::parse(json).map_err(|finding| vec![finding])?;
    let mut reader = Reader::default();
    let data = reader.document(&document);
    if reader.findings.is_empty() {
        Ok(data)
    } else {
        Err(reader.findings)
    }
}

#[derive(Default)]
struct Reader {
    findings: Vec<Finding>,
}

impl Reader {
    fn find(&mut self, at: &str, what: impl Into<String>) {
        if self.findings.len() < MOST_FINDINGS {
            self.findings.push(Finding::new(at, what));
        }
    }

    /// Parts that are wrong are left out of the result, which is used only when nothing was found.
    fn document(&mut self, document: &Node) -> PolicyData {
        let [app_ids, grants, confinement, restrict, risk, approval_tiers] = self.members(
            "",
            document,
            [
                "app_ids",
                "grants",
                "confinement",
                "restrict",
                "risk",
                "approval_tiers",
            ],
        );
        let app_ids = self.app_ids(app_ids);
        let grants = self.grants(grants, &app_ids);
        let confinement = self.confinement(confinement);
        let restrict = self.restrict(restrict, &app_ids);
        let approval_tiers = self.approval_tiers(approval_tiers);
        let risk = self.risk(risk, &approval_tiers);
        let keys = app_ids.iter().map(|(key, id)| (*id, key.clone())).collect();
        PolicyData {
            app_ids,
            grants,
            confinement,
            restrict,
            risk,
            approval_tiers,
            keys,
        }
    }

    fn app_ids(&mut self, node: Option<&Node>) -> BTreeMap<Label, ApplicationId> {
        const AT: &str = "/app_ids";
        let mut seen = BTreeSet::new();
        let mut app_ids = BTreeMap::new();
        for (at, key, node) in self.entries(AT, node, Label::parse) {
            let Some(id) = self.parsed(&at, node, ApplicationId::parse) else {
                continue;
            };
            if !seen.insert(id) {
                self.find(&at, "is an application that has a key already");
            }
            app_ids.insert(key, id);
        }
        app_ids
    }

    fn grants(
        &mut self,
        node: Option<&Node>,
        app_ids: &BTreeMap<Label, ApplicationId>,
    ) -> BTreeMap<ResourceUri, BTreeMap<Label, Roles>> {
        let mut grants = BTreeMap::new();
        for (at, resource, node) in self.entries("/grants", node, ResourceUri::parse) {
            let mut applications = BTreeMap::new();
            for (at, key, node) in self.entries(&at, Some(node), Label::parse) {
                self.declared(&at, &key, app_ids, "is no key of app_ids");
                let [roles] = self.members(&at, node, ["roles"]);
                applications.insert(key, self.roles(&below(&at, "roles"), roles));
            }
            grants.insert(resource, applications);
        }
        grants
    }

    fn roles(&mut self, at: &str, node: Option<&Node>) -> Roles {
        let mut roles = Roles::new();
        let mut together: BTreeSet<Scope> = BTreeSet::new();
        for (at, label, node) in self.entries(at, node, Label::parse) {
            let scopes = self.scopes(&at, node);
            if matches!(node, Node::List(items) if items.is_empty()) {
                self.find(&at, "is a role without a scope");
            }
            together.extend(scopes.iter().cloned());
            roles.insert(label, scopes);
        }
        if node.is_some_and(|node| matches!(node, Node::Object(members) if members.is_empty())) {
            self.find(at, "has no role");
        }
        if together.len() > PolicyData::MAX_ROLE_SCOPES {
            self.find(
                at,
                format!(
                    "has more than {} scopes together",
                    PolicyData::MAX_ROLE_SCOPES
                ),
            );
        }
        roles
    }

    fn confinement(&mut self, node: Option<&Node>) -> BTreeMap<Label, ScopeSet> {
        let mut confinement = BTreeMap::new();
        for (at, label, node) in self.entries("/confinement", node, Label::parse) {
            let [scopes] = self.members(&at, node, ["scopes"]);
            let scopes = scopes.map(|node| self.scopes(&below(&at, "scopes"), node));
            confinement.insert(label, scopes.unwrap_or_default());
        }
        confinement
    }

    fn restrict(
        &mut self,
        node: Option<&Node>,
        app_ids: &BTreeMap<Label, ApplicationId>,
    ) -> Restrict {
        let Some(node) = node else {
            return Restrict::default();
        };
        let [zone, resources, applications] =
            self.members("/restrict", node, ["zone", "resources", "applications"]);
        let zone = match zone {
            Some(Node::Bool(zone)) => *zone,
            Some(_) => {
                self.find("/restrict/zone", "is neither true nor false");
                true
            }
            None => true,
        };
        let mut restrict = Restrict {
            zone,
            ..Restrict::default()
        };
        for (at, resource, node) in
            self.entries("/restrict/resources", resources, ResourceUri::parse)
        {
            let reason = self.reason(&at, node);
            restrict.resources.insert(resource, reason);
        }
        for (at, key, node) in self.entries("/restrict/applications", applications, Label::parse) {
            self.declared(&at, &key, app_ids, "is no key of app_ids");
            let reason = self.reason(&at, node);
            restrict.applications.insert(key, reason);
        }
        restrict
    }

    /// Every tier must be declared: a misspelt one would need no approval.
    fn risk(
        &mut self,
        node: Option<&Node>,
        tiers: &BTreeMap<Label, ApprovalTier>,
    ) -> BTreeMap<Scope, Label> {
        let mut risk = BTreeMap::new();
        for (at, scope, node) in self.entries("/risk", node, Scope::parse) {
            let Some(tier) = self.parsed(&at, node, Label::parse) else {
                continue;
            };
            self.declared(&at, &tier, tiers, "is no tier of approval_tiers");
            risk.insert(scope, tier);
        }
        risk
    }

    fn approval_tiers(&mut self, node: Option<&Node>) -> BTreeMap<Label, ApprovalTier> {
        let mut tiers = BTreeMap::new();
        for (at, tier, node) in self.entries("/approval_tiers", node, Label::parse) {
            let [approver, ttl_seconds] = self.members(&at, node, ["approver", "ttl_seconds"]);
            let approver = match approver {
                Some(Node::Text(text)) if text == "operator" => Approver::Operator,
                Some(Node::Text(text)) if text == "subject" => Approver::Subject,
                Some(_) => {
                    self.find(
                        &below(&at, "approver"),
                        "is neither \"operator\" nor \"subject\"",
                    );
                    Approver::Operator
                }
                None => Approver::Operator,
            };
            let ttl_seconds = match ttl_seconds {
                Some(Node::Natural(seconds)) => u32::try_from(*seconds).unwrap_or(0),
                Some(_) => 0,
                None => 1,
            };
            if !(1..=MAX_TTL_SECONDS).contains(&ttl_seconds) {
                self.find(
                    &below(&at, "ttl_seconds"),
                    format!("is no whole number from 1 to {MAX_TTL_SECONDS}"),
                );
            }
            tiers.insert(
                tier,
                ApprovalTier {
                    approver,
                    ttl_seconds,
                },
            );
        }
        tiers
    }

    fn reason(&mut self, at: &str, node: &Node) -> String {
        match node {
            Node::Text(text) if !text.is_empty() && text.chars().count() <= MAX_REASON => {
                if text.chars().any(char::is_control) {
                    self.find(at, "has control characters");
                }
                text.clone()
            }
            Node::Null
            | Node::Bool(_)
            | Node::Number
            | Node::Natural(_)
            | Node::Text(_)
            | Node::List(_)
            | Node::Object(_) => {
                self.find(at, format!("is no reason of 1 to {MAX_REASON} characters"));
                String::new()
            }
        }
    }

    fn scopes(&mut self, at: &str, node: &Node) -> ScopeSet {
        let Node::List(items) = node else {
            self.find(at, "is no list of scopes");
            return ScopeSet::default();
        };
        let mut scopes = BTreeSet::new();
        for (index, item) in items.iter().enumerate() {
            let at = format!("{at}/{index}");
            if let Some(scope) = self.parsed(&at, item, Scope::parse)
                && !scopes.insert(scope)
            {
                self.find(&at, "is there twice");
            }
        }
        ScopeSet::new(scopes).unwrap_or_else(|error| {
            self.find(at, error.to_string());
            ScopeSet::default()
        })
    }

    fn parsed<T>(
        &mut self,
        at: &str,
        node: &Node,
        parse: impl Fn(&str) -> Result<T, IdError>,
    ) -> Option<T> {
        let Node::Text(text) = node else {
            self.find(at, "is no text");
            return None;
        };
        parse(text)
            .map_err(|error| self.find(at, error.to_string()))
            .ok()
    }

    fn declared<T>(&mut self, at: &str, key: &Label, declared: &BTreeMap<Label, T>, what: &str) {
        if !declared.contains_key(key) {
            self.find(at, what);
        }
    }

    /// The named members, each exactly once and no other.
    fn members<'a, const N: usize>(
        &mut self,
        at: &str,
        node: &'a Node,
        names: [&str; N],
    ) -> [Option<&'a Node>; N] {
        let members = self.object(at, Some(node));
        for (name, _) in members {
            if !names.contains(&name.as_str()) {
                self.find(&below(at, name), format!("is none of {}", names.join(", ")));
            }
        }
        let object = matches!(node, Node::Object(_));
        names.map(|name| {
            let found = members
                .iter()
                .find(|(member, _)| member == name)
                .map(|(_, value)| value);
            if object && found.is_none() {
                self.find(&below(at, name), "is missing");
            }
            found
        })
    }

    /// The entries of a keyed object whose keys parse.
    fn entries<'a, K>(
        &mut self,
        at: &str,
        node: Option<&'a Node>,
        parse: impl Fn(&str) -> Result<K, IdError>,
    ) -> Vec<(String, K, &'a Node)> {
        let mut entries = Vec::new();
        for (name, value) in self.object(at, node) {
            let at = below(at, name);
            match parse(name) {
                Ok(key) => entries.push((at, key, value)),
                Err(error) => self.find(&at, format!("has a name that {error}")),
            }
        }
        entries
    }

    /// The members of an object, none of them there twice.
    fn object<'a>(&mut self, at: &str, node: Option<&'a Node>) -> &'a [(String, Node)] {
        match node {
            None => &[],
            Some(Node::Object(members)) => {
                let mut seen = HashSet::new();
                for (name, _) in members {
                    if !seen.insert(name) {
                        self.find(&below(at, name), "is there twice");
                    }
                }
                members
            }
            Some(
                Node::Null
                | Node::Bool(_)
                | Node::Number
                | Node::Natural(_)
                | Node::Text(_)
                | Node::List(_),
            ) => {
                self.find(at, "is no object");
                &[]
            }
        }
    }
}
