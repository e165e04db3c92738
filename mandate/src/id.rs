//! Identifiers: parsed once, never empty, never confused with each other.
//!
//! Identifiers that authority is bound to are compared byte for byte; nothing here lower-cases, trims or
//! re-encodes.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use uuid::Uuid;

/// Why a text is not the identifier it should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("is not {expected}")]
pub struct IdError {
    expected: &'static str,
}

macro_rules! uuid_ids {
    ($($(#[$doc:meta])* $name:ident)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Uuid);

        impl $name {
            /// Wraps a UUID.
            pub const fn from_uuid(uuid: Uuid) -> Self {
                Self(uuid)
            }

            /// The UUID.
            pub const fn as_uuid(self) -> Uuid {
                self.0
            }

            /// Parses the one accepted form: lower case, hyphenated.
            pub fn parse(text: &str) -> Result<Self, IdError> {
                strict_uuid(text).map(Self)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self.0.as_hyphenated(), formatter)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(formatter, concat!(stringify!($name), "({})"), self)
            }
        }

        impl FromStr for $name {
            type Err = IdError;

            fn from_str(text: &str) -> Result<Self, IdError> {
                Self::parse(text)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                Self::parse(&text).map_err(D::Error::custom)
            }
        }
    )*};
}

uuid_ids! {
    /// An isolation and blast-radius boundary.
    ZoneId
    /// An OAuth client; the acting identity.
    ApplicationId
    /// The row of a resource; authority names its [`ResourceUri`].
    ResourceId
    /// Where a resource is reached.
    BindingId
    /// One governed run of an agent.
    SessionId
    /// A directed grant from one session to another.
    DelegationId
    /// What a mandate was minted from (`sid`).
    RecordId
    /// One mandate (`jti`, RFC 7519 §4.1.7).
    MandateId
    /// An immutable version of a zone's policy.
    PolicyVersionId
    /// One decision.
    DecisionId
    /// One journal's life.
    JournalId
}

fn strict_uuid(text: &str) -> Result<Uuid, IdError> {
    const EXPECTED: IdError = IdError {
        expected: "a lower-case hyphenated UUID",
    };
    let form = text.len() == 36 && !text.bytes().any(|byte| byte.is_ascii_uppercase());
    if !form {
        return Err(EXPECTED);
    }
    Uuid::try_parse(text).map_err(|_| EXPECTED)
}

macro_rules! text_ids {
    ($($(#[$doc:meta])* $name:ident: $expected:literal, $valid:path;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Parses, keeping every byte as it is.
            pub fn parse(text: &str) -> Result<Self, IdError> {
                if $valid(text) { Ok(Self(Arc::from(text))) } else { Err(IdError { expected: $expected }) }
            }

            /// The text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(formatter, concat!(stringify!($name), "({:?})"), &*self.0)
            }
        }

        impl FromStr for $name {
            type Err = IdError;

            fn from_str(text: &str) -> Result<Self, IdError> {
                Self::parse(text)
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl std::borrow::Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                Self::parse(&text).map_err(D::Error::custom)
            }
        }
    )*};
}

text_ids! {
    /// A resource's identifier (RFC 8707 §2): absolute, without fragment.
    ResourceUri: "an absolute URI of visible ASCII without fragment, at most 512 bytes", valid_uri;
    /// A scope token (RFC 6749 §3.3).
    Scope: "a scope token of at most 128 bytes", valid_scope;
    /// A key id.
    KeyId: "1 to 64 letters, digits, hyphens or underscores", valid_key_id;
    /// An issuer: an http(s) URL without query, fragment or trailing slash (RFC 8414 §2).
    Issuer: "an http(s) URL without query, fragment or trailing slash, at most 512 bytes", valid_issuer;
    /// A subject (`sub`).
    Subject: "1 to 255 bytes of visible ASCII", valid_subject;
    /// A label, given by the control plane.
    Label: "a lower-case label of at most 63 bytes", valid_label;
    /// Which bindings may apply, named by the proxy's configuration.
    AttachmentName: "1 to 63 lower-case letters, digits or hyphens", valid_attachment;
}

