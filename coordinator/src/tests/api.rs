//! The admin API, one round trip after the other.

use serde_json::{Value, json};

use super::bench::Bench;

#[tokio::test]
async fn a_zone_waits_for_its_first_key_and_is_then_ready() {
    let bench = Bench::start().await;
    let made = bench.post("/v1/zones", json!({"name": "payments"})).await;
    assert_eq!(made.status, 201, "{made:?}");
    assert_eq!(made.body["state"], "provisioning");
    let id = made.text("id");
    let issuer = made.text("issuer");
    assert!(issuer.ends_with(&format!("/z/{id}")), "{issuer}");

    assert_eq!(
        bench.get(&format!("/v1/zones/{id}")).await.body["state"],
        "provisioning"
    );
    bench.insert_key(&id).await;
    let ready = bench.get(&format!("/v1/zones/{id}")).await;
    assert_eq!(ready.body["state"], "ready");
    assert_eq!(ready.header("etag"), "\"2\"");
    assert_eq!(ready.header("cache-control"), "no-store");
}

#[tokio::test]
async fn everything_a_request_needs_can_be_made_and_read_back() {
    let bench = Bench::start().await;
    let zone = bench.zone().await;
    let root = format!("/v1/zones/{zone}");

    let application = bench
        .post(
            &format!("{root}/applications"),
            json!({"name": "agent", "labels": ["b", "a"]}),
        )
        .await;
    assert_eq!(application.status, 201, "{application:?}");
    assert_eq!(application.body["labels"], json!(["a", "b"]));
    let secret = application.text("client_secret");
    assert!(secret.starts_with("cs_"), "{secret}");
    let id = application.text("id");
    let read = bench.get(&format!("{root}/applications/{id}")).await;
    assert_eq!(read.body.get("client_secret"), None);
    assert_eq!(read.body["state"], "active");

    let resource = bench.post(&format!("{root}/resources"), resource()).await;
    assert_eq!(resource.status, 201, "{resource:?}");
    let binding = bench
        .post(&format!("{root}/bindings"), binding("a.test", "/"))
        .await;
    assert_eq!(binding.status, 201, "{binding:?}");
    assert_eq!(binding.body["max_hops"], 10);
    assert_eq!(binding.body["forward_mandate"], "strip");

    let policy = bench
        .post(&format!("{root}/policies"), json!({"data": policy(&id)}))
        .await;
    assert_eq!(policy.status, 201, "{policy:?}");
    assert_eq!(policy.body["number"], 1);
    assert_eq!(policy.text("content_sha256").len(), 64);
    assert_eq!(
        bench.get(&format!("{root}/policies/active")).await.status,
        404
    );
    let version = policy.text("id");
    let active = bench
        .post(&format!("{root}/policies/{version}/activate"), json!({}))
        .await;
    assert_eq!(
        (active.status, &active.body["active"]),
        (200, &json!(true)),
        "{active:?}"
    );
    let active = bench.get(&format!("{root}/policies/active")).await;
    assert_eq!(active.body["id"], json!(version));
    assert!(active.body["data"]["grants"].is_object());
}

#[tokio::test]
async fn changes_of_versioned_objects_name_the_version_they_read() {
    let bench = Bench::start().await;
    let root = format!("/v1/zones/{}", bench.zone().await);
    let made = bench.post(&format!("{root}/resources"), resource()).await;
    let path = format!("{root}/resources/{}", made.text("id"));
    let etag = made.header("etag");
    let mut body = resource();
    body.as_object_mut().unwrap().remove("identifier");
    body["name"] = json!("renamed");

    let without = bench.call("PUT", &path, Some(&body), &[]).await;
    assert_eq!(
        (without.status, without.code()),
        (428, "precondition_required")
    );
    let wrong = bench
        .call("PUT", &path, Some(&body), &[("if-match", "\"99\"")])
        .await;
    assert_eq!((wrong.status, wrong.code()), (412, "precondition_failed"));
    let done = bench
        .call("PUT", &path, Some(&body), &[("if-match", &etag)])
        .await;
    assert_eq!(
        (done.status, done.header("etag").as_str()),
        (200, "\"2\""),
        "{done:?}"
    );
    assert_eq!(done.body["name"], "renamed");
    let again = bench
        .call("PUT", &path, Some(&body), &[("if-match", &etag)])
        .await;
    assert_eq!(again.code(), "precondition_failed");
}

