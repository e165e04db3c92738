#![expect(
    clippy::too_many_lines,
    clippy::wildcard_enum_match_arm,
    clippy::arithmetic_side_effects,
    reason = "tests"
)]

mod baggage;
mod sequences;
mod standing;

use std::time::Duration;

use jiff::Timestamp;
use mandate::RustCrypto;
use prost::Message as _;
use wire::pb::caracal::authority::v1::State;
use wire::pb::caracal::filter::v1 as session;

use super::*;
use crate::feed::{Act, Input};
use crate::fixture::{self, Headers, good, mandate, request};
use crate::worker::Seed;

/// A VM whose memory is loaded and fresh, and time by hand.
struct Case {
    config: Config,
    worker: Worker,
    moment: Moment,
}

impl Case {
    fn empty(mode: &str) -> Self {
        let config = Config::parse(fixture::config(mode).as_bytes()).unwrap();
        let worker = Worker::new(&config, Seed([3; 40]));
        let moment = Moment {
            now: Timestamp::from_second(fixture::START + 1).unwrap(),
            monotonic: Duration::from_secs(100),
        };
        Self {
            config,
            worker,
            moment,
        }
    }

    fn new(mode: &str) -> Self {
        let mut case = Self::empty(mode);
        case.feed(Input::Tick);
        case.feed(Input::Opened);
        case.feed(Input::Message(&fixture::snapshot(
            1,
            10,
            fixture::changes(),
        )));
        case.fresh();
        case
    }

    fn fresh(&mut self) {
        let t_ns = i64::try_from(self.moment.monotonic.as_nanos()).unwrap();
        let pos = self.worker.feed.pos().unwrap();
        self.feed(Input::Message(&fixture::pong(1, pos, t_ns, 0)));
    }

    fn feed(&mut self, input: Input<'_>) -> Vec<Act> {
        self.worker.feed(input, &self.moment).acts
    }

    fn on(&mut self, exchange: Exchange, event: &Event<'_>) -> (Exchange, Effects) {
        exchange.on(
            &self.config,
            &mut self.worker,
            &RustCrypto,
            event,
            &self.moment,
        )
    }

    fn ask(&mut self, headers: &Headers, kept: Said<'_>) -> (Exchange, Effects) {
        let asked = Asked {
            headers: &fixture::seen(headers),
            source: b"192.0.2.7:4711",
            route: None,
            kept,
            room: true,
        };
        self.on(Exchange::Fresh, &Event::Headers(&asked))
    }

    /// The code of a refusal without an answer of ext-authz; none where one is asked for.
    fn code(&mut self, headers: &Headers) -> Option<&'static str> {
        let (exchange, effects) = self.ask(headers, Said::default());
        assert!(forwarded(&effects).is_none());
        let code = refused(&effects);
        assert_eq!(code.is_some(), matches!(exchange, Exchange::Refused));
        assert_eq!(code.is_none(), call(&effects).is_some());
        code
    }

    fn reports(&mut self) -> (Vec<session::Denied>, u64) {
        let batches = self.worker.reports.send();
        let counted = batches
            .iter()
            .flat_map(|batch| &batch.counts)
            .map(|count| count.count)
            .sum();
        (
            batches.into_iter().flat_map(|batch| batch.denied).collect(),
            counted,
        )
    }
}

fn call(effects: &Effects) -> Option<&Call> {
    effects.iter().find_map(|effect| match effect {
        Effect::Dispatch(call) => Some(&**call),
        _ => None,
    })
}

fn forwarded(effects: &Effects) -> Option<&Forward> {
    effects.iter().find_map(|effect| match effect {
        Effect::Forward(forward) => Some(&**forward),
        _ => None,
    })
}

fn reply(effects: &Effects) -> Option<&Reply> {
    effects.iter().find_map(|effect| match effect {
        Effect::Refuse(reply) => Some(&**reply),
        _ => None,
    })
}

