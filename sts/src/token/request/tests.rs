use secrecy::ExposeSecret;

use super::*;

const SESSION: &str = "0195a000-0000-7000-8000-000000000001";

fn read(pairs: &[(&str, &str)]) -> Result<TokenRequest, ParameterError> {
    let body: Vec<String> = pairs
        .iter()
        .map(|(name, value)| {
            let value = value
                .bytes()
                .fold(String::new(), |text, byte| format!("{text}%{byte:02x}"));
            format!("{name}={value}")
        })
        .collect();
    TokenRequest::read(&Form::parse(body.join("&").as_bytes()).unwrap())
}

#[expect(clippy::panic_in_result_fn, reason = "a helper of tests")]
fn exchange(more: &[(&'static str, &'static str)]) -> Result<Exchange, ParameterError> {
    let mut pairs = vec![
        ("grant_type", TOKEN_EXCHANGE),
        ("subject_token", "a.b.c"),
        ("subject_token_type", ACCESS_TOKEN),
        ("session", SESSION),
    ];
    for (name, value) in more {
        match value.strip_prefix('-') {
            // `-` leaves the parameter out, `-x` gives another value.
            Some("") => pairs.retain(|(given, _)| given != name),
            Some(other) => {
                pairs.retain(|(given, _)| given != name);
                pairs.push((name, other));
            }
            None => pairs.push((name, value)),
        }
    }
    match read(&pairs)?.grant {
        Grant::Exchange(exchange) => Ok(exchange),
        Grant::ClientCredentials(_) => panic!("an exchange was asked for"),
    }
}

#[test]
fn reads_the_least_exchange() {
    let exchange = exchange(&[]).unwrap();
    assert_eq!(exchange.subject_token.expose_secret(), "a.b.c");
    assert_eq!(exchange.session.to_string(), SESSION);
    assert_eq!(exchange.usage, Use::Resource);
    assert_eq!(exchange.token_type, ACCESS_TOKEN);
    assert_eq!(exchange.wanted, Wanted::default());
}

#[test]
fn reads_the_most_of_an_exchange() {
    let exchange = exchange(&[
        ("resource", "https://b.example/x"),
        ("resource", "https://a.example/"),
        ("resource", "https://b.example/x"),
        ("audience", "urn:c"),
        ("scope", "write read"),
        ("ttl", "900"),
        ("requested_token_type", JWT),
        ("allow_partial", "true"),
        ("mandate_use", "resource"),
    ])
    .unwrap();
    let resources: Vec<&str> = exchange
        .wanted
        .resources
        .iter()
        .map(ResourceUri::as_str)
        .collect();
    assert_eq!(
        resources,
        ["https://a.example/", "https://b.example/x", "urn:c"]
    );
    assert_eq!(exchange.wanted.scopes.unwrap().to_string(), "read write");
    assert_eq!(exchange.wanted.ttl, Some(900));
    assert_eq!(exchange.token_type, JWT);
    assert!(exchange.wanted.allow_partial);
}

#[test]
fn reads_a_gateway_exchange() {
    let exchange =
        exchange(&[("mandate_use", "gateway"), ("audience", "https://sts/z/1")]).unwrap();
    assert_eq!(exchange.usage, Use::Gateway);
    assert_eq!(exchange.audience.as_deref(), Some("https://sts/z/1"));
    assert_eq!(exchange.wanted.resources, []);
}

#[test]
fn reads_client_credentials() {
    let request = read(&[
        ("grant_type", CLIENT_CREDENTIALS),
        ("client_id", "app"),
        ("client_secret", "s3"),
        ("ttl", "3600"),
    ])
    .unwrap();
    assert_eq!(request.client_id.as_deref(), Some("app"));
    let Grant::ClientCredentials(wanted) = request.grant else {
        panic!("wrong grant")
    };
    assert_eq!(wanted.ttl, Some(3600));
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table")]
fn refuses_every_parameter_of_the_wrong_shape() {
    let check = |more: &[(&'static str, &'static str)], expected: &str| {
        assert_eq!(
            exchange(more).unwrap_err().to_string(),
            expected,
            "{more:?}"
        );
    };
    check(
        &[("subject_token", "-")],
        "parameter `subject_token` is missing",
    );
    check(
        &[("subject_token_type", "-")],
        "parameter `subject_token_type` is missing",
    );
    check(&[("session", "-")], "parameter `session` is missing");
    check(&[("grant_type", "-")], "parameter `grant_type` is missing");
    check(
        &[("scope", "a"), ("scope", "a")],
        "parameter `scope` is repeated",
    );
    check(&[("ttl", "1"), ("ttl", "2")], "parameter `ttl` is repeated");
    check(
        &[("subject_token", "x")],
        "parameter `subject_token` is repeated",
    );
    check(
        &[("actor_token", "x")],
        "parameter `actor_token` is unknown for this grant type",
    );
    check(
        &[("SCOPE", "x")],
        "parameter `SCOPE` is unknown for this grant type",
    );
    check(
        &[("resource", "/relative")],
        "`resource` is not an absolute URI without a fragment",
    );
    check(
        &[("resource", "https://a/#f")],
        "`resource` is not an absolute URI without a fragment",
    );
    check(
        &[("audience", "not a uri")],
        "`audience` is not an absolute URI without a fragment",
    );
    let scope = "`scope` is not a list of at most 64 scopes separated by single spaces";
    check(&[("scope", "a\"b")], scope);
    check(&[("scope", " ")], scope);
    for ttl in ["0", "901", "--1", "+1", "1.5", "1e2", "99999999999", "9 "] {
        assert!(
            matches!(
                exchange(&[("ttl", ttl)]),
                Err(ParameterError::Invalid { name: "ttl", .. })
            ),
            "{ttl}"
        );
    }
    for (name, value) in [
        ("session", "-x"),
        ("mandate_use", "session"),
        ("mandate_use", "Gateway"),
        ("allow_partial", "1"),
        (
            "requested_token_type",
            "urn:ietf:params:oauth:token-type:refresh_token",
        ),
    ] {
        assert!(
            matches!(exchange(&[(name, value)]), Err(ParameterError::Invalid { name: n, .. }) if n == name),
            "{name}={value}"
        );
    }
}

#[test]
fn refuses_an_exchanges_parameters_to_client_credentials() {
    for name in [
        "subject_token",
        "session",
        "audience",
        "mandate_use",
        "requested_token_type",
    ] {
        assert_eq!(
            read(&[("grant_type", CLIENT_CREDENTIALS), (name, "x")]).unwrap_err(),
            ParameterError::Unknown(name.to_owned())
        );
    }
}

#[test]
fn refuses_a_grant_type_that_is_not_offered() {
    for grant in [
        "password",
        "authorization_code",
        "Client_Credentials",
        "refresh_token",
    ] {
        assert_eq!(
            read(&[("grant_type", grant)]).unwrap_err(),
            ParameterError::GrantType
        );
    }
}

#[test]
fn refuses_more_targets_than_a_mandate_holds() {
    let targets: Vec<(&'static str, &'static str)> = [
        "urn:1", "urn:2", "urn:3", "urn:4", "urn:5", "urn:6", "urn:7", "urn:8", "urn:9", "urn:10",
        "urn:11", "urn:12", "urn:13", "urn:14", "urn:15", "urn:16", "urn:17",
    ]
    .map(|target| ("resource", target))
    .to_vec();
    assert!(exchange(&targets[..MAX_RESOURCES]).is_ok());
    assert!(exchange(&targets).is_err());
}
