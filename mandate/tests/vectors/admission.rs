//! Genuine mandates, and what they admit: steps 10 to 14.

use serde_json::{Value, json};

use crate::cases::{Case, admitted, live, refused};
use crate::token::{
    APPLICATION, DELEGATOR, DELEGATOR_SESSION, EDGE, ES256_KEY, MANDATE, NOW, OTHER, RECORD,
    RESOURCE, ROOT, SECOND_RESOURCE, SESSION, Token, delegated, giver, receiver, session, token,
};

pub(crate) fn all() -> Vec<Case> {
    [demands(), chains(), proofs(), dead(), cut_off(), states()]
        .into_iter()
        .flatten()
        .collect()
}

/// Steps 10 and 11: the resource, the scopes.
fn demands() -> Vec<Case> {
    let ask = |name: &str, resource: &str, scopes: &str, expect: Value| {
        let demand = json!({ "max_hops": 4, "resource": resource, "scopes": scopes });
        Case {
            demand,
            ..Case::resource(name, token().compact(), expect)
        }
    };
    let (resource, scope) = (
        refused("resource_not_granted", 10),
        refused("scope_missing", 11),
    );
    vec![
        ask(
            "every scope at once",
            RESOURCE,
            "invoices:write invoices:read",
            admitted(),
        ),
        ask("no scope at all", RESOURCE, "", admitted()),
        ask(
            "another resource",
            SECOND_RESOURCE,
            "invoices:read",
            resource.clone(),
        ),
        ask(
            "the resource with a slash at its end",
            &format!("{RESOURCE}/"),
            "",
            resource.clone(),
        ),
        ask(
            "the resource in other case",
            &RESOURCE.replace("https", "HTTPS"),
            "",
            resource,
        ),
        ask(
            "a scope too many",
            RESOURCE,
            "invoices:read invoices:delete",
            scope.clone(),
        ),
        ask(
            "a scope in other case",
            RESOURCE,
            "Invoices:read",
            scope.clone(),
        ),
        ask(
            "a scope that begins like a granted one",
            RESOURCE,
            "invoices",
            scope.clone(),
        ),
        ask("a scope with a star", RESOURCE, "invoices:*", scope),
    ]
}

/// Step 12: the chain, and its length.
fn chains() -> Vec<Case> {
    let limit = |name: &str, max_hops: u8, expect: Value| {
        let demand = json!({ "max_hops": max_hops, "resource": RESOURCE, "scopes": "" });
        Case {
            demand,
            ..Case::resource(name, delegated().compact(), expect)
        }
    };
    let wrong = |name: &str, token: Token| {
        Case::resource(name, token.compact(), refused("chain_malformed", 12))
    };
    let chain = |parties: Value| delegated().claim("delegation_chain", parties);
    let mut without_session = giver();
    without_session["agent_session_id"] = json!(OTHER);
    let stranger = json!({ "application_id": OTHER, "agent_session_id": SESSION });
    let elsewhere = json!({ "application_id": APPLICATION, "agent_session_id": OTHER });
    let unnamed = json!({ "application_id": DELEGATOR, "agent_session_id": DELEGATOR_SESSION });
    vec![
        limit("one hop where one is accepted", 1, admitted()),
        limit(
            "one hop where none is accepted",
            0,
            refused("hops_exceeded", 12),
        ),
        wrong(
            "hops without a path",
            delegated().without("delegation_path"),
        ),
        wrong(
            "hops without a chain",
            delegated().without("delegation_chain"),
        ),
        wrong(
            "hops without the last delegation",
            delegated().without("delegation_edge_id"),
        ),
        wrong(
            "a delegation without hops",
            token().claim("delegation_edge_id", json!(EDGE)),
        ),
        wrong(
            "a path without hops",
            token().claim("delegation_path", json!([EDGE])),
        ),
        wrong(
            "parties without hops",
            token().claim("delegation_chain", json!([receiver()])),
        ),
        wrong(
            "fewer hops than the path",
            delegated().claim("hop_count", json!(0)),
        ),
        wrong(
            "more hops than the path",
            delegated().claim("hop_count", json!(2)),
        ),
        wrong(
            "another last delegation",
            delegated().claim("delegation_edge_id", json!(OTHER)),
        ),
        wrong(
            "a delegation that is no ancestor",
            delegated().claim("anc", json!([ROOT, DELEGATOR_SESSION, RECORD])),
        ),
        wrong(
            "a session that is no ancestor",
            delegated().claim("anc", json!([ROOT, EDGE, RECORD])),
        ),
        wrong(
            "a party's session that is no ancestor",
            chain(json!([without_session, receiver()])),
        ),
        wrong(
            "parties in the wrong order",
            chain(json!([receiver(), giver()])),
        ),
        wrong(
            "a chain that ends at another application",
            chain(json!([giver(), stranger])),
        ),
        wrong(
            "a chain that ends in another session",
            chain(json!([giver(), elsewhere])),
        ),
        wrong(
            "a party that names no delegation",
            chain(json!([unnamed, receiver()])),
        ),
        Case::session(
            "a session mandate with half a chain",
            session().claim("hop_count", json!(1)).compact(),
            refused("chain_malformed", 12),
        ),
    ]
}