fn refused(effects: &Effects) -> Option<&'static str> {
    assert_eq!(
        reply(effects).is_some(),
        effects.iter().any(|effect| matches!(
            effect,
            Effect::Count(Metric::Refused(_) | Metric::Relayed(_) | Metric::Withdrawn(_))
        ))
    );
    effects.iter().find_map(|effect| match effect {
        Effect::Count(Metric::Refused(code) | Metric::Relayed(code) | Metric::Withdrawn(code)) => {
            Some(*code)
        }
        _ => None,
    })
}

#[test]
fn what_does_not_hold_is_refused_here_with_the_code_of_ext_authz() {
    let mut case = Case::new("enforce");
    let bearer = |token: String| format!("Bearer {token}");
    let fine = bearer(mandate(|_| {}));
    let get = |more: &[(&str, &str)]| request("GET", "/v1/invoices/42", more);
    let with = |token: String| get(&[("authorization", &bearer(token))]);
    let of = |method: &str, path: &str| request(method, path, &[("authorization", &fine)]);
    let mut forged = mandate(|_| {});
    let last = forged.pop().unwrap();
    forged.push(if last == 'A' { 'Q' } else { 'A' });
    for (expected, headers) in [
        ("credential_missing", get(&[])),
        (
            "credential_duplicate",
            get(&[("authorization", &fine), ("authorization", &fine)]),
        ),
        ("credential_malformed", get(&[("authorization", "Basic x")])),
        ("malformed", get(&[("authorization", "Bearer x")])),
        ("signature_invalid", with(forged)),
        (
            "expired",
            with(mandate(|claims| {
                claims["exp"] = (fixture::START + 1).into();
            })),
        ),
        (
            "not_yet_valid",
            with(mandate(|claims| {
                claims["nbf"] = (fixture::START + 90).into();
            })),
        ),
        (
            "wrong_issuer",
            with(mandate(|claims| {
                claims["iss"] = "https://other.example".into();
            })),
        ),
        (
            "wrong_zone",
            with(mandate(|claims| claims["zone_id"] = fixture::id(77).into())),
        ),
        (
            "wrong_use",
            with(mandate(|claims| claims["use"] = "session".into())),
        ),
        (
            "resource_not_granted",
            with(mandate(|claims| {
                claims["target"] = serde_json::json!(["https://wiki.example/"]);
                claims["aud"] = "https://wiki.example/".into();
            })),
        ),
        (
            "confirmation_unsupported",
            with(mandate(|claims| {
                claims["cnf"] = serde_json::json!({"jkt": "x"});
            })),
        ),
        ("no_rule", of("DELETE", "/v1/invoices/42")),
        ("no_rule", of("GET", "/v2/invoices/42")),
        ("scope_missing", of("POST", "/v1/invoices")),
        ("path_refused", of("GET", "/v1/../v1/invoices/42")),
        ("path_refused", of("GET", "")),
        ("method_refused", of("CONNECT", "/v1/invoices/42")),
        (
            "method_refused",
            get(&[("authorization", &fine), ("upgrade", "websocket")]),
        ),
        (
            "host_refused",
            get(&[("authorization", &fine), ("host", "wiki.test")]),
        ),
        (
            "override_header",
            get(&[("authorization", &fine), ("x-http-method-override", "PUT")]),
        ),
        (
            "resource_assertion",
            get(&[("authorization", &fine), ("x-caracal-resource", "urn:x")]),
        ),
    ] {
        assert_eq!(case.code(&headers), Some(expected), "{headers:?}");
    }
    let mut elsewhere = good(&mandate(|_| {}));
    elsewhere[0].1 = b"nobody.test".to_vec();
    assert_eq!(case.code(&elsewhere), Some("no_binding"));
    assert_eq!(case.code(&good(&mandate(|_| {}))), None);
}

