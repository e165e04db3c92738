//! Every way to be refused, as the RFCs spell it.

use super::world::{INVOICES, World};

#[tokio::test]
#[expect(clippy::too_many_lines, reason = "a table")]
async fn what_has_not_the_shape_of_a_request_is_invalid_request() {
    let world = World::new().await;
    let body = "grant_type=client_credentials";
    let form = "application/x-www-form-urlencoded";
    let huge = format!("{body}&scope={}", "a".repeat(70_000));
    let many = format!("{body}{}", "&scope=a".repeat(100));
    for (content_type, body, code, status) in [
        (Some("application/json"), "{}", "content_type", 400),
        (None, body, "content_type", 400),
        (Some(form), "", "parameter_missing", 400),
        (
            Some(form),
            "grant_type=client_credentials&grant_type=client_credentials",
            "parameter_repeated",
            400,
        ),
        (
            Some(form),
            "grant_type=client_credentials&foo=bar",
            "parameter_unknown",
            400,
        ),
        (
            Some(form),
            "grant_type=client_credentials&actor_token=x",
            "parameter_unknown",
            400,
        ),
        (
            Some(form),
            "grant_type=client_credentials&scope=",
            "parameter_empty",
            400,
        ),
        (
            Some(form),
            "grant_type=client_credentials&scope=%ff",
            "malformed_form",
            400,
        ),
        (Some(form), "grant_type=%zz", "malformed_form", 400),
        (Some(form), many.as_str(), "malformed_form", 400),
        (Some(form), huge.as_str(), "body_too_large", 413),
        (
            Some(form),
            "grant_type=client_credentials&ttl=3601",
            "parameter_invalid",
            400,
        ),
    ] {
        let answer = world.raw("POST", "", content_type, body).await;
        assert_eq!(
            (answer.status, answer.error()),
            (status, "invalid_request"),
            "{code}: {}",
            answer.text
        );
        assert_eq!(answer.code(), code);
        assert_eq!(answer.header("cache-control"), Some("no-store"));
        assert!(answer.header("x-caracal-decision").is_some());
    }
    let answer = world.raw("POST", "?scope=a", Some(form), body).await;
    assert_eq!((answer.status, answer.code()), (400, "query_not_allowed"));
    let answer = world.raw("GET", "", None, "").await;
    assert_eq!((answer.status, answer.header("allow")), (405, Some("POST")));
    let answer = world
        .raw("POST", "", Some(form), "grant_type=password")
        .await;
    assert_eq!(
        (answer.status, answer.error()),
        (400, "unsupported_grant_type")
    );
    let answer = world
        .raw(
            "POST",
            "",
            Some(form),
            &format!("{body}&resource=%2Frelative"),
        )
        .await;
    assert_eq!((answer.status, answer.error()), (400, "invalid_target"));
    let answer = world
        .raw("POST", "", Some(form), &format!("{body}&scope=a%22b"))
        .await;
    assert_eq!((answer.status, answer.error()), (400, "invalid_scope"));
}

#[tokio::test]
async fn a_client_that_does_not_authenticate_is_invalid_client() {
    let world = World::new().await;
    let id = world.application.to_string();
    let unknown = "018f0000-0000-7000-8000-00000000dead".to_owned();
    let wrong = format!("{}x", world.secret);
    let form = [("grant_type", "client_credentials")];
    for (case, auth) in [
        ("wrong secret", Some((id.as_str(), wrong.as_str()))),
        (
            "unknown id",
            Some((unknown.as_str(), world.secret.as_str())),
        ),
        ("not an id", Some(("nobody", world.secret.as_str()))),
        ("not a secret", Some((id.as_str(), "hunter2"))),
        ("nothing", None),
    ] {
        // Each from a place of its own: this is not about how often one may fail.
        let source = format!("192.0.2.{}", case.len());
        let answer = world.post_from(&source, &form, auth).await;
        assert_eq!(
            (answer.status, answer.error()),
            (401, "invalid_client"),
            "{case}"
        );
        let challenge = answer.header("www-authenticate").unwrap();
        assert!(challenge.starts_with("Basic realm=\""), "{challenge}");
        if auth.is_some() {
            assert_eq!(answer.code(), "client_unknown", "{case}");
        }
    }
    let both = [
        form[0],
        ("client_id", id.as_str()),
        ("client_secret", world.secret.as_str()),
    ];
    let answer = world
        .post(&both, Some((id.as_str(), world.secret.as_str())))
        .await;
    assert_eq!(
        (answer.status, answer.code()),
        (400, "client_credential_ambiguous")
    );
}

#[tokio::test]
async fn a_source_that_fails_too_often_waits_and_nobody_else_does() {
    let world = World::new().await;
    let form = [("grant_type", "client_credentials")];
    let wrong = format!("{}x", world.secret);
    let id = world.application.to_string();
    for _ in 0..World::BURST {
        let answer = world
            .post_from("192.0.2.1", &form, Some((&id, &wrong)))
            .await;
        assert_eq!(answer.status, 401);
    }
    let answer = world
        .post_from("192.0.2.1", &form, Some((&id, &wrong)))
        .await;
    assert_eq!((answer.status, answer.error()), (429, "rate_limited"));
    assert_eq!(answer.header("retry-after"), Some("1"));
    assert_eq!(
        world
            .post_from("192.0.2.2", &form, Some((&id, &wrong)))
            .await
            .status,
        401
    );
    let right = world
        .post_from("192.0.2.1", &form, Some((&id, &world.secret)))
        .await;
    assert_eq!(right.status, 200, "the right secret is never locked out");
    world.advance(2).await;
    assert_eq!(
        world
            .post_from("192.0.2.1", &form, Some((&id, &wrong)))
            .await
            .status,
        401
    );
}

