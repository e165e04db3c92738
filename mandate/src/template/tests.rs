use std::sync::Arc;

use super::*;

fn operations(list: &[(&str, &str)]) -> Result<OperationSet, TemplateError> {
    let operations = list.iter().map(|(method, template)| {
        Template::parse(template).map(|template| Operation {
            method: (*method).to_owned(),
            template,
            scopes: ScopeSet::default(),
        })
    });
    OperationSet::new(operations.collect::<Result<_, _>>()?)
}

fn found(set: &OperationSet, path: &str) -> Option<String> {
    set.find("GET", &canonical::path(path.as_bytes()).unwrap())
        .map(|operation| operation.template.to_string())
}

#[test]
fn the_most_specific_operation_is_found() {
    let set = operations(&[
        ("GET", "/v1/**"),
        ("GET", "/v1/invoices/{id}"),
        ("GET", "/v1/invoices/summary"),
        ("GET", "/v1/invoices/"),
        ("GET", "/"),
        ("POST", "/v1/invoices"),
        ("GET", "/v1/orders/lines"),
        ("GET", "/v1/files/**"),
        ("GET", "/v1/files/**/"),
    ])
    .unwrap();
    for (path, expected) in [
        ("/v1/invoices/summary", Some("/v1/invoices/summary")),
        ("/v1/invoices/42", Some("/v1/invoices/{id}")),
        ("/v1/invoices/42/x", Some("/v1/**")),
        ("/v1/invoices/", Some("/v1/invoices/")),
        ("/v1/invoices", Some("/v1/**")),
        ("/v1/invoices/42/", None),
        ("/v1/orders/lines", Some("/v1/orders/lines")),
        ("/v1/orders/lines/", None),
        ("/v1/files/a/b", Some("/v1/files/**")),
        ("/v1/files/a/b/", Some("/v1/files/**/")),
        ("/v1/files/", None),
        ("/v1", None),
        ("/", Some("/")),
        ("/v2", None),
    ] {
        assert_eq!(found(&set, path).as_deref(), expected, "{path}");
    }
}

#[test]
fn operations_of_which_neither_is_more_specific_are_refused() {
    for overlapping in [
        [("GET", "/a/{x}"), ("GET", "/a/{y}")],
        [("GET", "/a/*"), ("GET", "/a/{y}")],
        [("GET", "/a"), ("GET", "/a")],
        [("GET", "/a/**"), ("GET", "/a/**")],
        [("GET", "/a/{x}/b"), ("GET", "/a/b/{y}")],
        [("GET", "/{x}/b/c"), ("GET", "/a/**")],
    ] {
        assert!(
            matches!(operations(&overlapping), Err(TemplateError::Overlap { .. })),
            "{overlapping:?}"
        );
    }
    for distinct in [
        [("GET", "/a/{x}"), ("POST", "/a/{x}")],
        [("GET", "/a/{x}"), ("GET", "/a/{x}/")],
        [("GET", "/a/{x}"), ("GET", "/a/**")],
        [("GET", "/a/{x}"), ("GET", "/a/b")],
    ] {
        assert!(operations(&distinct).is_ok(), "{distinct:?}");
    }
}

#[test]
fn an_escape_does_not_hide_a_literal() {
    let set = operations(&[
        ("GET", "/jobs:purge"),
        ("GET", "/caf%C3%A9"),
        ("GET", "/{job}"),
    ])
    .unwrap();
    for (path, expected) in [
        ("/jobs:purge", Some("/jobs:purge")),
        ("/jobs%3Apurge", None),
        ("/jobs%3Arun", Some("/{job}")),
        ("/caf%C3%A9", Some("/caf%C3%A9")),
        ("/a%20b", Some("/{job}")),
    ] {
        assert_eq!(found(&set, path).as_deref(), expected, "{path}");
    }
}

#[test]
fn a_template_has_canonical_literals() {
    for wrong in [
        "", "a", "/a//b", "/**/a", "/a/{", "/a/{}", "/a/{x y}", "/..", "/a%2fb", "/a?b", "/a*",
        "/x{id}", "/**/**", "//", "/a//", "/%3a", "/a%40b", "/%3A%20",
    ] {
        assert!(Template::parse(wrong).is_err(), "{wrong}");
    }
}

/// Templates with and without a trailing slash, over few segments, so that they meet often.
fn template() -> impl proptest::strategy::Strategy<Value = String> {
    use proptest::prelude::*;
    let part = prop_oneof![Just("a"), Just("b"), Just("{x}"), Just("*")];
    let parts = proptest::collection::vec(part, 0..4);
    (parts, any::<bool>(), any::<bool>()).prop_map(|(parts, rest, slash)| {
        let mut text = parts
            .iter()
            .fold(String::new(), |text, part| format!("{text}/{part}"));
        if rest || text.is_empty() {
            text.push_str("/**");
        }
        if slash {
            text.push('/');
        }
        text
    })
}

/// Every path of up to five segments over three words, with and without a trailing slash.
fn paths() -> Vec<String> {
    let mut longest = vec![String::new()];
    let mut all = Vec::new();
    for _ in 0..5 {
        longest = longest
            .iter()
            .flat_map(|path| ["a", "b", "c"].map(|part| format!("{path}/{part}")))
            .collect();
        all.extend(longest.iter().cloned());
        all.extend(longest.iter().map(|path| format!("{path}/")));
    }
    all
}

proptest::proptest! {
    #![proptest_config(proptest::test_runner::Config::with_cases(64))]

    #[test]
    fn templates_meet_and_cover_as_the_paths_that_fit_them_do(a in template(), b in template()) {
        let (first, second) = (Template::parse(&a).unwrap(), Template::parse(&b).unwrap());
        let (mut both, mut only_second) = (false, false);
        for path in paths() {
            let path = canonical::path(path.as_bytes()).unwrap();
            let (one, other) = (first.matches(&path), second.matches(&path));
            both |= one && other;
            only_second |= other && !one;
        }
        proptest::prop_assert_eq!(first.meets(&second), both);
        proptest::prop_assert_eq!(first.covers(&second), !only_second);
    }

    #[test]
    fn the_found_operation_is_the_one_that_all_others_that_match_cover(
        templates in proptest::collection::vec(template(), 1..5),
        at in proptest::prelude::any::<proptest::sample::Index>(),
    ) {
        let list: Vec<(&str, &str)> = templates.iter().map(|text| ("GET", text.as_str())).collect();
        if let Ok(set) = operations(&list) {
            let paths = paths();
            let path = canonical::path(at.get(&paths).as_bytes()).unwrap();
            let matching: Vec<&Arc<Operation>> =
                set.iter().filter(|operation| operation.template.matches(&path)).collect();
            let found = set.find("GET", &path);
            proptest::prop_assert_eq!(found.is_some(), !matching.is_empty());
            if let Some(found) = found {
                proptest::prop_assert!(matching.iter().all(|other| other.template.covers(&found.template)));
            }
        }
    }
}
