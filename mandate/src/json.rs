//! Strict JSON: one document, no key twice at any depth, bounded depth.
//!
//! `serde_json` alone lets the last of duplicate keys win; two verifiers that disagree on which one wins can be
//! played against each other.

use std::collections::HashSet;
use std::fmt;

use serde::de::{
    DeserializeOwned, DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor,
};

/// Deeper documents are refused. Enough for the longest chain of actors.
const MAX_DEPTH: u8 = 32;

/// The document did not parse, or is not strict.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refused;

/// Checks that the bytes are one strict JSON object.
pub fn check(bytes: &[u8]) -> Result<(), Refused> {
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    Strict { depth: 0 }
        .deserialize(&mut reader)
        .map_err(|_| Refused)?;
    reader.end().map_err(|_| Refused)?;
    let object = bytes.trim_ascii_start().first() == Some(&b'{');
    if object { Ok(()) } else { Err(Refused) }
}

/// Parses bytes that `check` accepted into a type.
pub(crate) fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Refused> {
    serde_json::from_slice(bytes).map_err(|_| Refused)
}

/// Walks a value, keeping nothing.
#[derive(Clone, Copy)]
struct Strict {
    depth: u8,
}

impl Strict {
    fn deeper<E: Error>(self) -> Result<Self, E> {
        let depth = self
            .depth
            .checked_add(1)
            .filter(|depth| *depth <= MAX_DEPTH);
        depth
            .map(|depth| Self { depth })
            .ok_or_else(|| E::custom("too deep"))
    }
}

impl<'de> DeserializeSeed<'de> for Strict {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        let deeper = self.deeper()?;
        while items.next_element_seed(deeper)?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<(), A::Error> {
        let deeper = self.deeper()?;
        let mut seen = HashSet::new();
        while let Some(key) = fields.next_key::<String>()? {
            if !seen.insert(key) {
                return Err(A::Error::custom("a key occurs twice"));
            }
            fields.next_value_seed(deeper)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_twice_at_any_depth_is_refused() {
        for fine in ["{}", r#"{"a":1,"b":{"a":[{"a":null}]}}"#, " {\"a\":1.5} "] {
            assert_eq!(check(fine.as_bytes()), Ok(()), "{fine}");
        }
        for refused in [
            "",
            "[]",
            "1",
            "{",
            "{}x",
            "{} {}",
            r#"{"a":1,"a":1}"#,
            r#"{"a":1,"\u0061":2}"#,
            r#"{"x":{"a":1,"a":2}}"#,
            r#"{"x":[{"a":1,"a":2}]}"#,
            "{\"a\":\"\u{1}\"}",
        ] {
            assert_eq!(check(refused.as_bytes()), Err(Refused), "{refused}");
        }
        assert_eq!(check(b"{\"a\":\"\xff\"}"), Err(Refused));
        let deep = format!("{{\"a\":{}1{}}}", "[".repeat(40), "]".repeat(40));
        assert_eq!(check(deep.as_bytes()), Err(Refused));
    }
}
