//! Attacks through raw sockets against the real Envoy. Each is refused by one side, known in advance, and whatever we
//! decided is in the ledger: the books of Envoy, of ext-authz and of the ledger agree with what was sent.
#![expect(clippy::unwrap_used, reason = "tests")]

use e2e::attack::{Attack, Draft, Expected, HOST, PATH, Shot};
use e2e::case::Table;
use e2e::frames::Outcome;
use e2e::{Evidence, Reply, Scene, Way, socket};
use serde_json::Value;

#[path = "corpus/http2.rs"]
mod http2;

use Expected::{Closed, Envoy, Ours, Passes};

const TABLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/cases/cases.json");
const VECTORS: &str = include_str!("../../../mandate/tests/vectors/mandate.json");

/// Clients that go without waiting for an answer.
const ABANDONED: u64 = 20;

const PATH_REFUSED: Expected = Ours(400, "path_refused");
const HOST_REFUSED: Expected = Ours(400, "host_refused");
const METHOD_REFUSED: Expected = Ours(400, "method_refused");
const OVERRIDE: Expected = Ours(400, "override_header");

/// Request targets beyond those of the vectors.
fn targets(good: &Draft) -> Vec<Attack> {
    let absolute = format!("http://{HOST}{PATH}");
    let cases: [(&[u8], Expected); 15] = [
        (absolute.as_bytes(), Passes(PATH)),
        (
            b"http://wiki.example.test/v1/invoices/42",
            Ours(403, "no_rule"),
        ),
        (b"https://invoices.example.test/v1/invoices/42", Envoy(403)),
        // Envoy drops what stands before the `@`, and the upstream sees what we decided on.
        (
            b"http://user@invoices.example.test/v1/invoices/42",
            Passes(PATH),
        ),
        (
            b"http://wiki.example.test#@invoices.example.test/v1/invoices/42",
            Envoy(400),
        ),
        (b"ftp://invoices.example.test/v1/invoices/42", Envoy(400)),
        (b"invoices.example.test:80", Envoy(400)),
        (b"/v1/invoices/42 HTTP/1.0", Envoy(400)),
        (b"/v1/invoices/42/..%00/", PATH_REFUSED),
        (b"/v1/invoices/\xff", Envoy(400)),
        (b"/v1/invoices/42?q=\xff", Envoy(400)),
        (b"/v1/invoices/42%", PATH_REFUSED),
        (b"/v1/invoices/.%2e/42", PATH_REFUSED),
        (b"/v1/invoices/..;/42", PATH_REFUSED),
        (b"/\\evil.example.test/v1/invoices/42", PATH_REFUSED),
    ];
    cases
        .into_iter()
        .map(|(target, expected)| {
            let name = format!("target {}", target.escape_ascii());
            good.clone().target(target).attack(&name, expected)
        })
        .collect()
}

fn hosts(good: &Draft) -> Vec<Attack> {
    let host = HOST.as_bytes();
    let cases: [(&str, &[&[u8]], Expected); 14] = [
        ("no host", &[], Envoy(400)),
        ("two hosts", &[host, b"wiki.example.test"], HOST_REFUSED),
        ("one host twice", &[host, host], HOST_REFUSED),
        (
            "a port that is not bound",
            &[b"invoices.example.test:8443"],
            Ours(403, "no_binding"),
        ),
        (
            "the default port",
            &[b"invoices.example.test:80"],
            HOST_REFUSED,
        ),
        ("a trailing dot", &[b"invoices.example.test."], HOST_REFUSED),
        ("another case", &[b"INVOICES.EXAMPLE.TEST"], Passes(PATH)),
        (
            "userinfo",
            &[b"invoices.example.test@evil.example.test"],
            HOST_REFUSED,
        ),
        (
            "a name that is no ASCII",
            &["invoices.ex\u{e4}mple.test".as_bytes()],
            Envoy(400),
        ),
        (
            "its punycode",
            &[b"invoices.xn--exmple-cua.test"],
            Ours(403, "no_binding"),
        ),
        (
            "an underscore",
            &[b"invoices_.example.test"],
            Ours(403, "no_binding"),
        ),
        (
            "a comma",
            &[b"invoices.example.test,wiki.example.test"],
            HOST_REFUSED,
        ),
        (
            "a space in it",
            &[b"invoices.example.test wiki.example.test"],
            Envoy(400),
        ),
        (
            "a byte that is no UTF-8",
            &[b"invoices.example.test\xff"],
            Envoy(400),
        ),
    ];
    cases
        .into_iter()
        .map(|(name, hosts, expected)| {
            good.clone()
                .hosts(hosts)
                .attack(&format!("host: {name}"), expected)
        })
        .collect()
}

