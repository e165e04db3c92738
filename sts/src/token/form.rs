//! `application/x-www-form-urlencoded`, read strictly: what could be understood in two ways is refused.

use zeroize::Zeroize;

/// The most bytes of a token request's body.
pub(crate) const MAX_BODY: usize = 64 * 1024;
/// The most parameters of a token request.
const MAX_PARAMETERS: usize = 64;
/// The most bytes of a name; a longer one is none of ours.
const MAX_NAME: usize = 64;

/// Why a body is not a form.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum FormError {
    /// The content type is not `application/x-www-form-urlencoded`.
    #[error("the body must be application/x-www-form-urlencoded")]
    ContentType,
    /// More than [`MAX_BODY`] bytes.
    #[error("the body is larger than 65536 bytes")]
    TooLarge,
    /// More parameters than any request has.
    #[error("too many parameters")]
    TooMany,
    /// An escape that is none, a byte outside ASCII, or text that is not UTF-8 once decoded.
    #[error("the body is not form-urlencoded UTF-8")]
    Malformed,
    /// A parameter without a name or without a value.
    #[error("parameter `{0}` has no value")]
    Empty(String),
}

/// The decoded parameters in the order they came; wiped when dropped, for there are secrets in it.
pub(crate) struct Form(Vec<(String, String)>);

impl std::fmt::Debug for Form {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list()
            .entries(self.0.iter().map(|(name, _)| name))
            .finish()
    }
}

impl Drop for Form {
    fn drop(&mut self) {
        for (_, value) in &mut self.0 {
            value.zeroize();
        }
    }
}

impl Form {
    /// Reads a body.
    pub(crate) fn parse(body: &[u8]) -> Result<Self, FormError> {
        if body.len() > MAX_BODY {
            return Err(FormError::TooLarge);
        }
        let mut form = Self(Vec::new());
        if body.is_empty() {
            return Ok(form);
        }
        for pair in body.split(|byte| *byte == b'&') {
            if form.0.len() == MAX_PARAMETERS {
                return Err(FormError::TooMany);
            }
            let mut halves = pair.splitn(2, |byte| *byte == b'=');
            let name = decode(halves.next().unwrap_or_default())?;
            let value = decode(halves.next().unwrap_or_default())?;
            if name.len() > MAX_NAME {
                return Err(FormError::Malformed);
            }
            // RFC 6749 §3.2 lets a server treat this as left out; leaving out `scope` asks for more
            // than `scope=` seems to, so it is refused.
            if name.is_empty() || value.is_empty() {
                return Err(FormError::Empty(name));
            }
            form.0.push((name, value));
        }
        Ok(form)
    }

    /// Every parameter, to be sorted into a request.
    pub(crate) fn pairs(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
    }
}

/// Whether a `Content-Type` value names a form; the only parameter it may have is a UTF-8 charset.
pub(crate) fn is_form(content_type: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(content_type) else {
        return false;
    };
    let mut parts = text.split(';').map(str::trim);
    let essence = parts.next().unwrap_or_default();
    essence.eq_ignore_ascii_case("application/x-www-form-urlencoded")
        && parts.all(|parameter| {
            parameter.eq_ignore_ascii_case("charset=utf-8")
                || parameter.eq_ignore_ascii_case("charset=\"utf-8\"")
        })
}

/// Decodes one name or value: `+` is a space, `%XX` a byte, everything else must be visible ASCII.
pub(crate) fn decode(raw: &[u8]) -> Result<String, FormError> {
    let mut decoded = Vec::with_capacity(raw.len());
    let mut bytes = raw.iter().copied();
    while let Some(byte) = bytes.next() {
        match byte {
            b'+' => decoded.push(b' '),
            b'%' => {
                let high = bytes.next().and_then(nibble).ok_or(FormError::Malformed)?;
                let low = bytes.next().and_then(nibble).ok_or(FormError::Malformed)?;
                decoded.push(high << 4 | low);
            }
            0x21..=0x7e => decoded.push(byte),
            _ => return Err(FormError::Malformed),
        }
    }
    let text = String::from_utf8(decoded).map_err(|_| FormError::Malformed)?;
    if text.chars().any(char::is_control) {
        return Err(FormError::Malformed);
    }
    Ok(text)
}

fn nibble(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        b'A'..=b'F' => Some(byte - b'A' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn pairs(body: &[u8]) -> Result<Vec<(String, String)>, FormError> {
        Form::parse(body).map(|form| {
            form.pairs()
                .map(|(n, v)| (n.to_owned(), v.to_owned()))
                .collect()
        })
    }

    #[test]
    fn reads_what_a_client_writes() {
        assert_eq!(
            pairs(b"a=1&scope=x%3Ay+z&r=https%3a%2F%2Fa%2Fb&a=2").unwrap(),
            [
                ("a", "1"),
                ("scope", "x:y z"),
                ("r", "https://a/b"),
                ("a", "2")
            ]
            .map(|(n, v)| (n.to_owned(), v.to_owned()))
        );
        assert_eq!(pairs(b"").unwrap(), []);
        assert_eq!(pairs("n=%C3%A9".as_bytes()).unwrap()[0].1, "é");
    }

    #[test]
    fn refuses_what_could_mean_two_things() {
        for (body, error) in [
            (&b"a=%"[..], FormError::Malformed),
            (b"a=%4", FormError::Malformed),
            (b"a=%zz", FormError::Malformed),
            (b"a=%ff", FormError::Malformed),
            (b"a=\xc3\xa9", FormError::Malformed),
            (b"a=%00", FormError::Malformed),
            (b"a=b%0d%0a", FormError::Malformed),
            (b"a=b c", FormError::Malformed),
            (b"a=", FormError::Empty("a".to_owned())),
            (b"a", FormError::Empty("a".to_owned())),
            (b"=b", FormError::Empty(String::new())),
            (b"a=b&", FormError::Empty(String::new())),
            (b"&", FormError::Empty(String::new())),
        ] {
            assert_eq!(
                pairs(body).unwrap_err(),
                error,
                "{}",
                String::from_utf8_lossy(body)
            );
        }
        assert_eq!(
            pairs(&vec![b'a'; MAX_BODY + 1]).unwrap_err(),
            FormError::TooLarge
        );
        let many = vec!["a=b"; MAX_PARAMETERS + 1].join("&");
        assert_eq!(pairs(many.as_bytes()).unwrap_err(), FormError::TooMany);
    }

    #[test]
    fn knows_its_content_type() {
        for good in [
            "application/x-www-form-urlencoded",
            "Application/X-WWW-Form-Urlencoded; charset=UTF-8",
        ] {
            assert!(is_form(good.as_bytes()), "{good}");
        }
        for bad in [
            "",
            "application/json",
            "application/x-www-form-urlencoded; charset=latin1",
            "application/x-www-form-urlencoded, application/json",
            "multipart/form-data; boundary=x",
        ] {
            assert!(!is_form(bad.as_bytes()), "{bad}");
        }
    }

    #[test]
    fn never_prints_a_value() {
        let form = Form::parse(b"client_secret=hunter2").unwrap();
        assert_eq!(format!("{form:?}"), r#"["client_secret"]"#);
    }

    proptest! {
        #[test]
        fn decodes_what_was_encoded(text in "\\PC{0,40}") {
            let encoded = text.bytes().fold(String::new(), |text, byte| format!("{text}%{byte:02x}"));
            prop_assert_eq!(decode(encoded.as_bytes()).unwrap(), text);
        }

        #[test]
        fn reads_any_bytes_without_panic(body in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = Form::parse(&body);
        }
    }
}
