//! The answer of the authorization service, read from its bytes without copying.
//!
//! Stricter than protobuf: what is there once by its nature and comes twice makes it no answer, where protobuf would take
//! the last one or both together; and what a message of this kind cannot do without is not made up. Unknown fields are
//! passed over.

/// What is read of `envoy.service.auth.v3.CheckResponse`. To the protocol an empty one allows; nobody here may read it so.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Answer<'a> {
    /// The code of `status`, which alone decides.
    pub status: Option<i32>,
    /// What goes with it.
    pub outcome: Option<Outcome<'a>>,
    /// `dynamic_metadata`: names, and their values where these are text.
    pub metadata: Vec<(&'a str, Option<&'a str>)>,
}

/// What goes with the status.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome<'a> {
    /// To a refusal.
    Denied(Denied<'a>),
    /// To an allow.
    Ok(Allowed<'a>),
}

/// `envoy.service.auth.v3.DeniedHttpResponse`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Denied<'a> {
    /// The HTTP status.
    pub status: Option<i32>,
    /// The headers.
    pub headers: Vec<Header<'a>>,
    /// The body.
    pub body: &'a str,
}

/// `envoy.service.auth.v3.OkHttpResponse`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Allowed<'a> {
    /// Headers that the upstream gets.
    pub headers: Vec<Header<'a>>,
    /// Headers that it must not get.
    pub remove: Vec<&'a str>,
}

/// `envoy.config.core.v3.HeaderValueOption`. How it is appended is not read: it is set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Header<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its value: the raw one where there is one.
    pub value: &'a [u8],
}

impl<'a> Answer<'a> {
    /// Reads an answer; none where the bytes are none.
    pub fn read(bytes: &'a [u8]) -> Option<Self> {
        let (mut status, mut outcome, mut metadata) = (None, None, None);
        each(bytes, |tag, value| match tag {
            1 => once(&mut status, code(value.bytes()?)?),
            2 => once(&mut outcome, Outcome::Denied(denied(value.bytes()?)?)),
            3 => once(&mut outcome, Outcome::Ok(allowed(value.bytes()?)?)),
            4 => once(&mut metadata, members(value.bytes()?)?),
            // An error is no answer, whatever else is said.
            5 => None,
            _ => Some(()),
        })?;
        Some(Self {
            status,
            outcome,
            metadata: metadata.unwrap_or_default(),
        })
    }

    /// The text of a member of the metadata; none where several have this name.
    pub fn text(&self, name: &str) -> Option<&'a str> {
        let mut named = self.metadata.iter().filter(|(known, _)| *known == name);
        let (_, value) = named.next().filter(|_| named.next().is_none())?;
        *value
    }
}

fn denied(bytes: &[u8]) -> Option<Denied<'_>> {
    let (mut status, mut body) = (None, None);
    let mut headers = Vec::new();
    each(bytes, |tag, value| match tag {
        1 => once(&mut status, code(value.bytes()?)?),
        2 => {
            headers.push(option(value.bytes()?)?);
            Some(())
        }
        3 => once(&mut body, value.text()?),
        _ => Some(()),
    })?;
    Some(Denied {
        status,
        headers,
        body: body.unwrap_or_default(),
    })
}

fn allowed(bytes: &[u8]) -> Option<Allowed<'_>> {
    let mut allowed = Allowed::default();
    each(bytes, |tag, value| {
        match tag {
            2 => allowed.headers.push(option(value.bytes()?)?),
            5 => allowed.remove.push(value.text()?),
            _ => {}
        }
        Some(())
    })?;
    Some(allowed)
}

/// `HeaderValueOption`: the header in it has to be there.
fn option(bytes: &[u8]) -> Option<Header<'_>> {
    let mut header = None;
    each(bytes, |tag, value| match tag {
        1 => once(&mut header, value.bytes()?),
        _ => Some(()),
    })?;
    let (mut name, mut text, mut raw) = (None, None, None);
    each(header?, |tag, value| match tag {
        1 => once(&mut name, value.text()?),
        2 => once(&mut text, value.text()?.as_bytes()),
        3 => once(&mut raw, value.bytes()?),
        _ => Some(()),
    })?;
    let raw = raw.filter(|raw| !raw.is_empty());
    Some(Header {
        name: name.unwrap_or_default(),
        value: raw.or(text).unwrap_or_default(),
    })
}