fn lines(good: &Draft) -> Vec<Attack> {
    let long = [b"x-long: ".as_slice(), &[b'a'; 70_000]].concat();
    let many: Vec<u8> = (0..120)
        .flat_map(|at| format!("x-{at}: y\r\n").into_bytes())
        .collect();
    let many = many.strip_suffix(b"\r\n").unwrap().to_vec();
    let cases: Vec<(&[u8], Expected)> = vec![
        (b"x-caracal-subject: root", Passes(PATH)),
        (b"X-CARACAL-SUBJECT: root", Passes(PATH)),
        (b"x-caracal-zone: a\r\nx-caracal-zone: b", Passes(PATH)),
        (b"x-caracal-decision: \xff\xfe", Passes(PATH)),
        (b"x_caracal_subject: root", Envoy(400)),
        (b"x-caracal_subject: root", Envoy(400)),
        (b"x_anything: y", Envoy(400)),
        (b"x-original-url: /v1/reports/2026", OVERRIDE),
        (b"X-Rewrite-URL: /v1/reports/2026", OVERRIDE),
        (b"x-http-method-override: DELETE", OVERRIDE),
        (b"x-http-method: DELETE", OVERRIDE),
        (b"x-method-override:", OVERRIDE),
        (b"x-envoy-original-path: /v1/reports/2026", Passes(PATH)),
        (b"x-envoy-original-host: wiki.example.test", Passes(PATH)),
        (b"x-forwarded-host: wiki.example.test", Passes(PATH)),
        (b"x-forwarded-for: 10.0.0.1", Passes(PATH)),
        (b"forwarded: for=10.0.0.1;host=wiki.example.test", Passes(PATH)),
        (b"x-forwarded-client-cert: By=x;Hash=y;URI=spiffe://z", Passes(PATH)),
        (b"x-envoy-auth-failure-mode-allowed: true", Passes(PATH)),
        (b"baggage: \xff, +caracal.zone=other", Passes(PATH)),
        (b"baggage: caracal.zone=other\r\nBAGGAGE: c%61racal.actor=root;p", Passes(PATH)),
        (b"x-anything: \xff\xfe", Passes(PATH)),
        (b"x-folded: a\r\n b", Passes(PATH)),
        (b"x-caracal-subject: a\r\n root", Passes(PATH)),
        (b"x-folded: a\r\nx-caracal-subject\r\n : root", Envoy(400)),
        (b"x-anything : a", Envoy(400)),
        (b"x-nul: a\0b", Envoy(400)),
        // Envoy leaves a bare CR out.
        (b"x-return: a\rx-caracal-subject: root", Passes(PATH)),
        (b"no colon at all", Envoy(400)),
        (b": no name", Envoy(400)),
        (b"x\xff: a", Envoy(400)),
        (b"authorization: Bearer other", Ours(401, "credential_duplicate")),
        // Envoy joins repeated credentials by a comma, and an empty one adds nothing.
        (b"Authorization: ", Passes(PATH)),
        (b"proxy-authorization: Bearer other", Passes(PATH)),
        // What a connection names is for Envoy alone.
        (b"connection: close, authorization", Ours(401, "credential_missing")),
        (b"connection: x-caracal-subject", Passes(PATH)),
        (b"upgrade: websocket\r\nconnection: upgrade", Envoy(403)),
        (b"upgrade: h2c\r\nconnection: upgrade, http2-settings\r\nhttp2-settings: AAMAAABkAAQAAP__", Passes(PATH)),
        (b"expect: 100-continue", Passes(PATH)),
        (b"te: trailers", Passes(PATH)),
        (&long, Envoy(431)),
        (&many, Envoy(431)),
    ];
    cases
        .into_iter()
        .map(|(line, expected)| {
            let shown = line.get(..line.len().min(60)).unwrap().escape_ascii();
            good.clone()
                .line(line)
                .attack(&format!("line {shown}"), expected)
        })
        .collect()
}

