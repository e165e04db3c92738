//! ES256 by the proxy, where it can: its library checks a signature in a tenth of the time that a VM takes.

use mandate::{BackendError, RustCrypto, SignatureBackend, uncompressed};
use prost::Message;

/// The proxy's function.
pub const FUNCTION: &str = "verify_signature";

/// A P-256 key in `SubjectPublicKeyInfo` (RFC 5480 §2) up to the uncompressed point.
const SPKI: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a,
    0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];

#[derive(Clone, PartialEq, Message)]
struct Arguments {
    #[prost(string, tag = "1")]
    hash_function: String,
    #[prost(bytes = "vec", tag = "2")]
    public_key: Vec<u8>,
    #[prost(bytes = "vec", tag = "3")]
    signature: Vec<u8>,
    #[prost(bytes = "vec", tag = "4")]
    text: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
struct Outcome {
    #[prost(bool, tag = "1")]
    result: bool,
    #[prost(string, tag = "2")]
    error: String,
}

/// Calls the proxy's function; none where it has none, or failed.
pub type Call = fn(&[u8]) -> Option<Vec<u8>>;

/// Checks signatures by the proxy, or here where it has not shown that it can.
#[derive(Debug, Clone, Copy)]
pub struct Backend {
    call: Option<Call>,
}

impl Backend {
    /// Takes the proxy's function if it accepts a known signature and refuses a wrong one.
    pub fn probe(call: Call) -> Self {
        let backend = Self { call: Some(call) };
        let wrong = b"another message";
        let able = backend.es256(&PROBE_KEY, PROBE_MESSAGE, &PROBE_SIGNATURE) == Ok(true)
            && backend.es256(&PROBE_KEY, wrong, &PROBE_SIGNATURE) == Ok(false);
        Self {
            call: able.then_some(call),
        }
    }

    /// Only what a VM can do by itself.
    pub const fn portable() -> Self {
        Self { call: None }
    }

    /// Whether the proxy checks.
    pub const fn is_native(&self) -> bool {
        self.call.is_some()
    }
}

impl SignatureBackend for Backend {
    fn es256(
        &self,
        public: &[u8],
        message: &[u8],
        signature: &[u8; 64],
    ) -> Result<bool, BackendError> {
        let Some(call) = self.call else {
            return RustCrypto.es256(public, message, signature);
        };
        let Some(signature) = der(signature) else {
            return Ok(false);
        };
        let arguments = Arguments {
            hash_function: "sha256".to_owned(),
            public_key: [SPKI.as_slice(), uncompressed(public)?].concat(),
            signature,
            text: message.to_vec(),
        };
        let answer = call(&arguments.encode_to_vec()).ok_or(BackendError)?;
        // A failure comes back as an answer, too: only the result counts.
        let outcome = Outcome::decode(answer.as_slice()).map_err(|_| BackendError)?;
        Ok(outcome.result && outcome.error.is_empty())
    }
}

/// `r‖s` (RFC 7518 §3.4) as `ECDSA-Sig-Value` (RFC 3279 §2.2.3) in DER. Whether both are in range is for the verifier.
fn der(signature: &[u8; 64]) -> Option<Vec<u8>> {
    let (r, s) = signature.split_at_checked(32)?;
    let (r, s) = (integer(r)?, integer(s)?);
    let length = u8::try_from(r.len().checked_add(s.len())?).ok()?;
    Some([&[0x30, length], r.as_slice(), s.as_slice()].concat())
}

/// A positive integer in its shortest form; none for zero.
fn integer(bytes: &[u8]) -> Option<Vec<u8>> {
    let first = bytes.iter().position(|byte| *byte != 0)?;
    let bytes = bytes.get(first..)?;
    let sign = bytes.first().is_some_and(|byte| *byte >= 0x80);
    let length = u8::try_from(bytes.len())
        .ok()?
        .checked_add(u8::from(sign))?;
    let mut encoded = vec![0x02, length];
    if sign {
        encoded.push(0);
    }
    encoded.extend_from_slice(bytes);
    Some(encoded)
}

// RFC 6979 appendix A.2.5: P-256, SHA-256, message "sample".
const PROBE_MESSAGE: &[u8] = b"sample";
const PROBE_KEY: [u8; 65] = [
    0x04, 0x60, 0xfe, 0xd4, 0xba, 0x25, 0x5a, 0x9d, 0x31, 0xc9, 0x61, 0xeb, 0x74, 0xc6, 0x35, 0x6d,
    0x68, 0xc0, 0x49, 0xb8, 0x92, 0x3b, 0x61, 0xfa, 0x6c, 0xe6, 0x69, 0x62, 0x2e, 0x60, 0xf2, 0x9f,
    0xb6, 0x79, 0x03, 0xfe, 0x10, 0x08, 0xb8, 0xbc, 0x99, 0xa4, 0x1a, 0xe9, 0xe9, 0x56, 0x28, 0xbc,
    0x64, 0xf2, 0xf1, 0xb2, 0x0c, 0x2d, 0x7e, 0x9f, 0x51, 0x77, 0xa3, 0xc2, 0x94, 0xd4, 0x46, 0x22,
    0x99,
];
const PROBE_SIGNATURE: [u8; 64] = [
    0xef, 0xd4, 0x8b, 0x2a, 0xac, 0xb6, 0xa8, 0xfd, 0x11, 0x40, 0xdd, 0x9c, 0xd4, 0x5e, 0x81, 0xd6,
    0x9d, 0x2c, 0x87, 0x7b, 0x56, 0xaa, 0xf9, 0x91, 0xc3, 0x4d, 0x0e, 0xa8, 0x4e, 0xaf, 0x37, 0x16,
    0xf7, 0xcb, 0x1c, 0x94, 0x2d, 0x65, 0x7c, 0x41, 0xd4, 0x36, 0xc7, 0xa1, 0xb6, 0xe2, 0x9f, 0x65,
    0xf3, 0xe9, 0x00, 0xdb, 0xb9, 0xaf, 0xf4, 0x06, 0x4d, 0xc4, 0xab, 0x2f, 0x84, 0x3a, 0xcd, 0xa8,
];

#[cfg(test)]
#[expect(clippy::arithmetic_side_effects, reason = "tests")]
mod tests {
    use super::*;

