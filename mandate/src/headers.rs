//! Header names with a meaning of their own.

/// Headers with which some servers let a client change method or path after the decision. Refused.
pub const OVERRIDE_HEADERS: [&str; 5] = [
    "x-http-method-override",
    "x-http-method",
    "x-method-override",
    "x-original-url",
    "x-rewrite-url",
];

/// Headers that are ours alone: every answer sets or removes each of them.
pub const OWNED_HEADERS: [&str; 7] = [
    "x-caracal-zone",
    "x-caracal-subject",
    "x-caracal-actor",
    "x-caracal-client",
    "x-caracal-session",
    "x-caracal-scope",
    "x-caracal-decision",
];

/// Whether a name is one of ours, however it is written: servers that map `_` to `-` must not be fooled.
pub fn is_owned(name: &[u8]) -> bool {
    OWNED_HEADERS.iter().any(|owned| same(name, owned))
}

/// Whether a name is an override header.
pub fn is_override(name: &[u8]) -> bool {
    OVERRIDE_HEADERS.iter().any(|known| same(name, known))
}

fn same(name: &[u8], known: &str) -> bool {
    name.len() == known.len()
        && name.iter().zip(known.bytes()).all(|(byte, known)| {
            let byte = if *byte == b'_' {
                b'-'
            } else {
                byte.to_ascii_lowercase()
            };
            byte == known
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spelling_does_not_hide_an_owned_name() {
        for name in [
            "x-caracal-zone",
            "X-Caracal-Zone",
            "x_caracal_zone",
            "X_CARACAL-ZONE",
        ] {
            assert!(is_owned(name.as_bytes()), "{name}");
        }
        assert!(!is_owned(b"x-caracal-zones"));
        assert!(is_override(b"X_HTTP_Method-Override"));
    }
}
