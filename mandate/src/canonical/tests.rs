use super::*;

#[test]
fn a_canonical_path_passes_unchanged() {
    for (raw, expected, query) in [
        ("/", "/", None),
        ("/v1/invoices/42", "/v1/invoices/42", None),
        ("/v1/invoices/", "/v1/invoices/", None),
        ("/a?x=/../;%2f", "/a", Some("x=/../;%2f")),
        ("/a?", "/a", Some("")),
        ("/a%20b", "/a%20b", None),
        ("/a:b@c,d=e!$&'()*+", "/a:b@c,d=e!$&'()*+", None),
        ("/caf%C3%A9", "/caf%C3%A9", None),
        ("/...", "/...", None),
        ("/bob%40example.test", "/bob%40example.test", None),
        ("/%5B1%5D", "/%5B1%5D", None),
    ] {
        let path = path(raw.as_bytes()).unwrap_or_else(|_| panic!("{raw}"));
        assert_eq!((path.path(), path.query()), (expected, query), "{raw}");
    }
}

#[test]
fn a_path_that_needs_repair_is_refused() {
    for raw in [
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
        "/a\\b",
        "/a;b",
        "/a#b",
        "/a?b#c",
        "/%41",
        "/%7E",
        "/%",
        "/%2",
        "/%zz",
        "/%c3%a9",
        "/%C3",
        "/%C0%AF",
        "/%C0%AE%C0%AE",
        "/%ED%A0%80",
        "/[1]",
        "/%00",
        "/%25",
        "/%3B",
        "/%3F",
        "/%23",
        "/%0A",
        "/%7F",
        "/a b",
        "/a\tb",
        "/a\0",
        "/é",
        "/a|b",
        "/{a}",
        "/a^",
        "/\"",
        "/<",
    ] {
        assert_eq!(path(raw.as_bytes()), Err(Rejection::PathRefused), "{raw:?}");
    }
    assert_eq!(path(b"/\xff"), Err(Rejection::PathRefused));
    assert_eq!(
        path(&[b"/".as_slice(), &[b'a'; MAX_PATH]].concat()),
        Err(Rejection::PathRefused)
    );
}

#[test]
fn a_prefix_has_one_form() {
    for text in ["/", "/v1", "/v1/a-b_c.d~e", "/caf%C3%A9", "/a%20b"] {
        assert!(is_prefix(text), "{text}");
    }
    for text in [
        "", "v1", "/v1/", "//", "/v1?x", "/a:b", "/a@b", "/a!", "/a*", "/a%3Ab", "/a%40b", "/a%",
        "/../a", "/%41",
    ] {
        assert!(!is_prefix(text), "{text}");
    }
}

#[test]
fn hosts_have_one_form() {
    for (raw, expected) in [
        ("API.Example.test", "api.example.test"),
        ("api-1.example.test", "api-1.example.test"),
        ("api.example.test:8443", "api.example.test:8443"),
        ("localhost", "localhost"),
        ("127.0.0.1:8080", "127.0.0.1:8080"),
        ("[::1]:8080", "[::1]:8080"),
        ("[::1]", "[::1]"),
        ("[2001:DB8::1]", "[2001:db8::1]"),
    ] {
        assert_eq!(host(raw.as_bytes()).unwrap().as_str(), expected, "{raw}");
    }
    for raw in [
        "",
        ".",
        "..",
        "a..b",
        "u@a",
        "a b",
        "a:",
        "a:x",
        "a:0",
        "a:080",
        "a:99999",
        "a:1:2",
        "[::1",
        "[x]",
        "[::1]x",
        "é",
        "a/b",
        "a,b",
        "a\0",
        ":80",
        "a.b..",
        "a.test.",
        "a.test:80",
        "a.test:443",
        "a.test:+81",
        "[0:0:0:0:0:0:0:1]",
        "[::1%25lo]",
    ] {
        assert_eq!(host(raw.as_bytes()), Err(Rejection::HostRefused), "{raw:?}");
    }
}

#[test]
fn connect_and_trace_cannot_be_governed() {
    assert_eq!(method(b"GET"), Ok("GET"));
    for raw in [
        b"".as_slice(),
        b"CONNECT",
        b"TRACE",
        b"get",
        b"G ET",
        b"G\xff",
    ] {
        assert_eq!(method(raw), Err(Rejection::MethodRefused), "{raw:?}");
    }
}

#[test]
fn override_headers_are_refused_however_they_are_written() {
    assert_eq!(refuse_override(b"accept"), Ok(()));
    for name in ["x-http-method-override", "X_Original_URL", "x-rewrite-url"] {
        assert_eq!(
            refuse_override(name.as_bytes()),
            Err(Rejection::OverrideHeader),
            "{name}"
        );
    }
}

proptest::proptest! {
    #[test]
    fn a_path_that_passes_has_no_second_form(raw in "/[a-zA-Z0-9%./?_-]{0,24}") {
        if let Ok(found) = path(raw.as_bytes()) {
            let upper = found.path().contains("%2F") || found.path().contains("%2E");
            proptest::prop_assert!(!upper && !found.path().contains("//"), "{raw}");
            let dots = found.segments().any(|segment| segment == "." || segment == "..");
            proptest::prop_assert!(!dots, "{raw}");
        }
    }

    #[test]
    fn nothing_panics_and_what_passes_is_a_fixed_point(raw in proptest::collection::vec(proptest::num::u8::ANY, 0..40)) {
        if let Ok(path_) = path(&raw) {
            proptest::prop_assert_eq!(path(path_.path().as_bytes()).unwrap().path(), path_.path());
        }
        if let Ok(host_) = host(&raw) {
            proptest::prop_assert_eq!(host(host_.as_str().as_bytes()).unwrap(), host_);
        }
    }
}