/// Step 13: what is bound to a key is not good without it.
fn proofs() -> Vec<Case> {
    let unsupported = refused("confirmation_unsupported", 13);
    let bound = |name: &str, cnf: Value| {
        Case::resource(
            name,
            token().claim("cnf", cnf).compact(),
            unsupported.clone(),
        )
    };
    let jkt = json!({ "jkt": "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I" });
    let bound_session = session().claim("cnf", jkt.clone()).compact();
    vec![
        bound("bound to a DPoP key", jkt),
        bound(
            "bound to a certificate",
            json!({ "x5t#S256": "bwcK0esc3ACC3DB2Y5_lESsXE8o9ltc05O89jdN-dg2" }),
        ),
        bound("bound to a key by value", json!({ "jwk": { "kty": "EC" } })),
        bound("bound to nothing that is named", json!({})),
        Case::session(
            "a session mandate bound to a key",
            bound_session,
            unsupported,
        ),
    ]
}

fn revoked(case: Case, revocation: Value) -> Case {
    Case {
        revocations: vec![revocation],
        ..case
    }
}

/// Step 14: dead ids.
fn dead() -> Vec<Case> {
    let code = || refused("revoked", 14);
    let id = |name: &str, id: &str| {
        let revocation = json!({ "id": id, "kind": "dead", "until": NOW + 600 });
        revoked(
            Case::resource(name, delegated().compact(), code()),
            revocation,
        )
    };
    let session_case = |name: &str, revocation: Value| {
        revoked(Case::session(name, session().compact(), code()), revocation)
    };
    let of = |id: &str, until: i64| json!({ "id": id, "kind": "dead", "until": until });
    let sound = |name: &str| Case::resource(name, token().compact(), admitted());
    vec![
        id("the mandate was revoked", MANDATE),
        id("its record was revoked", RECORD),
        id("its root record was revoked", ROOT),
        id("its session was revoked", SESSION),
        id(
            "the session it was delegated from was revoked",
            DELEGATOR_SESSION,
        ),
        id("its delegation was revoked", EDGE),
        session_case(
            "the session of a session mandate was revoked",
            of(SESSION, NOW + 1),
        ),
        session_case(
            "the key of a session mandate was distrusted",
            json!({ "id": ES256_KEY, "kind": "dead_key", "until": NOW + 1 }),
        ),
        revoked(
            Case::resource("its key was distrusted", token().compact(), code()),
            json!({ "id": ES256_KEY, "kind": "dead_key", "until": NOW + 600 }),
        ),
        revoked(sound("another id was revoked"), of(OTHER, NOW + 600)),
        revoked(sound("a revocation whose time is over"), of(MANDATE, NOW)),
        revoked(
            sound("another key was distrusted"),
            json!({ "id": "es-2", "kind": "dead_key", "until": NOW + 600 }),
        ),
    ]
}

