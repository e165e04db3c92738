//! Mandates that are refused before anything is asked of them, steps 1 to 9, and their sound neighbours.

use mandate::Use;
use serde_json::{Value, json};

use crate::token::{
    APPLICATION, ISSUER, NOW, OTHER, OTHER_ZONE, RECORD, RESOURCE, ROOT, SECOND_RESOURCE, SESSION,
    Signer, Token, ZONE, session, token,
};

/// One case: a mandate, what is demanded of it, and what comes out.
pub(crate) struct Case {
    pub(crate) name: String,
    pub(crate) mandate: String,
    pub(crate) usage: Use,
    pub(crate) demand: Value,
    pub(crate) revocations: Vec<Value>,
    pub(crate) expect: Value,
}

impl Case {
    /// A mandate for a resource, asked for one operation of it.
    pub(crate) fn resource(name: &str, mandate: String, expect: Value) -> Self {
        let demand = json!({ "max_hops": 4, "resource": RESOURCE, "scopes": "invoices:read" });
        let name = name.to_owned();
        Self {
            name,
            mandate,
            usage: Use::Resource,
            demand,
            revocations: Vec::new(),
            expect,
        }
    }

    /// A mandate for the issuer, of which nothing is demanded.
    pub(crate) fn session(name: &str, mandate: String, expect: Value) -> Self {
        let usage = Use::Session;
        Self {
            usage,
            demand: Value::Null,
            ..Self::resource(name, mandate, expect)
        }
    }

    pub(crate) fn usage(self, usage: Use) -> Self {
        Self { usage, ..self }
    }
}

pub(crate) fn admitted() -> Value {
    json!({ "admitted": true })
}

pub(crate) fn live() -> Value {
    json!({ "live": true })
}

pub(crate) fn refused(code: &str, step: u8) -> Value {
    json!({ "code": code, "step": step })
}

pub(crate) fn all() -> Vec<Case> {
    let groups = [
        sound(),
        forms(),
        headers(),
        documents(),
        signatures(),
        times(),
        anchors(),
        claims(),
    ];
    groups.into_iter().flatten().collect()
}

fn sound() -> Vec<Case> {
    let good = |name: &str, token: Token| Case::resource(name, token.compact(), admitted());
    vec![
        good("an ES256 mandate", token()),
        good("an EdDSA mandate", token().eddsa()),
        good(
            "typ in its long form",
            token().header("typ", json!("application/at+jwt")),
        ),
        good(
            "an unknown header parameter",
            token().header("x-note", json!("hello")),
        ),
        good(
            "an unknown claim",
            token().claim("note", json!({ "a": [1, null, true] })),
        ),
        good(
            "an audience that is an array of one",
            token().claim("aud", json!([RESOURCE])),
        ),
        good(
            "two resources in another order than the audience",
            token()
                .claim("aud", json!([SECOND_RESOURCE, RESOURCE]))
                .claim("target", json!([RESOURCE, SECOND_RESOURCE])),
        ),
        good(
            "neither labels nor policy version",
            token().without("labels").without("policy_version"),
        ),
        good(
            "a user as subject",
            token()
                .claim("sub", json!("auth0|1"))
                .claim("sub_type", json!("user")),
        ),
        good(
            "white space in the claims",
            token().claims_bytes(format!(" {} ", token().claims_json())),
        ),
        Case::session("a session mandate", session().compact(), live()),
        Case::session(
            "a session mandate signed with EdDSA",
            session().eddsa().compact(),
            live(),
        ),
    ]
}