    /// Plays the proxy: takes the arguments apart and verifies what they hold.
    #[expect(
        clippy::unnecessary_wraps,
        reason = "a proxy may have no such function"
    )]
    fn proxy(arguments: &[u8]) -> Option<Vec<u8>> {
        let arguments = Arguments::decode(arguments).unwrap();
        assert_eq!(arguments.hash_function, "sha256");
        let point = arguments.public_key.strip_prefix(&SPKI).unwrap();
        let (r, s) = raw(&arguments.signature);
        let signature: [u8; 64] = [r, s].concat().try_into().unwrap();
        let result = RustCrypto
            .es256(point, &arguments.text, &signature)
            .unwrap();
        let error = if result { "" } else { "it is wrong" }.to_owned();
        Some(Outcome { result, error }.encode_to_vec())
    }

    /// The two integers of a DER signature, which must be in shortest form.
    fn raw(der: &[u8]) -> (Vec<u8>, Vec<u8>) {
        let take = |bytes: &[u8]| {
            assert_eq!(bytes[0], 2);
            let (value, rest) = bytes[2..].split_at(usize::from(bytes[1]));
            assert!(value[0] < 0x80 && !(value[0] == 0 && value[1] < 0x80));
            let value = value.strip_prefix(&[0]).unwrap_or(value);
            let padded = [vec![0; 32 - value.len()], value.to_vec()].concat();
            (padded, rest.to_vec())
        };
        assert_eq!((der[0], usize::from(der[1])), (0x30, der.len() - 2));
        let (r, rest) = take(&der[2..]);
        let (s, rest) = take(&rest);
        assert!(rest.is_empty());
        (r, s)
    }

    #[test]
    fn the_probe_is_genuine() {
        assert_eq!(
            RustCrypto.es256(&PROBE_KEY, PROBE_MESSAGE, &PROBE_SIGNATURE),
            Ok(true)
        );
    }

    #[test]
    fn a_proxy_is_used_only_where_it_tells_right_from_wrong() {
        assert!(Backend::probe(proxy).is_native());
        assert!(!Backend::probe(|_| None).is_native());
        assert!(
            !Backend::probe(|_| Some(vec![8, 1])).is_native(),
            "it accepts everything"
        );
        assert!(
            !Backend::probe(|_| Some(vec![])).is_native(),
            "it refuses everything"
        );
        assert!(!Backend::probe(|_| Some(vec![0xff])).is_native());
        let portable = Backend::probe(|_| None);
        assert_eq!(
            portable.es256(&PROBE_KEY, PROBE_MESSAGE, &PROBE_SIGNATURE),
            Ok(true)
        );
    }

    #[test]
    fn a_key_in_another_form_is_none_and_the_proxy_is_not_asked() {
        let backend = Backend::probe(proxy);
        let mut hybrid = PROBE_KEY;
        hybrid[0] = 6 | PROBE_KEY[64] & 1;
        let compressed = [&[2 | PROBE_KEY[64] & 1], &PROBE_KEY[1..33]].concat();
        for key in [&hybrid[..], &compressed, &PROBE_KEY[..64], &[]] {
            let answer = backend.es256(key, PROBE_MESSAGE, &PROBE_SIGNATURE);
            assert_eq!(answer, Err(BackendError), "{key:?}");
        }
    }

    #[test]
    fn a_signature_of_zeroes_is_none() {
        let mut signature = PROBE_SIGNATURE;
        signature[..32].fill(0);
        assert_eq!(
            Backend::probe(proxy).es256(&PROBE_KEY, PROBE_MESSAGE, &signature),
            Ok(false)
        );
    }
}
