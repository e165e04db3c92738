use std::fmt::Write as _;

use mandate::Rejection;

use super::*;
use crate::denial::{Outcome, PolicyDenial, Unavailable};
use crate::fixture::{decision, scopes};

fn refusal(denial: impl Into<Denial>) -> Refusal {
    Refusal::new(&denial.into(), decision(), &Context::default())
}

fn header<'a>(headers: &'a [(&'static str, String)], wanted: &str) -> Option<&'a str> {
    let mut values = headers
        .iter()
        .filter(|(name, _)| *name == wanted)
        .map(|(_, value)| value.as_str());
    let first = values.next();
    assert_eq!(values.next(), None, "{wanted} is there twice");
    first
}

#[test]
fn every_denial_renders_as_a_refusal_and_none_as_a_success() {
    for denial in Denial::all() {
        let refusal = refusal(denial);
        assert!(refusal.status() >= 400 && refusal.grpc() != 0, "{denial:?}");
        let headers = refusal.headers();
        let fit = |value: &str| value.bytes().all(|byte| matches!(byte, b' '..=b'~'));
        assert!(
            headers
                .iter()
                .all(|(name, value)| *name == name.to_ascii_lowercase() && fit(value)),
            "{denial:?}"
        );
        assert_eq!(
            header(headers, "x-caracal-decision"),
            Some(decision().to_string().as_str())
        );
        assert_eq!(header(headers, "cache-control"), Some("no-store"));
        assert_eq!(
            header(headers, "retry-after").is_some(),
            denial.outcome() == Outcome::Unavailable,
            "{denial:?}"
        );
        if refusal.status() == 401 {
            assert!(
                header(headers, "www-authenticate").is_some(),
                "RFC 9110 §15.5.2: {denial:?}"
            );
        }
        let body: serde_json::Value = serde_json::from_slice(refusal.body()).unwrap();
        assert_eq!(
            (&body["code"], &body["status"]),
            (&denial.code().into(), &denial.http().into())
        );
        let trailers = refusal.trailers_only();
        assert_eq!(header(&trailers, "content-type"), Some("application/grpc"));
        assert_eq!(
            header(&trailers, "grpc-status"),
            Some(denial.grpc().to_string().as_str())
        );
        assert_eq!(
            header(&trailers, "x-caracal-decision"),
            header(headers, "x-caracal-decision")
        );
    }
}

#[test]
fn the_bytes_of_a_refusal_are_these() {
    let refusal = refusal(Rejection::Revoked);
    assert_eq!(refusal.status(), 401);
    assert_eq!(
        String::from_utf8_lossy(refusal.body()),
        "{\"type\":\"urn:caracal:problem:revoked\",\"title\":\"Unauthorized\",\"status\":401,\
         \"detail\":\"The mandate, or what it came from, was revoked.\",\"code\":\"revoked\",\"error\":\"revoked\",\
         \"decision_id\":\"00000000-0000-0000-0000-000000000007\"}"
    );
    assert_eq!(
        refusal.message(),
        "revoked: The mandate, or what it came from, was revoked."
    );
}

#[test]
fn a_challenge_names_what_would_help() {
    let required = scopes("read write");
    let metadata = "https://invoices.example/.well-known/oauth-protected-resource";
    let context = Context {
        resource_metadata: Some(metadata),
        scopes: Some(&required),
    };
    let check = |denial: Denial, expected: Option<&str>| {
        let refusal = Refusal::new(&denial, decision(), &context);
        assert_eq!(
            header(refusal.headers(), "www-authenticate"),
            expected,
            "{denial:?}"
        );
    };
    check(
        Rejection::CredentialMissing.into(),
        Some(
            "Bearer realm=\"caracal\", \
             resource_metadata=\"https://invoices.example/.well-known/oauth-protected-resource\"",
        ),
    );
    check(
        Rejection::ScopeMissing.into(),
        Some(
            "Bearer realm=\"caracal\", error=\"insufficient_scope\", \
             error_description=\"The mandate lacks a scope that the operation requires.\", scope=\"read write\", \
             resource_metadata=\"https://invoices.example/.well-known/oauth-protected-resource\"",
        ),
    );
    check(PolicyDenial::Confined.into(), None);
    check(Unavailable::Stale.into(), None);
}

#[test]
fn what_cannot_stand_in_a_quoted_string_is_left_out() {
    for url in [
        "https://a.example/\r\nx-evil: 1",
        "https://a.example/\"",
        "https://a.example/\\",
        "https://é.example",
    ] {
        let context = Context {
            resource_metadata: Some(url),
            scopes: None,
        };
        let refusal = Refusal::new(&Rejection::CredentialMissing.into(), decision(), &context);
        assert_eq!(
            header(refusal.headers(), "www-authenticate"),
            Some("Bearer realm=\"caracal\"")
        );
    }
}

/// `cargo xtask gen` writes the page: it sets `UPDATE_GENERATED`.
#[test]
fn the_generated_page_lists_every_code() {
    let mut page = String::from(
        "# Error codes\n\n\
         Generated from `mandate::Rejection` and `policy::Denial` by `cargo xtask gen`.\n\n\
         Every reason for which an enforcement point does not let a request pass. The code is in the problem document,\n\
         in the message of a gRPC status and in the ledger; the decision's id is in `x-caracal-decision`. Steps 1 to 9\n\
         say whether a mandate is genuine, 10 to 14 whether it admits the request. `draining` is reserved: no enforcement point\n\
         answers with it yet.\n\n\
         | code | outcome | HTTP | gRPC | challenge | step | meaning |\n|---|---|---|---|---|---|---|\n",
    );
    for denial in Denial::all() {
        let step = match denial {
            Denial::Rejected(rejection) if rejection.step() > 0 => rejection.step().to_string(),
            Denial::Rejected(_)
            | Denial::Refused(_)
            | Denial::Policy(_)
            | Denial::Unavailable(_) => String::new(),
        };
        let bare = if denial.challenge() == Challenge::Bare {
            "bare"
        } else {
            ""
        };
        let challenge = denial.challenge().error().unwrap_or(bare);
        let (code, outcome, meaning) = (denial.code(), denial.outcome().name(), denial.meaning());
        let (http, grpc) = (denial.http(), denial.grpc());
        writeln!(
            page,
            "| `{code}` | {outcome} | {http} | {grpc} | {challenge} | {step} | {meaning} |"
        )
        .unwrap();
    }
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/errors.md");
    if std::env::var_os("UPDATE_GENERATED").is_some() {
        std::fs::write(path, &page).unwrap();
    }
    assert_eq!(
        std::fs::read_to_string(path).unwrap(),
        page,
        "run `cargo xtask gen`"
    );
}