/// Step 2: three canonical parts.
fn forms() -> Vec<Case> {
    let [header, claims, signature] = token().parts();
    let case = |name: &str, mandate: String| Case::resource(name, mandate, refused("malformed", 2));
    let last = |part: &str, turn: fn(u8) -> u8| {
        let mut bytes = part.as_bytes().to_vec();
        let end = bytes.last_mut().unwrap();
        *end = turn(*end);
        String::from_utf8(bytes).unwrap()
    };
    // The last character of a part whose length is no multiple of four has bits that decode to nothing.
    let loose: fn(u8) -> u8 = |byte| byte + 1;
    assert!(
        [&header, &claims, &signature]
            .iter()
            .all(|part| part.len() % 4 != 0)
    );
    let mut cases = vec![
        case("the empty text", String::new()),
        case("one part", header.clone()),
        case("two parts", format!("{header}.{claims}")),
        case("four parts", format!("{header}.{claims}.{signature}.")),
        case(
            "five parts, as encrypted ones have",
            format!("{header}.{claims}.{signature}.a.a"),
        ),
        case("a padded header", format!("{header}=.{claims}.{signature}")),
        case("padded claims", format!("{header}.{claims}==.{signature}")),
        case(
            "a padded signature",
            format!("{header}.{claims}.{signature}=="),
        ),
        case(
            "a character of the other alphabet",
            format!("{header}.{claims}.+{signature}"),
        ),
        case("a slash", format!("{header}./{claims}.{signature}")),
        case(
            "a space in front",
            format!(" {header}.{claims}.{signature}"),
        ),
        case(
            "a newline at the end",
            format!("{header}.{claims}.{signature}\n"),
        ),
        case("a NUL between", format!("{header}\0.{claims}.{signature}")),
        case(
            "an escaped dot",
            format!("{header}%2E{claims}.{signature}."),
        ),
        case(
            "a part of an impossible length",
            format!("{header}.{claims}.{signature}AAA"),
        ),
        case(
            "loose bits in the signature",
            format!("{header}.{claims}.{}", last(&signature, loose)),
        ),
    ];
    let (loose_header, loose_claims) = (last(&header, loose), last(&claims, loose));
    cases.push(case(
        "loose bits in the header",
        format!("{loose_header}.{claims}.{signature}"),
    ));
    cases.push(case(
        "loose bits in the claims",
        format!("{header}.{loose_claims}.{signature}"),
    ));
    let long = format!("{header}.{}.{signature}", "A".repeat(8192));
    cases.push(Case::resource(
        "more than 8 KiB",
        long,
        refused("credential_too_long", 1),
    ));
    cases
}

/// Step 3: type, algorithm, key id, and nothing that moves the key or changes what is signed.
fn headers() -> Vec<Case> {
    let wrong = |name: &str, token: Token| {
        Case::resource(name, token.compact(), refused("header_refused", 3))
    };
    let algorithm = |name: &str, token: Token| {
        Case::resource(name, token.compact(), refused("algorithm_refused", 3))
    };
    let mut cases = vec![
        wrong("no typ", token().without_header("typ")),
        wrong("the typ of any JWT", token().header("typ", json!("JWT"))),
        wrong("a typ in capitals", token().header("typ", json!("AT+JWT"))),
        wrong("a typ of null", token().header("typ", json!(null))),
        wrong("no alg", token().without_header("alg")),
        wrong(
            "an alg that is an array",
            token().header("alg", json!(["ES256"])),
        ),
        wrong("no kid", token().without_header("kid")),
        wrong("an empty kid", token().header("kid", json!(""))),
        wrong("a kid that is a number", token().header("kid", json!(1))),
        wrong(
            "a kid that is a path",
            token().header("kid", json!("../es-1")),
        ),
        wrong(
            "a kid too long",
            token().header("kid", json!("k".repeat(65))),
        ),
        wrong("crit", token().header("crit", json!(["exp"]))),
        wrong("an empty crit", token().header("crit", json!([]))),
        wrong(
            "a key in the header",
            token().header("jwk", json!({ "kty": "EC" })),
        ),
        wrong(
            "a null key in the header",
            token().header("jwk", json!(null)),
        ),
        wrong(
            "a key's address",
            token().header("jku", json!("https://evil.example/jwks")),
        ),
        wrong(
            "a certificate's address",
            token().header("x5u", json!("https://evil.example/c")),
        ),
        wrong("a certificate", token().header("x5c", json!(["MIIB"]))),
        wrong("compression", token().header("zip", json!("DEF"))),
        wrong("an unencoded payload", token().header("b64", json!(false))),
        wrong("encryption", token().header("enc", json!("A256GCM"))),
        wrong("an ephemeral key", token().header("epk", json!({}))),
        algorithm(
            "the key's algorithm is ES256 and the mandate says EdDSA",
            token().header("alg", json!("EdDSA")),
        ),
        algorithm(
            "the key's algorithm is EdDSA and the mandate says ES256",
            token().eddsa().header("alg", json!("ES256")),
        ),
    ];
    let others = [
        "none", "None", "", "es256", "HS256", "RS256", "PS256", "ES384", "ES256K", "Ed25519",
    ];
    for alg in others {
        cases.push(algorithm(
            &format!("the algorithm {alg:?}"),
            token().header("alg", json!(alg)),
        ));
    }
    let unsigned = token().header("alg", json!("none")).with_signature(&[]);
    cases.push(Case::resource(
        "no algorithm and no signature",
        unsigned,
        refused("algorithm_refused", 3),
    ));
    cases
}

