use mandate::id::ZoneId;
use mandate::{BackendError, RustCrypto, SignatureBackend};
use proptest::prelude::*;
use uuid::Uuid;

use super::*;
use crate::rng::Rng;
use crate::secrets::Key32;

fn zone(n: u128) -> ZoneId {
    ZoneId::from_uuid(Uuid::from_u128(n))
}

fn root(holder: Holder) -> RootKek {
    RootKek::new(holder, &Key32::new([9; 32])).unwrap()
}

#[test]
fn a_key_survives_its_scalar() {
    let key = Es256Key::generate(&Rng::seeded(5)).unwrap();
    let again = Es256Key::of_scalar(&key.scalar().unwrap()).unwrap();
    assert_eq!(key.public_sec1(), again.public_sec1());
    let signature = again.sign(b"message").unwrap();
    assert_eq!(
        AwsLc.es256(&key.public_sec1(), b"message", &signature),
        Ok(true)
    );
}

#[test]
fn the_same_seed_makes_the_same_key_and_another_another() {
    let public = |seed| {
        Es256Key::generate(&Rng::seeded(seed))
            .unwrap()
            .public_sec1()
    };
    assert_eq!(public(1), public(1));
    assert_ne!(public(1), public(2));
}

#[test]
fn refuses_scalars_out_of_range() {
    for bytes in [[0; 32], [0xff; 32]] {
        let key = Es256Key::of_scalar(&Key32::new(bytes));
        assert!(matches!(key, Err(CryptoError::NotAKey)));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn both_backends_agree_on_signatures_and_on_what_is_none(
        seed: u64,
        message: Vec<u8>,
        at in 0_usize..64,
        flip in 0_u8..=255,
    ) {
        let key = Es256Key::generate(&Rng::seeded(seed)).unwrap();
        let mut signature = key.sign(&message).unwrap();
        signature[at] ^= flip;
        let public = key.public_sec1();
        let ours = AwsLc.es256(&public, &message, &signature);
        prop_assert_eq!(ours, RustCrypto.es256(&public, &message, &signature));
        prop_assert_eq!(ours, Ok(flip == 0));
    }

    #[test]
    fn both_backends_agree_on_what_is_no_key(
        seed: u64, at in 0_usize..65, flip in 1_u8..=255
    ) {
        let key = Es256Key::generate(&Rng::seeded(seed)).unwrap();
        let signature = key.sign(b"m").unwrap();
        let mut public = key.public_sec1();
        public[at] ^= flip;
        let ours = AwsLc.es256(&public, b"m", &signature);
        prop_assert_eq!(ours, RustCrypto.es256(&public, b"m", &signature));
    }

    #[test]
    fn opening_gives_what_was_sealed(associated: Vec<u8>, plain: Vec<u8>, seed: u64) {
        let key = SealingKey::new(&Key32::new([3; 32])).unwrap();
        let sealed = key.seal(&associated, &plain, &Rng::seeded(seed)).unwrap();
        prop_assert_eq!(&*key.open(&associated, &sealed).unwrap(), &plain);
    }

    #[test]
    fn nothing_altered_opens(plain: Vec<u8>, at: prop::sample::Index, flip in 1_u8..=255) {
        let key = SealingKey::new(&Key32::new([3; 32])).unwrap();
        let mut sealed = key.seal(b"place", &plain, &Rng::seeded(1)).unwrap();
        let at = at.index(sealed.len());
        sealed[at] ^= flip;
        prop_assert!(key.open(b"place", &sealed).is_err());
    }

    #[test]
    fn nothing_cut_off_opens(length in 0_usize..40) {
        let key = SealingKey::new(&Key32::new([3; 32])).unwrap();
        let sealed = key.seal(b"place", &[7; 11], &Rng::seeded(1)).unwrap();
        prop_assert!(key.open(b"place", sealed.get(..length).unwrap_or(&[])).is_err());
    }
}

/// RFC 5480 §2: a `SubjectPublicKeyInfo` of `id-ecPublicKey` and `secp256r1`, up to the point.
const SPKI_BEFORE: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a,
    0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];

#[test]
fn both_backends_take_a_key_in_one_form_only() {
    let key = Es256Key::generate(&Rng::seeded(5)).unwrap();
    let signature = key.sign(b"m").unwrap();
    let point = key.public_sec1();
    let parity = point[64] & 1;
    let check = |public: &[u8], expected: Result<bool, BackendError>| {
        assert_eq!(AwsLc.es256(public, b"m", &signature), expected);
        assert_eq!(RustCrypto.es256(public, b"m", &signature), expected);
    };
    check(&point, Ok(true));
    // SEC1 §2.3.3: compressed is 02 or 03; X9.62 has hybrid too, 06 or 07.
    let compressed = [&[2 | parity], &point[1..33]].concat();
    let hybrid = [&[6 | parity], &point[1..]].concat();
    let spki = [SPKI_BEFORE.as_slice(), &point].concat();
    for other in [compressed, hybrid, spki, Vec::new(), point[..64].to_vec()] {
        check(&other, Err(BackendError));
    }
    for first in [0, 2, 3, 5, 6, 7] {
        let mut other = point;
        other[0] = first;
        check(&other, Err(BackendError));
    }
}

