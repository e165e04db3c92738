//! What is issued is what every verifier accepts.

use chassis::crypto::AwsLc;
use mandate::id::{Label, ResourceUri, ScopeSet};
use mandate::{Demand, KeySet, Mandate, Proof, Revocations, Trust, UnverifiedMandate, Use};

use super::world::{INVOICES, WIKI, World};

/// Verifies with the published keys, as anybody would.
async fn verified(world: &World, token: &str, usage: Use) -> Mandate {
    let jwks = world.get(&format!("/z/{}/jwks.json", world.zone)).await;
    let keys = KeySet::from_jwks(&jwks.text).unwrap();
    let trust = Trust {
        zone: world.zone,
        issuer: world.issuer.parse().unwrap(),
        usage,
    };
    UnverifiedMandate::parse(token.as_bytes())
        .unwrap()
        .authenticate(&trust, &keys, &AwsLc, world.clock.now())
        .unwrap()
}

#[tokio::test]
async fn an_application_gets_a_session_mandate() {
    let world = World::new().await;
    let answer = world.client_credentials(&[]).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    assert_eq!(answer.header("pragma"), Some("no-cache"));
    assert_eq!(answer.header("content-type"), Some("application/json"));
    assert_eq!(answer.body["token_type"], "Bearer");
    assert_eq!(answer.body["expires_in"], 3600);
    assert_eq!(
        answer.body["scope"],
        "invoices:read invoices:write pages:read"
    );
    assert!(answer.body.get("issued_token_type").is_none());
    let mandate = verified(&world, answer.token(), Use::Session).await;
    let claims = mandate.claims();
    assert_eq!(claims.aud, std::slice::from_ref(&world.issuer));
    assert_eq!(claims.sub.as_str(), world.application.to_string());
    assert_eq!(claims.client_id, world.application);
    assert_eq!(claims.anc, [claims.sid.as_uuid()]);
    assert_eq!(claims.sid, claims.root_sid);
    assert_eq!(claims.agent_session_id, None);
    assert_eq!(claims.policy_version, Some(world.policy));
    assert_eq!(
        claims.labels.iter().map(Label::as_str).collect::<Vec<_>>(),
        ["agent"]
    );
}

#[tokio::test]
async fn a_session_mandate_can_be_asked_narrower() {
    let world = World::new().await;
    let asked = [
        ("resource", INVOICES),
        ("scope", "invoices:read"),
        ("ttl", "60"),
    ];
    let answer = world.client_credentials(&asked).await;
    assert_eq!(
        (answer.status, &answer.body["expires_in"]),
        (200, &60.into()),
        "{}",
        answer.text
    );
    let mandate = verified(&world, answer.token(), Use::Session).await;
    assert_eq!(mandate.claims().scope.to_string(), "invoices:read");
    assert_eq!(
        mandate.claims().target,
        [INVOICES.parse::<ResourceUri>().unwrap()]
    );
    let narrow = world
        .exchange_of(answer.token(), &[("scope", "invoices:write")])
        .await;
    assert_eq!(narrow.code(), "scope_not_granted");
    let default = world.exchange_of(answer.token(), &[]).await;
    assert_eq!(
        (default.status, &default.body["scope"]),
        (200, &"invoices:read".into())
    );
    assert!(default.body["expires_in"].as_i64().unwrap() <= 60);
}

#[tokio::test]
async fn both_client_authentications_are_taken() {
    let world = World::new().await;
    let id = world.application.to_string();
    let form = [
        ("grant_type", "client_credentials"),
        ("client_id", id.as_str()),
        ("client_secret", world.secret.as_str()),
    ];
    assert_eq!(world.post(&form, None).await.status, 200);
    assert_eq!(world.client_credentials(&[]).await.status, 200);
}