fn messages(good: &Draft) -> Vec<Attack> {
    let post = good.clone().method(b"POST").target(b"/v1/invoices");
    let inner = good.bytes();
    let inner_chunk = [b"0\r\n\r\n".as_slice(), &inner].concat();
    let mut attacks = vec![
        good.clone()
            .method(b"CONNECT")
            .target(b"invoices.example.test:443")
            .attack("CONNECT", Envoy(404)),
        good.clone()
            .method(b"CONNECT")
            .attack("CONNECT with a path", Envoy(400)),
        good.clone()
            .method(b"TRACE")
            .attack("TRACE", METHOD_REFUSED),
        good.clone()
            .method(b"OPTIONS")
            .target(b"*")
            .attack("OPTIONS *", Envoy(404)),
        good.clone()
            .method(b"PRI")
            .target(b"*")
            .attack("the preface of HTTP/2 as a request", Envoy(400)),
        good.clone()
            .version("HTTP/1.0")
            .attack("HTTP/1.0", Envoy(426)),
        good.clone()
            .version("HTTP/0.9")
            .attack("HTTP/0.9", Envoy(426)),
        good.clone()
            .version("HTTP/3.0")
            .attack("HTTP/3.0", Envoy(426)),
        post.clone()
            .line(b"content-length: 4\r\ntransfer-encoding: chunked")
            .body(b"0\r\n\r\n")
            .attack("both lengths", Envoy(400)),
        post.clone()
            .line(b"transfer-encoding: chunked\r\ncontent-length: 0")
            .body(&inner_chunk)
            .attack("both lengths, and a request within", Envoy(400)),
        post.clone()
            .line(b"content-length: 0\r\ncontent-length: 4")
            .body(b"abcd")
            .attack("two lengths that differ", Envoy(400)),
        post.clone()
            .line(b"content-length: 4, 4")
            .body(b"abcd")
            .attack("a length twice in one line", Envoy(400)),
        post.clone()
            .line(b"content-length: +4")
            .body(b"abcd")
            .attack("a length with a sign", Envoy(400)),
        post.clone()
            .line(b"content-length: -1")
            .attack("a length below nothing", Envoy(400)),
        post.clone()
            .line(b"content-length: 99999999999999999999")
            .attack("a length beyond 64 bits", Envoy(400)),
        post.clone()
            .line(b"transfer-encoding: xchunked")
            .body(b"0\r\n\r\n")
            .attack("a coding that nobody knows", Envoy(501)),
        post.clone()
            .line(b"transfer-encoding: chunked, identity")
            .body(b"0\r\n\r\n")
            .attack("two codings", Envoy(501)),
        post.clone()
            .line(b"transfer-encoding:\x0bchunked")
            .body(b"0\r\n\r\n")
            .attack("a coding behind a tab", Envoy(400)),
        post.clone()
            .line(b"transfer-encoding: chunked")
            .body(b"zz\r\n\r\n")
            .attack("a chunk without a size", Envoy(400)),
        post.line(b"transfer-encoding: chunked\r\ntrailer: x-caracal-subject")
            .body(b"1\r\na\r\n0\r\nx-caracal-subject: root\r\nauthorization: Bearer x\r\n\r\n")
            .attack("trailers with names of ours", Ours(403, "scope_missing")),
    ];
    let hello = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n".to_vec();
    attacks.push(Attack {
        name: "a hello of TLS".into(),
        shot: Shot::Bytes(hello),
        expected: Envoy(400),
    });
    attacks
}

/// The vectors of `mandate`, as far as they are refused before their claims are looked at: they were not made here and
/// now. Their keys are planted.
fn mandates(good: &Draft, vectors: &Value) -> Vec<Attack> {
    let mut attacks = Vec::new();
    for case in vectors["mandates"].as_array().unwrap() {
        let step = case["expect"]["step"].as_u64().unwrap_or(0);
        let mandate = case["mandate"].as_str().unwrap();
        // A line feed ends the header, and what follows is another one.
        if !(1..=6).contains(&step) || mandate.contains('\n') {
            continue;
        }
        let rejection = mandate::Rejection::ALL
            .iter()
            .find(|known| known.code() == case["expect"]["code"])
            .unwrap();
        let mut expected = Ours(rejection.http(), rejection.code());
        // What is no header, or no credential, is refused as that.
        if mandate.bytes().any(|byte| matches!(byte, 0 | b'\r')) {
            expected = Envoy(400);
        } else if mandate.is_empty()
            || mandate
                .bytes()
                .any(|byte| byte == b' ' || !byte.is_ascii_graphic())
        {
            expected = Ours(401, "credential_malformed");
        }
        let credential = format!("Bearer {mandate}").into_bytes();
        let name = format!("mandate: {}", case["name"].as_str().unwrap());
        attacks.push(
            good.clone()
                .credentials(&[&credential])
                .attack(&name, expected),
        );
    }
    attacks
}

