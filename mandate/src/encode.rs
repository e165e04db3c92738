//! The compact form of a mandate, for the one who signs it.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Serialize;

use crate::id::KeyId;
use crate::{Algorithm, Claims};

/// The media type in `typ` (RFC 9068 §2.1).
pub(crate) const TYPE: &str = "at+jwt";

#[derive(Serialize)]
struct Header<'a> {
    typ: &'a str,
    alg: &'a str,
    kid: &'a str,
}

/// What is signed: header and claims (RFC 7515 §5.1).
pub fn signing_input(algorithm: Algorithm, kid: &KeyId, claims: &Claims) -> String {
    let header = Header {
        typ: TYPE,
        alg: algorithm.name(),
        kid: kid.as_str(),
    };
    // Neither type has a map with keys that are no strings, the one thing that serde_json refuses.
    let part =
        |json: Result<Vec<u8>, serde_json::Error>| URL_SAFE_NO_PAD.encode(json.unwrap_or_default());
    let mut text = part(serde_json::to_vec(&header));
    text.push('.');
    text.push_str(&part(serde_json::to_vec(claims)));
    text
}

/// Signing input and signature together.
pub fn compact(signing_input: &str, signature: &[u8]) -> String {
    let mut text = String::from(signing_input);
    text.push('.');
    URL_SAFE_NO_PAD.encode_string(signature, &mut text);
    text
}
