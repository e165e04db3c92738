//! Laws of the canonical bytes, and the vectors that fix them.
#![expect(clippy::unwrap_used, reason = "tests")]

use ledger::chain::{self, ChainKey};
use ledger::envelope::{
    Checker, DalekSigner, Envelope, EnvelopeError, Epoch, EventSigner as _, Producer, Producers,
    Seal, SignedEnvelope,
};
use ledger::event::{Event, EventKind, LeaseTerms, Outcome, Sample};
use ledger::leaf_hash;
use mandate::id::{
    ApplicationId, BindingId, DecisionId, JournalId, KeyId, Label, MandateId, PolicyVersionId,
    RecordId, ResourceUri, ScopeSet, SessionId, ZoneId,
};
use proptest::prelude::*;
use serde_json::{Value, json};
use uuid::Uuid;

fn signer() -> DalekSigner {
    DalekSigner::new(KeyId::parse("test-key").unwrap(), &[7; 32])
}

fn producers(kinds: &[&str]) -> Producers {
    Producers::new([Producer {
        kid: KeyId::parse("test-key").unwrap(),
        public_key: signer().public(),
        service: "ext-authz".to_owned(),
        kinds: kinds.iter().map(|kind| (*kind).to_owned()).collect(),
    }])
}

fn id(number: u128) -> Uuid {
    Uuid::from_u128(0x018f_0000_0000_7000_8000_0000_0000_0000 + number)
}

/// An event with every field.
fn full() -> Event {
    let mut event = Event::new(EventKind::Decision, 1_795_600_000_123_456_789);
    event.journal_id = JournalId::from_uuid(id(1));
    event.counter = 42;
    event.zone = Some(ZoneId::from_uuid(id(2)));
    event.decision = Some(Outcome::Deny);
    event.code = Some("scope_missing".to_owned());
    event.decision_id = Some(DecisionId::from_uuid(id(3)));
    event.request_id = Some("req-1".to_owned());
    event.application = Some(ApplicationId::from_uuid(id(4)));
    event.session = Some(SessionId::from_uuid(id(5)));
    event.subject_pseudonym = Some([9; 16]);
    event.resource = Some(ResourceUri::parse("https://api.example.test/v1").unwrap());
    event.binding = Some(BindingId::from_uuid(id(6)));
    event.operation = Some("/v1/invoices/{id}".to_owned());
    event.method = Some("GET".to_owned());
    event.jti = Some(MandateId::from_uuid(id(7)));
    event.sid = Some(RecordId::from_uuid(id(8)));
    event.root_sid = Some(RecordId::from_uuid(id(9)));
    event.usage = Some("resource".to_owned());
    event.exp = Some(1_795_600_900);
    event.scopes = Some(ScopeSet::parse("invoices:read invoices:write").unwrap());
    event.labels = Some(vec![
        Label::parse("agent").unwrap(),
        Label::parse("team:blue").unwrap(),
    ]);
    event.policy_version = Some(PolicyVersionId::from_uuid(id(10)));
    event.epoch = Some(Epoch([3; 16]));
    event.pos = Some(77);
    event.lease_id = Some(DecisionId::from_uuid(id(11)));
    event.lease = Some(LeaseTerms {
        max_uses: 256,
        not_after_ns: 5,
    });
    event.disclosure_digest = Some([4; 32]);
    event.count = Some(3);
    event.window_ns = Some(10_000_000_000);
    event.peer = Some("192.0.2.0/24".to_owned());
    event.samples = Some(vec![Sample {
        decision_id: DecisionId::from_uuid(id(12)),
        request_id: String::new(),
        at_ns: -1,
    }]);
    event.actor = Some("operator".to_owned());
    event.object_kind = Some("session".to_owned());
    event.object_id = Some("x".to_owned());
    event.detail = Some("é".to_owned());
    event.not_before = Some(-5);
    event.sign_origin(&signer())
}

fn envelope(event: &Event) -> Envelope {
    Envelope {
        stream: "caracal.audit.events.1".to_owned(),
        kind: event.kind.as_str().to_owned(),
        zone: event.zone,
        epoch: Epoch([3; 16]),
        pos: 0,
        producer: format!("ext-authz@{}", event.journal_id),
        counter: event.counter,
        at: event.at_ns,
        payload: event.encode(),
        kid: signer().kid().clone(),
    }
}