/// Paths, hosts, methods and headers of the vectors: what `mandate` takes or refuses, Envoy must have refused or let
/// through as it is.
fn forms(good: &Draft, vectors: &Value) -> Vec<Attack> {
    let mut attacks = Vec::new();
    for case in vectors["paths"].as_array().unwrap() {
        let raw = case["raw"].as_str().unwrap();
        let known = raw == PATH;
        let taken = if known {
            Passes(PATH)
        } else {
            Ours(403, "no_rule")
        };
        let expected = if case["expect"]["path"].is_string() {
            taken
        } else {
            PATH_REFUSED
        };
        let name = case["name"].as_str().unwrap();
        attacks.push(
            good.clone()
                .target(raw.as_bytes())
                .attack(name, envoy_first(name, expected)),
        );
    }
    for case in vectors["hosts"].as_array().unwrap() {
        let raw = case["raw"].as_str().unwrap();
        let expected = if case["expect"]["host"].is_string() {
            Ours(403, "no_binding")
        } else {
            HOST_REFUSED
        };
        let name = case["name"].as_str().unwrap();
        attacks.push(
            good.clone()
                .hosts(&[raw.as_bytes()])
                .attack(name, envoy_first(name, expected)),
        );
    }
    for case in vectors["methods"].as_array().unwrap() {
        let raw = case["raw"].as_str().unwrap();
        // The answer to HEAD has no body to read the code from.
        if raw == "HEAD" {
            continue;
        }
        let taken = if raw == "GET" {
            Passes(PATH)
        } else {
            Ours(403, "no_rule")
        };
        let expected = if case["expect"]["method"].is_string() {
            taken
        } else {
            METHOD_REFUSED
        };
        let name = case["name"].as_str().unwrap();
        attacks.push(
            good.clone()
                .method(raw.as_bytes())
                .attack(name, envoy_first(name, expected)),
        );
    }
    for case in vectors["headers"].as_array().unwrap() {
        let raw = case["raw"].as_str().unwrap();
        let mut expected = if case["expect"]["code"].is_string() {
            OVERRIDE
        } else {
            Passes(PATH)
        };
        if raw.contains('_') {
            expected = Envoy(400);
        }
        let line = format!("{raw}: root").into_bytes();
        attacks.push(
            good.clone()
                .line(&line)
                .attack(case["name"].as_str().unwrap(), expected),
        );
    }
    attacks
}

/// What Envoy itself takes for no request, or for another one.
fn envoy_first(name: &str, expected: Expected) -> Expected {
    let (kind, raw) = name.split_once(": ").unwrap();
    let raw: String = serde_json::from_str(&raw.replace("\\0", "\\u0000")).unwrap();
    let odd = |more: &str| !raw.is_ascii() || raw.chars().any(|c| more.contains(c));
    match kind {
        "path" if raw.contains('\n') => Envoy(426),
        "path" if raw.starts_with("http://") => Ours(403, "no_binding"),
        "path" if !raw.starts_with('/') || odd("# \t\0") => Envoy(400),
        "host" if odd(" /\0?#") => Envoy(400),
        // A second space before the target is left out.
        "method" if raw == "GET " => Passes(PATH),
        "method" if raw == "M-SEARCH" => Envoy(400),
        "method" if !matches!(expected, Ours(403, _) | Passes(_)) && raw != "TRACE" => Envoy(400),
        _ => expected,
    }
}

fn judge(attack: &Attack, replies: &[Reply]) -> Result<(), String> {
    let found = match replies {
        [] => Closed,
        [reply] if reply.code() == "allowed" => {
            let path = reply.json()["path"].as_str().unwrap_or("").to_owned();
            if matches!(&attack.expected, Passes(expected) if *expected == path) {
                return clean(reply).map_err(|why| format!("{}: {why}", attack.name));
            }
            return Err(format!("{}: passes with {path}", attack.name));
        }
        [reply] if reply.code().is_empty() => Envoy(reply.status),
        [reply] => {
            if matches!(&attack.expected, Ours(status, code) if (*status, *code) == (reply.status, &*reply.code()))
            {
                return Ok(());
            }
            return Err(format!(
                "{}: {} {} where {:?} was expected",
                attack.name,
                reply.status,
                reply.code(),
                attack.expected
            ));
        }
        more => return Err(format!("{}: {} answers", attack.name, more.len())),
    };
    if found == attack.expected {
        Ok(())
    } else {
        Err(format!(
            "{}: {found:?} where {:?} was expected",
            attack.name, attack.expected
        ))
    }
}

