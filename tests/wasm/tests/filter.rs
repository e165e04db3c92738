//! The built filter in a proxy that is played, status by status.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::too_many_lines,
    unreachable_pub,
    dead_code,
    reason = "tests; the fixture is the filter's own"
)]

#[path = "../../../filter-wasm/src/fixture.rs"]
mod fixture;
mod proxy;

use prost::Message as _;
use proxy::{FUNCTIONS, Proxy, ROOT, Vm};
use wire::pb::caracal::filter::v1 as session;

const STREAM: u32 = 2;
const START_NS: u64 = 1_800_000_001_000_000_000;
const MONOTONIC_NS: u64 = 100_000_000_000;
const CONTINUE: u32 = 0;
const PAUSE: u32 = 1;

/// What ext-authz does with the question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Authorizer {
    Allows,
    Denies,
    SaysNothing,
    Fails,
}

fn new() -> Vm {
    let proxy = Proxy {
        time_ns: START_NS,
        monotonic_ns: MONOTONIC_NS,
        properties: [("source.address".to_owned(), b"192.0.2.7:4711".to_vec())].into(),
        ..Proxy::default()
    };
    let mut vm = Vm::new(proxy);
    vm.call("_initialize", &[]).unwrap();
    vm
}

fn configure(vm: &mut Vm, text: &str) -> wasmtime::Result<u32> {
    vm.proxy().buffer = text.as_bytes().to_vec();
    vm.call("proxy_on_context_create", &[ROOT, 0])?;
    vm.call("proxy_on_vm_start", &[ROOT, 0])?;
    vm.call(
        "proxy_on_configure",
        &[ROOT, u32::try_from(text.len()).unwrap()],
    )
}

fn receive(vm: &mut Vm, token: u32, message: &[u8]) -> wasmtime::Result<u32> {
    vm.proxy().buffer = message.to_vec();
    vm.call(
        "proxy_on_grpc_receive",
        &[ROOT, token, u32::try_from(message.len()).unwrap()],
    )
}

/// Opens the session and brings memory up to now.
fn load(vm: &mut Vm) -> wasmtime::Result<()> {
    vm.call("proxy_on_tick", &[ROOT])?;
    if let Some(stream) = vm.proxy().streams.last().cloned() {
        receive(
            vm,
            stream.token,
            &fixture::snapshot(1, 10, fixture::changes()),
        )?;
        receive(
            vm,
            stream.token,
            &fixture::pong(1, 10, i64::try_from(MONOTONIC_NS).unwrap(), 0),
        )?;
    }
    Ok(())
}

fn ready(mode: &str) -> Vm {
    let mut vm = new();
    assert_eq!(configure(&mut vm, &fixture::config(mode)).unwrap(), 1);
    load(&mut vm).unwrap();
    vm
}

/// Sends a request; whether it went forward at once.
fn request(vm: &mut Vm, headers: fixture::Headers) -> wasmtime::Result<u32> {
    let count = u32::try_from(headers.len()).unwrap();
    vm.proxy().maps.insert(0, headers);
    vm.call("proxy_on_context_create", &[STREAM, ROOT])?;
    vm.call("proxy_on_request_headers", &[STREAM, count, 1])
}

fn answer(vm: &mut Vm, authorizer: Authorizer) -> wasmtime::Result<()> {
    let Some(call) = vm.proxy().calls.last().cloned() else {
        return Ok(());
    };
    let message = match authorizer {
        Authorizer::Allows => fixture::allowed().encode_to_vec(),
        Authorizer::Denies => fixture::denied(7, 403, "policy_not_granted").encode_to_vec(),
        Authorizer::SaysNothing => Vec::new(),
        Authorizer::Fails => {
            vm.call("proxy_on_grpc_close", &[ROOT, call.token, 14])?;
            return Ok(());
        }
    };
    receive(vm, call.token, &message)?;
    Ok(())
}

/// The whole way of one request; whether it went forward.
fn whole(vm: &mut Vm, mandate: &str, authorizer: Authorizer) -> wasmtime::Result<bool> {
    let inline = request(vm, fixture::good(mandate))?;
    answer(vm, authorizer)?;
    let passed = inline == CONTINUE || vm.proxy().continued > 0;
    vm.call("proxy_on_response_headers", &[STREAM, 0, 1])?;
    vm.call("proxy_on_log", &[STREAM])?;
    vm.call("proxy_on_done", &[STREAM])?;
    vm.call("proxy_on_delete", &[STREAM])?;
    vm.call("proxy_on_tick", &[ROOT])?;
    Ok(passed)
}

fn header(vm: &mut Vm, map: u32, name: &str) -> Option<String> {
    let map = vm.proxy().maps.get(&map)?;
    let (_, value) = map.iter().find(|(known, _)| known == name.as_bytes())?;
    Some(String::from_utf8(value.clone()).unwrap())
}

