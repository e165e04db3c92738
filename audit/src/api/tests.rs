use axum::body::{Body, to_bytes};
use http::{Method, Request, Response};
use serde_json::Value;
use tower::ServiceExt as _;

use super::*;
use crate::SYSTEM;
use crate::tests::stand::{Source, Stand, refusals, zone};

const TOKEN: &str = "v9XkP2mQz7LwR4tYbN8sJc3Dv9XkP2mQ";

struct Service {
    stand: Stand,
    router: Router,
}

impl Service {
    /// Two zones with ten decisions each, and counted refusals in the first and without a zone.
    async fn new() -> Self {
        let stand = Stand::new().await;
        let lease = stand.lease().await;
        let mut source = Source::new(1);
        for ledger in [zone(1), zone(2)] {
            stand
                .append(&lease, ledger, &source.many(ledger, 10))
                .await
                .unwrap();
        }
        for (ledger, samples) in [
            (zone(1), [(1, "lost-1"), (2, "lost-2")]),
            (SYSTEM, [(3, "lost-3"), (4, "lost-1")]),
        ] {
            let event = source.next_with(ledger, refusals(ledger, &samples));
            stand.append(&lease, ledger, &[event]).await.unwrap();
        }
        let again = Stand::on(stand.db.clone()).await;
        let desk = Desk {
            token: SecretString::from(TOKEN),
            reader: stand.reader().await,
            operator: stand.operator.clone(),
            sweep: again.sweep,
            verifying: Mutex::new(()),
            limits: Limits::new(1_000, 1),
            clock: stand.clock.clone().into(),
            timeout: Duration::from_secs(10),
        };
        Self {
            stand,
            router: router(Arc::new(desk)),
        }
    }

    async fn ask(&self, request: Request<Body>) -> Response<Body> {
        self.router.clone().oneshot(request).await.unwrap()
    }

    async fn find(&self, path: &str) -> Value {
        let response = self.ask(get(path)).await;
        let status = response.status();
        let body = json(response).await;
        assert_eq!(status, 200, "{path}: {body}");
        body
    }

    /// Zone and number of what is found.
    async fn places(&self, path: &str) -> Vec<(String, u64)> {
        let body = self.find(path).await;
        let events = body["events"].as_array().unwrap();
        events
            .iter()
            .map(|event| {
                (
                    event["zone"].as_str().unwrap().to_owned(),
                    event["seq"].as_u64().unwrap(),
                )
            })
            .collect()
    }
}

fn get(path: &str) -> Request<Body> {
    request(Method::GET, path, Body::empty())
}

fn request(method: Method, path: &str, body: Body) -> Request<Body> {
    Request::builder()
        .method(method)
        .uri(path)
        .header("authorization", format!("Bearer {TOKEN}"))
        .body(body)
        .unwrap()
}

async fn text(response: Response<Body>) -> String {
    let bytes = to_bytes(response.into_body(), 1 << 24).await.unwrap();
    String::from_utf8(bytes.to_vec()).unwrap()
}

async fn json(response: Response<Body>) -> Value {
    serde_json::from_str(&text(response).await).unwrap()
}

#[tokio::test]
async fn finds_by_every_filter_in_one_zone_and_in_all() {
    let service = Service::new().await;
    let (one, two) = (zone(1).to_string(), zone(2).to_string());
    let in_one = |query: &str| format!("/v1/zones/{one}/events?{query}");
    let at = |zone: &str, seq: u64| (zone.to_owned(), seq);

    assert_eq!(
        service.places(&in_one("request_id=request-4")).await,
        [at(&one, 4)]
    );
    assert_eq!(
        service.places("/v1/events?request_id=request-14").await,
        [at(&two, 4)]
    );
    let id = "00000000-0000-0000-0000-00000000d002";
    assert_eq!(
        service.places(&in_one(&format!("decision_id={id}"))).await,
        [at(&one, 2)]
    );
    assert_eq!(
        service.places(&in_one(&format!("jti={id}"))).await,
        [at(&one, 2)]
    );
    assert_eq!(
        service.places(&in_one("code=scope_missing")).await,
        [at(&one, 3), at(&one, 6), at(&one, 9)]
    );
    assert_eq!(
        service.places(&in_one("kind=refusals")).await,
        [at(&one, 11)]
    );
    assert_eq!(service.places(&in_one("decision=allow")).await.len(), 7);
    assert_eq!(service.places(&in_one("resource=https://x")).await, []);
    let application = "application=00000000-0000-0000-0000-000000000007";
    assert_eq!(
        service
            .places(&format!("/v1/events?{application}"))
            .await
            .len(),
        20
    );
    // Ten decisions a millisecond apart.
    let since = "since=2026-11-25T09:46:40.0090Z";
    let until = "until=2026-11-25T09:46:40.0095Z";
    assert_eq!(
        service
            .places(&format!("/v1/zones/{one}/events?{since}"))
            .await,
        [at(&one, 9), at(&one, 10)]
    );
    assert_eq!(
        service
            .places(&format!("/v1/zones/{one}/events?{since}&{until}"))
            .await,
        [at(&one, 9)]
    );
    assert_eq!(
        service.places("/v1/zones/system/events").await,
        [at("system", 1)]
    );
    assert_eq!(service.places("/v1/events").await.len(), 22);
}

