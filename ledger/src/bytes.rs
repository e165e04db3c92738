//! Length-prefixed fields, written and read strictly.

/// The bytes are not what was expected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Broken;

/// Appends a big-endian length and the bytes.
pub(crate) fn push(out: &mut Vec<u8>, field: &[u8]) {
    out.extend_from_slice(&length(field.len()));
    out.extend_from_slice(field);
}

/// Appends what `write` appends, behind its big-endian length.
pub(crate) fn push_with(out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    let at = out.len();
    out.extend_from_slice(&[0; 4]);
    let from = out.len();
    write(out);
    let length = length(out.len().saturating_sub(from));
    for (to, byte) in out.iter_mut().skip(at).zip(length) {
        *to = byte;
    }
}

/// No field of ours comes near 4 GiB; one that did would be cut and could not verify.
fn length(of: usize) -> [u8; 4] {
    u32::try_from(of).unwrap_or(u32::MAX).to_be_bytes()
}

/// Reads from the front of a slice.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub(crate) fn take(&mut self, length: usize) -> Result<&'a [u8], Broken> {
        let (head, rest) = self.0.split_at_checked(length).ok_or(Broken)?;
        self.0 = rest;
        Ok(head)
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], Broken> {
        self.take(N)?.try_into().map_err(|_| Broken)
    }

    pub(crate) fn byte(&mut self) -> Result<u8, Broken> {
        self.array::<1>().map(|[byte]| byte)
    }

    pub(crate) fn field(&mut self) -> Result<&'a [u8], Broken> {
        let length = usize::try_from(u32::from_be_bytes(self.array()?)).map_err(|_| Broken)?;
        self.take(length)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn end(self) -> Result<(), Broken> {
        if self.is_empty() { Ok(()) } else { Err(Broken) }
    }
}

/// A whole field as a fixed number of bytes.
pub(crate) fn exact<const N: usize>(field: &[u8]) -> Result<[u8; N], Broken> {
    field.try_into().map_err(|_| Broken)
}
