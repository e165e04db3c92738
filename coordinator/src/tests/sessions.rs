//! Sessions, and revocation through the API.

use mandate::id::ScopeSet;
use serde_json::json;

use super::bench::Bench;

#[tokio::test]
async fn a_session_is_started_suspended_resumed_and_ended() {
    let bench = Bench::start().await;
    let zone = bench.zone().await;
    let application = bench.application(&zone).await;
    let root = format!("/v1/zones/{zone}/sessions");
    let body = json!({
        "application_id": application, "ttl_seconds": 60, "labels": ["x"], "ceiling": ["a:read"],
        "resources": ["https://a.example"],
    });
    let made = bench.post(&root, body).await;
    assert_eq!(made.status, 201, "{made:?}");
    assert_eq!(made.body["labels"], json!(["x"]));
    let path = format!("{root}/{}", made.text("id"));
    let step = async |verb: &str| {
        let reply = bench.post(&format!("{path}/{verb}"), json!({})).await;
        (
            reply.status,
            reply.body["state"].as_str().unwrap_or_default().to_owned(),
        )
    };
    assert_eq!(step("suspend").await, (200, "suspended".to_owned()));
    assert_eq!(step("suspend").await, (200, "suspended".to_owned()));
    assert_eq!(step("resume").await, (200, "active".to_owned()));
    assert_eq!(step("end").await, (200, "ended".to_owned()));
    assert_eq!(step("end").await, (200, "ended".to_owned()));
    assert_eq!(step("resume").await.0, 409);
    assert_eq!(
        bench.outbox_kinds(&zone, "authority").await[1..],
        ["state", "state", "revocation"]
    );
    let evidence = bench.outbox_kinds(&zone, "audit").await;
    assert_eq!(
        evidence[2..],
        [
            "session_started",
            "state_changed",
            "state_changed",
            "session_ended"
        ]
    );
}

#[tokio::test]
async fn a_session_that_ran_out_is_marked_by_whoever_sweeps() {
    let bench = Bench::start().await;
    let zone = bench.zone().await;
    let application = bench.application(&zone).await;
    let session = bench.session(&zone, &application).await;
    bench.backdate_session(&zone, &session).await;
    tokio::join!(bench.sweep(), bench.sweep());
    let read = bench
        .get(&format!("/v1/zones/{zone}/sessions/{session}"))
        .await;
    assert_eq!(read.body["state"], "expired");
    let kinds = bench.outbox_kinds(&zone, "audit").await;
    assert_eq!(
        kinds.iter().filter(|kind| *kind == "session_ended").count(),
        1
    );
}

#[tokio::test]
async fn an_application_starts_and_ends_its_own_sessions_by_its_mandate() {
    let bench = Bench::start().await;
    let zone = bench.zone().await;
    let (mine, other) = (
        bench.application(&zone).await,
        bench.application(&zone).await,
    );
    let root = format!("/v1/zones/{zone}/sessions");
    let token = bench.session_mandate(&zone, &mine);
    let start = async |body: serde_json::Value| bench.post_as(&root, body, &token).await;

    let made = start(json!({"ttl_seconds": 60})).await;
    assert_eq!(made.status, 201, "{made:?}");
    assert_eq!(made.body["application_id"], json!(mine));
    let foreign = start(json!({"ttl_seconds": 60, "application_id": other})).await;
    assert_eq!((foreign.status, foreign.code()), (403, "forbidden"));
    let labels = start(json!({"ttl_seconds": 60, "labels": ["mine"]})).await;
    assert_eq!((labels.status, labels.code()), (422, "invalid_request"));

    let theirs = bench.session(&zone, &other).await;
    let ends = bench
        .post_as(&format!("{root}/{theirs}/end"), json!({}), &token)
        .await;
    assert_eq!((ends.status, ends.code()), (404, "not_found"));
    let ends = bench
        .post_as(
            &format!("{root}/{}/end", made.text("id")),
            json!({}),
            &token,
        )
        .await;
    assert_eq!(ends.body["state"], "ended", "{ends:?}");
    let suspends = format!("{root}/{}/suspend", made.text("id"));
    assert_eq!(
        bench.post_as(&suspends, json!({}), &token).await.status,
        401
    );

    bench.revoke(&zone, "application", &mine).await;
    let after = start(json!({"ttl_seconds": 60})).await;
    assert_eq!((after.status, after.code()), (401, "revoked"), "{after:?}");
}