fn forged() -> String {
    let mut forged = fixture::mandate(|_| {});
    let last = forged.pop().unwrap();
    forged.push(if last == 'A' { 'Q' } else { 'A' });
    forged
}

#[test]
fn a_request_goes_forward_when_everybody_agrees_and_only_then() {
    let good = fixture::mandate(|_| {});
    for (mandate, authorizer, expected) in [
        (&good, Authorizer::Allows, None),
        (&good, Authorizer::Denies, Some(403)),
        (&good, Authorizer::SaysNothing, Some(503)),
        (&good, Authorizer::Fails, Some(503)),
        (&forged(), Authorizer::Allows, Some(401)),
    ] {
        let mut vm = ready("enforce");
        let passed = whole(&mut vm, mandate, authorizer).unwrap();
        assert_eq!(passed, expected.is_none(), "{authorizer:?}");
        let statuses = vm.proxy().statuses();
        assert_eq!(
            statuses,
            expected.into_iter().collect::<Vec<_>>(),
            "{authorizer:?}"
        );
        let asked = vm.proxy().calls.len();
        assert_eq!(asked, usize::from(*mandate == good), "{authorizer:?}");
        if expected.is_none() {
            assert_eq!(header(&mut vm, 0, "authorization"), None);
            assert_eq!(
                header(&mut vm, 0, "x-caracal-zone").as_deref(),
                Some(fixture::ZONE)
            );
            assert_eq!(
                vm.proxy().kept["caracal.decision_id"],
                fixture::DECISION.as_bytes()
            );
        }
    }
}

#[test]
fn every_function_with_every_status_traps_nowhere_and_lets_nothing_pass_that_may_not() {
    /// Those that a decision does not rest on: a request in order may pass without them.
    const BESIDE: [&str; 7] = [
        "proxy_call_foreign_function",
        "proxy_define_metric",
        "proxy_increment_metric",
        "proxy_log",
        "proxy_record_metric",
        "proxy_set_property",
        "proxy_get_property",
    ];
    /// Those that are called only when a request is refused.
    const NEVER: [&str; 3] = [
        "proxy_close_stream",
        "proxy_grpc_cancel",
        "proxy_send_local_response",
    ];
    let good = fixture::mandate(|_| {});
    let forged = forged();
    let statuses = (1..=13).chain([255, u32::MAX]);
    let (mut tried, mut passed_beside) = (0, 0);
    for status in statuses {
        for name in FUNCTIONS {
            for early in [true, false] {
                for (mandate, authorizer) in [
                    (&good, Authorizer::Allows),
                    (&good, Authorizer::Denies),
                    (&good, Authorizer::SaysNothing),
                    (&good, Authorizer::Fails),
                    (&forged, Authorizer::Allows),
                ] {
                    let told = format!("{name} gives {status}, early: {early}, {authorizer:?}");
                    let mut vm = new();
                    if early {
                        vm.proxy().faults.insert(name, status);
                    }
                    let configured = configure(&mut vm, &fixture::config("enforce"));
                    let configured = configured.unwrap_or_else(|error| panic!("{told}: {error:?}"));
                    let loaded = load(&mut vm);
                    loaded.unwrap_or_else(|error| panic!("{told}: {error:?}"));
                    vm.proxy().faults.insert(name, status);
                    let passed = whole(&mut vm, mandate, authorizer);
                    let passed = passed.unwrap_or_else(|error| panic!("{told}: {error:?}"));
                    tried += 1;
                    let in_order = mandate == &good && authorizer == Authorizer::Allows;
                    let beside = BESIDE.contains(&name) || NEVER.contains(&name);
                    let session = [
                        "proxy_grpc_send",
                        "proxy_grpc_stream",
                        "proxy_set_tick_period_milliseconds",
                    ];
                    let may = in_order && (beside || (!early && session.contains(&name)));
                    assert!(!passed || may, "{told}: it passed");
                    assert!(!passed || configured == 1, "{told}: nothing was configured");
                    if passed {
                        passed_beside += 1;
                        assert_eq!(header(&mut vm, 0, "authorization"), None, "{told}");
                        assert_eq!(
                            header(&mut vm, 0, "x-caracal-zone").as_deref(),
                            Some(fixture::ZONE),
                            "{told}"
                        );
                    }
                }
            }
        }
    }
    assert_eq!(tried, 15 * FUNCTIONS.len() * 2 * 5);
    assert!(
        passed_beside > 0,
        "what a decision does not rest on stops nothing"
    );
}

