//! How the values of an event are written into fields and read back.

use mandate::id::{
    ApplicationId, BindingId, DecisionId, JournalId, KeyId, Label, MandateId, PolicyVersionId,
    RecordId, ResourceUri, ScopeSet, SessionId, ZoneId,
};
use uuid::Uuid;

use super::{LeaseTerms, MAX_SAMPLES, MAX_TEXT, Outcome, Sample};
use crate::bytes::{Broken, Reader, exact, push};
use crate::envelope::Epoch;

/// How a value is written behind what is there, and read back from a whole field.
pub(super) trait Field: Sized {
    fn write(&self, out: &mut Vec<u8>);
    fn read(bytes: &[u8]) -> Result<Self, Broken>;
}

macro_rules! integers {
    ($($type:ty)*) => {$(
        impl Field for $type {
            fn write(&self, out: &mut Vec<u8>) {
                out.extend_from_slice(&self.to_be_bytes());
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
            fn write(&self, out: &mut Vec<u8>) {
                out.extend_from_slice(self.as_uuid().as_bytes());
            }

            fn read(bytes: &[u8]) -> Result<Self, Broken> {
                exact(bytes).map(Uuid::from_bytes).map(Self::from_uuid)
            }
        }
    )*};
}

uuids!(ZoneId JournalId DecisionId ApplicationId SessionId BindingId MandateId RecordId PolicyVersionId);

macro_rules! texts {
    ($($type:ty: $text:expr, $read:expr;)*) => {$(
        impl Field for $type {
            fn write(&self, out: &mut Vec<u8>) {
                let text: fn(&$type) -> &str = $text;
                out.extend_from_slice(text(self).as_bytes());
            }

            fn read(bytes: &[u8]) -> Result<Self, Broken> {
                let read: fn(&str) -> Option<$type> = $read;
                std::str::from_utf8(bytes).ok().and_then(read).ok_or(Broken)
            }
        }
    )*};
}

texts! {
    String: Self::as_str, |text| (text.len() <= MAX_TEXT).then(|| text.to_owned());
    ResourceUri: Self::as_str, |text| Self::parse(text).ok();
    KeyId: Self::as_str, |text| Self::parse(text).ok();
    Outcome: |outcome| outcome.as_str(), Self::parse;
}

impl Field for ScopeSet {
    fn write(&self, out: &mut Vec<u8>) {
        for (index, scope) in self.iter().enumerate() {
            if index > 0 {
                out.push(b' ');
            }
            out.extend_from_slice(scope.as_str().as_bytes());
        }
    }

    fn read(bytes: &[u8]) -> Result<Self, Broken> {
        let text = std::str::from_utf8(bytes).map_err(|_| Broken)?;
        let set = Self::parse(text).map_err(|_| Broken)?;
        if set.to_string() == text {
            Ok(set)
        } else {
            Err(Broken)
        }
    }
}

impl<const N: usize> Field for [u8; N] {
    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self);
    }

    fn read(bytes: &[u8]) -> Result<Self, Broken> {
        exact(bytes)
    }
}

impl Field for Epoch {
    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.0);
    }

    fn read(bytes: &[u8]) -> Result<Self, Broken> {
        exact(bytes).map(Self)
    }
}

impl Field for LeaseTerms {
    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.max_uses.to_be_bytes());
        out.extend_from_slice(&self.not_after_ns.to_be_bytes());
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
    fn write(&self, out: &mut Vec<u8>) {
        for label in self {
            push(out, label.as_str().as_bytes());
        }
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
    fn write(&self, out: &mut Vec<u8>) {
        for sample in self {
            out.extend_from_slice(sample.decision_id.as_uuid().as_bytes());
            out.extend_from_slice(&sample.at_ns.to_be_bytes());
            push(out, sample.request_id.as_bytes());
        }
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
