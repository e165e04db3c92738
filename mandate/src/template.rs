//! Operations: which method and path need which scopes.

use std::fmt;
use std::sync::Arc;

use crate::canonical::{self, CanonicalPath};
use crate::id::ScopeSet;

/// Why a text is no template, or a set of operations no set.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// It is not a canonical path of literals, `{name}`, `*`, and a last `**`.
    #[error("`{0}` is not a canonical path of literals, {{name}}, *, and a last **")]
    Form(String),
    /// The method cannot be governed.
    #[error("the method `{0}` cannot be governed")]
    Method(String),
    /// Two operations match some request, and neither is the more specific.
    #[error(
        "`{first}` and `{second}` match some {method} request, and neither is the more specific"
    )]
    Overlap {
        /// Their method.
        method: String,
        /// One template.
        first: String,
        /// The other.
        second: String,
    },
}

/// One segment of a template.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Segment {
    Literal(Box<str>),
    One,
    Rest,
}

impl Segment {
    /// Literals come before variables, those before the rest.
    const fn rank(&self) -> u8 {
        match self {
            Self::Literal(_) => 0,
            Self::One => 1,
            Self::Rest => 2,
        }
    }

    /// Whether whatever fits `other` fits this, segment for segment.
    fn covers(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Literal(ours), Self::Literal(theirs)) => ours == theirs,
            (Self::One, Self::Literal(_) | Self::One) | (Self::Rest, _) => true,
            (Self::Literal(_), Self::One | Self::Rest) | (Self::One, Self::Rest) => false,
        }
    }
}

/// A path template: `/v1/invoices/{id}`; `*` is one segment too, a last `**` is one or more. A path with a trailing
/// slash fits only a template with one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    text: Box<str>,
    segments: Box<[Segment]>,
    slash: bool,
}

impl Template {
    /// The longest text.
    pub const MAX_BYTES: usize = 512;

    /// Parses a template; its literals must be canonical, and escape only what has to be.
    pub fn parse(text: &str) -> Result<Self, TemplateError> {
        let wrong = || TemplateError::Form(text.to_owned());
        let rest = text.strip_prefix('/').ok_or_else(wrong)?;
        if text.len() > Self::MAX_BYTES {
            return Err(wrong());
        }
        let (rest, slash) = match rest.strip_suffix('/') {
            Some(rest) => (rest, true),
            None => (rest, false),
        };
        let mut segments = Vec::new();
        if slash || !rest.is_empty() {
            let mut parts = rest.split('/').peekable();
            while let Some(part) = parts.next() {
                let last = parts.peek().is_none();
                segments.push(segment(part, last).ok_or_else(wrong)?);
            }
        }
        Ok(Self {
            text: text.into(),
            segments: segments.into(),
            slash,
        })
    }

    /// The text it was parsed from: what evidence names instead of the raw path.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether the path fits, byte for byte.
    pub fn matches(&self, path: &CanonicalPath<'_>) -> bool {
        self.fits(path, |literal, part| literal == part)
    }

    /// Whether a server that decodes the path's escapes would see one that fits.
    fn matches_decoded(&self, path: &CanonicalPath<'_>) -> bool {
        self.fits(path, |literal, part| {
            canonical::decoded(literal).eq(canonical::decoded(part))
        })
    }

    fn fits(&self, path: &CanonicalPath<'_>, same: impl Fn(&str, &str) -> bool) -> bool {
        let mut parts = path.segments().filter(|part| !part.is_empty());
        if self.slash != path.ends_in_slash() {
            return false;
        }
        for segment in &self.segments {
            let Some(part) = parts.next() else {
                return false;
            };
            match segment {
                Segment::Literal(literal) if same(literal, part) => {}
                Segment::Literal(_) => return false,
                Segment::One => {}
                Segment::Rest => return true,
            }
        }
        parts.next().is_none()
    }

    /// Whether some path fits both.
    fn meets(&self, other: &Self) -> bool {
        let mut ours = self.segments.iter();
        let mut theirs = other.segments.iter();
        if self.slash != other.slash {
            return false;
        }
        loop {
            match (ours.next(), theirs.next()) {
                (None, None) | (Some(Segment::Rest), Some(_)) | (Some(_), Some(Segment::Rest)) => {
                    return true;
                }
                (Some(first), Some(second)) if first.covers(second) || second.covers(first) => {}
                (Some(_) | None, Some(_) | None) => return false,
            }
        }
    }

