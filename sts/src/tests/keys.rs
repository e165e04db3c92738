//! Key sets, metadata, provisioning.

use mandate::KeySet;

use super::world::World;

#[tokio::test]
async fn a_key_set_is_cacheable_and_answers_its_etag() {
    let world = World::new().await;
    let path = format!("/z/{}/jwks.json", world.zone);
    let answer = world.get(&path).await;
    assert_eq!(answer.status, 200);
    assert_eq!(
        answer.header("content-type"),
        Some("application/jwk-set+json")
    );
    assert_eq!(answer.header("cache-control"), Some("public, max-age=60"));
    let key = &answer.body["keys"][0];
    assert_eq!(
        (&key["kty"], &key["crv"], &key["alg"], &key["use"]),
        (
            &"EC".into(),
            &"P-256".into(),
            &"ES256".into(),
            &"sig".into()
        )
    );
    assert_eq!(KeySet::from_jwks(&answer.text).unwrap().len(), 1);
    let etag = answer.header("etag").unwrap().to_owned();
    let again = world.get_with(&path, &[("if-none-match", &etag)]).await;
    assert_eq!((again.status, again.text.as_str()), (304, ""));
    assert_eq!(again.header("etag"), Some(etag.as_str()));
}

#[tokio::test]
async fn metadata_is_found_by_path_insertion_and_names_its_own_issuer() {
    let world = World::new().await;
    let path = format!("/.well-known/oauth-authorization-server/z/{}", world.zone);
    let answer = world.get(&path).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    assert_eq!(answer.body["issuer"], world.issuer.as_str());
    assert_eq!(
        answer.body["token_endpoint"],
        format!("{}/token", world.issuer)
    );
    assert_eq!(
        answer.body["jwks_uri"],
        format!("{}/jwks.json", world.issuer)
    );
    let methods = serde_json::json!(["client_secret_basic", "client_secret_post"]);
    assert_eq!(
        answer.body["token_endpoint_auth_methods_supported"],
        methods
    );
    let elsewhere =
        "/.well-known/oauth-authorization-server/z/018f0000-0000-7000-8000-00000000dead";
    assert_eq!(world.get(elsewhere).await.status, 404);
}

#[tokio::test]
async fn a_key_that_will_sign_is_published_and_does_not_sign_yet() {
    let world = World::new().await;
    let before = world.session_mandate().await;
    let superuser = world.db.superuser().await;
    let other = chassis::crypto::Es256Key::generate(&world.rng).unwrap();
    sqlx::query(
        "INSERT INTO signing_keys (zone_id, kid, alg, public_key, sealed, state, created_at)
         SELECT zone_id, 'pending-key', 'ES256', $1, '\\x00', 'pending', created_at + interval '1 hour' FROM signing_keys",
    )
    .bind(other.public_sec1().as_slice())
    .execute(&superuser)
    .await
    .unwrap();
    world.advance(3).await;
    let after = world.session_mandate().await;
    assert_eq!(
        world.anchor_of("key", &before),
        world.anchor_of("key", &after)
    );
    let jwks = world.get(&format!("/z/{}/jwks.json", world.zone)).await;
    let keys = KeySet::from_jwks(&jwks.text).unwrap();
    assert!(keys.len() == 2 && keys.find("pending-key").is_some());
}

#[tokio::test]
async fn two_keepers_make_one_key() {
    let world = World::new().await;
    let superuser = world.db.superuser().await;
    for statement in [
        "DELETE FROM signing_keys",
        "DELETE FROM zone_keys",
        "UPDATE zones SET state = 'provisioning'",
    ] {
        sqlx::query(statement).execute(&superuser).await.unwrap();
    }
    let (one, other) = tokio::join!(world.keeper.round(), world.keeper.round());
    one.unwrap();
    other.unwrap();
    let keys: i64 = sqlx::query_scalar("SELECT count(*) FROM signing_keys")
        .fetch_one(&superuser)
        .await
        .unwrap();
    assert_eq!(keys, 1);
}

#[tokio::test]
async fn a_zone_without_a_key_is_not_ready() {
    let world = World::new().await;
    let superuser = world.db.superuser().await;
    sqlx::query("UPDATE zones SET state = 'provisioning'")
        .execute(&superuser)
        .await
        .unwrap();
    let answer = world.client_credentials(&[]).await;
    assert_eq!((answer.status, answer.code()), (503, "zone_provisioning"));
    assert_eq!(answer.header("retry-after"), Some("1"));
}

#[tokio::test]
async fn a_sealed_key_opens_in_its_own_zone_and_row_only() {
    let world = World::new().await;
    let superuser = world.db.superuser().await;
    sqlx::query("UPDATE signing_keys SET kid = 'renamed'")
        .execute(&superuser)
        .await
        .unwrap();
    let answer = world.client_credentials(&[]).await;
    assert_eq!(
        (answer.status, answer.code()),
        (503, "dependency_unavailable"),
        "{}",
        answer.text
    );
    assert!(!answer.text.contains("open"), "the cause is not told");
}

#[tokio::test]
async fn provisioning_tells_enforcement_points_and_the_ledger() {
    let world = World::new().await;
    let superuser = world.db.superuser().await;
    let kinds: Vec<String> =
        sqlx::query_scalar("SELECT lane || ':' || kind FROM outbox ORDER BY id")
            .fetch_all(&superuser)
            .await
            .unwrap();
    assert_eq!(
        kinds,
        ["authority:zone", "authority:key", "audit:key_changed"]
    );
}
