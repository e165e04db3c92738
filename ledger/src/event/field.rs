//! How the values of an event are written into fields and read back.

use mandate::id::{
    ApplicationId, BindingId, DecisionId, JournalId, KeyId, Label, MandateId, PolicyVersionId,
    RecordId, ResourceUri, ScopeSet, SessionId, ZoneId,
};
use uuid::Uuid;

use super::{LeaseTerms, MAX_SAMPLES, MAX_TEXT, Outcome, Sample};
use crate::bytes::{Broken, Reader, exact, push};
use crate::envelope::Epoch;

/// How a value is written into a field and read back.
pub(super) trait Field: Sized {
    fn write(&self) -> Vec<u8>;
    fn read(bytes: &[u8]) -> Result<Self, Broken>;
}

macro_rules! integers {
    ($($type:ty)*) => {$(
        impl Field for $type {
            fn write(&self) -> Vec<u8> {
                self.to_be_bytes().to_vec()
            }

            fn read(bytes: &[u8]) -> Result<Self, Broken> {
                exact(bytes).map(Self::from_be_bytes)
            }
        }
    )*};
}

integers!(u32 u64 i64);

macro_rules! uuids {
    ($($type:ty)*) => {$(
        impl Field for $type {
            fn write(&self) -> Vec<u8> {
                self.as_uuid().as_bytes().to_vec()
            }

            fn read(bytes: &[u8]) -> Result<Self, Broken> {
                exact(bytes).map(Uuid::from_bytes).map(Self::from_uuid)
            }
        }
    )*};
}

uuids!(ZoneId JournalId DecisionId ApplicationId SessionId BindingId MandateId RecordId PolicyVersionId);

macro_rules! texts {
    ($($type:ty: $write:expr, $read:expr;)*) => {$(
        impl Field for $type {
            fn write(&self) -> Vec<u8> {
                let text: fn(&$type) -> String = $write;
                text(self).into_bytes()
            }

            fn read(bytes: &[u8]) -> Result<Self, Broken> {
                let read: fn(&str) -> Option<$type> = $read;
                std::str::from_utf8(bytes).ok().and_then(read).ok_or(Broken)
            }
        }
    )*};
}

texts! {
    String: Self::clone, |text| (text.len() <= MAX_TEXT).then(|| text.to_owned());
    ResourceUri: Self::to_string, |text| Self::parse(text).ok();
    KeyId: Self::to_string, |text| Self::parse(text).ok();
    Outcome: |outcome| outcome.as_str().to_owned(), Self::parse;
    ScopeSet: Self::to_string, |text| Self::parse(text).ok().filter(|set| set.to_string() == text);
}

impl<const N: usize> Field for [u8; N] {
    fn write(&self) -> Vec<u8> {
        self.to_vec()
    }

    fn read(bytes: &[u8]) -> Result<Self, Broken> {
        exact(bytes)
    }
}

impl Field for Epoch {
    fn write(&self) -> Vec<u8> {
        self.0.to_vec()
    }

    fn read(bytes: &[u8]) -> Result<Self, Broken> {
        exact(bytes).map(Self)
    }
}

impl Field for LeaseTerms {
    fn write(&self) -> Vec<u8> {
        [
            self.max_uses.to_be_bytes().as_slice(),
            &self.not_after_ns.to_be_bytes(),
        ]
        .concat()
    }

    fn read(bytes: &[u8]) -> Result<Self, Broken> {
        let mut reader = Reader::new(bytes);
        let max_uses = u32::from_be_bytes(reader.array()?);
        let not_after_ns = i64::from_be_bytes(reader.array()?);
        reader.end()?;
        Ok(Self {
            max_uses,
            not_after_ns,
        })
    }
}

impl Field for Vec<Label> {
    fn write(&self) -> Vec<u8> {
        let mut out = Vec::new();
        for label in self {
            push(&mut out, label.as_str().as_bytes());
        }
        out
    }

    fn read(bytes: &[u8]) -> Result<Self, Broken> {
        let mut reader = Reader::new(bytes);
        let mut labels = Self::new();
        while !reader.is_empty() {
            let text = std::str::from_utf8(reader.field()?).map_err(|_| Broken)?;
            labels.push(Label::parse(text).map_err(|_| Broken)?);
        }
        if labels.is_empty() {
            Err(Broken)
        } else {
            Ok(labels)
        }
    }
}

impl Field for Vec<Sample> {
    fn write(&self) -> Vec<u8> {
        let mut out = Vec::new();
        for sample in self {
            out.extend_from_slice(sample.decision_id.as_uuid().as_bytes());
            out.extend_from_slice(&sample.at_ns.to_be_bytes());
            push(&mut out, sample.request_id.as_bytes());
        }
        out
    }

    fn read(bytes: &[u8]) -> Result<Self, Broken> {
        let mut reader = Reader::new(bytes);
        let mut samples = Self::new();
        while !reader.is_empty() {
            let decision_id = DecisionId::from_uuid(Uuid::from_bytes(reader.array()?));
            let at_ns = i64::from_be_bytes(reader.array()?);
            let request_id = String::read(reader.field()?)?;
            samples.push(Sample {
                decision_id,
                request_id,
                at_ns,
            });
        }
        if (1..=MAX_SAMPLES).contains(&samples.len()) {
            Ok(samples)
        } else {
            Err(Broken)
        }
    }
}
