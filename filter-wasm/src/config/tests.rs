use super::*;

const ZONE: &str = "01890a5d-ac96-774b-bcce-b302099a8057";

fn raw() -> RawConfig {
    RawConfig {
        version: VERSION,
        attachment: "ingress".to_owned(),
        zones: vec![RawZone {
            id: ZONE.to_owned(),
            issuer: "https://sts.example".to_owned(),
        }],
        authz: RawAuthz {
            cluster: "ext_authz".to_owned(),
            authority: "ext-authz".to_owned(),
            timeout: "500ms".to_owned(),
        },
        feed: RawFeed {
            cluster: "ext_authz".to_owned(),
            authority: "ext-authz".to_owned(),
        },
        routes: Vec::new(),
        mode: Mode::Enforce,
    }
}

fn findings(text: &str) -> Vec<String> {
    match Config::parse(text.as_bytes()) {
        Ok(_) => Vec::new(),
        Err(findings) => findings.into_iter().map(|finding| finding.key).collect(),
    }
}

#[test]
fn what_is_written_is_read() {
    let mut raw = raw();
    let config = Config::parse(raw.to_json().as_bytes()).unwrap();
    assert_eq!(config.timeout, Duration::from_millis(500));
    assert_eq!(
        config.authz.envelope().as_bytes(),
        b"\x0a\x16\x0a\x09ext_authz\x12\x09ext-authz"
    );
    assert!(!config.verifies() && !config.needs_route());
    raw.routes = vec![
        RawRoute {
            route_name: Some("tools".to_owned()),
            host: None,
            mode: Mode::VerifyOnly,
        },
        RawRoute {
            route_name: None,
            host: Some("wiki.example".to_owned()),
            mode: Mode::VerifyOnly,
        },
    ];
    let config = Config::parse(raw.to_json().as_bytes()).unwrap();
    assert!(config.verifies() && config.needs_route());
    let wiki = mandate::canonical::host(b"wiki.example").unwrap();
    assert_eq!(config.mode_of(Some(b"tools"), None), Mode::VerifyOnly);
    assert_eq!(config.mode_of(None, Some(&wiki)), Mode::VerifyOnly);
    assert_eq!(config.mode_of(Some(b"other"), None), Mode::Enforce);
}

#[test]
fn where_routes_disagree_the_filter_enforces() {
    let mut raw = raw();
    raw.mode = Mode::VerifyOnly;
    raw.routes = vec![
        RawRoute {
            route_name: Some("tools".to_owned()),
            host: None,
            mode: Mode::VerifyOnly,
        },
        RawRoute {
            route_name: None,
            host: Some("wiki.example".to_owned()),
            mode: Mode::Enforce,
        },
    ];
    let config = Config::parse(raw.to_json().as_bytes()).unwrap();
    let wiki = mandate::canonical::host(b"wiki.example").unwrap();
    assert_eq!(config.mode_of(Some(b"tools"), Some(&wiki)), Mode::Enforce);
}

#[test]
fn everything_wrong_is_found_at_once() {
    let text = r#"{"version": 2, "attachment": "Ingress!", "failure_mode_allow": true,
        "zones": [{"id": "x", "issuer": "ftp://x", "extra": 1}, 5],
        "authz": {"cluster": "", "authority": "a", "timeout": "0ms", "retry": 3},
        "routes": [{"mode": "shadow"}, {"host": "Wiki.example", "mode": "enforce"}], "mode": "open"}"#;
    assert_eq!(
        findings(text),
        [
            "failure_mode_allow",
            "version",
            "attachment",
            "zones[1]",
            "zones[0].extra",
            "zones[0].id",
            "zones[0].issuer",
            "authz.retry",
            "authz.timeout",
            "authz.cluster",
            "feed",
            "routes[0].mode",
            "routes[0]",
            "routes[1].host",
            "mode"
        ]
    );
}

#[test]
fn what_is_no_strict_object_is_refused() {
    for text in ["", "[]", "{", r#"{"version": 1, "version": 1}"#] {
        assert_eq!(findings(text), [""], "{text}");
    }
}

#[test]
fn a_target_too_long_for_its_envelope_is_refused() {
    let fits = |cluster: usize, authority: usize| {
        Target::new(&"c".repeat(cluster), &"a".repeat(authority)).is_some()
    };
    assert!(fits(100, 23));
    assert!(!fits(100, 24));
    assert!(!fits(0, 1) && !fits(1, 0));
    let longest = Target::new(&"c".repeat(100), &"a".repeat(23)).unwrap();
    assert!(longest.envelope().is_ascii() && longest.envelope().len() == 129);
    assert!(Target::new("ext authz", "a").is_none());
}
