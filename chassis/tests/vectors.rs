//! aws-lc and p256 say the same of every mandate of the vectors.
#![expect(clippy::unwrap_used, reason = "tests")]

use chassis::crypto::AwsLc;
use jiff::Timestamp;
use mandate::id::{Issuer, ZoneId};
use mandate::{KeySet, Rejection, RustCrypto, SignatureBackend, Trust, UnverifiedMandate, Use};
use serde::Deserialize;
use serde_json::Value;

const VECTORS: &str = include_str!("../../mandate/tests/vectors/mandate.json");

#[derive(Deserialize)]
struct Vectors {
    now: i64,
    zone: ZoneId,
    issuer: Issuer,
    keys: Value,
    mandates: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    name: String,
    mandate: String,
    #[serde(rename = "use")]
    usage: Use,
}

impl Vectors {
    fn verdict(&self, case: &Case, keys: &KeySet, backend: &impl SignatureBackend) -> &'static str {
        let now = Timestamp::from_second(self.now).unwrap();
        let trust = Trust {
            zone: self.zone,
            issuer: self.issuer.clone(),
            usage: case.usage,
        };
        UnverifiedMandate::parse(case.mandate.as_bytes())
            .and_then(|unverified| unverified.authenticate(&trust, keys, backend, now))
            .map_or_else(Rejection::code, |_| "authentic")
    }
}

#[test]
fn both_backends_say_the_same_of_every_vector() {
    let vectors: Vectors = serde_json::from_str(VECTORS).unwrap();
    let keys = KeySet::from_jwks(&vectors.keys.to_string()).unwrap();
    let mut authentic = 0;
    for case in &vectors.mandates {
        let ours = vectors.verdict(case, &keys, &AwsLc);
        assert_eq!(
            ours,
            vectors.verdict(case, &keys, &RustCrypto),
            "{}",
            case.name
        );
        authentic += usize::from(ours == "authentic");
    }
    let all = vectors.mandates.len();
    assert!(
        authentic > 0 && authentic < all,
        "{authentic} of {all} are authentic"
    );
}