/// `google.protobuf.Struct`.
fn members(bytes: &[u8]) -> Option<Vec<(&str, Option<&str>)>> {
    let mut members = Vec::new();
    each(bytes, |tag, value| {
        if tag == 1 {
            members.push(member(value.bytes()?)?);
        }
        Some(())
    })?;
    Some(members)
}

/// An entry of it: its name, and its value where that is text and nothing else.
fn member(bytes: &[u8]) -> Option<(&str, Option<&str>)> {
    let (mut name, mut value) = (None, None);
    each(bytes, |tag, field| match tag {
        1 => once(&mut name, field.text()?),
        2 => once(&mut value, field.bytes()?),
        _ => Some(()),
    })?;
    let (mut text, mut kinds) = (None, 0_usize);
    each(value.unwrap_or_default(), |tag, field| {
        kinds = kinds.saturating_add(1);
        match tag {
            3 => once(&mut text, field.text()?),
            _ => Some(()),
        }
    })?;
    Some((name.unwrap_or_default(), text.filter(|_| kinds == 1)))
}

/// The code of `google.rpc.Status` or `envoy.type.v3.HttpStatus`; zero where it is left out, as protobuf has it. The text
/// that the first has beside it has to be text.
fn code(bytes: &[u8]) -> Option<i32> {
    let (mut code, mut message) = (None, None);
    each(bytes, |tag, value| match tag {
        1 => once(
            &mut code,
            i32::try_from(value.number()?.cast_signed()).ok()?,
        ),
        2 => once(&mut message, value.text()?),
        _ => Some(()),
    })?;
    Some(code.unwrap_or_default())
}

/// Fills a place once.
fn once<T>(place: &mut Option<T>, value: T) -> Option<()> {
    place.is_none().then(|| *place = Some(value))
}

/// The value of a field.
#[derive(Debug, Clone, Copy)]
enum Value<'a> {
    Number(u64),
    Bytes(&'a [u8]),
    /// Of a length that no field of ours has.
    Fixed,
}

impl<'a> Value<'a> {
    fn number(self) -> Option<u64> {
        match self {
            Self::Number(number) => Some(number),
            Self::Bytes(_) | Self::Fixed => None,
        }
    }

    fn bytes(self) -> Option<&'a [u8]> {
        match self {
            Self::Bytes(bytes) => Some(bytes),
            Self::Number(_) | Self::Fixed => None,
        }
    }

    fn text(self) -> Option<&'a str> {
        str::from_utf8(self.bytes()?).ok()
    }
}

/// Looks at each field of a message; none where the bytes are no message, or `look` says so.
fn each<'a>(mut rest: &'a [u8], mut look: impl FnMut(u32, Value<'a>) -> Option<()>) -> Option<()> {
    while !rest.is_empty() {
        let key = u32::try_from(varint(&mut rest)?).ok()?;
        let value = match key & 7 {
            0 => Value::Number(varint(&mut rest)?),
            1 => take(&mut rest, 8).map(|_| Value::Fixed)?,
            2 => {
                let length = usize::try_from(varint(&mut rest)?).ok()?;
                Value::Bytes(take(&mut rest, length)?)
            }
            5 => take(&mut rest, 4).map(|_| Value::Fixed)?,
            // Groups are of another age.
            _ => return None,
        };
        let tag = key >> 3;
        (tag > 0).then_some(())?;
        look(tag, value)?;
    }
    Some(())
}

fn take<'a>(rest: &mut &'a [u8], length: usize) -> Option<&'a [u8]> {
    let (taken, after) = rest.split_at_checked(length)?;
    *rest = after;
    Some(taken)
}

/// A number of at most 64 bits, seven to a byte, the least first.
fn varint(rest: &mut &[u8]) -> Option<u64> {
    let mut number = 0_u64;
    for shift in (0..64).step_by(7) {
        let (byte, after) = rest.split_first()?;
        *rest = after;
        let part = u64::from(byte & 0x7f);
        let shifted = part.checked_shl(shift)?;
        // The last byte has room for one bit.
        (shifted.checked_shr(shift)? == part).then_some(())?;
        number |= shifted;
        if *byte < 0x80 {
            return Some(number);
        }
    }
    None
}

#[cfg(test)]
mod tests;