fn visible(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_graphic())
}

fn valid_uri(text: &str) -> bool {
    let Some((scheme, rest)) = text.split_once(':') else {
        return false;
    };
    let scheme_valid = scheme
        .bytes()
        .next()
        .is_some_and(|byte| byte.is_ascii_alphabetic())
        && scheme
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.'));
    scheme_valid
        && !rest.is_empty()
        && text.len() <= 512
        && visible(text)
        && !text.contains(['#', '"', '\\'])
}

fn valid_scope(text: &str) -> bool {
    (1..=128).contains(&text.len()) && visible(text) && !text.contains(['"', '\\'])
}

fn valid_key_id(text: &str) -> bool {
    (1..=64).contains(&text.len())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
}

fn valid_issuer(text: &str) -> bool {
    let rest = text
        .strip_prefix("https://")
        .or_else(|| text.strip_prefix("http://"));
    rest.is_some_and(|rest| !rest.is_empty() && !rest.starts_with('/'))
        && text.len() <= 512
        && visible(text)
        && !text.ends_with('/')
        && !text.contains(['#', '?', '"', '\\', '@'])
}

fn valid_subject(text: &str) -> bool {
    (1..=255).contains(&text.len()) && visible(text)
}

fn valid_label(text: &str) -> bool {
    let first = text
        .bytes()
        .next()
        .is_some_and(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
    first
        && text.len() <= 63
        && text.bytes().all(|byte| {
            byte.is_ascii_lowercase()
                || byte.is_ascii_digit()
                || matches!(byte, b'.' | b'_' | b':' | b'/' | b'-')
        })
}

fn valid_attachment(text: &str) -> bool {
    (1..=63).contains(&text.len())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
}

/// A set of scopes: sorted, without doubles, at most [`ScopeSet::MAX`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct ScopeSet(Box<[Scope]>);

impl ScopeSet {
    /// The most scopes a set may hold.
    pub const MAX: usize = 64;

    /// The set of these scopes.
    pub fn new(scopes: impl IntoIterator<Item = Scope>) -> Result<Self, IdError> {
        let set: BTreeSet<Scope> = scopes.into_iter().collect();
        if set.len() > Self::MAX {
            return Err(IdError {
                expected: "a set of at most 64 scopes",
            });
        }
        Ok(Self(set.into_iter().collect()))
    }

    /// Parses scope tokens separated by single spaces (RFC 6749 §3.3); the empty text is the empty set.
    pub fn parse(text: &str) -> Result<Self, IdError> {
        if text.is_empty() {
            return Ok(Self::default());
        }
        let scopes: Vec<Scope> = text
            .split(' ')
            .map(Scope::parse)
            .collect::<Result<_, _>>()?;
        Self::new(scopes)
    }

    /// Whether the scope is in the set.
    pub fn contains(&self, scope: &Scope) -> bool {
        self.0.binary_search(scope).is_ok()
    }

    /// Whether every scope of this set is in `other`.
    pub fn is_subset(&self, other: &Self) -> bool {
        self.0.iter().all(|scope| other.contains(scope))
    }

    /// The scopes that are in both.
    #[must_use]
    pub fn intersection(&self, other: &Self) -> Self {
        Self(
            self.0
                .iter()
                .filter(|scope| other.contains(scope))
                .cloned()
                .collect(),
        )
    }

    /// The scopes, sorted.
    pub fn iter(&self) -> std::slice::Iter<'_, Scope> {
        self.0.iter()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl<'a> IntoIterator for &'a ScopeSet {
    type Item = &'a Scope;
    type IntoIter = std::slice::Iter<'a, Scope>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl fmt::Display for ScopeSet {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, scope) in self.0.iter().enumerate() {
            if index > 0 {
                formatter.write_str(" ")?;
            }
            formatter.write_str(scope.as_str())?;
        }
        Ok(())
    }
}

impl FromStr for ScopeSet {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        Self::parse(text)
    }
}

impl Serialize for ScopeSet {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ScopeSet {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests;
