//! What a request looks like: credentials, paths, hosts, methods, header names, operations.

use serde_json::{Value, json};

use crate::cases::refused;

pub(crate) fn credentials() -> Vec<Value> {
    let found = |text: &str| json!({ "credential": text });
    let long = format!("Bearer {}", "a".repeat(8 * 1024 + 1));
    let longest = "a".repeat(8 * 1024);
    let malformed = || refused("credential_malformed", 1);
    let table: Vec<(&str, Vec<&str>, Value)> = vec![
        ("one credential", vec!["Bearer a.b.c"], found("a.b.c")),
        ("the scheme in another case", vec!["bEARER a"], found("a")),
        ("no credential", vec![], refused("credential_missing", 1)),
        (
            "two credentials",
            vec!["Bearer a", "Bearer b"],
            refused("credential_duplicate", 1),
        ),
        (
            "one credential twice",
            vec!["Bearer a", "Bearer a"],
            refused("credential_duplicate", 1),
        ),
        (
            "two credentials joined",
            vec!["Bearer a,Bearer b"],
            refused("credential_duplicate", 1),
        ),
        (
            "two credentials joined with a space",
            vec!["Bearer a, Bearer b"],
            refused("credential_duplicate", 1),
        ),
        ("an empty value", vec![""], malformed()),
        ("a scheme alone", vec!["Bearer"], malformed()),
        ("a scheme and a space", vec!["Bearer "], malformed()),
        ("two spaces", vec!["Bearer  a"], malformed()),
        ("a tab", vec!["Bearer\ta"], malformed()),
        ("a space at the end", vec!["Bearer a "], malformed()),
        ("another scheme", vec!["Basic YTpi"], malformed()),
        (
            "a scheme that begins like ours",
            vec!["Bearers a"],
            malformed(),
        ),
        (
            "a credential that is not ASCII",
            vec!["Bearer é"],
            malformed(),
        ),
        (
            "a credential too long",
            vec![&long],
            refused("credential_too_long", 1),
        ),
    ];
    let mut cases: Vec<Value> = table
        .into_iter()
        .map(|(name, values, expect)| {
            json!({ "name": format!("credential: {name}"), "values": values, "expect": expect })
        })
        .collect();
    cases.push(json!({
        "name": "credential: the longest",
        "values": [format!("Bearer {longest}")],
        "expect": found(&longest),
    }));
    cases
}

fn raws(kind: &str, table: Vec<(&str, Value)>) -> Vec<Value> {
    table
        .into_iter()
        .map(|(raw, expect)| json!({ "name": format!("{kind}: {raw:?}"), "raw": raw, "expect": expect }))
        .collect()
}

pub(crate) fn paths() -> Vec<Value> {
    let sound = [
        ("/", "/", None),
        ("/v1/invoices/42", "/v1/invoices/42", None),
        ("/v1/invoices/", "/v1/invoices/", None),
        ("/a?x=/../;%2f", "/a", Some("x=/../;%2f")),
        ("/a?", "/a", Some("")),
        ("/a?b?c", "/a", Some("b?c")),
        ("/a%20b", "/a%20b", None),
        ("/caf%C3%A9", "/caf%C3%A9", None),
        ("/bob%40example.test", "/bob%40example.test", None),
        ("/a:b@c,d=e!$&'()*+", "/a:b@c,d=e!$&'()*+", None),
        ("/...", "/...", None),
        ("/.well-known/x", "/.well-known/x", None),
    ];
    let refusals = [
        "",
        "*",
        "a",
        "http://h/a",
        "//",
        "//a",
        "/a//b",
        "/a//",
        "/.",
        "/..",
        "/a/../b",
        "/a/./b",
        "/a/..",
        "/a/.",
        "/%2e",
        "/%2E%2E/a",
        "/a%2fb",
        "/a%2Fb",
        "/a%5Cb",
        "/a%5cb",
        "/a\\b",
        "/a;b",
        "/a%3Bb",
        "/a#b",
        "/a?b#c",
        "/%41",
        "/%7E",
        "/%",
        "/%2",
        "/%zz",
        "/%C3",
        "/%c3%a9",
        "/%C0%AF",
        "/%C0%AE%C0%AE",
        "/%E0%80%AF",
        "/%ED%A0%80",
        "/%00",
        "/%25",
        "/%252e",
        "/%3F",
        "/%23",
        "/%0A",
        "/%0d",
        "/%7F",
        "/a b",
        "/a\tb",
        "/a\n",
        "/a\u{0}",
        "/é",
        "/a?é",
        "/a?b c",
        "/a|b",
        "/[a]",
        "/{a}",
        "/a^",
        "/`",
        "/\"",
        "/<",
    ];
    let sound = sound
        .into_iter()
        .map(|(raw, path, query)| (raw, json!({ "path": path, "query": query })));
    let refusals = refusals
        .into_iter()
        .map(|raw| (raw, refused("path_refused", 0)));
    raws("path", sound.chain(refusals).collect())
}