#[tokio::test]
async fn only_a_genuine_session_mandate_of_the_zone_is_taken() {
    let bench = Bench::start().await;
    let (zone, other) = (bench.zone().await, bench.zone().await);
    let application = bench.application(&zone).await;
    let root = format!("/v1/zones/{zone}/sessions");
    let body = json!({"ttl_seconds": 60});
    let mut forged = bench.session_mandate(&zone, &application);
    forged.replace_range(forged.len() - 4.., "AAAA");
    for token in [
        bench.session_mandate(&other, &application),
        bench.mandate(&zone, &application, |claims| claims.exp = claims.iat - 1),
        bench.mandate(&zone, &application, |claims| {
            claims.usage = mandate::Use::Gateway;
            claims.exp = claims.iat + 60;
            claims.scope = ScopeSet::parse("a:read").unwrap();
        }),
        forged,
        "a.b.c".to_owned(),
    ] {
        let reply = bench.post_as(&root, body.clone(), &token).await;
        assert_eq!(reply.status, 401, "{reply:?}");
        assert!(
            reply.header("www-authenticate").contains("invalid_token"),
            "{reply:?}"
        );
    }
    let none = "0199c0de-0000-7000-8000-00000000000a";
    let token = bench.session_mandate(&zone, &application);
    let reply = bench
        .post_as(&format!("/v1/zones/{none}/sessions"), body, &token)
        .await;
    assert_eq!((reply.status, reply.code()), (401, "unauthenticated"));
}

#[tokio::test]
async fn a_revoked_application_stays_off_until_it_is_enabled() {
    let bench = Bench::start().await;
    let zone = bench.zone().await;
    let application = bench.application(&zone).await;
    let revoked = bench.revoke(&zone, "application", &application).await;
    assert_eq!(revoked.body["kind"], "cut_off", "{revoked:?}");
    let first = revoked.body["not_before"].as_i64().unwrap();
    let path = format!("/v1/zones/{zone}/applications/{application}");
    assert_eq!(bench.get(&path).await.body["state"], "disabled");
    let body = json!({"application_id": application, "ttl_seconds": 60});
    let starts = bench
        .post(&format!("/v1/zones/{zone}/sessions"), body.clone())
        .await;
    assert_eq!((starts.status, starts.code()), (409, "wrong_state"));
    assert_eq!(
        bench.outbox_kinds(&zone, "authority").await[1..],
        ["cutoff", "state"]
    );

    bench.post(&format!("{path}/enable"), json!({})).await;
    assert_eq!(
        bench
            .post(&format!("/v1/zones/{zone}/sessions"), body)
            .await
            .status,
        201
    );
    // What was dated after the first cut-off is refused by a second one in the same second, and by
    // one of another anchor too.
    let again = bench.revoke(&zone, "application", &application).await;
    assert!(
        again.body["not_before"].as_i64().unwrap() > first,
        "{again:?}"
    );
    let wider = bench.revoke(&zone, "zone", &zone).await;
    assert!(
        wider.body["not_before"].as_i64() > again.body["not_before"].as_i64(),
        "{wider:?}"
    );
}

