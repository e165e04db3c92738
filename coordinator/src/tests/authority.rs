//! The service that enforcement points read from, over gRPC as they call it.

use std::collections::BTreeMap;
use std::time::Duration;

use prost::Message as _;
use serde_json::json;
use tonic::Request;
use tonic::transport::Channel;
use wire::convert::{AuthorityChange, Heartbeat, envelope_from_bytes};
use wire::pb::caracal::authority::v1 as pb;
use wire::pb::caracal::authority::v1::authority_client::AuthorityClient;
use wire::pb::caracal::authority::v1::change::What;

use super::api::{binding, policy, resource};
use super::bench::{Bench, SERVICE_TOKEN};

async fn connect(bench: &Bench) -> AuthorityClient<Channel> {
    let listener = chassis::http::bind("127.0.0.1:0".parse().unwrap())
        .await
        .unwrap();
    let address = listener.local_addr().unwrap();
    let token = chassis::grpc::ServiceToken::new(SERVICE_TOKEN.into());
    let router = crate::app::authority(std::sync::Arc::clone(&bench.app), token);
    chassis::grpc::serve(&bench.process.lifecycle, "authority", listener, router);
    AuthorityClient::connect(format!("http://{address}"))
        .await
        .unwrap()
}

fn call<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    let value = format!("Bearer {SERVICE_TOKEN}").parse().unwrap();
    request.metadata_mut().insert("authorization", value);
    request
}

/// The parts of a snapshot, verified.
async fn snapshot(
    bench: &Bench,
    client: &mut AuthorityClient<Channel>,
    zones: &[&str],
) -> (Vec<u8>, u64, Vec<pb::Change>) {
    let zone_ids = zones.iter().map(|zone| (*zone).to_owned()).collect();
    let asked = call(pb::SnapshotRequest { zone_ids });
    let mut chunks = client.snapshot(asked).await.unwrap().into_inner();
    let (mut epoch, mut pos, mut changes, mut last) = (Vec::new(), 0, Vec::new(), false);
    let mut index = 0;
    while let Some(chunk) = chunks.message().await.unwrap() {
        let bytes = chunk.envelope.unwrap().encode_to_vec();
        let verified = envelope_from_bytes(&bytes)
            .unwrap()
            .verify(&bench.sequencer.producers)
            .unwrap();
        let envelope = verified.envelope();
        assert_eq!(envelope.kind, "snapshot");
        let part = pb::SnapshotPart::decode(envelope.payload.as_slice()).unwrap();
        assert_eq!(part.index, index);
        index += 1;
        (epoch, pos, last) = (envelope.epoch.0.to_vec(), envelope.pos, part.last);
        changes.extend(part.changes);
    }
    assert!(last, "the last chunk says that it is the last");
    (epoch, pos, changes)
}

async fn numbered(bench: &Bench) -> (Vec<u8>, u64) {
    loop {
        let left: i64 = sqlx::query_scalar("SELECT count(*) FROM outbox WHERE lane = 'authority'")
            .fetch_one(bench.superuser())
            .await
            .unwrap();
        let row: Option<(Vec<u8>, i64)> = sqlx::query_as("SELECT epoch, pos FROM deployment")
            .fetch_optional(bench.superuser())
            .await
            .unwrap();
        match row {
            Some((epoch, pos)) if left == 0 => return (epoch, u64::try_from(pos).unwrap()),
            _ => tokio::time::sleep(Duration::from_millis(10)).await,
        }
    }
}

fn kinds(changes: &[pb::Change]) -> BTreeMap<&'static str, usize> {
    let mut kinds = BTreeMap::new();
    for change in changes {
        let kind = chassis::outbox::kind_of(change).unwrap();
        *kinds.entry(kind).or_default() += 1;
    }
    kinds
}

#[tokio::test]
async fn a_snapshot_holds_what_decides_and_nothing_of_another_zone_or_secret() {
    let bench = Bench::start().await;
    bench.sequence();
    let (zone, other) = (bench.zone().await, bench.zone().await);
    let root = format!("/v1/zones/{zone}");
    let application = bench.application(&zone).await;
    bench.post(&format!("{root}/resources"), resource()).await;
    bench
        .post(&format!("{root}/bindings"), binding("a.test", "/"))
        .await;
    let data = json!({"data": policy(&application)});
    let version = bench
        .post(&format!("{root}/policies"), data)
        .await
        .text("id");
    bench
        .post(&format!("{root}/policies/{version}/activate"), json!({}))
        .await;
    let session = bench.session(&zone, &application).await;
    bench.revoke(&zone, "session", &session).await;
    bench.revoke(&zone, "application", &application).await;
    let (epoch, pos) = numbered(&bench).await;

    let mut client = connect(&bench).await;
    let (told_epoch, told_pos, changes) = snapshot(&bench, &mut client, &[&zone]).await;
    assert_eq!((told_epoch, told_pos), (epoch, pos));
    let expected = [
        ("binding", 1),
        ("cutoff", 1),
        ("key", 1),
        ("policy", 1),
        ("resource", 1),
        ("revocation", 1),
        ("state", 1),
        ("zone", 1),
    ];
    assert_eq!(kinds(&changes), BTreeMap::from(expected));
    for change in &changes {
        let understood = AuthorityChange::try_from(change.clone());
        assert!(understood.is_ok(), "{understood:?}: {change:?}");
        if let Some(What::Policy(policy)) = &change.what {
            assert_eq!(policy.version_id, version);
            assert!(serde_json::from_slice::<serde_json::Value>(&policy.data).is_ok());
        }
    }
    let (_, _, everything) = snapshot(&bench, &mut client, &[]).await;
    assert_eq!(kinds(&everything)["zone"], 2);
    let (_, _, theirs) = snapshot(&bench, &mut client, &[&other]).await;
    assert_eq!(kinds(&theirs), BTreeMap::from([("key", 1), ("zone", 1)]));
    let bytes: Vec<u8> = everything
        .iter()
        .flat_map(prost::Message::encode_to_vec)
        .collect();
    assert!(!bytes.windows(3).any(|window| window == b"cs_"));
}

