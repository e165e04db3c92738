//! Which client says it asks, and by what: `client_secret_basic` or `client_secret_post`, never both.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use secrecy::{ExposeSecret, SecretString};

use crate::token::form;

/// The most bytes of an `Authorization` value looked at.
const MAX_HEADER: usize = 1024;
/// The most bytes of a client id or secret.
const MAX_PART: usize = 256;

/// What a client presented; unverified.
#[derive(Debug)]
pub(crate) struct Presented {
    /// The client id as given.
    pub client_id: String,
    /// The secret as given.
    pub secret: SecretString,
}

/// Why no single credential was presented.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CredentialError {
    /// None at all.
    Missing,
    /// More than one, or two that disagree.
    Ambiguous,
    /// Not `Basic`, or not what Basic is.
    Malformed,
}

/// Picks the one credential out of every `Authorization` value and the body's parameters.
pub(crate) fn present(
    authorization: &[&[u8]],
    client_id: Option<&str>,
    client_secret: Option<SecretString>,
) -> Result<Presented, CredentialError> {
    match (authorization, client_id, client_secret) {
        ([], Some(id), Some(secret)) => {
            if id.len() > MAX_PART || secret.expose_secret().len() > MAX_PART {
                return Err(CredentialError::Malformed);
            }
            Ok(Presented {
                client_id: id.to_owned(),
                secret,
            })
        }
        ([], _, None) => Err(CredentialError::Missing),
        // RFC 6749 §2.3: one method per request.
        ([], None, Some(_)) | ([_], _, Some(_)) | ([_, _, ..], _, _) => {
            Err(CredentialError::Ambiguous)
        }
        ([header], named, None) => {
            let presented = basic(header)?;
            match named {
                Some(named) if named != presented.client_id => Err(CredentialError::Ambiguous),
                Some(_) | None => Ok(presented),
            }
        }
    }
}

/// RFC 6749 §2.3.1: id and secret are form-encoded before Basic puts them together.
fn basic(header: &[u8]) -> Result<Presented, CredentialError> {
    if header.len() > MAX_HEADER {
        return Err(CredentialError::Malformed);
    }
    let (scheme, value) = header
        .split_at_checked(6)
        .ok_or(CredentialError::Malformed)?;
    if !scheme.eq_ignore_ascii_case(b"basic ") {
        return Err(CredentialError::Malformed);
    }
    let joined = zeroize::Zeroizing::new(
        STANDARD
            .decode(value)
            .map_err(|_| CredentialError::Malformed)?,
    );
    let mut halves = joined.splitn(2, |byte| *byte == b':');
    let id = halves.next().ok_or(CredentialError::Malformed)?;
    let secret = halves.next().ok_or(CredentialError::Malformed)?;
    let client_id = form::decode(id).map_err(|_| CredentialError::Malformed)?;
    let secret = form::decode(secret).map_err(|_| CredentialError::Malformed)?;
    if client_id.is_empty() || secret.is_empty() {
        return Err(CredentialError::Malformed);
    }
    if client_id.len() > MAX_PART || secret.len() > MAX_PART {
        return Err(CredentialError::Malformed);
    }
    Ok(Presented {
        client_id,
        secret: SecretString::from(secret),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(
        headers: &[&str],
        id: Option<&str>,
        secret: Option<&str>,
    ) -> Result<String, CredentialError> {
        let headers: Vec<&[u8]> = headers.iter().map(|header| header.as_bytes()).collect();
        present(
            &headers,
            id,
            secret.map(|secret| SecretString::from(secret.to_owned())),
        )
        .map(|presented| {
            format!(
                "{}|{}",
                presented.client_id,
                presented.secret.expose_secret()
            )
        })
    }

    fn encoded(text: &str) -> String {
        format!("Basic {}", STANDARD.encode(text))
    }

    #[test]
    fn takes_either_method() {
        assert_eq!(read(&[&encoded("app:s3")], None, None).unwrap(), "app|s3");
        assert_eq!(
            read(&[&encoded("app:s3")], Some("app"), None).unwrap(),
            "app|s3"
        );
        assert_eq!(
            read(&[&encoded("a%3Ab:s+%25")], None, None).unwrap(),
            "a:b|s %"
        );
        assert_eq!(
            read(&[&encoded("app:s3").replace("Basic", "bASIC")], None, None).unwrap(),
            "app|s3"
        );
        assert_eq!(read(&[], Some("app"), Some("s3")).unwrap(), "app|s3");
    }

    #[test]
    fn refuses_two_methods_at_once() {
        let basic = encoded("app:s3");
        for (headers, id, secret) in [
            (&[basic.as_str()][..], Some("app"), Some("s3")),
            (&[&basic], None, Some("s3")),
            (&[&basic], Some("other"), None),
            (&[&basic, &basic], None, None),
            (&[], None, Some("s3")),
        ] {
            assert_eq!(
                read(headers, id, secret).unwrap_err(),
                CredentialError::Ambiguous
            );
        }
    }

    #[test]
    fn refuses_what_is_not_basic() {
        for header in [
            "Bearer abc",
            "Basic",
            "Basic ",
            "Basic !!!",
            "Basic  YXBwOnMz",
            &encoded("app"),
            &encoded(":secret"),
            &encoded("app:"),
            &encoded("app:%zz"),
            &encoded(&format!("app:{}", "x".repeat(257))),
            &format!("Basic {}", "A".repeat(2000)),
        ] {
            assert_eq!(
                read(&[header], None, None).unwrap_err(),
                CredentialError::Malformed,
                "{header}"
            );
        }
        assert_eq!(
            read(&[], Some("app"), None).unwrap_err(),
            CredentialError::Missing
        );
        assert_eq!(read(&[], None, None).unwrap_err(), CredentialError::Missing);
    }
}