#[tokio::test]
async fn each_kind_of_anchor_is_revoked_in_its_own_way() {
    let bench = Bench::start().await;
    let zone = bench.zone().await;
    let application = bench.application(&zone).await;
    let session = bench.session(&zone, &application).await;
    let mandate = "0199c0de-0000-7000-8000-00000000000b";
    let kid = bench.kid(&zone);
    for (kind, id, how) in [
        ("session", session.as_str(), "dead"),
        ("mandate", mandate, "dead"),
        ("key", kid.as_str(), "dead"),
        ("subject", "user-7", "cut_off"),
        ("zone", zone.as_str(), "cut_off"),
    ] {
        let reply = bench.revoke(&zone, kind, id).await;
        assert_eq!(
            (reply.status, &reply.body["kind"]),
            (201, &json!(how)),
            "{reply:?}"
        );
    }
    let ended = bench
        .get(&format!("/v1/zones/{zone}/sessions/{session}"))
        .await;
    assert_eq!(ended.body["state"], "ended");
    // The ledger names a subject by a pseudonym only.
    let evidence = bench.evidence(&zone).await;
    let named = |name: &str| {
        evidence
            .iter()
            .any(|event| event.object_id.as_deref() == Some(name))
    };
    assert!(
        evidence
            .iter()
            .any(|event| event.object_kind.as_deref() == Some("subject"))
    );
    assert!(!named("user-7"));
}

#[tokio::test]
async fn what_is_not_there_or_cannot_be_revoked_that_way_is_refused() {
    let bench = Bench::start().await;
    let zone = bench.zone().await;
    let mandate = "0199c0de-0000-7000-8000-00000000000b";
    for (kind, id) in [
        ("record", mandate),
        ("delegation", mandate),
        ("key", "nope"),
        ("resource", "urn:x:1"),
    ] {
        assert_eq!(bench.revoke(&zone, kind, id).await.status, 404, "{kind}");
    }
    for (kind, id) in [
        ("session", "x"),
        ("key", "a b"),
        ("resource", "/x"),
        ("subject", ""),
    ] {
        assert_eq!(
            bench.revoke(&zone, kind, id).await.code(),
            "invalid_request",
            "{kind}"
        );
    }
    let path = format!("/v1/zones/{zone}/revocations");
    let body = json!({"anchor": {"kind": "zone", "id": zone}, "kind": "dead"});
    assert_eq!(bench.post(&path, body).await.code(), "invalid_request");
    let body = json!({"anchor": {"kind": "galaxy", "id": zone}});
    assert_eq!(bench.post(&path, body).await.code(), "malformed_request");
    assert_eq!(bench.get(&path).await.body["items"], json!([]));
}

#[tokio::test]
async fn a_change_that_does_not_commit_leaves_neither_evidence_nor_news() {
    let bench = Bench::start().await;
    let zone = bench.zone().await;
    let before = (
        bench.outbox_kinds(&zone, "authority").await,
        bench.outbox_kinds(&zone, "audit").await,
    );
    let mandate = "0199c0de-0000-7000-8000-00000000000b";
    assert_eq!(bench.revoke(&zone, "record", mandate).await.status, 404);
    let after = (
        bench.outbox_kinds(&zone, "authority").await,
        bench.outbox_kinds(&zone, "audit").await,
    );
    assert_eq!(before, after);
}

#[tokio::test]
async fn secrets_overlap_while_they_are_rotated_and_never_three() {
    let bench = Bench::start().await;
    let zone = bench.zone().await;
    let application = bench.application(&zone).await;
    let path = format!("/v1/zones/{zone}/applications/{application}/secrets");
    let one = bench.post(&path, json!({})).await;
    assert_eq!(one.status, 201, "{one:?}");
    assert!(
        one.text("client_secret")
            .starts_with(&format!("cs_{}_", one.text("secret_id")))
    );
    let three = bench.post(&path, json!({})).await;
    assert_eq!((three.status, three.code()), (409, "too_many_secrets"));
    let at_once = bench.post(&path, json!({"overlap_seconds": 0})).await;
    assert_eq!(at_once.status, 201, "{at_once:?}");
    let far = bench.post(&path, json!({"overlap_seconds": 604_801})).await;
    assert_eq!(far.code(), "invalid_request");
}
