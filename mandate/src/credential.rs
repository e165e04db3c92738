//! The credential of a request: exactly one, in `Authorization`.

use crate::Rejection;

/// The longest credential that is looked at, in bytes.
pub const MAX_BYTES: usize = 8 * 1024;

/// Finds the one bearer credential among all values of `authorization` (RFC 6750 §2.1). Step 1 of verification.
///
/// Proxies may join repeated headers with a comma; a comma cannot occur in a mandate, so it is a duplicate.
pub fn bearer<'a>(values: &[&'a [u8]]) -> Result<&'a [u8], Rejection> {
    let value = match values {
        [] => return Err(Rejection::CredentialMissing),
        [value] => *value,
        _ => return Err(Rejection::CredentialDuplicate),
    };
    let (scheme, token) = value
        .split_at_checked(6)
        .ok_or(Rejection::CredentialMalformed)?;
    if !scheme.eq_ignore_ascii_case(b"bearer") {
        return Err(Rejection::CredentialMalformed);
    }
    let token = token
        .strip_prefix(b" ")
        .ok_or(Rejection::CredentialMalformed)?;
    let mut graphic = !token.is_empty();
    for byte in token {
        if *byte == b',' {
            return Err(Rejection::CredentialDuplicate);
        }
        graphic &= byte.is_ascii_graphic();
    }
    if token.len() > MAX_BYTES {
        return Err(Rejection::CredentialTooLong);
    }
    if !graphic {
        return Err(Rejection::CredentialMalformed);
    }
    Ok(token)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_bearer_credential_is_taken_and_nothing_else() {
        let check = |values: &[&[u8]], expected| assert_eq!(bearer(values), expected, "{values:?}");
        check(&[b"Bearer a.b.c"], Ok(b"a.b.c".as_slice()));
        check(&[b"bEARER a"], Ok(b"a".as_slice()));
        check(&[], Err(Rejection::CredentialMissing));
        check(
            &[b"Bearer a", b"Bearer a"],
            Err(Rejection::CredentialDuplicate),
        );
        check(&[b"Bearer a,Bearer b"], Err(Rejection::CredentialDuplicate));
        for malformed in [
            b"".as_slice(),
            b"Bearer",
            b"Bearer ",
            b"Bearer  a",
            b"Basic abc",
            b"Bearer a b",
            b"Bearer a\xff",
            b"Bearer\ta",
            b" Bearer a",
        ] {
            check(&[malformed], Err(Rejection::CredentialMalformed));
        }
        let long = [b"Bearer ".as_slice(), &vec![b'a'; MAX_BYTES + 1]].concat();
        check(&[&long], Err(Rejection::CredentialTooLong));
    }
}
