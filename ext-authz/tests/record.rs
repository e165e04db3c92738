//! Evidence before the answer, on a real journal: allows are in it, what could not be answered is taken
//! back, what cannot be written is not allowed.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    unreachable_pub,
    dead_code,
    reason = "tests; `common` is shared"
)]

mod common;

use std::future::Future;
use std::path::Path;
use std::pin::pin;
use std::sync::{Arc, Condvar, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use chassis::Clock;
use chassis::journal::Durability;
use common::{Asked, Service, World, service, service_in};
use envoy_types::ext_authz::v3::pb::{CheckResponse, HttpResponse};
use envoy_types::pb::google::protobuf::value::Kind;
use ledger::envelope::{DalekSigner, EventSigner};
use mandate::id::{DecisionId, KeyId};
use prost::Message as _;

const MIB: u64 = 1024 * 1024;

async fn running(max_bytes: u64) -> (World, Service) {
    let world = World::new();
    let view = world.view(&world.loaded());
    let clock = Clock::from(world.clock.clone());
    let service = service(view, clock, Durability::Process, max_bytes).await;
    (world, service)
}

fn text(answer: &CheckResponse, name: &str) -> String {
    match &answer
        .dynamic_metadata
        .as_ref()
        .unwrap()
        .fields
        .get(name)
        .unwrap()
        .kind
    {
        Some(Kind::StringValue(text)) => text.clone(),
        other => panic!("{other:?}"),
    }
}

fn status(answer: &CheckResponse) -> i32 {
    answer.status.as_ref().unwrap().code
}

/// How often the journal's files hold these bytes.
fn written(folder: &Path, bytes: &[u8]) -> usize {
    let files = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    files
        .filter(|path| path.is_file())
        .map(|path| std::fs::read(path).unwrap())
        .map(|held| {
            held.windows(bytes.len())
                .filter(|window| *window == bytes)
                .count()
        })
        .sum()
}

fn decision(answer: &CheckResponse) -> uuid::Uuid {
    text(answer, "decision_id").parse().unwrap()
}

#[tokio::test]
async fn an_allow_is_in_the_journal_when_it_is_answered() {
    let (world, service) = running(64 * MIB).await;
    for _ in 0..20 {
        let answer = service
            .check
            .answer(&Asked::new().bearer(&world.mandate(|_| {})).request())
            .await;
        assert_eq!(
            (status(&answer), text(&answer, "code").as_str()),
            (0, "allowed")
        );
        assert_eq!(
            written(service.folder.path(), decision(&answer).as_bytes()),
            1
        );
        assert_eq!(text(&answer, "pos"), "10");
        assert_eq!(text(&answer, "mandate_digest").len(), 64);
    }
}

#[tokio::test]
async fn an_allow_sets_or_removes_every_header_of_ours_and_removes_the_credential() {
    let (world, service) = running(64 * MIB).await;
    let mut asked = Asked::new().bearer(&world.mandate(|_| {}));
    for name in mandate::OWNED_HEADERS {
        asked = asked
            .header(name, "spoofed")
            .header(&name.replace('-', "_"), "spoofed");
    }
    let answer = service.check.answer(&asked.request()).await;
    let Some(HttpResponse::OkResponse(ok)) = &answer.http_response else {
        panic!("{answer:?}")
    };
    let set: Vec<&str> = ok
        .headers
        .iter()
        .map(|option| option.header.as_ref().unwrap().key.as_str())
        .collect();
    for name in mandate::OWNED_HEADERS {
        let removed = ok.headers_to_remove.iter().any(|removed| removed == name);
        assert!(
            set.contains(&name) != removed,
            "{name} is set or removed, once"
        );
        assert!(
            ok.headers_to_remove.contains(&name.replace('-', "_")),
            "{name} with underscores"
        );
    }
    for name in ["authorization", "x-caracal-resource"] {
        assert!(
            ok.headers_to_remove.iter().any(|removed| removed == name),
            "{name}"
        );
    }
    for option in &ok.headers {
        #[expect(deprecated, reason = "older proxies read it")]
        let append = option.append.map(|append| append.value);
        assert_eq!((append, option.append_action), (Some(false), 2));
        let header = option.header.as_ref().unwrap();
        assert!(
            !header.key.starts_with(':')
                && header
                    .value
                    .bytes()
                    .all(|byte| byte.is_ascii_graphic() || byte == b' ')
        );
    }
}

#[tokio::test]
async fn the_proxys_configuration_can_keep_the_mandate_for_a_filter_behind() {
    let (world, service) = running(64 * MIB).await;
    let mandate = world.mandate(|_| {});
    let digest: String = chassis::crypto::sha256(mandate.as_bytes())
        .iter()
        .fold(String::new(), |text, byte| text + &format!("{byte:02x}"));
    for (value, keeps) in [(None, false), (Some("keep"), true), (Some("Keep"), false)] {
        let mut request = Asked::new().bearer(&mandate).request();
        let extensions = &mut request.attributes.as_mut().unwrap().context_extensions;
        extensions.extend(value.map(|value| ("caracal.mandate".to_owned(), value.to_owned())));
        let answer = service.check.answer(&request).await;
        let Some(HttpResponse::OkResponse(ok)) = &answer.http_response else {
            panic!("{answer:?}")
        };
        let removed = ok
            .headers_to_remove
            .iter()
            .any(|name| name == "authorization");
        assert_eq!(removed, !keeps, "{value:?}");
        assert_eq!(text(&answer, "mandate_digest"), digest);
        assert_eq!(decision(&answer).get_version_num(), 7);
    }
    // A refusal names them, too, as far as they are known.
    let narrow = world.mandate(|claims| claims["scope"] = "payments:write".into());
    let refused = service
        .check
        .answer(&Asked::new().bearer(&narrow).request())
        .await;
    assert_eq!(text(&refused, "code"), "scope_missing");
    assert_eq!(text(&refused, "mandate_digest").len(), 64);
    let stranger = service.check.answer(&Asked::new().request()).await;
    let metadata = stranger.dynamic_metadata.as_ref().unwrap();
    assert!(metadata.fields.contains_key("decision_id"));
    assert!(!metadata.fields.contains_key("mandate_digest"));
}

#[tokio::test]
async fn refusals_of_known_callers_are_written_one_by_one_and_of_strangers_counted() {
    let (world, service) = running(64 * MIB).await;
    let known =
        Asked::new().bearer(&world.mandate(|claims| claims["scope"] = "payments:write".into()));
    let answer = service.check.answer(&known.request()).await;
    assert_eq!(text(&answer, "code"), "scope_missing");
    assert_eq!(
        written(service.folder.path(), decision(&answer).as_bytes()),
        1
    );

    let mut strangers = Vec::new();
    for _ in 0..5 {
        strangers.push(service.check.answer(&Asked::new().request()).await);
    }
    for answer in &strangers {
        assert_eq!(text(answer, "code"), "credential_missing");
        assert_eq!(
            written(service.folder.path(), decision(answer).as_bytes()),
            0,
            "not yet"
        );
    }
    service.desk.flush().await;
    for answer in &strangers {
        assert_eq!(
            written(service.folder.path(), decision(answer).as_bytes()),
            1,
            "as a sample"
        );
    }
    assert_eq!(
        written(service.folder.path(), b"203.0.113.0/24"),
        1,
        "one event for all five"
    );
}

#[tokio::test]
async fn refusals_carry_status_problem_and_challenge_and_grpc_callers_a_message() {
    let (_, service) = running(64 * MIB).await;
    let answer = service.check.answer(&Asked::new().request()).await;
    let Some(HttpResponse::DeniedResponse(denied)) = &answer.http_response else {
        panic!("{answer:?}")
    };
    assert_eq!((status(&answer), denied.status.unwrap().code), (16, 401));
    let problem: serde_json::Value = serde_json::from_str(&denied.body).unwrap();
    assert_eq!(
        (&problem["code"], &problem["decision_id"]),
        (
            &"credential_missing".into(),
            &text(&answer, "decision_id").into()
        )
    );
    let header = |denied: &envoy_types::ext_authz::v3::pb::DeniedHttpResponse, name: &str| {
        let found = denied
            .headers
            .iter()
            .filter_map(|option| option.header.clone())
            .find(|header| header.key == name);
        found.map(|header| header.value)
    };
    assert!(header(denied, "www-authenticate").is_some_and(|value| value.starts_with("Bearer")));
    assert_eq!(
        header(denied, "content-type").as_deref(),
        Some("application/problem+json")
    );
    assert_eq!(
        header(denied, "x-caracal-decision"),
        Some(text(&answer, "decision_id"))
    );

    for (kind, grpc) in [
        ("application/grpc", true),
        ("application/grpc+proto", true),
        ("application/grpc-web", false),
    ] {
        let answer = service
            .check
            .answer(&Asked::new().header("content-type", kind).request())
            .await;
        let Some(HttpResponse::DeniedResponse(denied)) = &answer.http_response else {
            panic!("{answer:?}")
        };
        assert_eq!(header(denied, "content-type").is_none(), grpc, "{kind}");
        assert_eq!(
            header(denied, "grpc-status").as_deref() == Some("16"),
            grpc,
            "{kind}"
        );
        assert_eq!(
            denied.body.starts_with("credential_missing: "),
            grpc,
            "{kind}"
        );
    }
}

#[tokio::test]
async fn a_journal_that_is_full_refuses_with_a_status_that_no_failure_mode_lets_pass() {
    let (world, service) = running(96 * 1024).await;
    let request = Asked::new().bearer(&world.mandate(|_| {})).request();
    let mut allowed = 0;
    let refused = loop {
        let answer = service.check.answer(&request).await;
        if status(&answer) != 0 {
            break answer;
        }
        allowed += 1;
        assert!(allowed < 2_000, "never full");
    };
    assert!(allowed > 10);
    assert_eq!(
        (status(&refused), text(&refused, "code").as_str()),
        (14, "journal_unavailable")
    );
    let Some(HttpResponse::DeniedResponse(denied)) = &refused.http_response else {
        panic!("{refused:?}")
    };
    assert_eq!(denied.status.unwrap().code, 503);
}

#[tokio::test]
async fn a_caller_that_goes_away_is_never_allowed_and_its_allow_is_taken_back() {
    let (world, mut service) = running(64 * MIB).await;
    let request = Asked::new().bearer(&world.mandate(|_| {})).request();
    for polls in 0..200_u64 {
        let finished = {
            let mut answering = pin!(service.check.answer(&request));
            let mut context = Context::from_waker(Waker::noop());
            let mut finished = false;
            for _ in 0..polls {
                if let Poll::Ready(answer) = answering.as_mut().poll(&mut context) {
                    assert_eq!(status(&answer), 0);
                    finished = true;
                    break;
                }
                // The longer it takes, the more patient: a disk may stall.
                tokio::time::sleep(Duration::from_millis(1 + polls / 20)).await;
            }
            finished
        };
        let taken_back = service.withdrawals.try_recv().ok();
        assert_eq!(
            taken_back.is_none(),
            finished || polls == 0,
            "after {polls} polls"
        );
        if let Some(event) = taken_back {
            assert_eq!(event.code.as_deref(), Some("unanswered"));
            assert_eq!(event.decision, Some(ledger::event::Outcome::Unavailable));
        }
        if finished {
            return;
        }
    }
    panic!("never finished");
}

/// Signs when it is let to: a disk that hangs, as the journal sees it.
struct Held {
    inner: DalekSigner,
    open: Arc<(Mutex<bool>, Condvar)>,
}

impl EventSigner for Held {
    fn kid(&self) -> &KeyId {
        self.inner.kid()
    }

    fn sign(&self, bytes: &[u8]) -> [u8; 64] {
        let (open, changed) = &*self.open;
        drop(
            changed
                .wait_while(open.lock().unwrap(), |open| !*open)
                .unwrap(),
        );
        self.inner.sign(bytes)
    }
}

/// A service whose journal can be made to hang.
async fn held() -> (World, Service, Arc<(Mutex<bool>, Condvar)>) {
    let world = World::new();
    let view = world.view(&world.loaded());
    let open = Arc::new((Mutex::new(true), Condvar::new()));
    let inner = DalekSigner::new(KeyId::parse("ext-authz-1").unwrap(), &[9; 32]);
    let signer = Arc::new(Held {
        inner,
        open: Arc::clone(&open),
    });
    let folder = tempfile::tempdir().unwrap();
    let clock = Clock::from(world.clock.clone());
    let service = service_in(view, clock, Durability::Process, 64 * MIB, folder, signer).await;
    (world, service, open)
}

#[tokio::test]
async fn a_decision_that_takes_too_long_is_none_and_what_was_written_of_it_is_taken_back() {
    let (world, mut service, open) = held().await;
    *open.0.lock().unwrap() = false;
    let answer = service
        .check
        .answer(&Asked::new().bearer(&world.mandate(|_| {})).request())
        .await;
    assert_eq!(
        (status(&answer), text(&answer, "code").as_str()),
        (14, "deadline")
    );
    let withdrawn = service.withdrawals.try_recv().unwrap();
    assert_eq!(withdrawn.code.as_deref(), Some("deadline"));
    assert_eq!(
        withdrawn.decision_id.map(DecisionId::as_uuid),
        Some(decision(&answer))
    );

    *open.0.lock().unwrap() = true;
    open.1.notify_all();
    service.journal.append(withdrawn).await.unwrap();
    assert_eq!(
        written(service.folder.path(), decision(&answer).as_bytes()),
        2,
        "the allow, and its end"
    );
}

#[tokio::test]
async fn no_answer_is_empty_and_each_says_its_status_first() {
    let (world, service) = running(64 * MIB).await;
    for asked in [
        Asked::new(),
        Asked::new().bearer(&world.mandate(|_| {})),
        Asked::new().host("nobody.example"),
    ] {
        let answer = service.check.answer(&asked.request()).await;
        let bytes = answer.encode_to_vec();
        assert_eq!(
            bytes.first(),
            Some(&0x0a),
            "field 1, the status, is always there"
        );
        let again = CheckResponse::decode(bytes.as_slice()).unwrap();
        assert!(
            again.status.is_some()
                && again.http_response.is_some()
                && again.dynamic_metadata.is_some()
        );
    }
}

#[tokio::test]
async fn too_many_at_once_are_shed_before_they_are_looked_at() {
    use envoy_types::ext_authz::v3::pb::Authorization as _;
    let (world, service, open) = held().await;
    *open.0.lock().unwrap() = false;
    let request = Asked::new().bearer(&world.mandate(|_| {})).request();
    let mut asking: Vec<_> = (0..65)
        .map(|_| service.check.check(tonic::Request::new(request.clone())))
        .collect();
    let mut context = Context::from_waker(Waker::noop());
    let polled: Vec<_> = asking
        .iter_mut()
        .map(|asked| asked.as_mut().poll(&mut context))
        .collect();
    let shed = polled.iter().filter_map(|polled| match polled {
        Poll::Ready(Err(status)) => Some(status.code()),
        Poll::Ready(Ok(_)) | Poll::Pending => None,
    });
    assert_eq!(shed.collect::<Vec<_>>(), [tonic::Code::ResourceExhausted]);
    *open.0.lock().unwrap() = true;
    open.1.notify_all();
}