#[test]
fn an_answer_that_does_not_decide_is_a_refusal() {
    for (word, message) in fixture::undecided() {
        let mut vm = ready("enforce");
        assert_eq!(
            request(&mut vm, fixture::good(&fixture::mandate(|_| {}))).unwrap(),
            PAUSE
        );
        let token = vm.proxy().calls[0].token;
        receive(&mut vm, token, &message).unwrap();
        assert_eq!(vm.proxy().continued, 0, "{word}");
        assert_eq!(vm.proxy().replies[0].status, 503, "{word}");
    }
}

#[test]
fn bytes_that_are_no_text_and_maps_that_are_none_refuse_one_request_and_no_more() {
    let mut vm = ready("enforce");
    let mut headers = fixture::good(&fixture::mandate(|_| {}));
    headers.push((b"x-odd-\xff".to_vec(), vec![0xff, 0xfe, 0, 10]));
    headers[1].1 = vec![b'/', 0xff];
    assert_eq!(request(&mut vm, headers).unwrap(), PAUSE);
    assert_eq!(vm.proxy().replies[0].status, 400);
    for odd in [
        vec![1, 0, 0],
        vec![0xff; 64],
        [[1, 0, 0, 0].as_slice(), &[0xff; 8]].concat(),
        b"\x01\0\0\0\x01\0\0\0\x01\0\0\0axb".to_vec(),
    ] {
        vm.proxy().odd_map = Some(odd);
        vm.proxy().replies.clear();
        assert_eq!(request(&mut vm, fixture::good("x")).unwrap(), PAUSE);
        assert_eq!(vm.proxy().replies[0].status, 503);
    }
    vm.proxy().odd_map = None;
    assert!(whole(&mut vm, &fixture::mandate(|_| {}), Authorizer::Allows).unwrap());
}

#[test]
fn contexts_and_tokens_that_nobody_knows_do_nothing() {
    let mut vm = ready("enforce");
    assert_eq!(
        vm.call("proxy_on_request_headers", &[99, 0, 1]).unwrap(),
        PAUSE
    );
    for name in [
        "proxy_on_log",
        "proxy_on_done",
        "proxy_on_delete",
        "proxy_on_tick",
    ] {
        vm.call(name, &[99]).unwrap();
    }
    receive(&mut vm, 99, &fixture::allowed().encode_to_vec()).unwrap();
    vm.call("proxy_on_grpc_close", &[ROOT, 99, 0]).unwrap();
    assert_eq!((vm.proxy().continued, vm.proxy().replies.len()), (0, 0));
    let mut unconfigured = new();
    unconfigured
        .call("proxy_on_context_create", &[ROOT, 0])
        .unwrap();
    assert_eq!(
        request(&mut unconfigured, fixture::good("x")).unwrap(),
        PAUSE
    );
}