#[test]
fn without_a_memory_that_is_fresh_nothing_is_decided() {
    let headers = good(&mandate(|_| {}));
    let mut case = Case::empty("enforce");
    assert_eq!(case.code(&headers), Some("authority_not_ready"));
    case.feed(Input::Tick);
    case.feed(Input::Opened);
    case.feed(Input::Message(&fixture::snapshot(
        1,
        10,
        fixture::changes(),
    )));
    assert_eq!(
        case.code(&headers),
        Some("authority_stale"),
        "its age is not known"
    );
    case.fresh();
    assert_eq!(case.code(&headers), None);
    case.moment.monotonic += Duration::from_millis(10_001);
    assert_eq!(case.code(&headers), Some("authority_stale"));
    case.fresh();
    assert_eq!(case.code(&headers), None);
    case.feed(Input::Message(&fixture::deltas(2, 11, vec![])));
    assert_eq!(case.code(&headers), Some("authority_resync"));
}

#[test]
fn a_revocation_is_refused_by_the_filter_alone() {
    let mut case = Case::new("enforce");
    let headers = good(&mandate(|_| {}));
    assert_eq!(case.code(&headers), None);
    case.feed(Input::Message(&fixture::deltas(
        1,
        11,
        vec![fixture::revocation()],
    )));
    assert_eq!(case.code(&headers), Some("revoked"));
    case.feed(Input::Closed);
    case.feed(Input::Message(&fixture::snapshot(
        1,
        12,
        fixture::changes(),
    )));
    assert_eq!(case.code(&headers), Some("revoked"), "dead stays dead");
    let (denied, counted) = case.reports();
    assert_eq!((denied.len(), counted), (2, 0));
    assert_eq!((denied[0].code.as_str(), denied[0].pos), ("revoked", 11));
    assert_eq!(denied[0].jti, fixture::id(100));
    assert!(!denied[0].withdraws);
}

#[test]
fn a_key_that_verifies_no_more_verifies_no_cached_mandate() {
    let mut case = Case::new("enforce");
    let headers = good(&mandate(|_| {}));
    assert_eq!(case.code(&headers), None);
    case.feed(Input::Message(&fixture::deltas(
        1,
        11,
        vec![fixture::signing_key(2, "removed")],
    )));
    assert_eq!(case.code(&headers), Some("key_unknown"));
    case.feed(Input::Message(&fixture::deltas(
        1,
        12,
        vec![fixture::signing_key(3, "active")],
    )));
    assert_eq!(case.code(&headers), None);
    case.feed(Input::Message(&fixture::deltas(
        1,
        13,
        vec![fixture::zone(2, State::Archived)],
    )));
    assert_eq!(case.code(&headers), Some("archived"));
}

#[test]
fn what_ext_authz_allows_goes_forward_with_its_headers_and_no_others() {
    let mut case = Case::new("enforce");
    let mut headers = good(&mandate(|_| {}));
    headers.push((b"x_caracal_zone".to_vec(), b"mine".to_vec()));
    let (exchange, effects) = case.ask(&headers, Said::default());
    let message = call(&effects).unwrap().message.clone();
    let check = wire::envoy::messages::CheckRequest::decode(message.as_slice()).unwrap();
    let attributes = check.attributes.unwrap();
    let [extension] = attributes.context_extensions.as_slice() else {
        panic!("one attachment")
    };
    assert_eq!(
        (extension.key.as_str(), extension.value.as_str()),
        ("caracal.bindings", "ingress")
    );
    let source = attributes
        .source
        .unwrap()
        .address
        .unwrap()
        .socket_address
        .unwrap();
    assert_eq!(
        (source.address.as_str(), source.port_value),
        ("192.0.2.7", Some(4711))
    );
    assert_eq!(
        call(&effects).unwrap().metadata,
        [("x-request-id", b"r-1".to_vec())]
    );
    let mut answer = fixture::allowed();
    if let Some(wire::envoy::messages::HttpResponse::Ok(ok)) = &mut answer.http_response {
        ok.headers.push(wire::envoy::messages::HeaderValueOption {
            header: Some(wire::envoy::messages::HeaderValue {
                key: ":path".to_owned(),
                value: "/admin".to_owned(),
                raw_value: vec![],
            }),
        });
    }
    let (exchange, effects) = case.on(exchange, &Event::Answered(&answer.encode_to_vec()));
    let forward = forwarded(&effects).unwrap();
    assert_eq!(forward.permit.decision().to_string(), fixture::DECISION);
    let set: Vec<&str> = forward.set.iter().map(|(name, _)| *name).collect();
    assert_eq!(
        set,
        [
            "x-caracal-zone",
            "x-caracal-subject",
            "x-caracal-client",
            "x-caracal-session",
            "x-caracal-scope",
            "x-caracal-decision"
        ]
    );
    let removed: Vec<&[u8]> = forward.remove.iter().map(Vec::as_slice).collect();
    let expected = [
        b"x_caracal_zone".as_slice(),
        b"x-caracal-actor",
        b"authorization",
        b"x-caracal-resource",
    ];
    assert_eq!(removed, expected);
    assert!(exchange.is_upstreams());
    assert!(case.reports().0.is_empty());
}

