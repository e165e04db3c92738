//! Many mints at once.

use std::collections::HashSet;
use std::sync::Arc;

use super::world::{INVOICES, World};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hundred_parallel_mints_are_two_hundred_mandates() {
    let world = Arc::new(World::new().await);
    let subject = Arc::new(world.session_mandate().await);
    let minting = (0..200).map(|_| {
        let (world, subject) = (Arc::clone(&world), Arc::clone(&subject));
        async move { world.exchange_of(&subject, &[("resource", INVOICES)]).await }
    });
    let answers = futures::future::join_all(minting).await;
    let mut ids = HashSet::new();
    for answer in &answers {
        assert_eq!(answer.status, 200, "{}", answer.text);
        assert!(ids.insert(answer.claims()["jti"].to_string()));
        assert!(ids.insert(answer.claims()["sid"].to_string()));
    }
    let superuser = world.db.superuser().await;
    let records: i64 =
        sqlx::query_scalar("SELECT count(*) FROM authority_records WHERE usage = 'resource'")
            .fetch_one(&superuser)
            .await
            .unwrap();
    let events: i64 = sqlx::query_scalar("SELECT count(*) FROM outbox WHERE kind = 'mint'")
        .fetch_one(&superuser)
        .await
        .unwrap();
    assert_eq!((records, events), (200, 201));
}