/// Step 4: one strict JSON object each.
fn documents() -> Vec<Case> {
    let case = |name: &str, token: Token| {
        Case::resource(name, token.compact(), refused("json_refused", 4))
    };
    let text = token().claims_json();
    let open = text.strip_suffix('}').unwrap().to_owned();
    let deep = format!("{}1{}", "[".repeat(40), "]".repeat(40));
    let twice = r#"{"sub":"a","sub":"b"}"#;
    vec![
        case(
            "a header that is no JSON",
            token().header_bytes("typ=at+jwt"),
        ),
        case("a header that is an array", token().header_bytes("[]")),
        case("an empty header", token().header_bytes("")),
        case("alg twice", token().header_text("{", r#"{"alg":"none","#)),
        case(
            "kid twice, once escaped",
            token().header_text("{", r#"{"\u006bid":"es-2","#),
        ),
        case(
            "a header with something after it",
            token().header_bytes(r#"{"alg":"ES256"}x"#),
        ),
        case("claims that are no JSON", token().claims_bytes("hello")),
        case(
            "claims that are an array",
            token().claims_bytes(format!("[{text}]")),
        ),
        case(
            "claims that are a string",
            token().claims_bytes(r#""claims""#),
        ),
        case("empty claims", token().claims_bytes("")),
        case(
            "two documents",
            token().claims_bytes(format!("{text}{text}")),
        ),
        case("claims cut short", token().claims_bytes(open.clone())),
        case(
            "exp twice",
            token().claims_text("{", r#"{"exp":9999999999,"#),
        ),
        case(
            "scope twice, once escaped",
            token().claims_text("{", r#"{"sc\u006fpe":"admin","#),
        ),
        case(
            "a key twice in an object",
            token().claims_bytes(format!(r#"{open},"act":{twice}}}"#)),
        ),
        case(
            "a key twice in an array",
            token().claims_bytes(format!(r#"{open},"x":[[{twice}]]}}"#)),
        ),
        case(
            "nesting too deep",
            token().claims_bytes(format!(r#"{open},"x":{deep}}}"#)),
        ),
        case(
            "a comma at the end",
            token().claims_bytes(format!("{open},}}")),
        ),
        case("a comment", token().claims_bytes(format!("{open}/**/}}"))),
        case("single quotes", token().claims_bytes("{'exp':1}")),
        case("NaN", token().claims_bytes(format!(r#"{open},"x":NaN}}"#))),
        case(
            "a leading zero",
            token().claims_bytes(format!(r#"{open},"x":01}}"#)),
        ),
        case(
            "half a surrogate",
            token().claims_bytes(format!(r#"{open},"x":"\ud800"}}"#)),
        ),
        case(
            "a raw control character",
            token().claims_bytes(format!("{open},\"x\":\"\u{1}\"}}")),
        ),
        case(
            "a byte order mark",
            token().claims_bytes(format!("\u{feff}{text}")),
        ),
        case(
            "bytes that are no UTF-8",
            token().claims_bytes([open.as_bytes(), b",\"x\":\"\xff\"}"].concat()),
        ),
    ]
}

/// Steps 5 and 6: the zone's key, and its signature.
fn signatures() -> Vec<Case> {
    let case = |name: &str, mandate: String| {
        Case::resource(name, mandate, refused("signature_invalid", 6))
    };
    let (sound, eddsa) = (token(), token().eddsa());
    let signature = sound.signature();
    let (r, s) = signature.split_at(32);
    let [header, claims, _] = sound.parts();
    let [.., other_signature] = token().claim("exp", json!(NOW + 601)).parts();
    let der = p256::ecdsa::Signature::from_slice(&signature)
        .unwrap()
        .to_der();
    let mut cases = vec![
        Case::resource(
            "a key the zone has not",
            token().header("kid", json!("es-2")).compact(),
            refused("key_unknown", 5),
        ),
        Case::resource(
            "a kid in other case",
            token().header("kid", json!("ES-1")).compact(),
            refused("key_unknown", 5),
        ),
        case(
            "a stranger's signature under the zone's kid",
            sound.clone().signer(Signer::Stranger).compact(),
        ),
        case(
            "the signature of other claims",
            format!("{header}.{claims}.{other_signature}"),
        ),
        case("no signature", sound.with_signature(&[])),
        case(
            "a signature cut short",
            sound.with_signature(&signature[..63]),
        ),
        case(
            "a signature too long",
            sound.with_signature(&[signature.as_slice(), &[0]].concat()),
        ),
        case("a signature in DER", sound.with_signature(der.as_bytes())),
        case("a signature of zeros", sound.with_signature(&[0; 64])),
        case(
            "a signature whose r is zero",
            sound.with_signature(&[&[0; 32], s].concat()),
        ),
        case(
            "a signature whose s is the group's order",
            sound.with_signature(&[r, &P256_ORDER].concat()),
        ),
        case("r and s exchanged", sound.with_signature(&[s, r].concat())),
        case(
            "an EdDSA signature of zeros",
            eddsa.with_signature(&[0; 64]),
        ),
        case(
            "an EdDSA signature with a second form of S",
            eddsa.with_signature(&second_form(&eddsa.signature())),
        ),
        case(
            "an EdDSA signature with R of small order",
            eddsa.with_signature(&[&[1], &[0; 31][..], &[0; 32]].concat()),
        ),
    ];
    let high = sound.with_signature(&[r, &negated(s)].concat());
    cases.push(Case::resource(
        "the other s of an ES256 signature, which RFC 7518 permits",
        high,
        admitted(),
    ));
    cases
}

const P256_ORDER: [u8; 32] = [
    0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xbc, 0xe6,
    0xfa, 0xad, 0xa7, 0x17, 0x9e, 0x84, 0xf3, 0xb9, 0xca, 0xc2, 0xfc, 0x63, 0x25, 0x51,
];

/// The order of Ed25519's group, least significant byte first.
const ED25519_ORDER: [u8; 32] = [
    0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde, 0x14,
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
];

/// `n - s`.
fn negated(s: &[u8]) -> [u8; 32] {
    let mut difference = [0; 32];
    let mut borrow = 0;
    for index in (0..32).rev() {
        let value = i16::from(P256_ORDER[index]) - i16::from(s[index]) - borrow;
        borrow = i16::from(value < 0);
        difference[index] = u8::try_from(value.rem_euclid(256)).unwrap();
    }
    difference
}

/// R, and S plus the order of the group: the same equation, another signature.
fn second_form(signature: &[u8]) -> Vec<u8> {
    let (r, s) = signature.split_at(32);
    let mut carry = 0;
    let sum = s.iter().zip(ED25519_ORDER).map(|(byte, order)| {
        let value = u16::from(*byte) + u16::from(order) + carry;
        carry = value >> 8;
        value.to_le_bytes()[0]
    });
    r.iter().copied().chain(sum.collect::<Vec<_>>()).collect()
}

/// Step 7: whole seconds, in order, within the bound of the use.
fn times() -> Vec<Case> {
    let wrong = |name: &str, token: Token| {
        Case::resource(name, token.compact(), refused("times_malformed", 7))
    };
    let case =
        |name: &str, token: Token, expect: Value| Case::resource(name, token.compact(), expect);
    let (expired, early) = (refused("expired", 7), refused("not_yet_valid", 7));
    let long = refused("lifetime_too_long", 7);
    let exp = (NOW + 600).to_string();
    let span = |token: Token, seconds: i64| {
        token
            .claim("iat", json!(NOW))
            .claim("nbf", json!(NOW))
            .claim("exp", json!(NOW + seconds))
    };
    let gateway = || {
        session()
            .claim("use", json!("gateway"))
            .claim("target", json!([RESOURCE]))
    };
    vec![
        wrong("no exp", token().without("exp")),
        wrong("an exp of null", token().claim("exp", json!(null))),
        wrong("an exp that is a string", token().claim("exp", json!(exp))),
        wrong(
            "an exp with a fraction",
            token().claims_text(&exp, &format!("{exp}.0")),
        ),
        wrong("an exp with an exponent", token().claims_text(&exp, "1e12")),
        wrong(
            "an exp beyond 64 bits",
            token().claims_text(&exp, "99999999999999999999"),
        ),
        wrong("no nbf", token().without("nbf")),
        wrong("an nbf that is a list", token().claim("nbf", json!([NOW]))),
        wrong("no iat", token().without("iat")),
        wrong("an iat of true", token().claim("iat", json!(true))),
        wrong(
            "an exp at its iat",
            span(token(), 20).claim("iat", json!(NOW + 20)),
        ),
        case("at exp", token().claim("exp", json!(NOW)), expired.clone()),
        case(
            "long past exp",
            token().claim("exp", json!(NOW - 30)),
            expired.clone(),
        ),
        case(
            "an exp before the epoch",
            token().claim("exp", json!(-1)),
            expired,
        ),
        case(
            "a second before exp",
            token().claim("exp", json!(NOW + 1)),
            admitted(),
        ),
        case(
            "an nbf 30 seconds ahead",
            token().claim("nbf", json!(NOW + 30)),
            admitted(),
        ),
        case(
            "an nbf 31 seconds ahead",
            token().claim("nbf", json!(NOW + 31)),
            early.clone(),
        ),
        case(
            "an iat 30 seconds ahead",
            token().claim("iat", json!(NOW + 30)),
            admitted(),
        ),
        case(
            "an iat 31 seconds ahead",
            token().claim("iat", json!(NOW + 31)),
            early,
        ),
        case(
            "a resource mandate of 15 minutes",
            span(token(), 900),
            admitted(),
        ),
        case(
            "a resource mandate of 15 minutes and a second",
            span(token(), 901),
            long.clone(),
        ),
        case(
            "an iat long ago",
            token().claim("iat", json!(0)),
            long.clone(),
        ),
        case(
            "an nbf long ago",
            token().claim("nbf", json!(0)),
            long.clone(),
        ),
        Case::session(
            "a session mandate of an hour",
            span(session(), 3600).compact(),
            live(),
        ),
        Case::session(
            "a session mandate of an hour and a second",
            span(session(), 3601).compact(),
            long.clone(),
        ),
        Case::session(
            "a gateway mandate of 5 minutes",
            span(gateway(), 300).compact(),
            live(),
        )
        .usage(Use::Gateway),
        Case::session(
            "a gateway mandate of 5 minutes and a second",
            span(gateway(), 301).compact(),
            long,
        )
        .usage(Use::Gateway),
    ]
}

/// Step 8: issuer, zone, use, audience.
fn anchors() -> Vec<Case> {
    let case = |code: &'static str| {
        move |name: &str, token: Token| Case::resource(name, token.compact(), refused(code, 8))
    };
    let (issuer, zone) = (case("wrong_issuer"), case("wrong_zone"));
    let (usage, audience) = (case("wrong_use"), case("wrong_audience"));
    let sessions = |name: &str, token: Token, code: &str| {
        Case::session(name, token.compact(), refused(code, 8))
    };
    vec![
        issuer("no iss", token().without("iss")),
        issuer(
            "another issuer",
            token().claim("iss", json!("https://sts.example.test/z/2")),
        ),
        issuer(
            "an issuer with a slash at its end",
            token().claim("iss", json!(format!("{ISSUER}/"))),
        ),
        issuer(
            "an issuer in capitals",
            token().claim("iss", json!(ISSUER.to_uppercase())),
        ),
        issuer(
            "an issuer that is an array",
            token().claim("iss", json!([ISSUER])),
        ),
        zone("no zone", token().without("zone_id")),
        zone("another zone", token().claim("zone_id", json!(OTHER_ZONE))),
        zone(
            "the zone without hyphens",
            token().claim("zone_id", json!(ZONE.replace('-', ""))),
        ),
        zone("a zone of null", token().claim("zone_id", json!(null))),
        usage("no use", token().without("use")),
        usage("an unknown use", token().claim("use", json!("admin"))),
        usage("a use in capitals", token().claim("use", json!("Resource"))),
        usage("a session mandate at a resource", session()),
        usage(
            "a gateway mandate at a resource",
            session().claim("use", json!("gateway")),
        ),
        sessions("a resource mandate at the issuer", token(), "wrong_use"),
        audience("no audience", token().without("aud")),
        audience("an audience of null", token().claim("aud", json!(null))),
        audience(
            "an audience that is a number",
            token().claim("aud", json!(1)),
        ),
        audience("an empty audience", token().claim("aud", json!([]))),
        audience(
            "another resource as audience",
            token().claim("aud", json!(SECOND_RESOURCE)),
        ),
        audience(
            "the issuer as audience",
            token().claim("aud", json!(ISSUER)),
        ),
        audience(
            "the issuer beside the resource",
            token().claim("aud", json!([RESOURCE, ISSUER])),
        ),
        audience(
            "the issuer as audience and resource",
            token()
                .claim("aud", json!(ISSUER))
                .claim("target", json!([ISSUER])),
        ),
        audience(
            "more in the audience than in target",
            token().claim("aud", json!([RESOURCE, SECOND_RESOURCE])),
        ),
        audience(
            "more in target than in the audience",
            token().claim("target", json!([RESOURCE, SECOND_RESOURCE])),
        ),
        audience(
            "an audience twice",
            token().claim("aud", json!([RESOURCE, RESOURCE])),
        ),
        audience(
            "an audience in other case",
            token().claim("aud", json!(RESOURCE.replace("api", "API"))),
        ),
        audience("no target", token().without("target")),
        audience(
            "a target that is a string",
            token().claim("target", json!(RESOURCE)),
        ),
        sessions(
            "a session mandate for a resource",
            session().claim("aud", json!(RESOURCE)),
            "wrong_audience",
        ),
        sessions(
            "a session mandate for the issuer and a resource",
            session().claim("aud", json!([ISSUER, RESOURCE])),
            "wrong_audience",
        ),
    ]
}

/// Step 9: required claims, types, lengths.
fn claims() -> Vec<Case> {
    let wrong = |name: &str, token: Token| {
        Case::resource(name, token.compact(), refused("claims_malformed", 9))
    };
    let with =
        |name: &str, claim: &'static str, value: Value| wrong(name, token().claim(claim, value));
    let scopes: Vec<String> = (0..65).map(|number| format!("s{number}")).collect();
    let labels: Vec<String> = (0..33).map(|number| format!("l{number:02}")).collect();
    let targets: Vec<String> = (0..17)
        .map(|number| format!("https://r{number}.test"))
        .collect();
    let ancestors: Vec<&str> = [ROOT]
        .into_iter()
        .chain([SESSION; 31])
        .chain([RECORD])
        .collect();
    let actors = (0..17).fold(
        json!({ "sub": "a" }),
        |act, _| json!({ "sub": "a", "act": act }),
    );
    let mut cases: Vec<Case> = [
        "jti",
        "sub",
        "client_id",
        "scope",
        "sid",
        "root_sid",
        "sub_type",
        "anc",
    ]
    .into_iter()
    .map(|claim| wrong(&format!("no {claim}"), token().without(claim)))
    .collect();
    cases.extend([
        with("a jti that is no UUID", "jti", json!("42")),
        with(
            "a jti in capitals",
            "jti",
            json!("01980000-0000-7000-8000-0000000000AB"),
        ),
        with("an empty sub", "sub", json!("")),
        with("a sub with a line break", "sub", json!("a\nx-admin: 1")),
        wrong(
            "a sub too long",
            token()
                .claim("sub", json!("s".repeat(256)))
                .claim("sub_type", json!("user")),
        ),
        with(
            "an application that is named otherwise than by its id",
            "sub",
            json!("billing"),
        ),
        with(
            "another application as subject, and nobody acts",
            "sub",
            json!(OTHER),
        ),
        with("a client_id that is no UUID", "client_id", json!("billing")),
        with("scopes in an array", "scope", json!(["invoices:read"])),
        with("two spaces between scopes", "scope", json!("a  b")),
        with("a scope that is not ASCII", "scope", json!("é")),
        with("65 scopes", "scope", json!(scopes.join(" "))),
        with("an unknown sub_type", "sub_type", json!("robot")),
        with("a sid of null", "sid", json!(null)),
        with("a session of null", "agent_session_id", json!(null)),
        with("a session that is a number", "agent_session_id", json!(7)),
        with("ancestors in a string", "anc", json!(ROOT)),
        with("no ancestors", "anc", json!([])),
        with("33 ancestors", "anc", json!(ancestors)),
        with(
            "ancestors that do not start at the root",
            "anc",
            json!([SESSION, ROOT, RECORD]),
        ),
        with(
            "ancestors without the record",
            "anc",
            json!([ROOT, SESSION]),
        ),
        with(
            "an ancestor that is no UUID",
            "anc",
            json!([ROOT, RECORD, "x"]),
        ),
        with("labels out of order", "labels", json!(["b", "a"])),
        with("a label twice", "labels", json!(["a", "a"])),
        with("a label in capitals", "labels", json!(["A"])),
        with("33 labels", "labels", json!(labels)),
        with("a negative hop_count", "hop_count", json!(-1)),
        with("a hop_count beyond a byte", "hop_count", json!(256)),
        with("a hop_count that is a string", "hop_count", json!("0")),
        with("a hop_count of null", "hop_count", json!(null)),
        with("an act that is a string", "act", json!(APPLICATION)),
        with("an act of null", "act", json!(null)),
        with(
            "an act without sub",
            "act",
            json!({ "client_id": APPLICATION }),
        ),
        with(
            "an act with an unknown member",
            "act",
            json!({ "sub": "a", "admin": true }),
        ),
        with("18 actors", "act", actors),
        with(
            "a delegation path of numbers",
            "delegation_path",
            json!([1]),
        ),
        with(
            "a delegation chain of strings",
            "delegation_chain",
            json!([OTHER]),
        ),
        with(
            "a party with an unknown member",
            "delegation_chain",
            json!([{ "application_id": OTHER, "role": "x" }]),
        ),
        with("a cnf of null", "cnf", json!(null)),
        with("a cnf that is a string", "cnf", json!("jkt")),
        with(
            "a policy version that is no UUID",
            "policy_version",
            json!("7"),
        ),
        wrong(
            "a relative URI as resource",
            token()
                .claim("aud", json!("/api"))
                .claim("target", json!(["/api"])),
        ),
        wrong(
            "17 resources",
            token()
                .claim("aud", json!(targets))
                .claim("target", json!(targets)),
        ),
    ]);
    cases
}