#[test]
fn both_backends_refuse_the_zero_signature_and_high_values() {
    let public = Es256Key::generate(&Rng::seeded(5)).unwrap().public_sec1();
    for signature in [[0; 64], [0xff; 64]] {
        assert_eq!(AwsLc.es256(&public, b"m", &signature), Ok(false));
        assert_eq!(RustCrypto.es256(&public, b"m", &signature), Ok(false));
    }
}

#[test]
fn a_sealed_key_opens_at_its_own_place_only() {
    let rng = Rng::seeded(4);
    let root = root(Holder::Sts);
    let (kek, sealed_kek) = root.create_zone(zone(1), 1, &rng).unwrap();
    let place = SealContext {
        purpose: Purpose::MandateSigning,
        row: "k1",
        version: 1,
    };
    let sealed = kek.seal(&place, &Key32::new([8; 32]), &rng).unwrap();

    let kek = root.open_zone(zone(1), 1, &sealed_kek).unwrap();
    assert_eq!(kek.open(&place, &sealed).unwrap().expose(), &[8; 32]);
    for other in [
        SealContext {
            purpose: Purpose::LedgerChain,
            ..place
        },
        SealContext { row: "k2", ..place },
        SealContext {
            version: 2,
            ..place
        },
    ] {
        assert_eq!(
            kek.open(&other, &sealed).unwrap_err(),
            CryptoError::DoesNotOpen
        );
    }
}

#[test]
fn a_zones_key_opens_for_its_zone_version_and_holder_only() {
    let rng = Rng::seeded(4);
    let (_, sealed) = root(Holder::Sts).create_zone(zone(1), 1, &rng).unwrap();
    assert!(root(Holder::Sts).open_zone(zone(1), 1, &sealed).is_ok());
    assert!(root(Holder::Sts).open_zone(zone(2), 1, &sealed).is_err());
    assert!(root(Holder::Sts).open_zone(zone(1), 2, &sealed).is_err());
    assert!(root(Holder::Audit).open_zone(zone(1), 1, &sealed).is_err());
}

#[test]
fn hmac_follows_rfc_4231() {
    // Test case 2 has a key of 4 bytes; HMAC pads keys with zeros.
    let mut key = [0; 32];
    key[..4].copy_from_slice(b"Jefe");
    let key = MacKey::new(&Key32::new(key));
    let tag = key.tag(&[b"what do ya want ", b"for nothing?"]);
    let expected = [
        0x5b, 0xdc, 0xc1, 0x46, 0xbf, 0x60, 0x75, 0x4e, 0x6a, 0x04, 0x24, 0x26, 0x08, 0x95, 0x75,
        0xc7, 0x5a, 0x00, 0x3f, 0x08, 0x9d, 0x27, 0x39, 0x83, 0x9d, 0xec, 0x58, 0xb9, 0x64, 0xec,
        0x38, 0x43,
    ];
    assert_eq!(tag, expected);
    assert!(key.verify(&[b"what do ya want for nothing?"], &tag));
    assert!(!key.verify(&[b"what do ya want for nothing?"], &tag[..31]));
}

#[test]
fn keys_do_not_print() {
    let rng = Rng::seeded(4);
    let es256 = Es256Key::generate(&rng).unwrap();
    let (kek, _) = root(Holder::Sts).create_zone(zone(1), 1, &rng).unwrap();
    let sealing = SealingKey::new(&Key32::new([3; 32])).unwrap();
    let mac = MacKey::new(&Key32::new([3; 32]));
    let printed = format!("{es256:?} {kek:?} {sealing:?} {mac:?} {rng:?}");
    assert!(
        !printed.contains("[3, 3") && printed.contains("redacted"),
        "{printed}"
    );
}

mod events {
    use ledger::envelope::{DalekSigner, EventSigner};
    use mandate::id::KeyId;
    use proptest::prelude::*;

    use crate::crypto::EventKey;
    use crate::secrets::Key32;

    proptest! {
        #[test]
        fn both_signers_make_the_same_signature(seed: [u8; 32], message: Vec<u8>) {
            let kid = KeyId::parse("events-1").unwrap();
            let ours = EventKey::new(kid.clone(), &Key32::new(seed)).unwrap();
            let theirs = DalekSigner::new(kid, &seed);
            prop_assert_eq!(ours.public(), theirs.public());
            prop_assert_eq!(ours.sign(&message), theirs.sign(&message));
            prop_assert_eq!(ours.kid(), theirs.kid());
        }
    }
}
