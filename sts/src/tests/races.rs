//! Revoke and mint, held open both ways: after a revocation has committed, no live mandate exists
//! that it should have stopped.

use std::time::Duration;

use super::world::{INVOICES, World};

/// Long enough for a request to arrive at the lock it waits for.
const A_WHILE: Duration = Duration::from_millis(150);

/// The changes a coordinator makes, and the code a mint gets that comes after.
const CHANGES: [(&str, &str, &str); 7] = [
    ("session", "dead", "revoked"),
    ("session", "suspended", "suspended"),
    ("application", "cut_off", "revoked"),
    ("application", "disabled", "disabled"),
    ("resource", "disabled", "disabled"),
    ("zone", "archived", "archived"),
    ("subject", "cut_off", "revoked"),
];

#[tokio::test]
async fn a_mint_waits_for_a_revocation_that_was_first_and_then_refuses() {
    for (kind, change, code) in CHANGES {
        let world = World::new().await;
        let subject = world.session_mandate().await;
        let revocation = world.begin_change(kind, change).await;
        let minting = world.exchange_of(&subject, &[("resource", INVOICES)]);
        let mut minting = std::pin::pin!(minting);
        assert!(
            tokio::time::timeout(A_WHILE, &mut minting).await.is_err(),
            "{kind} {change}: the mint did not wait"
        );
        revocation.commit().await.unwrap();
        let answer = minting.await;
        assert_eq!(
            (answer.status, answer.code()),
            (400, code),
            "{kind} {change}: {}",
            answer.text
        );
    }
}

#[tokio::test]
async fn a_revocation_waits_for_a_mint_that_was_first() {
    let world = World::new().await;
    let mint = world.begin_mint().await;
    let revocation = world.begin_change("session", "dead");
    let mut revocation = std::pin::pin!(revocation);
    assert!(
        tokio::time::timeout(A_WHILE, &mut revocation)
            .await
            .is_err(),
        "the revocation did not wait"
    );
    // The mint's record is committed before the revocation looks for what it stops.
    mint.commit().await.unwrap();
    let mut revocation = revocation.await;
    assert_eq!(world.records_of_session(&mut revocation).await, 1);
    revocation.commit().await.unwrap();
    let answer = world.exchange(&[("resource", INVOICES)]).await;
    assert_eq!(answer.code(), "revoked");
}

#[tokio::test]
async fn an_activation_that_was_first_decides() {
    let world = World::new().await;
    let subject = world.session_mandate().await;
    let activation = world
        .begin_activation(|policy| policy["restrict"]["zone"] = true.into())
        .await;
    let minting = world.exchange_of(&subject, &[("resource", INVOICES)]);
    let mut minting = std::pin::pin!(minting);
    assert!(tokio::time::timeout(A_WHILE, &mut minting).await.is_err());
    activation.commit().await.unwrap();
    let answer = minting.await;
    assert_eq!(answer.code(), "zone_restricted", "{}", answer.text);
}

#[tokio::test]
async fn a_resource_that_was_narrowed_first_decides() {
    let world = World::new().await;
    let subject = world.session_mandate().await;
    let change = world
        .begin_resource_change(INVOICES, "{invoices:read}")
        .await;
    let asked = [("resource", INVOICES), ("scope", "invoices:write")];
    let minting = world.exchange_of(&subject, &asked);
    let mut minting = std::pin::pin!(minting);
    assert!(tokio::time::timeout(A_WHILE, &mut minting).await.is_err());
    change.commit().await.unwrap();
    let answer = minting.await;
    assert_eq!(answer.code(), "scope_not_granted", "{}", answer.text);
}

#[tokio::test]
async fn a_revocation_that_was_rolled_back_stops_nothing() {
    let world = World::new().await;
    let subject = world.session_mandate().await;
    let revocation = world.begin_change("session", "dead").await;
    let minting = world.exchange_of(&subject, &[("resource", INVOICES)]);
    let mut minting = std::pin::pin!(minting);
    assert!(tokio::time::timeout(A_WHILE, &mut minting).await.is_err());
    revocation.rollback().await.unwrap();
    assert_eq!(minting.await.status, 200);
}

#[tokio::test]
async fn the_mandate_and_the_key_of_a_subject_token_stop_an_exchange_too() {
    for kind in ["mandate", "key", "record"] {
        let world = World::new().await;
        let subject = world.session_mandate().await;
        world
            .begin_change_of(kind, &world.anchor_of(kind, &subject), "dead")
            .await
            .commit()
            .await
            .unwrap();
        let answer = world.exchange_of(&subject, &[("resource", INVOICES)]).await;
        assert_eq!(answer.status, 400, "{kind}: {}", answer.text);
        assert!(
            ["revoked", "key_unknown"].contains(&answer.code()),
            "{kind}: {}",
            answer.text
        );
    }
}

#[tokio::test]
async fn a_fresh_mandate_works_right_after_a_cut_off() {
    let world = World::new().await;
    let subject = world.session_mandate().await;
    world
        .begin_change("application", "cut_off")
        .await
        .commit()
        .await
        .unwrap();
    let answer = world.exchange_of(&subject, &[("resource", INVOICES)]).await;
    assert_eq!(answer.code(), "revoked");
    let cut_off = world.clock.now().as_second();
    let answer = world.exchange(&[("resource", INVOICES)]).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    assert!(
        answer.claims()["iat"].as_i64().unwrap() > cut_off,
        "dated after the cut-off"
    );
    assert!(answer.claims()["exp"].as_i64().unwrap() - cut_off <= 900);
}
