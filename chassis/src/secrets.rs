//! Secrets come from files, one a purpose, that nobody else may write.

use std::fmt;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use secrecy::{ExposeSecret, SecretString};
use zeroize::Zeroizing;

use crate::config::Mode;

/// A secret's file may be this large.
const MOST_BYTES: u64 = 16 * 1024;

/// Stable mode refuses a chosen secret shorter than this.
const LEAST_CHARACTERS: usize = 16;

/// Examples from manuals and what people type when they mean to come back later.
const KNOWN: [&str; 14] = [
    "changeme",
    "change-me",
    "change_me",
    "default",
    "example",
    "insecure",
    "letmein",
    "password",
    "placeholder",
    "postgres",
    "qwerty",
    "secret",
    "test",
    "your-",
];

/// What a secret must look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// 32 bytes, written as base64url without padding.
    Key32,
    /// A bearer token: at least 32 visible ASCII characters.
    Token,
    /// What somebody else chose, such as a database's password.
    Chosen,
}

/// Why a secret cannot be used. Never holds it.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// The file cannot be read.
    #[error("{path} cannot be read: {source}")]
    Unreadable {
        /// Which file.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// Somebody else may write it.
    #[error("{path} has mode {mode:04o}; group and others must not be able to write it")]
    Writable {
        /// Which file.
        path: String,
        /// Its mode.
        mode: u32,
    },
    /// It is not a file, or too large.
    #[error("{0} is not a small file")]
    NotAFile(String),
    /// It is empty or not text.
    #[error("{0} holds no secret")]
    Empty(String),
    /// It is not a key.
    #[error("{0} does not hold 32 bytes as base64url without padding")]
    NotAKey(String),
    /// It is too easy to guess.
    #[error("{0} holds a secret of fewer than {1} characters")]
    Short(String, usize),
    /// It is an example.
    #[error("{0} holds a known example")]
    Example(String),
}

/// Reads the secret at `path`.
pub fn read(path: &Path, shape: Shape, mode: Mode) -> Result<SecretString, SecretError> {
    let name = || path.display().to_string();
    let unreadable = |source| SecretError::Unreadable {
        path: name(),
        source,
    };
    let metadata = std::fs::metadata(path).map_err(unreadable)?;
    if !metadata.is_file() || metadata.len() > MOST_BYTES {
        return Err(SecretError::NotAFile(name()));
    }
    let bits = metadata.permissions().mode() & 0o7777;
    if bits & 0o022 != 0 {
        return Err(SecretError::Writable {
            path: name(),
            mode: bits,
        });
    }
    let text = Zeroizing::new(std::fs::read_to_string(path).map_err(unreadable)?);
    let secret = text.trim_end_matches(['\n', '\r']);
    check(secret, shape, mode, &name)?;
    Ok(SecretString::from(secret))
}

fn check(
    secret: &str,
    shape: Shape,
    mode: Mode,
    name: &dyn Fn() -> String,
) -> Result<(), SecretError> {
    if secret.is_empty() || secret.chars().any(char::is_control) {
        return Err(SecretError::Empty(name()));
    }
    let least = match shape {
        Shape::Key32 => {
            let key = key32_of(secret).ok_or_else(|| SecretError::NotAKey(name()))?;
            return if mode.is_stable() && is_patterned(&*key) {
                Err(SecretError::Example(name()))
            } else {
                Ok(())
            };
        }
        Shape::Token => 32,
        Shape::Chosen => LEAST_CHARACTERS,
    };
    if !mode.is_stable() {
        return Ok(());
    }
    if is_example(secret) || is_patterned(secret.as_bytes()) {
        return Err(SecretError::Example(name()));
    }
    if secret.chars().count() < least {
        return Err(SecretError::Short(name(), least));
    }
    Ok(())
}

/// Whether little is left of the secret without known words, digits and punctuation. (A generated
/// secret may contain a known word by chance; much is left of it.)
fn is_example(secret: &str) -> bool {
    let lower = Zeroizing::new(secret.to_ascii_lowercase());
    if !KNOWN.iter().any(|known| lower.contains(known)) {
        return false;
    }
    let stripped = KNOWN
        .iter()
        .fold(lower, |text, known| Zeroizing::new(text.replace(known, "")));
    stripped
        .chars()
        .filter(|character| character.is_alphabetic())
        .count()
        < 12
}

/// Whether the bytes repeat one another or count up: what a hand writes, never a generator.
fn is_patterned(bytes: &[u8]) -> bool {
    let steps = |step: u8| {
        bytes
            .windows(2)
            .all(|pair| matches!(pair, [a, b] if a.wrapping_add(step) == *b))
    };
    bytes.len() > 1 && (steps(0) || steps(1))
}