#[test]
fn a_full_event_reads_back_and_its_origin_survives_renumbering() {
    let mut event = full();
    assert_eq!(Event::decode(&event.encode()), Ok(event.clone()));
    let producer = producers(&["decision"])
        .find(signer().kid())
        .unwrap()
        .clone();
    assert!(event.origin_signed_by(&producer));
    event.counter = 43;
    event.journal_id = JournalId::from_uuid(id(99));
    assert!(event.origin_signed_by(&producer));
    event.code = Some("allowed".to_owned());
    assert!(!event.origin_signed_by(&producer));
}

#[test]
fn a_message_is_believed_from_its_producer_only() {
    let signed = envelope(&full()).sign(&signer());
    let check =
        |signed: &SignedEnvelope, producers: &Producers| signed.clone().verify(producers).map(drop);
    assert_eq!(check(&signed, &producers(&["decision"])), Ok(()));
    assert_eq!(
        check(&signed, &producers(&["mint"])),
        Err(EnvelopeError::KindNotAllowed)
    );
    assert_eq!(
        check(&signed, &Producers::default()),
        Err(EnvelopeError::UnknownKey)
    );
    let mut posing = signed.clone();
    posing.envelope.producer = "sts@x".to_owned();
    assert_eq!(
        check(&posing, &producers(&["decision"])),
        Err(EnvelopeError::WrongProducer)
    );
    let mut moved = signed.clone();
    moved.envelope.pos = 1;
    assert_eq!(
        check(&moved, &producers(&["decision"])),
        Err(EnvelopeError::BadSignature)
    );
}

/// Messages that were written at once.
fn together(count: u64) -> Vec<SignedEnvelope> {
    let envelopes: Vec<Envelope> = (1..=count)
        .map(|counter| {
            let mut event = full();
            event.counter = counter;
            envelope(&event)
        })
        .collect();
    let messages: Vec<Vec<u8>> = envelopes.iter().map(Envelope::signing_bytes).collect();
    let seals = Seal::all(&messages, &signer());
    assert_eq!(seals.len(), envelopes.len());
    let signed = envelopes.into_iter().zip(seals);
    signed
        .map(|(envelope, seal)| SignedEnvelope { envelope, seal })
        .collect()
}

#[test]
fn no_flipped_bit_of_a_leaf_is_believed() {
    let trusted = producers(&["decision"]);
    let mut batch = together(3);
    for signed in [
        envelope(&full()).sign(&signer()),
        batch.remove(1),
        batch.remove(1),
    ] {
        let leaf = signed.leaf_bytes();
        assert_eq!(SignedEnvelope::from_leaf_bytes(&leaf), Ok(signed));
        // What was seen of the same batch before helps nobody.
        let mut checker = Checker::new(&trusted);
        for other in &batch {
            checker.leaf(other).unwrap();
        }
        for index in 0..leaf.len() {
            for bit in 0..8 {
                let mut changed = leaf.clone();
                changed[index] ^= 1 << bit;
                let believed = SignedEnvelope::from_leaf_bytes(&changed)
                    .and_then(|signed| checker.leaf(&signed));
                assert!(believed.is_err(), "bit {bit} of byte {index}");
            }
        }
    }
}

#[test]
fn each_message_of_a_batch_is_believed_without_the_others() {
    let trusted = producers(&["decision"]);
    for count in [1, 2, 3, 15, 16, 17, 18, 40] {
        let signed = together(count);
        let signatures: std::collections::BTreeSet<[u8; 64]> =
            signed.iter().map(|signed| signed.seal.signature).collect();
        assert_eq!(signatures.len(), signed.len().div_ceil(Seal::BATCH));
        let mut checker = Checker::new(&trusted);
        for signed in signed {
            let leaf = signed.leaf_bytes();
            assert!(leaf.len() <= signed.envelope.signing_bytes().len() + Seal::MOST);
            assert_eq!(SignedEnvelope::from_leaf_bytes(&leaf), Ok(signed.clone()));
            assert_eq!(checker.leaf(&signed), Ok(leaf));
            assert_eq!(signed.verify(&trusted).map(drop), Ok(()));
        }
    }
    // One message is signed as such, in a batch or not.
    let mut event = full();
    event.counter = 1;
    assert_eq!(together(1), [envelope(&event).sign(&signer())]);
}