/// The upstream must have seen our identity headers, each once, and nothing that a client made up.
fn clean(reply: &Reply) -> Result<(), String> {
    for name in mandate::OWNED_HEADERS {
        let seen = reply.seen(name);
        let wanted = usize::from(name != "x-caracal-actor");
        if seen.len() != wanted || seen.iter().any(|value| value == "root") {
            return Err(format!("the upstream saw {name}: {seen:?}"));
        }
    }
    let baggage = reply.seen("baggage").join(",").to_ascii_lowercase();
    if baggage.contains("racal") {
        return Err(format!("the upstream saw baggage: {baggage}"));
    }
    let hosts = reply.seen("host");
    if hosts.len() != 1 || !hosts[0].eq_ignore_ascii_case(HOST) {
        return Err(format!("the upstream saw the host {hosts:?}"));
    }
    if !reply.seen("authorization").is_empty()
        || !reply.seen("x-envoy-auth-failure-mode-allowed").is_empty()
    {
        return Err(format!("the upstream saw too much: {}", reply.json()));
    }
    Ok(())
}

/// Where our filter stands on the listener it comes before what Envoy itself finds in the end: that there is no route for
/// CONNECT and, where nobody has to be asked first, that a body is none.
fn seen_by(way: Way, mut attack: Attack) -> Attack {
    match (way, attack.name.as_str()) {
        (Way::Filter | Way::Both, "CONNECT" | "h2: CONNECT as it should be") => {
            attack.expected = METHOD_REFUSED;
        }
        (Way::Filter, "a chunk without a size") => attack.expected = Ours(403, "scope_missing"),
        _ => {}
    }
    attack
}

fn fire(scene: &Scene, shot: &Shot) -> Vec<Reply> {
    match shot {
        Shot::Bytes(bytes) => socket::exchange_all(scene.address(), bytes),
        Shot::Frames(frames) => match frames.exchange(scene.address()) {
            Outcome::Answer(reply) => vec![reply],
            Outcome::Refused => Vec::new(),
            Outcome::Cut(reply) => panic!("half an answer: {reply:?}"),
        },
    }
}

async fn every_attack_fails(way: Way) {
    let table: Table = serde_json::from_str(&std::fs::read_to_string(TABLE).unwrap()).unwrap();
    let vectors: Value = serde_json::from_str(VECTORS).unwrap();
    let mut scene = Scene::new(way).await;
    scene.set(&table).await;
    let warm = scene.book.decided();
    let good = Draft::new(scene.minted("sample")).line(b"connection: close");
    let mut attacks = targets(&good);
    attacks.extend(hosts(&good));
    attacks.extend(lines(&good));
    attacks.extend(messages(&good));
    attacks.extend(mandates(&good, &vectors));
    attacks.extend(forms(&good, &vectors));
    attacks.extend(http2::attacks(scene.minted("sample")));

    let attacks: Vec<Attack> = attacks
        .into_iter()
        .map(|attack| seen_by(way, attack))
        .collect();

    let mut wrong = Vec::new();
    for attack in &attacks {
        let replies = fire(&scene, &attack.shot);
        for reply in &replies {
            scene.book.take(&attack.name, reply, Evidence::Any);
        }
        if let Err(why) = judge(attack, &replies) {
            println!("{way}: {why}");
            wrong.push(why);
        }
    }
    assert!(
        wrong.is_empty(),
        "{way}: {} attacks:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
    for _ in 0..ABANDONED {
        socket::abandon(scene.address(), &good.bytes());
    }
    scene.book.may_have(ABANDONED);
    // Where a body or trailers turn out to be none, Envoy has asked already and answers by itself.
    scene.book.may_have(2);
    // CONNECT has no route, and without one Envoy's own filter asks nobody.
    scene.unasked = if way == Way::Both { 2 } else { 0 };
    let late = scene.balance().await;
    println!(
        "{way}: {} attacks, {} refused by Envoy, {} decided, {late} refused after they had gone forward: {:?}",
        attacks.len(),
        attacks.len() as u64 + warm - scene.book.decided(),
        scene.book.decided(),
        scene.book.totals()
    );
}

#[tokio::test]
async fn with_the_filter_every_attack_fails_and_the_books_agree() {
    every_attack_fails(Way::Filter).await;
}

#[tokio::test]
async fn with_both_every_attack_fails_and_the_books_agree() {
    every_attack_fails(Way::Both).await;
}

#[tokio::test]
async fn with_ext_authz_every_attack_fails_and_the_books_agree() {
    every_attack_fails(Way::ExtAuthz).await;
}