#[test]
fn a_refusal_of_ext_authz_is_relayed_as_it_stands() {
    for (grpc, http, code) in [
        (7, 403, "policy_not_granted"),
        (14, 503, "journal_unavailable"),
    ] {
        let mut case = Case::new("enforce");
        let (exchange, _) = case.ask(&good(&mandate(|_| {})), Said::default());
        let answer = fixture::denied(grpc, http, code).encode_to_vec();
        let (exchange, effects) = case.on(exchange, &Event::Answered(&answer));
        assert_eq!(refused(&effects), Some(code));
        let reply = reply(&effects).unwrap();
        assert_eq!(i64::from(reply.status), i64::from(http));
        assert!(reply.headers.contains(&(
            "x-caracal-decision".to_owned(),
            fixture::DECISION.to_owned()
        )));
        assert_eq!(reply.grpc, None);
        assert!(matches!(exchange, Exchange::Refused));
        assert!(case.worker.reports.is_empty(), "ext-authz has the evidence");
    }
}

#[test]
fn a_grpc_caller_is_refused_in_its_own_form() {
    let mut case = Case::new("enforce");
    let (_, effects) = case.ask(
        &request(
            "GET",
            "/v1/invoices/42",
            &[("content-type", "application/grpc")],
        ),
        Said::default(),
    );
    let local = reply(&effects).unwrap();
    assert_eq!(local.grpc, Some(16));
    assert!(local.body.starts_with(b"credential_missing: "));
    let mut headers = good(&mandate(|_| {}));
    headers.push((b"content-type".to_vec(), b"application/grpc+proto".to_vec()));
    let (exchange, _) = case.ask(&headers, Said::default());
    let answer = fixture::denied(7, 403, "role_scope_mismatch").encode_to_vec();
    let (_, effects) = case.on(exchange, &Event::Answered(&answer));
    let relayed = reply(&effects).unwrap();
    assert_eq!(relayed.grpc, Some(7));
    assert!(
        !relayed
            .headers
            .iter()
            .any(|(name, _)| name == "content-type")
    );
}

#[test]
fn whatever_does_not_decide_is_a_refusal() {
    for (word, bytes) in fixture::undecided() {
        let mut case = Case::new("enforce");
        let (exchange, _) = case.ask(&good(&mandate(|_| {})), Said::default());
        let (_, effects) = case.on(exchange, &Event::Answered(&bytes));
        assert_eq!(refused(&effects), Some("authorizer_unavailable"), "{word}");
        assert_eq!(reply(&effects).unwrap().status, 503, "{word}");
        let (denied, _) = case.reports();
        assert_eq!(denied.len(), 1, "{word}");
        assert!(!denied[0].withdraws);
    }
    let mut case = Case::new("enforce");
    let (exchange, _) = case.ask(&good(&mandate(|_| {})), Said::default());
    let (_, effects) = case.on(exchange, &Event::Unanswered);
    assert_eq!(refused(&effects), Some("authorizer_unavailable"));
}

