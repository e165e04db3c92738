#![expect(
    clippy::arithmetic_side_effects,
    clippy::as_conversions,
    reason = "tests"
)]

use jiff::Timestamp;
use proptest::prelude::*;

use super::*;

fn refused(code: &'static str, peer: [u8; 4], at: i64) -> Refused<'static> {
    Refused {
        decision: DecisionId::parse("01890a5d-ac96-774b-8cce-b302099a8058").unwrap(),
        code,
        binding: None,
        request_id: "r",
        method: "GET",
        peer: Some(IpAddr::from(peer)),
        at: Timestamp::from_second(at).unwrap(),
    }
}

fn counted(batches: &[pb::Refusals]) -> u64 {
    batches
        .iter()
        .flat_map(|batch| &batch.counts)
        .map(|count| count.count)
        .sum()
}

#[test]
fn callers_of_one_network_and_window_are_counted_together() {
    let mut reports = Reports::default();
    for last in 0..20 {
        reports.count(&refused(
            "expired",
            [10, 0, 0, last],
            1_000 + i64::from(last) / 10,
        ));
    }
    reports.count(&refused("expired", [10, 0, 1, 0], 1_000));
    reports.count(&refused("expired", [10, 0, 0, 0], 1_010));
    let batches = reports.send();
    let mut counts: Vec<_> = batches[0]
        .counts
        .iter()
        .map(|count| (count.peer.as_str(), count.count, count.samples.len()))
        .collect();
    counts.sort_unstable();
    assert_eq!(
        counts,
        [
            ("10.0.0.0/24", 1, 1),
            ("10.0.0.0/24", 20, 8),
            ("10.0.1.0/24", 1, 1)
        ]
    );
    let longest = batches[0]
        .counts
        .iter()
        .find(|count| count.count == 20)
        .unwrap();
    assert_eq!(longest.last_ns - longest.window_start_ns, 1_000_000_000);
}

#[test]
fn networks_are_a_24_or_a_64() {
    let of = |text: &str| network(address(text.as_bytes()).map(|at| at.ip()));
    assert_eq!(of("192.0.2.7:4711"), "192.0.2.0/24");
    assert_eq!(of("[2001:db8:1:2:3::4]:80"), "2001:db8:1:2::/64");
    assert_eq!(of("[::ffff:192.0.2.7]:80"), "192.0.2.0/24");
    assert_eq!(of("/var/run/x.sock"), "unknown");
}

proptest! {
    /// However many come, and however seldom anybody takes them, every refusal is told or counted, and memory is bounded.
    #[test]
    fn no_refusal_is_left_out(rounds in proptest::collection::vec((0_usize..3_000, any::<bool>(), any::<bool>()), 1..12)) {
        let mut reports = Reports::default();
        let (mut made, mut told, mut last) = (0_u64, 0_u64, 0_u64);
        for (many, verified, acknowledge) in rounds {
            for number in 0..many {
                let peer = u32::try_from(number).unwrap().to_be_bytes();
                let refused = refused("revoked", [peer[3], peer[2], 0, 0], 1_000);
                if verified {
                    reports.deny(pb::Denied::default(), &refused);
                } else {
                    reports.count(&refused);
                }
                made += 1;
            }
            for batch in reports.send() {
                prop_assert_eq!(batch.seq, last + 1);
                last = batch.seq;
                told += counted(std::slice::from_ref(&batch)) + batch.denied.len() as u64;
            }
            prop_assert!(reports.batches.len() <= MOST_BATCHES);
            prop_assert!(reports.denied.len() <= MOST_DENIED && reports.counts.len() <= MOST_KINDS + 2);
            if acknowledge {
                reports.acknowledged(last);
            }
        }
        reports.acknowledged(last);
        while !reports.is_empty() {
            for batch in reports.send() {
                told += counted(std::slice::from_ref(&batch)) + batch.denied.len() as u64;
                last = batch.seq;
            }
            reports.acknowledged(last);
        }
        prop_assert_eq!(told, made);
    }
}

#[test]
fn no_batch_is_larger_than_ext_authz_takes_and_nothing_is_left_behind() {
    let mut reports = Reports::default();
    let long = pb::Denied {
        scopes: "s".repeat(6_000),
        ..pb::Denied::default()
    };
    let refused = refused("revoked", [10, 0, 0, 1], 1_000);
    for _ in 0..200 {
        reports.deny(long.clone(), &refused);
    }
    for number in 0..200_u8 {
        reports.count(&Refused {
            peer: Some(IpAddr::from([10, 0, number, 1])),
            request_id: "i",
            ..refused.clone()
        });
    }
    let (mut told, mut counted_so_far) = (0, 0);
    while !reports.is_empty() {
        let batches = reports.send();
        for batch in &batches {
            assert!(prost::Message::encoded_len(batch) <= BATCH_BYTES + 64);
            told += batch.denied.len();
        }
        counted_so_far += counted(&batches);
        reports.acknowledged(reports.made());
    }
    assert_eq!((told, counted_so_far), (200, 200));
}