#[test]
fn a_configuration_with_a_finding_is_not_run_with() {
    let mut vm = new();
    assert_eq!(
        configure(&mut vm, r#"{"version":1,"fail_open":true}"#).unwrap(),
        0
    );
    assert_eq!(configure(&mut vm, "").unwrap(), 0);
}

#[test]
fn an_allow_for_someone_who_is_gone_is_taken_back() {
    let mut vm = ready("enforce");
    assert_eq!(
        request(&mut vm, fixture::good(&fixture::mandate(|_| {}))).unwrap(),
        PAUSE
    );
    let token = vm.proxy().calls[0].token;
    for name in ["proxy_on_log", "proxy_on_done", "proxy_on_delete"] {
        vm.call(name, &[STREAM]).unwrap();
    }
    vm.proxy().gone.push(STREAM);
    receive(&mut vm, token, &fixture::allowed().encode_to_vec()).unwrap();
    assert_eq!(vm.proxy().continued, 0);
    vm.call("proxy_on_tick", &[ROOT]).unwrap();
    let withdrawn = vm.proxy().sent.iter().any(|message| {
        matches!(fixture::said(message), session::up::What::Refusals(report)
            if report.denied.iter().any(|denied| denied.withdraws && denied.decision_id == fixture::DECISION))
    });
    assert!(withdrawn);
}

/// The proxy keeps a stream that ended until it is let go of, and must not be made to while it hands a message over.
#[test]
fn a_stream_is_let_go_of_once_when_it_ends_and_never_while_it_speaks() {
    let close = |vm: &mut Vm, token| vm.call("proxy_on_grpc_close", &[ROOT, token, 14]).unwrap();
    let mut vm = ready("enforce");
    let token = vm.proxy().streams[0].token;
    close(&mut vm, token);
    assert_eq!(vm.proxy().cancelled, [token]);
    close(&mut vm, token);
    assert_eq!(vm.proxy().cancelled, [token], "once");
    for closes in [false, true] {
        let mut vm = ready("enforce");
        let token = vm.proxy().streams[0].token;
        receive(&mut vm, token, b"\xff").unwrap();
        assert!(vm.proxy().cancelled.is_empty(), "it still speaks");
        receive(&mut vm, token, &fixture::pong(1, 10, 0, 0)).unwrap();
        if closes {
            close(&mut vm, token);
            assert_eq!(vm.proxy().cancelled, [token]);
        }
        vm.call("proxy_on_tick", &[ROOT]).unwrap();
        vm.call("proxy_on_tick", &[ROOT]).unwrap();
        assert_eq!(vm.proxy().cancelled, [token], "once: {closes}");
    }
}

#[test]
fn a_clock_that_fails_for_a_while_ends_nothing() {
    let mut vm = ready("enforce");
    for name in ["proxy_get_current_time_nanoseconds", "clock_time_get"] {
        vm.proxy().faults.insert(name, 2);
        vm.call("proxy_on_tick", &[ROOT]).unwrap();
        vm.proxy().faults.remove(name);
    }
    assert!(vm.proxy().cancelled.is_empty());
    assert!(whole(&mut vm, &fixture::mandate(|_| {}), Authorizer::Allows).unwrap());
}

#[test]
fn what_is_counted_adds_up() {
    let mut vm = ready("enforce");
    let token = fixture::mandate(|_| {});
    for authorizer in [
        Authorizer::Allows,
        Authorizer::Denies,
        Authorizer::SaysNothing,
        Authorizer::Fails,
    ] {
        whole(&mut vm, &token, authorizer).unwrap();
    }
    request(&mut vm, fixture::good("none")).unwrap();
    request(&mut vm, fixture::good(&token)).unwrap();
    vm.call("proxy_on_done", &[STREAM]).unwrap();
    vm.proxy().faults.insert("proxy_continue_stream", 2);
    whole(&mut vm, &token, Authorizer::Allows).unwrap();
    let counted = vm.proxy().counted.clone();
    let sum = |start: &str| -> i64 {
        let name = ["caracal_filter_", start].concat();
        let of = counted.iter().filter(|(known, _)| known.starts_with(&name));
        of.map(|(_, count)| count).sum()
    };
    let ends = ["admitted", "refused_", "relayed_", "abandoned"].map(sum);
    assert_eq!(ends, [1, 4, 1, 1], "{counted:?}");
    assert_eq!(
        (sum("verified_hit"), sum("verified_miss"), sum("withdrawn")),
        (5, 2, 0),
        "{counted:?}"
    );
}

#[test]
fn what_is_on_its_way_is_refused_and_what_is_being_answered_is_cut_off() {
    for answering in [false, true] {
        let mut vm = ready("enforce");
        request(&mut vm, fixture::good(&fixture::mandate(|_| {}))).unwrap();
        answer(&mut vm, Authorizer::Allows).unwrap();
        assert_eq!((vm.proxy().continued, vm.proxy().closed.len()), (1, 0));
        if answering {
            vm.proxy().maps.insert(2, Vec::new());
            vm.call("proxy_on_response_headers", &[STREAM, 0, 0])
                .unwrap();
        }
        let stream = vm.proxy().streams[0].token;
        receive(
            &mut vm,
            stream,
            &fixture::deltas(1, 11, vec![fixture::revocation()]),
        )
        .unwrap();
        let cut: &[u32] = if answering { &[0] } else { &[] };
        assert_eq!(vm.proxy().closed, cut);
        let refused = vm.proxy().statuses();
        assert_eq!(refused, if answering { vec![] } else { vec![401] });
    }
}

#[test]
fn nobody_else_speaks_for_us_in_responses_and_trailers() {
    let mut vm = ready("enforce");
    request(&mut vm, fixture::good(&fixture::mandate(|_| {}))).unwrap();
    answer(&mut vm, Authorizer::Allows).unwrap();
    for (map, callback) in [
        (1, "proxy_on_request_trailers"),
        (2, "proxy_on_response_headers"),
        (3, "proxy_on_response_trailers"),
    ] {
        let headers = [
            ("x-caracal-zone", "z"),
            ("X_Caracal_Subject", "s"),
            ("kept", "k"),
        ];
        let headers =
            headers.map(|(name, value)| (name.as_bytes().to_vec(), value.as_bytes().to_vec()));
        vm.proxy().maps.insert(map, headers.into());
        let arguments: &[u32] = if map == 2 {
            &[STREAM, 3, 1]
        } else {
            &[STREAM, 3]
        };
        assert_eq!(vm.call(callback, arguments).unwrap(), CONTINUE);
        assert_eq!(vm.proxy().maps[&map], [(b"kept".to_vec(), b"k".to_vec())]);
        vm.proxy().faults.insert("proxy_remove_header_map_value", 2);
        vm.proxy()
            .maps
            .insert(map, vec![(b"x-caracal-zone".to_vec(), b"z".to_vec())]);
        assert_eq!(
            vm.call(callback, arguments).unwrap(),
            PAUSE,
            "it cannot be removed"
        );
        vm.proxy().faults.clear();
    }
}
