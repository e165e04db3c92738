//! What is wrong with a message, and where.

/// A message that is not of the agreed form.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {wrong}")]
pub struct ConvertError {
    /// The message and field, such as `binding.hosts`.
    pub field: &'static str,
    /// What is wrong with it.
    pub wrong: Wrong,
}

/// What is wrong with a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Wrong {
    /// The bytes are no protobuf message of this type.
    #[error("is no message of this type")]
    Protobuf,
    /// It has to be there.
    #[error("is missing")]
    Missing,
    /// It is not of this form.
    #[error("is malformed")]
    Malformed,
    /// It has to have another length.
    #[error("has the wrong length")]
    Length,
    /// It is a value that this build does not know, or that has no place here.
    #[error("is not a value that has a place here")]
    Unknown,
    /// It is out of range.
    #[error("is out of range")]
    Range,
    /// Two of its parts say different things about the same.
    #[error("contradicts itself")]
    Contradiction,
}

impl ConvertError {
    /// An error at a field.
    pub const fn new(field: &'static str, wrong: Wrong) -> Self {
        Self { field, wrong }
    }

    /// The stable code.
    pub const fn code(&self) -> &'static str {
        "message_malformed"
    }
}

/// `Malformed` at a field, whatever the parser's own error.
pub(super) fn malformed<T, E>(
    field: &'static str,
    result: Result<T, E>,
) -> Result<T, ConvertError> {
    result.map_err(|_| ConvertError::new(field, Wrong::Malformed))
}

/// A value that has to be there.
pub(super) fn needed<T>(field: &'static str, value: Option<T>) -> Result<T, ConvertError> {
    value.ok_or(ConvertError::new(field, Wrong::Missing))
}

/// Bytes of a fixed length.
pub(super) fn fixed<const N: usize>(
    field: &'static str,
    bytes: &[u8],
) -> Result<[u8; N], ConvertError> {
    bytes
        .try_into()
        .map_err(|_| ConvertError::new(field, Wrong::Length))
}

/// Text of 1 to `most` visible ASCII characters.
pub(super) fn visible(
    field: &'static str,
    text: String,
    most: usize,
) -> Result<String, ConvertError> {
    if text.is_empty() || text.len() > most {
        return Err(ConvertError::new(field, Wrong::Length));
    }
    if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(ConvertError::new(field, Wrong::Malformed));
    }
    Ok(text)
}

/// A message from bytes.
pub(super) fn decode<M: prost::Message + Default>(
    field: &'static str,
    bytes: &[u8],
) -> Result<M, ConvertError> {
    M::decode(bytes).map_err(|_| ConvertError::new(field, Wrong::Protobuf))
}