#[test]
fn what_is_revoked_while_ext_authz_is_asked_is_taken_back() {
    let mut case = Case::new("enforce");
    let (exchange, _) = case.ask(&good(&mandate(|_| {})), Said::default());
    case.feed(Input::Message(&fixture::deltas(
        1,
        11,
        vec![fixture::revocation()],
    )));
    let (_, effects) = case.on(
        exchange,
        &Event::Answered(&fixture::allowed().encode_to_vec()),
    );
    assert_eq!(refused(&effects), Some("revoked"));
    let (denied, _) = case.reports();
    assert_eq!(
        (denied[0].decision_id.as_str(), denied[0].withdraws),
        (fixture::DECISION, true)
    );
    assert!(!denied[0].forwarded);
    let decision = (
        "x-caracal-decision".to_owned(),
        fixture::DECISION.to_owned(),
    );
    assert!(reply(&effects).unwrap().headers.contains(&decision));
}

#[test]
fn an_allow_for_someone_who_is_gone_is_taken_back() {
    let mut case = Case::new("enforce");
    let (exchange, _) = case.ask(&good(&mandate(|_| {})), Said::default());
    let (exchange, effects) = case.on(exchange, &Event::Ended);
    assert!(matches!(effects[..], [Effect::Count(Metric::Abandoned)]));
    let (exchange, effects) = case.on(
        exchange,
        &Event::Answered(&fixture::allowed().encode_to_vec()),
    );
    assert!(effects.is_empty() && exchange.is_over());
    let (denied, _) = case.reports();
    assert_eq!(
        (denied[0].code.as_str(), denied[0].withdraws),
        ("unanswered", true)
    );
}

#[test]
fn what_is_only_verified_needs_the_word_about_this_mandate() {
    let token = mandate(|_| {});
    let digest = fixture::digest(&token);
    let said = |decision, code, digest| Said {
        decision,
        code,
        digest,
        zone: None,
    };
    let mut case = Case::new("verify_only");
    let whole = said(
        Some(fixture::DECISION),
        Some("allowed"),
        Some(digest.as_str()),
    );
    let (exchange, effects) = case.ask(&good(&token), whole);
    let forward = forwarded(&effects).unwrap();
    assert!(exchange.is_upstreams() && call(&effects).is_none());
    assert_eq!(forward.permit.decision().to_string(), fixture::DECISION);
    assert!(forward.remove.contains(&b"authorization".to_vec()));
    let other = "0".repeat(64);
    for (kept, withdraws) in [
        (Said::default(), false),
        (said(None, Some("allowed"), Some(&digest)), false),
        (said(Some(fixture::DECISION), None, Some(&digest)), false),
        (said(Some(fixture::DECISION), Some("allowed"), None), true),
        (
            said(Some(fixture::DECISION), Some("allowed"), Some(&other)),
            true,
        ),
    ] {
        let (_, effects) = case.ask(&good(&token), kept);
        assert_eq!(
            refused(&effects),
            Some("authorizer_unavailable"),
            "{kept:?}"
        );
        let (denied, _) = case.reports();
        case.worker.reports.acknowledged(u64::MAX);
        assert_eq!(
            denied
                .iter()
                .map(|denied| denied.withdraws)
                .collect::<Vec<_>>(),
            [withdraws],
            "{kept:?}"
        );
    }
    case.feed(Input::Message(&fixture::deltas(
        1,
        11,
        vec![fixture::revocation()],
    )));
    let (_, effects) = case.ask(&good(&token), whole);
    assert_eq!(refused(&effects), Some("revoked"));
    assert!(case.reports().0[0].withdraws);
}

#[test]
fn who_knows_nothing_yet_takes_an_allow_back_in_the_zone_it_was_given_in() {
    let mut case = Case::empty("verify_only");
    let kept = Said {
        decision: Some(fixture::DECISION),
        code: Some("allowed"),
        digest: None,
        zone: Some(fixture::ZONE),
    };
    let (_, effects) = case.ask(&good(&mandate(|_| {})), kept);
    assert_eq!(refused(&effects), Some("authority_not_ready"));
    let (denied, _) = case.reports();
    assert_eq!(denied[0].decision_id, fixture::DECISION);
    assert!(denied[0].withdraws && denied[0].zone_id == fixture::ZONE);
}