fn key32_of(text: &str) -> Option<Zeroizing<[u8; 32]>> {
    let bytes = Zeroizing::new(URL_SAFE_NO_PAD.decode(text).ok()?);
    <[u8; 32]>::try_from(bytes.as_slice())
        .ok()
        .map(Zeroizing::new)
}

/// 32 secret bytes. Not cloned, not printed, wiped after use.
pub struct Key32(Zeroizing<[u8; 32]>);

impl Key32 {
    /// Of bytes at hand.
    pub fn new(bytes: [u8; 32]) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// Of a secret of shape [`Shape::Key32`].
    pub fn of(secret: &SecretString) -> Option<Self> {
        key32_of(secret.expose_secret()).map(Self)
    }

    /// The bytes.
    pub fn expose(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for Key32 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key32([redacted])")
    }
}

/// Whether a presented secret is the expected one, in time that does not tell where they differ.
pub fn matches(expected: &SecretString, presented: &[u8]) -> bool {
    use subtle::ConstantTimeEq;
    expected.expose_secret().as_bytes().ct_eq(presented).into()
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn file(text: &str, mode: u32) -> tempfile::NamedTempFile {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(text.as_bytes()).unwrap();
        file.as_file()
            .set_permissions(std::fs::Permissions::from_mode(mode))
            .unwrap();
        file
    }

    fn verdict(text: &str, bits: u32, shape: Shape, mode: Mode) -> Result<String, String> {
        let file = file(text, bits);
        read(file.path(), shape, mode)
            .map(|secret| secret.expose_secret().to_owned())
            .map_err(|error| {
                error
                    .to_string()
                    .replace(&file.path().display().to_string(), "F")
            })
    }

    #[test]
    fn reads_a_secret_without_its_newline() {
        let text = "v9XkP2mQz7LwR4tYbN8sJc3D\n";
        for bits in [0o400, 0o444, 0o600, 0o440, 0o644] {
            assert_eq!(
                verdict(text, bits, Shape::Chosen, Mode::Stable).unwrap(),
                text.trim()
            );
        }
    }

    #[test]
    fn refuses_a_file_that_others_can_write() {
        for bits in [0o620, 0o602, 0o666] {
            let error = verdict("v9XkP2mQz7LwR4tYbN8sJc3D", bits, Shape::Chosen, Mode::Dev);
            assert!(error.unwrap_err().contains("must not be able to write"));
        }
    }

    #[test]
    fn refuses_short_secrets_and_examples_in_stable_mode_only() {
        for text in [
            "hunter2",
            "changeme-changeme-changeme",
            "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
        ] {
            assert!(
                verdict(text, 0o400, Shape::Chosen, Mode::Stable).is_err(),
                "{text}"
            );
            assert!(
                verdict(text, 0o400, Shape::Chosen, Mode::Dev).is_ok(),
                "{text}"
            );
        }
        assert!(
            verdict(
                "v9XkP2mQz7LwR4tYbN8sJc3D",
                0o400,
                Shape::Token,
                Mode::Stable
            )
            .is_err()
        );
    }

    #[test]
    fn refuses_what_is_not_a_key_in_every_mode_and_a_patterned_key_in_stable() {
        let zero = URL_SAFE_NO_PAD.encode([0; 32]);
        let counting: Vec<u8> = (0..32).collect();
        assert!(verdict("short", 0o400, Shape::Key32, Mode::Dev).is_err());
        assert!(verdict(&format!("{zero}="), 0o400, Shape::Key32, Mode::Dev).is_err());
        assert!(verdict(&zero, 0o400, Shape::Key32, Mode::Dev).is_ok());
        assert!(verdict(&zero, 0o400, Shape::Key32, Mode::Stable).is_err());
        let counting = URL_SAFE_NO_PAD.encode(counting);
        assert!(verdict(&counting, 0o400, Shape::Key32, Mode::Stable).is_err());
    }

    #[test]
    fn errors_and_debug_output_never_hold_the_secret() {
        let error = verdict("hunter2", 0o400, Shape::Chosen, Mode::Stable).unwrap_err();
        assert!(!error.contains("hunter2"));
        assert_eq!(format!("{:?}", Key32::new([7; 32])), "Key32([redacted])");
    }

    #[test]
    fn compares_in_full() {
        let token = SecretString::from("v9XkP2mQz7LwR4tYbN8sJc3D");
        assert!(matches(&token, b"v9XkP2mQz7LwR4tYbN8sJc3D"));
        assert!(!matches(&token, b"v9XkP2mQz7LwR4tYbN8sJc3"));
        assert!(!matches(&token, b""));
    }
}
