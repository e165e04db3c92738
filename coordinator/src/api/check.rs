//! Checks of values that several bodies share. All of them look at everything and report all they
//! find.

use std::collections::BTreeSet;

use mandate::canonical;
use mandate::id::{AttachmentName, Issuer, Label, ResourceUri, Scope, ScopeSet};
use mandate::template::{self, OperationSet, Template};

use crate::error::{Error, Finding};
use crate::store::resources::Operation;

const MOST_NAME: usize = 128;
const MOST_OPERATIONS: usize = 1_000;
const MOST_HOSTS: usize = 64;

/// What is wrong with a body.
#[derive(Debug, Default)]
pub(crate) struct Findings(Vec<Finding>);

impl Findings {
    /// Adds one.
    pub(crate) fn add(&mut self, path: impl Into<String>, what: impl Into<String>) {
        self.0.push(Finding::new(path, what));
    }

    /// All of them, as an error if there are any.
    pub(crate) fn into_result(self) -> Result<(), Error> {
        if self.0.is_empty() {
            Ok(())
        } else {
            Err(Error::Invalid(self.0))
        }
    }

    /// A name for people: 1 to 128 characters, none of them control characters.
    pub(crate) fn name(&mut self, path: &str, name: &str) {
        if name.trim().is_empty() || name.chars().count() > MOST_NAME {
            self.add(path, format!("must have 1 to {MOST_NAME} characters"));
        }
        if name.chars().any(char::is_control) {
            self.add(path, "must not have control characters");
        }
    }

    /// Text for people that may be empty.
    pub(crate) fn text(&mut self, path: &str, text: &str, most: usize) {
        if text.chars().count() > most {
            self.add(path, format!("must have at most {most} characters"));
        }
        if text.chars().any(char::is_control) {
            self.add(path, "must not have control characters");
        }
    }

    /// Labels, sorted and each once.
    pub(crate) fn labels(&mut self, path: &str, labels: &[String]) -> Vec<String> {
        if labels.len() > 32 {
            self.add(path, "must be at most 32");
        }
        for (index, label) in labels.iter().enumerate() {
            if Label::parse(label).is_err() {
                self.add(format!("{path}[{index}]"), "is not a label");
            }
        }
        self.once(path, labels);
        let sorted: BTreeSet<&String> = labels.iter().collect();
        sorted.into_iter().cloned().collect()
    }

    /// Scopes, sorted and each once.
    pub(crate) fn scopes(&mut self, path: &str, scopes: &[String]) -> Vec<String> {
        if scopes.len() > 64 {
            self.add(path, "must be at most 64");
        }
        for (index, scope) in scopes.iter().enumerate() {
            if Scope::parse(scope).is_err() {
                self.add(format!("{path}[{index}]"), "is not a scope");
            }
        }
        self.once(path, scopes);
        let sorted: BTreeSet<&String> = scopes.iter().collect();
        sorted.into_iter().cloned().collect()
    }

    /// Resource identifiers.
    pub(crate) fn resources(&mut self, path: &str, resources: &[String]) {
        if resources.is_empty() || resources.len() > 64 {
            self.add(path, "must be 1 to 64");
        }
        for (index, resource) in resources.iter().enumerate() {
            self.resource(&format!("{path}[{index}]"), resource);
        }
        self.once(path, resources);
    }

    /// A resource's identifier.
    pub(crate) fn resource(&mut self, path: &str, identifier: &str) {
        if ResourceUri::parse(identifier).is_err() {
            self.add(
                path,
                "is not an absolute URI without fragment of at most 512 visible characters",
            );
        }
    }

    fn once(&mut self, path: &str, values: &[String]) {
        let mut seen = BTreeSet::new();
        for (index, value) in values.iter().enumerate() {
            if !seen.insert(value) {
                self.add(format!("{path}[{index}]"), "is there twice");
            }
        }
    }

    /// An issuer.
    pub(crate) fn issuer(&mut self, path: &str, issuer: &str) -> Option<Issuer> {
        Issuer::parse(issuer)
            .map_err(|_| self.add(path, "is not an http or https URL without trailing slash"))
            .ok()
    }

    /// A proxy's attachment.
    pub(crate) fn attachment(&mut self, path: &str, name: &str) {
        if AttachmentName::parse(name).is_err() {
            self.add(path, "must have 1 to 63 characters a-z, 0-9 and -");
        }
    }

    /// Hosts, each in the one form requests are compared in.
    pub(crate) fn hosts(&mut self, path: &str, hosts: &[String]) {
        if hosts.is_empty() || hosts.len() > MOST_HOSTS {
            self.add(path, format!("must be 1 to {MOST_HOSTS}"));
        }
        for (index, host) in hosts.iter().enumerate() {
            let canonical = canonical::host(host.as_bytes());
            if !canonical.is_ok_and(|canonical| canonical.as_str() == host) {
                let what = "is not a host in lower case without default port";
                self.add(format!("{path}[{index}]"), what);
            }
        }
        self.once(path, hosts);
    }

