//! The samples in `docs/config` fit one another.

use std::collections::{BTreeMap, BTreeSet};

use chassis::config::RawProducer;
use ledger::event::EventKind;
use serde::de::DeserializeOwned;

/// What a process signs with: its kid, and the service its messages name.
type Signers = BTreeMap<String, &'static str>;

/// Reads a sample as its service does, and whom it believes.
fn read<R: DeserializeOwned>(name: &str) -> (R, Vec<RawProducer>) {
    let path = format!("{}/../docs/config/{name}.toml", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(path).unwrap();
    let table: toml::Table = text.parse().unwrap();
    let producers = table["producer"].clone().try_into().unwrap();
    (toml::from_str(&text).unwrap(), producers)
}

fn kinds(producer: &RawProducer) -> BTreeSet<&str> {
    producer.kinds.iter().map(String::as_str).collect()
}

/// The four samples of one size: every signer, and whom each service believes.
fn set(suffix: &str) -> (Signers, BTreeMap<&'static str, Vec<RawProducer>>) {
    let name = |service: &str| format!("{service}{suffix}");
    let (audit, audit_believes) = read::<audit::RawConfig>(&name("audit"));
    let (sts, sts_believes) = read::<sts::RawConfig>(&name("sts"));
    let (coordinator, coordinator_believes) = read::<coordinator::RawConfig>(&name("coordinator"));
    let (ext_authz, ext_authz_believes) = read::<ext_authz::RawConfig>(&name("ext-authz"));
    let signers = Signers::from([
        (audit.signer.unwrap().kid, "audit"),
        (sts.evidence.kid, "sts"),
        (ext_authz.evidence.kid, "ext-authz"),
        (coordinator.event_key.kid, "coordinator"),
        (coordinator.stream_key.kid, "coordinator"),
        (coordinator.outbox_key.kid, "outbox"),
    ]);
    let believes = BTreeMap::from([
        ("audit", audit_believes),
        ("sts", sts_believes),
        ("coordinator", coordinator_believes),
        ("ext-authz", ext_authz_believes),
    ]);
    (signers, believes)
}

#[test]
fn whom_a_sample_believes_another_one_is() {
    for suffix in ["", ".full"] {
        let (signers, believes) = set(suffix);
        assert_eq!(signers.len(), 6, "{suffix}: a kid is used twice");
        let mut keys = BTreeMap::new();
        for (reader, producer) in believes
            .iter()
            .flat_map(|(reader, all)| all.iter().map(move |producer| (reader, producer)))
        {
            let kid = &producer.kid;
            let service = signers.get(kid).copied();
            assert_eq!(service, Some(producer.service.as_str()), "{reader} {kid}");
            let key = keys.entry(kid).or_insert(&producer.public_key);
            assert_eq!(*key, &producer.public_key, "{reader} {kid}");
        }
        // Every signer is believed by somebody. The sequencer has one seed under two ids.
        assert_eq!(keys.len(), signers.len(), "{suffix}");
        let distinct: BTreeSet<&String> = keys.into_values().collect();
        assert_eq!(distinct.len(), 5, "{suffix}");
    }
}

#[test]
fn every_message_that_is_sent_is_believed() {
    for suffix in ["", ".full"] {
        let (_, believes) = set(suffix);
        for reader in ["sts", "coordinator", "ext-authz"] {
            let cursors = believes[reader]
                .iter()
                .filter(|producer| kinds(producer) == BTreeSet::from(["cursor"]))
                .map(|producer| producer.service.as_str());
            assert_eq!(cursors.collect::<Vec<_>>(), ["audit"], "{reader}{suffix}");
        }
        let authority: Vec<&RawProducer> = believes["ext-authz"]
            .iter()
            .filter(|producer| producer.service == "coordinator")
            .collect();
        let [authority] = authority.as_slice() else {
            panic!("one authority")
        };
        let spoken: Vec<String> =
            serde_json::from_str(crate::stack::configuration::AUTHORITY).unwrap();
        assert_eq!(authority.kinds, spoken, "{suffix}");

        // Leases have kinds, and nobody grants any yet.
        let expected: BTreeSet<&str> = EventKind::ALL
            .iter()
            .map(|kind| kind.as_str())
            .filter(|kind| !kind.starts_with("lease_"))
            .collect();
        let of = |service: &str| -> BTreeSet<&str> {
            believes["audit"]
                .iter()
                .filter(|producer| producer.service == service)
                .flat_map(kinds)
                .collect()
        };
        let writers = ["ext-authz", "sts", "coordinator"].map(of);
        let all: BTreeSet<&str> = writers.iter().flatten().copied().collect();
        assert_eq!(all, expected, "{suffix}");
        // What has no journal of its own comes by the outbox, which signs it too.
        let outbox = of("outbox");
        assert!(writers[2].is_subset(&outbox), "{suffix}");
        assert!(outbox.is_superset(&BTreeSet::from(["mint", "key_changed"])));
    }
}