    /// Whether every path that fits `other` fits this.
    fn covers(&self, other: &Self) -> bool {
        let mut theirs = other.segments.iter();
        if self.slash != other.slash {
            return false;
        }
        for segment in &self.segments {
            match theirs.next() {
                Some(specific) if segment.covers(specific) => {}
                Some(_) | None => return false,
            }
            if *segment == Segment::Rest {
                return true;
            }
        }
        theirs.next().is_none()
    }
}

impl fmt::Display for Template {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.text)
    }
}

fn segment(part: &str, last: bool) -> Option<Segment> {
    match part {
        "*" => return Some(Segment::One),
        "**" => return last.then_some(Segment::Rest),
        _ => {}
    }
    let variable = part
        .strip_prefix('{')
        .and_then(|rest| rest.strip_suffix('}'));
    if let Some(name) = variable {
        let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        return (!name.is_empty() && name.bytes().all(word)).then_some(Segment::One);
    }
    let literal = format!("/{part}");
    let canonical = !part.is_empty()
        && !part.contains(['*', '?'])
        && canonical::path(literal.as_bytes()).is_ok()
        && canonical::escapes_least(part);
    canonical.then(|| Segment::Literal(part.into()))
}

/// A method and a template, and the scopes they need.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Operation {
    /// The method; upper case.
    pub method: String,
    /// The template.
    pub template: Template,
    /// The scopes that a mandate must have, all of them.
    pub scopes: ScopeSet,
}

impl Operation {
    /// Whether some request matches both, and neither is the more specific.
    fn overlaps(&self, other: &Self) -> bool {
        let (first, second) = (&self.template, &other.template);
        self.method == other.method
            && first.meets(second)
            && first.covers(second) == second.covers(first)
    }
}

/// The operations of a resource, free of overlaps, most specific first. Each is shared with whoever decides by it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OperationSet(Box<[Arc<Operation>]>);

impl OperationSet {
    /// Takes operations of which, wherever two match one request, one is the more specific: it matches less than the
    /// other and nothing else.
    pub fn new(mut operations: Vec<Operation>) -> Result<Self, TemplateError> {
        for operation in &operations {
            if canonical::method(operation.method.as_bytes()).is_err() {
                return Err(TemplateError::Method(operation.method.clone()));
            }
        }
        for (index, first) in operations.iter().enumerate() {
            for second in operations.iter().skip(index.saturating_add(1)) {
                if first.overlaps(second) {
                    return Err(TemplateError::Overlap {
                        method: first.method.clone(),
                        first: first.template.to_string(),
                        second: second.template.to_string(),
                    });
                }
            }
        }
        // What covers another has no lower rank at any segment, so it comes later.
        operations.sort_by(|a, b| {
            let ranks = |operation: &Operation| {
                operation
                    .template
                    .segments
                    .iter()
                    .map(Segment::rank)
                    .collect::<Vec<_>>()
            };
            ranks(a).cmp(&ranks(b))
        });
        Ok(Self(operations.into_iter().map(Arc::new).collect()))
    }

    /// The most specific operation of a request. None where a server that decodes escapes would see another one: the
    /// form decided on would not be the form acted on.
    pub fn find(&self, method: &str, path: &CanonicalPath<'_>) -> Option<&Arc<Operation>> {
        let mut candidates = self.0.iter().filter(|operation| operation.method == method);
        if path.path().contains('%') {
            let differs = |operation: &Arc<Operation>| {
                operation.template.matches_decoded(path) && !operation.template.matches(path)
            };
            if candidates.clone().any(differs) {
                return None;
            }
        }
        candidates.find(|operation| operation.template.matches(path))
    }

    /// All operations, most specific first.
    pub fn iter(&self) -> std::slice::Iter<'_, Arc<Operation>> {
        self.0.iter()
    }
}

impl<'a> IntoIterator for &'a OperationSet {
    type Item = &'a Arc<Operation>;
    type IntoIter = std::slice::Iter<'a, Arc<Operation>>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

#[cfg(test)]
mod tests;