#[tokio::test]
async fn an_exchange_gives_a_mandate_for_the_resource() {
    let world = World::new().await;
    let subject = world.session_mandate().await;
    let asked = [
        ("resource", INVOICES),
        ("scope", "invoices:read"),
        ("ttl", "120"),
    ];
    let answer = world.exchange_of(&subject, &asked).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    let kind = "urn:ietf:params:oauth:token-type:access_token";
    assert_eq!(answer.body["issued_token_type"], kind);
    assert_eq!(answer.body["scope"], "invoices:read");
    assert_eq!(answer.body["expires_in"], 120);

    let mandate = verified(&world, answer.token(), Use::Resource).await;
    let claims = mandate.claims();
    let session_claims = verified(&world, &subject, Use::Session)
        .await
        .claims()
        .clone();
    assert_eq!(claims.aud, [INVOICES.to_owned()]);
    assert_eq!(claims.sub, session_claims.sub);
    assert_eq!(claims.root_sid, session_claims.sid);
    assert_ne!(claims.sid, session_claims.sid);
    assert_eq!(claims.agent_session_id, Some(world.session));
    let anchors = [
        session_claims.sid.as_uuid(),
        world.session.as_uuid(),
        claims.sid.as_uuid(),
    ];
    assert_eq!(claims.anc, anchors);
    assert_eq!(
        claims.labels.iter().map(Label::as_str).collect::<Vec<_>>(),
        ["agent", "zeta"]
    );
    assert_eq!(claims.hop_count, 0);

    let (resource, scopes) = (
        INVOICES.parse().unwrap(),
        ScopeSet::parse("invoices:read").unwrap(),
    );
    let demand = Demand {
        resource: &resource,
        scopes: &scopes,
        max_hops: 0,
        proof: Proof::None,
    };
    mandate
        .admit(&demand, &Revocations::new(), world.clock.now())
        .unwrap();
}

#[tokio::test]
async fn a_gateway_mandate_is_for_the_issuer_and_five_minutes() {
    let world = World::new().await;
    let asked = [
        ("mandate_use", "gateway"),
        ("resource", INVOICES),
        ("audience", world.issuer.as_str()),
        (
            "requested_token_type",
            "urn:ietf:params:oauth:token-type:jwt",
        ),
    ];
    let answer = world.exchange(&asked).await;
    assert_eq!(
        (answer.status, &answer.body["expires_in"]),
        (200, &300.into()),
        "{}",
        answer.text
    );
    assert_eq!(
        answer.body["issued_token_type"],
        "urn:ietf:params:oauth:token-type:jwt"
    );
    let mandate = verified(&world, answer.token(), Use::Gateway).await;
    assert_eq!(mandate.claims().aud, std::slice::from_ref(&world.issuer));
    assert_eq!(
        mandate.claims().target,
        [INVOICES.parse::<ResourceUri>().unwrap()]
    );
}

#[tokio::test]
async fn several_targets_share_the_scopes_that_all_of_them_grant() {
    let world = World::new().await;
    let asked = [("resource", INVOICES), ("resource", WIKI)];
    assert_eq!(world.exchange(&asked).await.code(), "scope_not_granted");
    world.grant_everywhere("shared:read").await;
    let answer = world.exchange(&asked).await;
    assert_eq!(
        (answer.status, &answer.body["scope"]),
        (200, &"shared:read".into()),
        "{}",
        answer.text
    );
    let mandate = verified(&world, answer.token(), Use::Resource).await;
    assert_eq!(mandate.claims().aud, [INVOICES.to_owned(), WIKI.to_owned()]);
}

#[tokio::test]
async fn less_is_granted_only_when_less_is_welcome() {
    let world = World::new().await;
    let asked = [
        ("resource", INVOICES),
        ("scope", "invoices:read invoices:delete"),
    ];
    let refused = world.exchange(&asked).await;
    assert_eq!((refused.status, refused.error()), (400, "invalid_scope"));
    let asked = [asked[0], asked[1], ("allow_partial", "true")];
    let granted = world.exchange(&asked).await;
    assert_eq!(
        (granted.status, &granted.body["scope"]),
        (200, &"invoices:read".into())
    );
}

#[tokio::test]
async fn a_mandate_never_outlives_its_session_or_what_it_came_from() {
    let world = World::new().await;
    let subject = world.session_mandate().await;
    world.advance(3600 - 100).await;
    let answer = world.exchange_of(&subject, &[("resource", INVOICES)]).await;
    assert_eq!(
        (answer.status, &answer.body["expires_in"]),
        (200, &100.into()),
        "{}",
        answer.text
    );
    // The session runs out 4000 seconds after the start.
    let subject = world.session_mandate().await;
    world.advance(450).await;
    let answer = world.exchange_of(&subject, &[("resource", INVOICES)]).await;
    assert_eq!(
        (answer.status, &answer.body["expires_in"]),
        (200, &50.into())
    );
    world.advance(50).await;
    let answer = world.exchange_of(&subject, &[("resource", INVOICES)]).await;
    assert_eq!(answer.code(), "session_ended", "{}", answer.text);
}
