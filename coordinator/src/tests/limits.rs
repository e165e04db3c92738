//! What is refused before anything is done.

use serde_json::json;

use super::api::{binding, resource};
use super::bench::Bench;

#[tokio::test]
async fn refuses_bodies_that_are_not_of_the_shape() {
    let bench = Bench::start().await;
    let zone = bench.zone().await;
    let path = format!("/v1/zones/{zone}/applications");
    for (body, status, code) in [
        (&b""[..], 400, "malformed_request"),
        (b"{}", 400, "malformed_request"),
        (b"[]", 400, "malformed_request"),
        (b"{\"name\":\"a\",\"name\":\"b\"}", 400, "malformed_request"),
        (b"{\"name\":\"a\",\"nam\":\"b\"}", 400, "malformed_request"),
        (b"{\"name\":\"\xff\"}", 400, "malformed_request"),
        (b"{\"name\":\"\"}", 422, "invalid_request"),
        (b"{\"name\":\"a\\u0000\"}", 422, "invalid_request"),
        (
            b"{\"name\":\"a\",\"labels\":[\"UPPER\"]}",
            422,
            "invalid_request",
        ),
    ] {
        let reply = bench.raw("POST", &path, body).await;
        let text = String::from_utf8_lossy(body);
        assert_eq!((reply.status, reply.code()), (status, code), "{text}");
    }
    let huge = format!("{{\"name\":\"{}\"}}", "a".repeat(40_000));
    let reply = bench.raw("POST", &path, huge.as_bytes()).await;
    assert_eq!((reply.status, reply.code()), (413, "request_too_large"));
    let huge = vec![b' '; 2 * 1024 * 1024];
    assert_eq!(bench.raw("POST", &path, &huge).await.status, 413);
    let plain = bench.call_as(
        "POST",
        &path,
        b"{\"name\":\"a\"}",
        &[("content-type", "text/plain")],
    );
    assert_eq!(plain.await.code(), "unsupported_media_type");
    assert_eq!(bench.get(&path).await.body["items"], json!([]));
}

#[tokio::test]
async fn reports_every_finding_with_its_path() {
    let bench = Bench::start().await;
    let root = format!("/v1/zones/{}", bench.zone().await);
    let mut body = resource();
    body["identifier"] = json!("/relative");
    body["operations"][0]["template"] = json!("v1");
    body["operations"][1]["scopes"] = json!(["b:read"]);
    let reply = bench.post(&format!("{root}/resources"), body).await;
    let paths: Vec<&str> = reply.body["findings"]
        .as_array()
        .unwrap()
        .iter()
        .map(|finding| finding["path"].as_str().unwrap())
        .collect();
    assert_eq!(
        paths,
        [
            "identifier",
            "operations[0].template",
            "operations[1].scopes[0]"
        ]
    );
    assert_eq!(reply.header("content-type"), "application/problem+json");
    assert!(reply.body["request_id"].is_string(), "{reply:?}");

    let mut body = binding("A.test", "/v1/");
    body["attachment"] = json!("Edge!");
    body["max_hops"] = json!(11);
    let reply = bench.post(&format!("{root}/bindings"), body).await;
    assert_eq!(
        reply.body["findings"].as_array().unwrap().len(),
        4,
        "{reply:?}"
    );
    let unknown = bench
        .post(&format!("{root}/bindings"), binding("a.test", "/"))
        .await;
    assert_eq!(
        unknown.body["findings"][0]["path"], "resource",
        "{unknown:?}"
    );
}

#[tokio::test]
async fn wants_one_token_that_is_ours() {
    let bench = Bench::start().await;
    let good = Bench::authorization();
    for headers in [
        &[][..],
        &[("authorization", "Bearer nope")],
        &[("authorization", "Basic eDp5")],
        &[
            ("authorization", good.as_str()),
            ("authorization", good.as_str()),
        ],
    ] {
        let reply = bench.bare("GET", "/v1/zones", headers).await;
        assert_eq!(
            (reply.status, reply.code()),
            (401, "unauthenticated"),
            "{headers:?}"
        );
        assert!(reply.header("www-authenticate").starts_with("Bearer"));
    }
    assert_eq!(bench.get("/v1/zones").await.status, 200);
    // Thirty failures of one source are its share; the operator elsewhere is not refused.
    let mut last = 0;
    for _ in 0..40 {
        last = bench
            .bare("GET", "/v1/zones", &[("authorization", "Bearer nope")])
            .await
            .status;
    }
    assert_eq!(last, 429);
}

#[tokio::test]
async fn an_operator_who_calls_too_often_has_to_wait() {
    let bench = Bench::with("[limits]\ncalls_at_once = 3.0\ncalls_per_second = 0.001\n").await;
    let mut statuses = Vec::new();
    for _ in 0..5 {
        statuses.push(bench.get("/v1/zones").await);
    }
    let codes: Vec<u16> = statuses.iter().map(|reply| reply.status).collect();
    assert_eq!(codes, [200, 200, 200, 429, 429]);
    assert_eq!(statuses[4].code(), "rate_limited");
    assert!(!statuses[4].header("retry-after").is_empty());
}

#[tokio::test]
async fn paths_and_methods_that_do_not_exist_are_problems_too() {
    let bench = Bench::start().await;
    let reply = bench.get("/v2").await;
    assert_eq!((reply.status, reply.code()), (404, "not_found"));
    let reply = bench.call("DELETE", "/v1/zones", None, &[]).await;
    assert_eq!((reply.status, reply.code()), (405, "method_not_allowed"));
}
