//! Revoke and mint at the same moment, held open both ways. The mint's statements are those of the
//! token service, as its own role: shared locks, and in a later statement the record if every
//! anchor still stands.

use std::time::Duration;

use jiff_sqlx::ToSqlx;
use serde_json::json;
use sqlx::{Postgres, Transaction};
use uuid::Uuid;

use super::bench::Bench;
use crate::api::body::Fingerprint;
use crate::api::change::{Begun, Change};
use crate::api::principal::Caller;
use crate::api::revocations::{self, RevocationBody};

struct Mint {
    tx: Transaction<'static, Postgres>,
    zone: Uuid,
    kinds: Vec<String>,
    ids: Vec<String>,
}

impl Mint {
    async fn begin(bench: &Bench, zone: &str, application: &str, session: &str) -> Self {
        let tx = bench.engines.begin("caracal_sts", zone).await;
        let anchors = [
            ("zone", zone),
            ("application", application),
            ("session", session),
        ];
        Self {
            tx,
            zone: zone.parse().unwrap(),
            kinds: anchors.iter().map(|(kind, _)| (*kind).to_owned()).collect(),
            ids: anchors.iter().map(|(_, id)| (*id).to_owned()).collect(),
        }
    }

    async fn lock(&mut self) {
        sqlx::query(
            "SELECT pg_advisory_xact_lock_shared(sorted.key)::text
             FROM (SELECT DISTINCT anchor_lock_key($1, anchor.kind, anchor.id) AS key
                   FROM unnest($2::text[], $3::text[]) AS anchor(kind, id)
                   ORDER BY key) AS sorted",
        )
        .bind(self.zone)
        .bind(&self.kinds)
        .bind(&self.ids)
        .fetch_all(&mut *self.tx)
        .await
        .unwrap();
    }

    /// The `iat` of what was minted, or none when an anchor does not stand any more.
    async fn record(&mut self, bench: &Bench) -> Option<i64> {
        let now = bench.now();
        let id = bench.process.rng.uuid_v7(now);
        let not_before: Option<i64> = sqlx::query_scalar(
            "WITH held AS (
                 SELECT anchor.*
                 FROM unnest($2::text[], $3::text[]) AS asked(kind, id)
                 JOIN anchors AS anchor
                   ON anchor.zone_id = $1 AND anchor.kind = asked.kind AND anchor.id = asked.id
                 WHERE anchor.state = 'active' AND anchor.dead_until IS NULL
             ), recorded AS (
                 INSERT INTO authority_records
                        (zone_id, id, root_id, application_id, usage, expires_at, created_at)
                 SELECT $1, $4, $4, $5, 'resource', $6 + interval '5 minutes', $6
                 FROM (SELECT count(*) AS standing FROM held) AS all_held
                 WHERE all_held.standing = cardinality($2)
                 RETURNING 1
             )
             SELECT (SELECT max(not_before_s) FROM held) FROM recorded",
        )
        .bind(self.zone)
        .bind(&self.kinds)
        .bind(&self.ids)
        .bind(id)
        .bind(self.ids[1].parse::<Uuid>().unwrap())
        .bind(now.to_sqlx())
        .fetch_optional(&mut *self.tx)
        .await
        .unwrap()
        .flatten();
        not_before.map(|not_before| now.as_second().max(not_before + 1))
    }
}

async fn set_up() -> (Bench, String, String, String) {
    let bench = Bench::start().await;
    let zone = bench.zone().await;
    let application = bench.application(&zone).await;
    let session = bench.session(&zone, &application).await;
    (bench, zone, application, session)
}

#[tokio::test]
async fn a_revocation_waits_for_the_mint_before_it_and_covers_what_it_made() {
    for kind in ["application", "session", "zone"] {
        let (bench, zone, application, session) = set_up().await;
        let mut mint = Mint::begin(&bench, &zone, &application, &session).await;
        mint.lock().await;
        let issued = mint.record(&bench).await.expect("nothing is revoked yet");

        let id = match kind {
            "application" => &application,
            "session" => &session,
            _ => &zone,
        };
        let mut revoking = std::pin::pin!(bench.revoke(&zone, kind, id));
        let early = tokio::time::timeout(Duration::from_millis(300), &mut revoking).await;
        assert!(
            early.is_err(),
            "the revocation of {kind} passed a mint that was open"
        );
        mint.tx.commit().await.unwrap();
        let revoked = revoking.await;
        assert_eq!(revoked.status, 201, "{revoked:?}");
        if kind != "session" {
            let not_before = revoked.body["not_before"].as_i64().unwrap();
            assert!(issued <= not_before, "{issued} is after {not_before}");
        }
    }
}

#[tokio::test]
async fn a_mint_waits_for_the_revocation_before_it_and_makes_nothing() {
    for kind in ["application", "session"] {
        let (bench, zone, application, session) = set_up().await;
        let id = if kind == "application" {
            &application
        } else {
            &session
        };
        let caller = Caller {
            name: "operator:test".to_owned(),
            request_id: String::new(),
            idempotency_key: None,
            if_match: None,
        };
        let zone_id = zone.parse().unwrap();
        let begun = Change::begin_any(&bench.app, &caller, zone_id, Fingerprint([0; 32])).await;
        let Ok(Begun::Fresh(mut change)) = begun else {
            panic!("{begun:?}")
        };
        let body: RevocationBody =
            serde_json::from_value(json!({"anchor": {"kind": kind, "id": id}})).unwrap();
        revocations::revoke(&bench.app, &caller, &mut change, zone_id, &body)
            .await
            .unwrap();

        let mut mint = Mint::begin(&bench, &zone, &application, &session).await;
        {
            let mut locking = std::pin::pin!(mint.lock());
            let early = tokio::time::timeout(Duration::from_millis(300), &mut locking).await;
            assert!(
                early.is_err(),
                "the mint passed a revocation of {kind} that was open"
            );
            change.finish(201, &json!({})).await.unwrap();
            locking.await;
        }
        assert_eq!(
            mint.record(&bench).await,
            None,
            "minted after {kind} was revoked"
        );
    }
}

#[tokio::test]
async fn mints_do_not_wait_for_one_another_and_a_mint_after_a_cut_off_is_dated_after_it() {
    let (bench, zone, application, session) = set_up().await;
    let cut_off = bench.revoke(&zone, "zone", &zone).await.body["not_before"]
        .as_i64()
        .unwrap();
    let mut one = Mint::begin(&bench, &zone, &application, &session).await;
    let mut two = Mint::begin(&bench, &zone, &application, &session).await;
    one.lock().await;
    two.lock().await;
    let dated = one.record(&bench).await.unwrap();
    assert!(dated > cut_off, "{dated} is not after {cut_off}");
    assert!(two.record(&bench).await.is_some());
    one.tx.commit().await.unwrap();
    two.tx.commit().await.unwrap();
    // The next cut-off, of whatever anchor, covers what was dated after the first.
    let next = bench.revoke(&zone, "application", &application).await;
    assert!(
        dated <= next.body["not_before"].as_i64().unwrap(),
        "{next:?}"
    );
}

#[tokio::test]
async fn two_revocations_of_one_anchor_come_one_after_the_other() {
    let (bench, zone, application, _) = set_up().await;
    let (one, two) = tokio::join!(
        bench.revoke(&zone, "application", &application),
        bench.revoke(&zone, "application", &application)
    );
    assert_eq!((one.status, two.status), (201, 201), "{one:?} {two:?}");
    assert_ne!(one.body["not_before"], two.body["not_before"]);
}