#[tokio::test]
async fn one_place_holds_one_binding_of_a_zone_and_two_zones_may_both_claim_it() {
    let bench = Bench::start().await;
    let (one, other) = (bench.zone().await, bench.zone().await);
    for zone in [&one, &other] {
        let root = format!("/v1/zones/{zone}");
        assert_eq!(
            bench
                .post(&format!("{root}/resources"), resource())
                .await
                .status,
            201
        );
        let made = bench
            .post(&format!("{root}/bindings"), binding("a.test", "/v1"))
            .await;
        assert_eq!(made.status, 201, "{made:?}");
    }
    let taken = bench
        .post(
            &format!("/v1/zones/{one}/bindings"),
            binding("a.test", "/v1"),
        )
        .await;
    assert_eq!((taken.status, taken.code()), (409, "binding_taken"));
    let beside = bench
        .post(
            &format!("/v1/zones/{one}/bindings"),
            binding("a.test", "/v2"),
        )
        .await;
    assert_eq!(beside.status, 201);
    let doubled = bench
        .post(&format!("/v1/zones/{one}/resources"), resource())
        .await;
    assert_eq!((doubled.status, doubled.code()), (409, "identifier_taken"));
}

#[tokio::test]
async fn a_key_for_idempotency_gives_the_same_answer_and_never_the_secret_again() {
    let bench = Bench::start().await;
    let zone = bench.zone().await;
    let path = format!("/v1/zones/{zone}/applications");
    let body = json!({"name": "agent"});
    let key = [("idempotency-key", "k-1")];
    let first = bench.call("POST", &path, Some(&body), &key).await;
    let second = bench.call("POST", &path, Some(&body), &key).await;
    assert_eq!((first.status, second.status), (201, 201), "{second:?}");
    assert_eq!(first.body["id"], second.body["id"]);
    assert!(first.body["client_secret"].is_string());
    assert_eq!(second.body["client_secret"], Value::Null);
    assert!(second.body["secret_shown_at"].is_string(), "{second:?}");
    let other = bench
        .call("POST", &path, Some(&json!({"name": "other"})), &key)
        .await;
    assert_eq!(
        (other.status, other.code()),
        (422, "idempotency_key_reused")
    );
    assert_eq!(
        bench.get(&path).await.body["items"]
            .as_array()
            .unwrap()
            .len(),
        1
    );

    // Of two at the same moment one makes it and the other waits and repeats.
    let key = [("idempotency-key", "k-2")];
    let (one, two) = tokio::join!(
        bench.call("POST", &path, Some(&body), &key),
        bench.call("POST", &path, Some(&body), &key)
    );
    assert_eq!(one.body["id"], two.body["id"], "{one:?} {two:?}");

    let key = [("idempotency-key", "z-1")];
    let body = json!({"name": "twice"});
    let one = bench.call("POST", "/v1/zones", Some(&body), &key).await;
    let two = bench.call("POST", "/v1/zones", Some(&body), &key).await;
    assert_eq!((one.status, two.status), (201, 201), "{one:?} {two:?}");
    assert_eq!(one.body["id"], two.body["id"]);
}

#[tokio::test]
async fn lists_come_a_page_at_a_time_and_lose_nothing() {
    let bench = Bench::start().await;
    let zone = bench.zone().await;
    let path = format!("/v1/zones/{zone}/applications");
    for number in 0..5 {
        bench
            .post(&path, json!({"name": format!("agent {number}")}))
            .await;
    }
    let mut names = Vec::new();
    let mut next = format!("{path}?limit=2");
    loop {
        let page = bench.get(&next).await;
        assert_eq!(page.status, 200, "{page:?}");
        names.extend(
            page.body["items"]
                .as_array()
                .unwrap()
                .iter()
                .map(|item| item["name"].clone()),
        );
        match page.body["next"].as_str() {
            Some(after) => next = format!("{path}?limit=2&after={after}"),
            None => break,
        }
    }
    assert_eq!(names.len(), 5);
    assert_eq!(
        bench.get(&format!("{path}?limit=0")).await.code(),
        "invalid_request"
    );
    assert_eq!(
        bench.get(&format!("{path}?after=x")).await.code(),
        "malformed_request"
    );
    assert_eq!(
        bench.get(&format!("{path}?sort=x")).await.code(),
        "malformed_request"
    );
}