#[tokio::test]
async fn since_gives_what_followed_in_order_with_the_newest_heartbeat() {
    let bench = Bench::start().await;
    bench.sequence();
    let zone = bench.zone().await;
    let (epoch, pos) = numbered(&bench).await;
    let mut client = connect(&bench).await;
    let application = bench.application(&zone).await;
    bench.revoke(&zone, "application", &application).await;
    numbered(&bench).await;
    // Redis is not needed for it.
    bench
        .redis
        .call::<()>(&redis::cmd("FLUSHDB"))
        .await
        .unwrap();
    let asked = pb::SinceRequest {
        epoch: epoch.clone(),
        pos,
    };
    let answer = client.since(call(asked)).await.unwrap().into_inner();
    assert!(!answer.snapshot_required);
    let mut told = Vec::new();
    for delta in &answer.deltas {
        let signed = envelope_from_bytes(&delta.encode_to_vec()).unwrap();
        let verified = signed.verify(&bench.sequencer.producers).unwrap();
        told.push((verified.envelope().pos, verified.envelope().kind.clone()));
    }
    assert_eq!(
        told,
        [
            (pos + 1, "cutoff".to_owned()),
            (pos + 2, "state".to_owned())
        ]
    );
    let heartbeat = answer.heartbeat.unwrap();
    let heartbeat = Heartbeat::from_payload(&heartbeat.payload).unwrap();
    assert_eq!(heartbeat.pos, pos + 2);

    let again = pb::SinceRequest {
        epoch,
        pos: pos + 2,
    };
    let answer = client.since(call(again)).await.unwrap().into_inner();
    assert!(answer.deltas.is_empty() && !answer.snapshot_required);
}

#[tokio::test]
async fn who_is_too_far_behind_or_of_another_epoch_is_told_to_load_a_snapshot() {
    let bench = Bench::start().await;
    bench.sequence();
    let zone = bench.zone().await;
    bench.revoke(&zone, "zone", &zone).await;
    let (epoch, pos) = numbered(&bench).await;
    let mut client = connect(&bench).await;
    sqlx::query("DELETE FROM positions WHERE pos <= 1")
        .execute(bench.superuser())
        .await
        .unwrap();
    for (epoch, pos, required) in [
        (vec![1; 16], pos, true),
        (epoch.clone(), pos + 1, true),
        (Vec::new(), 0, true),
        (epoch.clone(), 0, true),
        (epoch.clone(), 1, false),
        (epoch, pos, false),
    ] {
        let answer = client
            .since(call(pb::SinceRequest { epoch, pos }))
            .await
            .unwrap();
        assert_eq!(answer.into_inner().snapshot_required, required, "{pos}");
    }
}

#[tokio::test]
async fn wants_the_service_token_and_tells_the_databases_time() {
    let bench = Bench::start().await;
    let mut client = connect(&bench).await;
    let refused = client.clock(pb::ClockRequest {}).await.unwrap_err();
    assert_eq!(refused.code(), tonic::Code::Unauthenticated);
    let mut wrong = Request::new(pb::ClockRequest {});
    wrong
        .metadata_mut()
        .insert("authorization", "Bearer nope".parse().unwrap());
    assert_eq!(
        client.clock(wrong).await.unwrap_err().code(),
        tonic::Code::Unauthenticated
    );
    let told = client
        .clock(call(pb::ClockRequest {}))
        .await
        .unwrap()
        .into_inner();
    let ours = i64::try_from(bench.now().as_nanosecond()).unwrap();
    assert!(told.database_time_ns.abs_diff(ours) < 2_000_000_000);
    // Before a sequencer has run there is no position to read at.
    let early = client
        .snapshot(call(pb::SnapshotRequest {
            zone_ids: Vec::new(),
        }))
        .await;
    assert_eq!(early.err().unwrap().code(), tonic::Code::Unavailable);
    let bad = pb::AckRequest {
        reader: "a b".to_owned(),
        ..Default::default()
    };
    let refused = client.ack(call(bad)).await.unwrap_err();
    assert_eq!(refused.code(), tonic::Code::InvalidArgument);
}

