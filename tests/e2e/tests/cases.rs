//! One table of cases through every way: whichever filter of Envoy decides, status, code and evidence are the same.
#![expect(clippy::unwrap_used, reason = "tests")]

use e2e::case::Table;
use e2e::{Scene, Way};

const TABLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/cases/cases.json");

async fn every_case_comes_out(way: Way) {
    let table: Table = serde_json::from_str(&std::fs::read_to_string(TABLE).unwrap()).unwrap();
    let mut scene = Scene::new(way).await;
    scene.set(&table).await;
    let mut wrong = Vec::new();
    for case in &table.cases {
        if let Err(why) = scene.play(&table, case).await {
            println!("{way}: {why}");
            wrong.push(why);
        }
    }
    assert!(
        wrong.is_empty(),
        "{way}: {} cases:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
    let late = scene.balance().await;
    assert_eq!(scene.book.foreign(), 0, "an answer was not ours");
    println!(
        "{way}: {} cases, {} requests, each in the ledger, {late} refused after they had gone forward: {:?}",
        table.cases.len(),
        scene.book.decided(),
        scene.book.totals()
    );
}

#[tokio::test]
async fn with_the_filter_every_case_comes_out_and_is_in_the_ledger() {
    every_case_comes_out(Way::Filter).await;
}

#[tokio::test]
async fn with_both_every_case_comes_out_and_is_in_the_ledger() {
    every_case_comes_out(Way::Both).await;
}

#[tokio::test]
async fn with_ext_authz_every_case_comes_out_and_is_in_the_ledger() {
    every_case_comes_out(Way::ExtAuthz).await;
}