#[tokio::test]
async fn a_zone_that_is_not_there_or_archived_issues_nothing() {
    let world = World::new().await;
    for path in [
        "/z/018f0000-0000-7000-8000-00000000dead/token",
        "/z/nonsense/token",
    ] {
        let answer = world
            .at(path, &[("grant_type", "client_credentials")])
            .await;
        assert_eq!((answer.status, answer.code()), (404, "zone_unknown"));
    }
    assert_eq!(world.client_credentials(&[]).await.status, 200);
    world.archive_zone().await;
    let answer = world.client_credentials(&[]).await;
    assert_eq!(
        (answer.error(), answer.code()),
        ("invalid_grant", "archived")
    );
    world.advance(3).await;
    assert_eq!(world.client_credentials(&[]).await.code(), "zone_archived");
    assert_eq!(
        world
            .get(&format!("/z/{}/jwks.json", world.zone))
            .await
            .status,
        404
    );
}

#[tokio::test]
async fn a_subject_token_that_is_not_the_clients_own_session_mandate_is_refused() {
    let world = World::new().await;
    let subject = world.session_mandate().await;
    let resource = world.exchange_of(&subject, &[("resource", INVOICES)]).await;
    let check = async |token: &str, code: &str| {
        let answer = world.exchange_of(token, &[("resource", INVOICES)]).await;
        assert_eq!(
            (answer.status, answer.error()),
            (400, "invalid_request"),
            "{}",
            answer.text
        );
        assert_eq!(answer.code(), code);
    };
    check("nonsense", "malformed").await;
    check(&format!("{subject}x"), "malformed").await;
    let (head, _) = subject.rsplit_once('.').unwrap();
    check(&format!("{head}.{}", "A".repeat(86)), "signature_invalid").await;
    check(resource.token(), "wrong_use").await;
    let other = world.other_application().await;
    check(&other, "subject_token_foreign").await;
    let elsewhere = world.other_zone().await;
    check(&elsewhere, "key_unknown").await;
    world.advance(3601).await;
    check(&subject, "expired").await;
}

#[tokio::test]
async fn a_session_that_is_not_the_clients_own_and_active_is_refused() {
    let world = World::new().await;
    let subject = world.session_mandate().await;
    let check = async |session: &str, code: &str| {
        let form = [("resource", INVOICES), ("session", session)];
        let answer = world.exchange_of(&subject, &form).await;
        assert_eq!(
            (answer.status, answer.error()),
            (400, "invalid_grant"),
            "{}",
            answer.text
        );
        assert_eq!(answer.code(), code);
    };
    check("018f0000-0000-7000-8000-00000000dead", "session_unknown").await;
    check(&world.foreign_session().await, "session_unknown").await;
    let own = world.session.to_string();
    world.set_session("suspended").await;
    check(&own, "session_suspended").await;
    world.set_session("active").await;
    world.set_session("ended").await;
    check(&own, "session_ended").await;
}

#[tokio::test]
#[expect(clippy::too_many_lines, reason = "a table")]
async fn a_target_or_scope_that_is_not_granted_is_refused() {
    let world = World::new().await;
    let check = async |form: &[(&str, &str)], error: &str, code: &str| {
        let answer = world.exchange(form).await;
        assert_eq!(
            (answer.status, answer.error(), answer.code()),
            (400, error, code),
            "{}",
            answer.text
        );
    };
    check(&[], "invalid_target", "target_missing").await;
    check(
        &[("resource", "urn:unknown")],
        "invalid_target",
        "target_not_granted",
    )
    .await;
    check(
        &[("audience", "urn:unknown")],
        "invalid_target",
        "target_not_granted",
    )
    .await;
    let held_back = ("resource", super::world::UNGRANTED);
    check(&[held_back], "invalid_target", "target_not_granted").await;
    let invoices = ("resource", INVOICES);
    check(
        &[invoices, ("scope", "invoices:delete")],
        "invalid_scope",
        "scope_not_granted",
    )
    .await;
    check(
        &[invoices, ("scope", "pages:read")],
        "invalid_scope",
        "scope_not_granted",
    )
    .await;
    let gateway = ("mandate_use", "gateway");
    check(
        &[invoices, gateway, ("audience", "https://elsewhere")],
        "invalid_target",
        "audience_foreign",
    )
    .await;
    world
        .activate(|policy| {
            policy["risk"]["invoices:write"] = "high".into();
            policy["approval_tiers"]["high"] =
                serde_json::json!({ "approver": "operator", "ttl_seconds": 300 });
        })
        .await;
    check(
        &[invoices, ("scope", "invoices:write")],
        "interaction_required",
        "approval_required",
    )
    .await;
    let rest = world.exchange(&[invoices]).await;
    assert_eq!(
        (rest.status, &rest.body["scope"]),
        (200, &"invoices:read".into())
    );
    world
        .activate(|policy| policy["restrict"]["zone"] = true.into())
        .await;
    let answer = world.client_credentials(&[]).await;
    assert_eq!(
        (answer.error(), answer.code()),
        ("unauthorized_client", "zone_restricted")
    );
    world.no_policy().await;
    let answer = world.client_credentials(&[]).await;
    assert_eq!(
        (answer.error(), answer.code()),
        ("unauthorized_client", "policy_missing")
    );
}

#[tokio::test]
async fn clocks_that_disagree_issue_nothing() {
    let world = World::new().await;
    world.disagree();
    let answer = world.client_credentials(&[]).await;
    assert_eq!(
        (answer.status, answer.error()),
        (503, "temporarily_unavailable")
    );
    assert_eq!(
        (answer.code(), answer.header("retry-after")),
        ("clock_skew", Some("1"))
    );
}