/// Step 14: cut-offs.
fn cut_off() -> Vec<Case> {
    let cut = |anchor: &str, id: &str, not_before: i64| json!({ "anchor": anchor, "id": id, "kind": "cut_off", "not_before": not_before });
    let case = |name: &str, token: Token, revocation: Value| {
        revoked(
            Case::resource(name, token.compact(), refused("revoked", 14)),
            revocation,
        )
    };
    let fine = |name: &str, revocation: Value| {
        revoked(
            Case::resource(name, token().compact(), admitted()),
            revocation,
        )
    };
    let iat = NOW - 60;
    let user = token()
        .claim("sub", json!("ada"))
        .claim("sub_type", json!("user"));
    vec![
        case("the zone was cut off", token(), cut("zone", "", NOW)),
        case(
            "the application was cut off",
            token(),
            cut("application", APPLICATION, NOW),
        ),
        case(
            "the application was cut off in the second of issue",
            token(),
            cut("application", APPLICATION, iat),
        ),
        case(
            "the application that delegated was cut off",
            delegated(),
            cut("application", DELEGATOR, NOW),
        ),
        case("the subject was cut off", user, cut("subject", "ada", NOW)),
        case(
            "the resource was cut off",
            token(),
            cut("resource", RESOURCE, NOW),
        ),
        revoked(
            Case::session(
                "the application of a session mandate was cut off",
                session().compact(),
                refused("revoked", 14),
            ),
            cut("application", APPLICATION, NOW),
        ),
        revoked(
            Case::session(
                "a resource was cut off, and a session mandate is none for it",
                session().compact(),
                live(),
            ),
            cut("resource", RESOURCE, NOW),
        ),
        fine(
            "issued after the application's cut-off",
            cut("application", APPLICATION, iat - 1),
        ),
        fine("issued after the zone's cut-off", cut("zone", "", iat - 1)),
        fine(
            "another application was cut off",
            cut("application", OTHER, NOW),
        ),
        fine(
            "another resource was cut off",
            cut("resource", SECOND_RESOURCE, NOW),
        ),
    ]
}

/// Step 14: objects that are not in force.
fn states() -> Vec<Case> {
    let state = |anchor: &str, id: &str, state: &str| json!({ "anchor": anchor, "id": id, "kind": "state", "state": state });
    let case = |name: &str, code: &str, revocation: Value| {
        revoked(
            Case::resource(name, delegated().compact(), refused(code, 14)),
            revocation,
        )
    };
    let back = Case::resource(
        "a session that was suspended and resumed",
        token().compact(),
        admitted(),
    );
    vec![
        case(
            "the zone is archived",
            "archived",
            state("zone", "", "archived"),
        ),
        case(
            "the zone is suspended",
            "suspended",
            state("zone", "", "suspended"),
        ),
        case(
            "the application is disabled",
            "disabled",
            state("application", APPLICATION, "disabled"),
        ),
        case(
            "the application that delegated is disabled",
            "disabled",
            state("application", DELEGATOR, "disabled"),
        ),
        case(
            "the subject is disabled",
            "disabled",
            state("subject", DELEGATOR, "disabled"),
        ),
        case(
            "the resource is archived",
            "archived",
            state("resource", RESOURCE, "archived"),
        ),
        case(
            "the session is suspended",
            "suspended",
            state("session", SESSION, "suspended"),
        ),
        case(
            "the session it was delegated from is suspended",
            "suspended",
            state("session", DELEGATOR_SESSION, "suspended"),
        ),
        Case {
            revocations: vec![
                state("session", SESSION, "suspended"),
                state("session", SESSION, "active"),
            ],
            ..back
        },
    ]
}