pub(crate) fn hosts() -> Vec<Value> {
    let sound = [
        ("api.example.test", "api.example.test"),
        ("API.Example.test", "api.example.test"),
        ("api.example.test:8443", "api.example.test:8443"),
        ("localhost", "localhost"),
        ("127.0.0.1:8080", "127.0.0.1:8080"),
        ("[::1]:8080", "[::1]:8080"),
        ("[2001:DB8::1]", "[2001:db8::1]"),
    ];
    let refusals = [
        "",
        ".",
        "..",
        "a..b",
        "a.test.",
        "a.test:80",
        "a.test:443",
        "user@a.test",
        "user:x@a.test",
        "a b",
        "a:",
        "a:x",
        "a:0",
        "a:080",
        "a:+81",
        "a:99999",
        "a:1:2",
        "[::1",
        "[x]",
        "[::1]x",
        "[0:0:0:0:0:0:0:1]",
        "[::1%25lo]",
        "é",
        "a/b",
        "a,b",
        "a\u{0}",
        ":81",
        "a?b",
        "a#b",
        "*.a.test",
    ];
    let sound = sound
        .into_iter()
        .map(|(raw, host)| (raw, json!({ "host": host })));
    let refusals = refusals
        .into_iter()
        .map(|raw| (raw, refused("host_refused", 0)));
    raws("host", sound.chain(refusals).collect())
}

pub(crate) fn methods() -> Vec<Value> {
    let sound = [
        "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "M-SEARCH",
    ];
    let refusals = [
        "", "CONNECT", "TRACE", "get", "G ET", "GET ", "GÉT", "GET/1",
    ];
    let sound = sound.into_iter().map(|raw| (raw, json!({ "method": raw })));
    let refusals = refusals
        .into_iter()
        .map(|raw| (raw, refused("method_refused", 0)));
    raws("method", sound.chain(refusals).collect())
}

pub(crate) fn headers() -> Vec<Value> {
    let table = [
        ("accept", false),
        ("x-caracal", false),
        ("x-caracal-zone", true),
        ("X-Caracal-Subject", true),
        ("x_caracal_scope", true),
        ("X_CARACAL-DECISION", true),
    ];
    let refusals = [
        "x-http-method-override",
        "x-http-method",
        "x-method-override",
        "x-original-url",
        "x-rewrite-url",
        "X-HTTP-Method-Override",
        "x_original_url",
    ];
    let names = table
        .into_iter()
        .map(|(raw, owned)| (raw, json!({ "owned": owned })));
    let refusals = refusals
        .into_iter()
        .map(|raw| (raw, refused("override_header", 0)));
    raws("header", names.chain(refusals).collect())
}

pub(crate) fn operations() -> Vec<Value> {
    let set = [
        "GET /v1/**",
        "GET /v1/invoices/{id}",
        "GET /v1/invoices/summary",
        "GET /v1/invoices/",
        "GET /",
        "POST /v1/invoices",
        "GET /v1/files/**/",
        "GET /jobs:purge",
        "GET /{job}",
    ];
    let found = |template: &str| json!({ "operation": template });
    let none = || json!({ "operation": null });
    let mut cases: Vec<Value> = [
        ("GET", "/v1/invoices/summary", found("/v1/invoices/summary")),
        ("GET", "/v1/invoices/42", found("/v1/invoices/{id}")),
        ("GET", "/v1/invoices/42?summary", found("/v1/invoices/{id}")),
        ("GET", "/v1/invoices/42/", none()),
        ("GET", "/v1/invoices/42/lines", found("/v1/**")),
        ("GET", "/v1/invoices/Summary", found("/v1/invoices/{id}")),
        ("GET", "/v1/invoices/", found("/v1/invoices/")),
        ("GET", "/v1/files/a/b", found("/v1/**")),
        ("GET", "/v1/files/a/b/", found("/v1/files/**/")),
        ("GET", "/", found("/")),
        ("GET", "/v1", found("/{job}")),
        ("GET", "/v1/", none()),
        ("GET", "/v2/a", none()),
        ("POST", "/v1/invoices", found("/v1/invoices")),
        ("HEAD", "/v1/invoices/42", none()),
        ("GET", "/jobs:purge", found("/jobs:purge")),
        ("GET", "/jobs%3Apurge", none()),
        ("GET", "/jobs%3Arun", found("/{job}")),
        ("GET", "/v1/../jobs:purge", refused("path_refused", 0)),
    ]
    .into_iter()
    .map(|(method, path, expect)| choice(&set, method, path, &expect))
    .collect();
    for (set, expect) in [
        (
            ["GET /a/{x}", "GET /a/*"],
            json!({ "overlap": ["/a/{x}", "/a/*"] }),
        ),
        (
            ["GET /a/{x}/b", "GET /a/b/{y}"],
            json!({ "overlap": ["/a/{x}/b", "/a/b/{y}"] }),
        ),
        (["GET /a", "GET /a"], json!({ "overlap": ["/a", "/a"] })),
        (["GET /a/{x}", "POST /a/{y}"], none()),
        (["GET /a/{x}", "GET /a/**"], none()),
        (["GET /a", "GET /**/a"], json!({ "no_template": "/**/a" })),
        (["GET /a", "GET /x{id}"], json!({ "no_template": "/x{id}" })),
        (["GET /a", "GET /%2e"], json!({ "no_template": "/%2e" })),
        (["GET /a", "GET /a%40b"], json!({ "no_template": "/a%40b" })),
        (["GET /a", "TRACE /b"], json!({ "no_method": "TRACE" })),
    ] {
        cases.push(choice(&set, "GET", "/elsewhere", &expect));
    }
    cases
}

fn choice(set: &[&str], method: &str, path: &str, expect: &Value) -> Value {
    let operations: Vec<Value> = set
        .iter()
        .map(|operation| {
            let (method, template) = operation.split_once(' ').unwrap();
            json!({ "method": method, "template": template })
        })
        .collect();
    let first: String = if set.len() > 2 {
        String::new()
    } else {
        format!(" of {}", set.join(", "))
    };
    json!({
        "name": format!("operation: {method} {path}{first}"),
        "operations": operations,
        "method": method,
        "path": path,
        "expect": expect,
    })
}