#[test]
fn a_seal_has_one_form() {
    let seals: Vec<Vec<u8>> = together(5)
        .iter()
        .map(|signed| signed.seal.to_bytes())
        .collect();
    let forms = |seal: &[u8]| Seal::from_bytes(seal).map(|seal| seal.to_bytes());
    for seal in &seals {
        assert_eq!(forms(seal).as_ref(), Some(seal));
        for length in (0..seal.len()).filter(|length| *length != 64) {
            assert_eq!(forms(&seal[..length]), None, "{length} bytes of it");
        }
        assert_eq!(
            forms(&[seal.as_slice(), &[0; 32]].concat()),
            None,
            "one hash too many"
        );
        assert_eq!(forms(&seal.repeat(2)), None, "doubled");
    }
    let with = |index: u32, size: u32, hashes: usize| {
        let place = [index.to_be_bytes(), size.to_be_bytes()].concat();
        [vec![7; 64], place, vec![0; hashes * 32]].concat()
    };
    assert!(forms(&with(15, 16, 4)).is_some());
    for (index, size, hashes) in [
        (0, 0, 0),
        (0, 1, 0),
        (2, 2, 1),
        (16, 16, 4),
        (0, 17, 5),
        (u32::MAX, u32::MAX, 32),
    ] {
        assert_eq!(forms(&with(index, size, hashes)), None, "{index} of {size}");
    }
}

#[test]
fn a_seal_is_no_other_messages() {
    let trusted = producers(&["decision"]);
    let batch = together(5);
    let refused = Err(EnvelopeError::BadSignature);
    let mut checker = Checker::new(&trusted);
    for one in &batch {
        for other in &batch {
            let swapped = SignedEnvelope {
                envelope: one.envelope.clone(),
                seal: other.seal.clone(),
            };
            let expected = if one == other {
                Ok(one.leaf_bytes())
            } else {
                refused.clone()
            };
            assert_eq!(checker.leaf(&swapped), expected);
        }
        // Neither is a signature over a batch one over a message, nor the other way round.
        let mut alone = one.clone();
        alone.seal.place = None;
        assert_eq!(checker.leaf(&alone), refused);
        let mut placed = one.envelope.clone().sign(&signer());
        placed.seal.place.clone_from(&one.seal.place);
        assert_eq!(checker.leaf(&placed), refused);
    }
    // What a key may not say, it may not say in a batch of what was believed.
    let mut posing = batch[1].clone();
    posing.envelope.kind = "mint".to_owned();
    assert_eq!(checker.leaf(&posing), Err(EnvelopeError::KindNotAllowed));
    let others = Producers::new([]);
    assert_eq!(
        Checker::new(&others).leaf(&batch[0]),
        Err(EnvelopeError::UnknownKey)
    );
}

#[test]
fn a_chain_link_depends_on_everything() {
    let key = ChainKey::new([1; 32]);
    let base = chain::link(&key, "zone", 1, 2, &[3; 32], &[4; 32]);
    let others = [
        chain::link(&ChainKey::new([2; 32]), "zone", 1, 2, &[3; 32], &[4; 32]),
        chain::link(&key, "zonf", 1, 2, &[3; 32], &[4; 32]),
        chain::link(&key, "zone", 2, 2, &[3; 32], &[4; 32]),
        chain::link(&key, "zone", 1, 3, &[3; 32], &[4; 32]),
        chain::link(&key, "zone", 1, 2, &[4; 32], &[4; 32]),
        chain::link(&key, "zone", 1, 2, &[3; 32], &[5; 32]),
    ];
    assert!(others.iter().all(|other| !chain::same(other, &base)));
}

