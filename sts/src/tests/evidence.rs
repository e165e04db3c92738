//! Every answer is evidence.

use ledger::event::{Event, EventKind, Outcome};

use super::world::{INVOICES, World, claims};

async fn outbox(world: &World) -> Vec<Event> {
    let superuser = world.db.superuser().await;
    let rows: Vec<Vec<u8>> = sqlx::query_scalar(
        "SELECT payload FROM outbox WHERE lane = 'audit' AND kind = 'mint' ORDER BY id",
    )
    .fetch_all(&superuser)
    .await
    .unwrap();
    rows.iter()
        .map(|bytes| Event::decode(bytes).unwrap())
        .collect()
}

#[tokio::test]
async fn a_mint_leaves_its_record_and_its_event_in_one_transaction() {
    let world = World::new().await;
    let subject = world.session_mandate().await;
    let answer = world.exchange_of(&subject, &[("resource", INVOICES)]).await;
    let events = outbox(&world).await;
    assert_eq!(events.len(), 2);
    let (event, minted) = (&events[1], answer.claims());
    assert_eq!(
        (event.kind, event.decision),
        (EventKind::Mint, Some(Outcome::Allow))
    );
    assert_eq!(
        event.jti.unwrap().to_string(),
        minted["jti"].as_str().unwrap()
    );
    assert_eq!(
        event.sid.unwrap().to_string(),
        minted["sid"].as_str().unwrap()
    );
    assert_eq!(
        event.root_sid.unwrap().to_string(),
        claims(&subject)["sid"].as_str().unwrap()
    );
    assert_eq!(event.usage.as_deref(), Some("resource"));
    assert_eq!(event.exp, minted["exp"].as_i64());
    assert_eq!(event.session, Some(world.session));
    assert_eq!(
        event.scopes.as_ref().unwrap().to_string(),
        minted["scope"].as_str().unwrap()
    );
    assert_eq!(
        event.decision_id.unwrap().to_string(),
        answer.header("x-caracal-decision").unwrap()
    );
    assert!(event.origin_sig.is_some() && event.origin_kid.is_some());

    let superuser = world.db.superuser().await;
    let (parent, usage): (uuid::Uuid, String) =
        sqlx::query_as("SELECT parent_id, usage FROM authority_records WHERE id = $1")
            .bind(event.sid.unwrap().as_uuid())
            .fetch_one(&superuser)
            .await
            .unwrap();
    assert_eq!(
        (parent, usage.as_str()),
        (event.root_sid.unwrap().as_uuid(), "resource")
    );
}

#[tokio::test]
async fn a_refused_exchange_leaves_nothing_in_the_database_and_one_event_in_the_journal() {
    let world = World::new().await;
    let subject = world.session_mandate().await;
    let before = (
        outbox(&world).await.len(),
        world.journal.usage().unacknowledged,
    );
    let answer = world
        .exchange_of(&subject, &[("resource", "urn:unknown")])
        .await;
    assert_eq!(answer.status, 400);
    let after = (
        outbox(&world).await.len(),
        world.journal.usage().unacknowledged,
    );
    assert_eq!(after.0, before.0);
    assert!(after.1 > before.1, "{before:?} {after:?}");
}

#[tokio::test]
async fn refusals_of_strangers_are_counted_together() {
    let world = World::new().await;
    world.desk.evidence.flush().await;
    let before = world.journal.usage().unacknowledged;
    for _ in 0..50 {
        let form = [("grant_type", "client_credentials")];
        world.post(&form, Some(("nobody", "nothing"))).await;
    }
    assert_eq!(world.journal.usage().unacknowledged, before);
    world.desk.evidence.flush().await;
    let written = world.journal.usage().unacknowledged - before;
    // Unknown client, and rate limited.
    assert!((1..=3).contains(&written), "{written}");
}

#[tokio::test]
async fn no_answer_and_no_log_line_holds_a_secret() {
    let world = World::new().await;
    let answer = world.client_credentials(&[("scope", "nope:nope")]).await;
    assert!(!answer.text.contains(&world.secret));
    let form = [
        ("grant_type", "client_credentials"),
        ("client_secret", world.secret.as_str()),
    ];
    let answer = world.post(&form, None).await;
    assert!(!answer.text.contains(&world.secret));
}