    /// A path prefix: `/`, or whole segments without a slash at the end.
    pub(crate) fn prefix(&mut self, path: &str, prefix: &str) {
        if !canonical::is_prefix(prefix) {
            let what = "is not `/` or a canonical path that has one form, without slash at the end";
            self.add(path, what);
        }
    }

    /// Operations: each well formed, its scopes the resource's own, none overlapping another.
    pub(crate) fn operations(&mut self, path: &str, operations: &[Operation], scopes: &[String]) {
        if operations.len() > MOST_OPERATIONS {
            self.add(path, format!("must be at most {MOST_OPERATIONS}"));
            return;
        }
        let mut parsed = Vec::with_capacity(operations.len());
        for (index, operation) in operations.iter().enumerate() {
            let at = format!("{path}[{index}]");
            if let Some(operation) = self.operation(&at, operation, scopes) {
                parsed.push(operation);
            }
        }
        if parsed.len() == operations.len()
            && let Err(overlap) = OperationSet::new(parsed)
        {
            self.add(path, overlap.to_string());
        }
    }

    fn operation(
        &mut self,
        at: &str,
        operation: &Operation,
        scopes: &[String],
    ) -> Option<template::Operation> {
        let method = operation.method.as_str();
        let known = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];
        if !known.contains(&method) {
            self.add(
                format!("{at}.method"),
                format!("must be one of {}", known.join(", ")),
            );
        }
        let template = Template::parse(&operation.template)
            .map_err(|error| self.add(format!("{at}.template"), error.to_string()))
            .ok();
        let sorted = self.scopes(&format!("{at}.scopes"), &operation.scopes);
        if sorted.is_empty() {
            self.add(format!("{at}.scopes"), "must name at least one scope");
        }
        for (index, scope) in operation.scopes.iter().enumerate() {
            if !scopes.contains(scope) {
                self.add(
                    format!("{at}.scopes[{index}]"),
                    "is not a scope of the resource",
                );
            }
        }
        let scopes = ScopeSet::new(sorted.iter().filter_map(|scope| Scope::parse(scope).ok()));
        Some(template::Operation {
            method: method.to_owned(),
            template: template?,
            scopes: scopes.ok()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(check: impl FnOnce(&mut Findings)) -> Vec<String> {
        let mut findings = Findings::default();
        check(&mut findings);
        findings.0.into_iter().map(|finding| finding.path).collect()
    }

    fn operation(method: &str, template: &str, scope: &str) -> Operation {
        Operation {
            method: method.to_owned(),
            template: template.to_owned(),
            scopes: vec![scope.to_owned()],
        }
    }

    #[test]
    fn reports_everything_that_is_wrong_with_operations() {
        let scopes = ["a:read".to_owned()];
        let good = [
            operation("GET", "/v1/a/{id}", "a:read"),
            operation("GET", "/v1/a", "a:read"),
        ];
        assert_eq!(
            found(|f| f.operations("operations", &good, &scopes)),
            Vec::<String>::new()
        );
        let bad = [
            operation("get", "/v1/a", "a:read"),
            operation("PUT", "v1//", "a:write"),
        ];
        assert_eq!(
            found(|f| f.operations("operations", &bad, &scopes)),
            [
                "operations[0].method",
                "operations[1].template",
                "operations[1].scopes[0]"
            ]
        );
        let twice = [
            operation("GET", "/v1/a", "a:read"),
            operation("GET", "/v1/a", "a:read"),
        ];
        assert_eq!(
            found(|f| f.operations("operations", &twice, &scopes)),
            ["operations"]
        );
    }

    #[test]
    fn hosts_and_prefixes_have_one_form() {
        let hosts = |list: &[&str]| {
            let list: Vec<String> = list.iter().map(|host| (*host).to_owned()).collect();
            found(|f| f.hosts("hosts", &list))
        };
        assert_eq!(hosts(&["a.test", "b.test:8443"]), Vec::<String>::new());
        assert_eq!(hosts(&[]), ["hosts"]);
        assert_eq!(
            hosts(&["A.test", "a.test.", "a b", "a.test", "a.test"]).len(),
            4
        );
        for prefix in ["/", "/v1", "/v1/a"] {
            assert_eq!(
                found(|f| f.prefix("path_prefix", prefix)),
                Vec::<String>::new()
            );
        }
        for prefix in ["", "v1", "/v1/", "//", "/v1/../a", "/v1?x", "/%61", "/a;b"] {
            assert_eq!(
                found(|f| f.prefix("path_prefix", prefix)),
                ["path_prefix"],
                "{prefix}"
            );
        }
    }

    #[test]
    fn labels_and_scopes_come_out_sorted_and_doubles_are_found() {
        let mut findings = Findings::default();
        let labels = ["b".to_owned(), "a".to_owned()];
        assert_eq!(findings.labels("labels", &labels), ["a", "b"]);
        assert!(findings.into_result().is_ok());
        let twice = ["x".to_owned(), "x".to_owned()];
        assert_eq!(found(|f| drop(f.scopes("scopes", &twice))), ["scopes[1]"]);
    }
}