/// The committed vectors. `UPDATE_GENERATED=1` writes them; a change of one is a new version of the format.
#[test]
fn the_generated_vectors_are_what_the_code_gives() {
    let hex = |bytes: &[u8]| {
        bytes
            .iter()
            .fold(String::new(), |text, byte| format!("{text}{byte:02x}"))
    };
    let minimal = Event::new(EventKind::JournalOpened, 0);
    let mut vectors = Vec::new();
    for (name, event) in [("minimal", minimal), ("full", full())] {
        let signed = envelope(&event).sign(&signer());
        let link = chain::link(
            &ChainKey::new([1; 32]),
            "zone",
            1,
            1,
            &chain::GENESIS,
            &signed.leaf_hash(),
        );
        vectors.push(json!({
            "name": name,
            "event": hex(&event.encode()),
            "signing_bytes": hex(&signed.envelope.signing_bytes()),
            "signature": hex(&signed.seal.signature),
            "leaf_hash": hex(&signed.leaf_hash()),
            "chain_link": hex(&link),
        }));
    }
    let batch: Vec<Value> = together(3)
        .iter()
        .map(|signed| {
            json!({
                "signing_bytes": hex(&signed.envelope.signing_bytes()),
                "seal": hex(&signed.seal.to_bytes()),
                "leaf_hash": hex(&signed.leaf_hash()),
            })
        })
        .collect();
    let made = json!({
        "public_key": hex(&signer().public()),
        "chain_key": hex(&[1; 32]),
        "vectors": vectors,
        "batch": batch,
    });
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/vectors/v1.json");
    if std::env::vars_os().any(|(name, _)| name == "UPDATE_GENERATED") {
        std::fs::write(path, format!("{made:#}\n")).unwrap();
    }
    let committed: Value =
        serde_json::from_str(&std::fs::read_to_string(path).expect("the vectors")).unwrap();
    assert_eq!(made, committed);
}

#[test]
fn the_leaf_hash_is_that_of_rfc_6962() {
    // RFC 6962 §2.1.1 has none for a leaf; this is SHA-256 over one zero byte.
    let empty = leaf_hash(b"");
    assert_eq!(empty[..4], [0x6e, 0x34, 0x0b, 0x9c]);
}

fn event() -> impl Strategy<Value = Event> {
    let kinds = proptest::sample::select(EventKind::ALL);
    let text = proptest::option::of("[ -~]{0,40}");
    (
        kinds,
        any::<i64>(),
        any::<u64>(),
        text,
        proptest::option::of(any::<u128>()),
        proptest::option::of(any::<i64>()),
    )
        .prop_map(|(kind, at, counter, text, number, signed)| {
            let mut event = Event::new(kind, at);
            event.counter = counter;
            event.code.clone_from(&text);
            event.detail = text;
            event.decision_id = number.map(|number| DecisionId::from_uuid(Uuid::from_u128(number)));
            event.exp = signed;
            event
        })
}

proptest! {
    #[test]
    fn whatever_is_put_into_an_event_reads_back_once_fitted(text in "\\PC{0,700}", samples in 0..20_usize) {
        let mut event = Event::new(EventKind::Refusals, 1);
        event.request_id = Some(text.clone());
        event.detail = Some(text.clone());
        event.labels = Some(Vec::new());
        event.samples = Some(vec![
            Sample { decision_id: DecisionId::from_uuid(id(1)), request_id: text, at_ns: 1 };
            samples
        ]);
        let event = event.fitted();
        prop_assert_eq!(Event::decode(&event.encode()), Ok(event));
    }

    #[test]
    fn reading_is_the_inverse_of_writing(event in event()) {
        prop_assert_eq!(Event::decode(&event.encode()), Ok(event));
    }

    #[test]
    fn what_reads_at_all_is_written_as_the_same_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..60), event in event(), cut in 0..200_usize, with in any::<u8>()) {
        if let Ok(event) = Event::decode(&bytes) {
            prop_assert_eq!(event.encode(), bytes);
        }
        let mut mutated = event.encode();
        let index = cut % mutated.len();
        mutated[index] = with;
        if let Ok(read) = Event::decode(&mutated) {
            prop_assert_eq!(read.encode(), mutated.clone());
        }
        mutated.truncate(index);
        prop_assert!(Event::decode(&mutated).is_err() || Event::decode(&mutated).unwrap().encode() == mutated);
    }
}