#[tokio::test]
async fn another_zones_objects_are_as_good_as_none() {
    let bench = Bench::start().await;
    let (mine, other) = (bench.zone().await, bench.zone().await);
    let application = bench.application(&other).await;
    let resource = bench
        .post(&format!("/v1/zones/{other}/resources"), resource())
        .await
        .text("id");
    let session = bench.session(&other, &application).await;
    let none = "0199c0de-0000-7000-8000-00000000000a";
    for (kind, theirs) in [
        ("applications", &application),
        ("resources", &resource),
        ("sessions", &session),
    ] {
        for id in [theirs.as_str(), none, "x", &theirs.to_uppercase()] {
            let read = bench.get(&format!("/v1/zones/{mine}/{kind}/{id}")).await;
            assert_eq!(
                (read.status, read.code()),
                (404, "not_found"),
                "{kind} {id}"
            );
        }
    }
    let zone = json!({"anchor": {"kind": "zone", "id": other}});
    let theirs = json!({"anchor": {"kind": "session", "id": session}});
    let starts = json!({"application_id": application, "ttl_seconds": 60});
    for (zone, path, body, status) in [
        (
            mine.as_str(),
            format!("sessions/{session}/end"),
            json!({}),
            404,
        ),
        (&mine, "revocations".to_owned(), theirs, 404),
        (&mine, "revocations".to_owned(), zone, 404),
        (&mine, "sessions".to_owned(), starts, 422),
        (none, "applications".to_owned(), json!({"name": "a"}), 404),
    ] {
        let reply = bench.post(&format!("/v1/zones/{zone}/{path}"), body).await;
        assert_eq!(reply.status, status, "{path}: {reply:?}");
    }
    let there = bench
        .get(&format!("/v1/zones/{other}/sessions/{session}"))
        .await;
    assert_eq!(
        (there.status, &there.body["state"]),
        (200, &json!("active"))
    );
}

#[tokio::test]
async fn policies_say_everything_that_is_wrong_with_them() {
    let bench = Bench::start().await;
    let root = format!("/v1/zones/{}", bench.zone().await);
    let bad = json!({"data": {"app_idz": {}, "grants": []}});
    let checked = bench
        .post(&format!("{root}/policies/validate"), bad.clone())
        .await;
    assert_eq!(
        (checked.status, &checked.body["valid"]),
        (200, &json!(false)),
        "{checked:?}"
    );
    assert!(
        checked.body["findings"].as_array().unwrap().len() >= 2,
        "{checked:?}"
    );
    let refused = bench.post(&format!("{root}/policies"), bad).await;
    assert_eq!((refused.status, refused.code()), (422, "invalid_request"));
    assert!(
        refused.body["findings"][0]["path"]
            .as_str()
            .unwrap()
            .starts_with("data")
    );
    let doubled = bench
        .raw("POST", &format!("{root}/policies"), DOUBLED.as_bytes())
        .await;
    assert_eq!(doubled.status, 422, "{doubled:?}");

    let none = "0199c0de-0000-7000-8000-00000000000a";
    let path = format!("{root}/policies/{none}/activate");
    assert_eq!(bench.post(&path, json!({})).await.status, 404);
}

const DOUBLED: &str = r#"{"data":{"app_ids":{},"app_ids":{},"grants":{},"confinement":{},
    "restrict":{"zone":false,"resources":{},"applications":{}},"risk":{},"approval_tiers":{}}}"#;

#[tokio::test]
async fn an_archived_zone_takes_no_changes_until_it_is_restored() {
    let bench = Bench::start().await;
    let root = format!("/v1/zones/{}", bench.zone().await);
    let archived = bench.post(&format!("{root}/archive"), json!({})).await;
    assert_eq!(
        (archived.status, &archived.body["state"]),
        (200, &json!("archived"))
    );
    let refused = bench
        .post(&format!("{root}/applications"), json!({"name": "a"}))
        .await;
    assert_eq!((refused.status, refused.code()), (409, "wrong_state"));
    assert_eq!(
        bench
            .post(&format!("{root}/archive"), json!({}))
            .await
            .code(),
        "wrong_state"
    );
    let restored = bench.post(&format!("{root}/restore"), json!({})).await;
    assert_eq!(restored.body["state"], "ready", "{restored:?}");
    assert_eq!(
        bench
            .post(&format!("{root}/applications"), json!({"name": "a"}))
            .await
            .status,
        201
    );
}

pub(super) fn resource() -> Value {
    json!({
        "identifier": "https://a.example",
        "name": "a",
        "scopes": ["a:read", "a:write"],
        "operations": [
            {"method": "GET", "template": "/v1/a/{id}", "scopes": ["a:read"]},
            {"method": "POST", "template": "/v1/a", "scopes": ["a:write"]},
        ],
    })
}

pub(super) fn binding(host: &str, prefix: &str) -> Value {
    json!({
        "attachment": "edge",
        "resource": "https://a.example",
        "hosts": [host],
        "path_prefix": prefix,
        "upstream_clusters": ["upstream"],
        "public_url": "https://a.example",
    })
}

pub(super) fn policy(application: &str) -> Value {
    json!({
        "app_ids": {"agent": application},
        "grants": {"https://a.example": {"agent": {"roles": {"a": ["a:read"]}}}},
        "confinement": {},
        "restrict": {"zone": false, "resources": {}, "applications": {}},
        "risk": {},
        "approval_tiers": {},
    })
}
