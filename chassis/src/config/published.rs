//! Keys of manuals: whoever trusts one trusts everybody.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Serialize;
use toml::Value;

use super::checks::Checks;
use super::read::join;

/// The Ed25519 public keys of RFC 8032 §7.1, whose seeds stand beside them. The samples in `docs/config` have them, so
/// that none runs in stable mode as it is.
const PUBLISHED: [&str; 5] = [
    "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo",
    "PUAXw-hDiVqStwqnTRt-vJyYLM8uxJaMwM1V8Sr0Zgw",
    "_FHNjmIYoaONpH7QAjDwWAgW7RO6MwOsXeuRFUiQgCU",
    "J4EX_BRMcjQPZ9DyMW6Dhs7_vyskKMnFH-98WX8dQm4",
    "7Bcrk61eVjv0kyxw4SRQNMNUZ-8u_U1k6_gZaDRn4r8",
];

/// Whether the seed of this public key is in a standard.
pub(super) fn is_published(public: &[u8; 32]) -> bool {
    PUBLISHED.contains(&URL_SAFE_NO_PAD.encode(public).as_str())
}

/// Reports every published key in a file, in stable mode.
pub(super) fn refuse<R: Serialize>(raw: &R, checks: &mut Checks<'_>) {
    if !checks.mode().is_stable() {
        return;
    }
    if let Some(all) = checks.take("(file)", Value::try_from(raw)) {
        look("", &all, checks);
    }
}

fn look(path: &str, value: &Value, checks: &mut Checks<'_>) {
    match value {
        // A key has this one spelling: no other is read.
        Value::String(text) if PUBLISHED.contains(&text.as_str()) => checks.find(
            path,
            "is a test key of RFC 8032, whose seed everybody knows; put in the public half of the service's own",
        ),
        Value::Table(table) => {
            for (key, value) in table {
                look(&join(path, key), value, checks);
            }
        }
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                look(&format!("{path}[{index}]"), item, checks);
            }
        }
        Value::String(_)
        | Value::Integer(_)
        | Value::Float(_)
        | Value::Boolean(_)
        | Value::Datetime(_) => {}
    }
}