#[tokio::test]
async fn finds_requests_that_were_counted_together() {
    let service = Service::new().await;
    let one = zone(1).to_string();
    let sampled = "decision_id=00000000-0000-0000-0000-000000000002";
    assert_eq!(
        service.places(&format!("/v1/events?{sampled}")).await,
        [(one.clone(), 11)]
    );
    assert_eq!(
        service
            .places(&format!("/v1/zones/{one}/events?{sampled}"))
            .await,
        [(one.clone(), 11)]
    );
    assert_eq!(
        service
            .places(&format!("/v1/zones/{}/events?{sampled}", zone(2)))
            .await,
        []
    );
    let both = [("system".to_owned(), 1), (one.clone(), 11)];
    assert_eq!(service.places("/v1/events?request_id=lost-1").await, both);
    assert_eq!(
        service
            .places(&format!("/v1/zones/{one}/events?request_id=lost-2"))
            .await,
        [(one, 11)]
    );
    let event = &service.find("/v1/events?request_id=lost-3").await["events"][0];
    assert_eq!(event["count"], 25);
    assert_eq!(event["samples"][0]["request_id"], "lost-3");
}

#[tokio::test]
async fn pages_cover_everything_once() {
    let service = Service::new().await;
    let paths = [
        "/v1/events".to_owned(),
        format!("/v1/zones/{}/events", zone(1)),
    ];
    for path in paths {
        let all = service.places(&path).await;
        let mut paged = Vec::new();
        let mut cursor = String::new();
        loop {
            let page = format!("{path}?limit=3{cursor}");
            paged.extend(service.places(&page).await);
            match service.find(&page).await["next"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => break,
            }
        }
        assert_eq!(paged, all);
    }
}

#[tokio::test]
async fn an_event_is_told_whole() {
    let service = Service::new().await;
    let body = service.find("/v1/events?request_id=request-1").await;
    let mut event = body["events"][0].clone();
    event["link"] = "(the link)".into();
    insta::assert_json_snapshot!(event);
}

#[tokio::test]
async fn lists_are_lines_for_whoever_wants_them() {
    let service = Service::new().await;
    let mut request = get("/v1/events?limit=2");
    request
        .headers_mut()
        .insert("accept", "application/x-ndjson".parse().unwrap());
    let response = service.ask(request).await;
    assert_eq!(response.headers()["content-type"], "application/x-ndjson");
    assert!(response.headers().contains_key("x-caracal-next"));
    let body = text(response).await;
    let lines: Vec<Value> = body
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(lines.len(), 2);
    assert_eq!(lines[0]["zone"], "system");
}

#[tokio::test]
async fn refuses_what_it_does_not_understand() {
    let service = Service::new().await;
    for path in [
        "/v1/events?nonsense=1",
        "/v1/events?decision_id=x",
        "/v1/events?kind=nonsense",
        "/v1/events?decision=maybe",
        "/v1/events?since=yesterday",
        "/v1/events?limit=0",
        "/v1/events?limit=1001",
        "/v1/events?cursor=x",
        "/v1/events?request_id=a%00b",
        "/v1/zones/nonsense/events",
        "/v1/zones/00000000-0000-0000-0000-000000000000/events",
    ] {
        let response = service.ask(get(path)).await;
        assert_eq!(response.status(), 400, "{path}");
        assert_eq!(json(response).await["code"], "invalid_request", "{path}");
    }
}

#[tokio::test]
async fn only_the_holder_of_the_token_gets_an_answer() {
    let service = Service::new().await;
    for (path, method) in [("/v1/events", Method::GET), ("/v1/verify", Method::POST)] {
        for authorization in [None, Some("Bearer nope"), Some("Basic v9Xk"), Some(TOKEN)] {
            let mut request = request(method.clone(), path, Body::empty());
            request.headers_mut().remove("authorization");
            if let Some(value) = authorization {
                request
                    .headers_mut()
                    .insert("authorization", value.parse().unwrap());
            }
            let response = service.ask(request).await;
            assert_eq!(response.status(), 401, "{path} {authorization:?}");
            assert_eq!(response.headers()["www-authenticate"], "Bearer");
        }
    }
}

#[tokio::test]
async fn wrong_tokens_are_slowed_down() {
    let service = Service::new().await;
    let wrong = || {
        let mut request = get("/v1/events");
        request
            .headers_mut()
            .insert("authorization", "Bearer nope".parse().unwrap());
        request
    };
    for _ in 0..10 {
        assert_eq!(service.ask(wrong()).await.status(), 401);
    }
    let response = service.ask(wrong()).await;
    assert_eq!(response.status(), 429);
    assert_eq!(response.headers()["retry-after"], "1");
    service.stand.clock.advance(Duration::from_secs(20));
    assert_eq!(service.ask(wrong()).await.status(), 401);
    assert_eq!(service.ask(get("/v1/events")).await.status(), 200);
}

#[tokio::test]
async fn verification_tells_the_state_and_where_it_is_not_as_written() {
    let service = Service::new().await;
    let verify = async |body: &'static str| {
        let response = service
            .ask(request(Method::POST, "/v1/verify", Body::from(body)))
            .await;
        (response.status().as_u16(), json(response).await)
    };
    let (status, report) = verify("").await;
    assert_eq!((status, &report["ok"]), (200, &Value::from(true)));
    assert_eq!(report["zones"].as_array().unwrap().len(), 3);

    service
        .stand
        .break_in("UPDATE audit_events SET decision = 'allow' WHERE seq = 3")
        .await;
    let (status, mut report) = verify(r#"{"zone": "01900000-0000-7000-8000-000000000001"}"#).await;
    assert_eq!(status, 200);
    report["zones"][0]["head"]["link"] = "(the link)".into();
    insta::assert_json_snapshot!(report);

    assert_eq!(
        verify(r#"{"zone": "01900000-0000-7000-8000-00000000000f"}"#)
            .await
            .0,
        404
    );
    assert_eq!(verify(r#"{"zones": 1}"#).await.0, 400);
    assert_eq!(verify(r#"{"zone": "x"}"#).await.0, 400);
}