fn ack(reader: &str, epoch: &[u8], pos: u64) -> pb::AckRequest {
    pb::AckRequest {
        reader: reader.to_owned(),
        epoch: epoch.to_vec(),
        pos,
        service: "ext-authz".to_owned(),
        bound_ms: 1_000,
    }
}

#[tokio::test]
async fn waiting_for_everywhere_ends_when_every_reader_has_it_or_refuses_by_itself() {
    let bench = Bench::start().await;
    bench.sequence();
    let zone = bench.zone().await;
    let application = bench.application(&zone).await;
    let (epoch, pos) = numbered(&bench).await;
    let mut client = connect(&bench).await;
    for reader in ["one", "two"] {
        client.ack(call(ack(reader, &epoch, pos))).await.unwrap();
    }
    let body = json!({
        "anchor": {"kind": "application", "id": application}, "wait": "everywhere",
    });
    let path = format!("/v1/zones/{zone}/revocations");
    let started = std::time::Instant::now();
    let mut waiting = std::pin::pin!(bench.post(&path, body));
    assert!(
        tokio::time::timeout(Duration::from_millis(300), &mut waiting)
            .await
            .is_err()
    );
    client.ack(call(ack("one", &epoch, pos + 2))).await.unwrap();
    // The other one says nothing more: after its bound and a second it refuses by itself.
    let reply = waiting.await;
    assert_eq!(reply.status, 201, "{reply:?}");
    assert_eq!(
        (&reply.body["reached"], &reply.body["pos"]),
        (&json!(true), &json!(pos + 2))
    );
    assert!(
        started.elapsed() > Duration::from_millis(1_500),
        "{:?}",
        started.elapsed()
    );

    let status = bench
        .get(&format!("/v1/zones/{zone}/policies/activation-status"))
        .await;
    assert_eq!(status.status, 404);
}

/// An enforcement point speaks for itself and, as another reader, for the last of its filters.
#[tokio::test]
async fn a_reader_that_goes_on_saying_an_old_position_is_waited_for() {
    let bench = Bench::start().await;
    bench.sequence();
    let zone = bench.zone().await;
    let application = bench.application(&zone).await;
    let (epoch, pos) = numbered(&bench).await;
    let mut client = connect(&bench).await;
    for reader in ["ext-authz/1", "ext-authz/1/filters"] {
        client.ack(call(ack(reader, &epoch, pos))).await.unwrap();
    }
    let body = json!({
        "anchor": {"kind": "application", "id": application}, "wait": "everywhere",
    });
    let path = format!("/v1/zones/{zone}/revocations");
    let mut waiting = std::pin::pin!(bench.post(&path, body));
    // For longer than its bound and the second after which it would count as silent.
    for _ in 0..12 {
        client
            .ack(call(ack("ext-authz/1", &epoch, pos + 2)))
            .await
            .unwrap();
        client
            .ack(call(ack("ext-authz/1/filters", &epoch, pos)))
            .await
            .unwrap();
        let early = tokio::time::timeout(Duration::from_millis(200), &mut waiting).await;
        assert!(early.is_err(), "{early:?}");
    }
    client
        .ack(call(ack("ext-authz/1/filters", &epoch, pos + 2)))
        .await
        .unwrap();
    let reply = waiting.await;
    assert_eq!(reply.status, 201, "{reply:?}");
    assert_eq!(reply.body["reached"], json!(true));
}

#[tokio::test]
async fn an_activation_says_which_readers_have_it() {
    let bench = Bench::start().await;
    bench.sequence();
    let zone = bench.zone().await;
    let root = format!("/v1/zones/{zone}/policies");
    let application = bench.application(&zone).await;
    let version = bench
        .post(&root, json!({"data": policy(&application)}))
        .await
        .text("id");
    let (epoch, before) = numbered(&bench).await;
    bench
        .post(&format!("{root}/{version}/activate"), json!({}))
        .await;
    let (_, pos) = numbered(&bench).await;
    assert_eq!(pos, before + 1);
    let mut client = connect(&bench).await;
    client.ack(call(ack("one", &epoch, before))).await.unwrap();
    let status = bench.get(&format!("{root}/activation-status")).await;
    assert_eq!(status.body["everywhere"], false, "{status:?}");
    assert_eq!(status.body["pos"], json!(pos));
    assert_eq!(status.body["readers"][0]["state"], "behind");
    client.ack(call(ack("one", &epoch, pos))).await.unwrap();
    let status = bench.get(&format!("{root}/activation-status")).await;
    assert_eq!(
        (
            &status.body["everywhere"],
            &status.body["readers"][0]["state"]
        ),
        (&json!(true), &json!("applied"))
    );
}
