//! Operations: which method and path need which scopes.

use std::cmp::Ordering;
use std::fmt;

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
    /// Two operations match some request equally well.
    #[error("`{first}` and `{second}` match the same {method} requests equally well")]
    Overlap {
        /// Their method.
        method: String,
        /// One template.
        first: String,
        /// The other.
        second: String,
    },
}

/// One segment of a template. The order is the order of specificity.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Segment {
    Literal(Box<str>),
    One,
    Rest,
}

/// A path template: `/v1/invoices/{id}`; `*` is one segment too, `**` at the end is one or more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    text: Box<str>,
    segments: Box<[Segment]>,
}

impl Template {
    /// Parses a template; its literals must be canonical.
    pub fn parse(text: &str) -> Result<Self, TemplateError> {
        let wrong = || TemplateError::Form(text.to_owned());
        let rest = text.strip_prefix('/').ok_or_else(wrong)?;
        if text.len() > 512 {
            return Err(wrong());
        }
        let mut segments = Vec::new();
        if !rest.is_empty() {
            let mut parts = rest.split('/').peekable();
            while let Some(part) = parts.next() {
                let last = parts.peek().is_none();
                segments.push(segment(part, last).ok_or_else(wrong)?);
            }
        }
        Ok(Self {
            text: text.into(),
            segments: segments.into(),
        })
    }

    /// The text it was parsed from: what evidence names instead of the raw path.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether the path fits. A variable matches exactly one segment that is not empty.
    pub fn matches(&self, path: &CanonicalPath<'_>) -> bool {
        let mut parts = path.segments();
        for segment in &self.segments {
            let Some(part) = parts.next() else {
                return false;
            };
            match segment {
                Segment::Literal(literal) if **literal == *part => {}
                Segment::Literal(_) => return false,
                Segment::One if part.is_empty() => return false,
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
        loop {
            match (ours.next(), theirs.next()) {
                (None, None) | (Some(Segment::Rest), Some(_)) | (Some(_), Some(Segment::Rest)) => {
                    return true;
                }
                (None, Some(_)) | (Some(_), None) => return false,
                (Some(Segment::Literal(a)), Some(Segment::Literal(b))) if a != b => return false,
                (Some(Segment::Literal(a)), Some(Segment::One))
                | (Some(Segment::One), Some(Segment::Literal(a)))
                    if a.is_empty() =>
                {
                    return false;
                }
                (
                    Some(Segment::Literal(_) | Segment::One),
                    Some(Segment::Literal(_) | Segment::One),
                ) => {}
            }
        }
    }

    /// Which is the more specific of two that meet: segment by segment, a literal before a variable before the rest.
    fn specificity(&self, other: &Self) -> Ordering {
        for (ours, theirs) in self.segments.iter().zip(&other.segments) {
            let order = rank_key(ours).cmp(&rank_key(theirs));
            if order.is_ne() {
                return order;
            }
        }
        Ordering::Equal
    }
}

impl fmt::Display for Template {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.text)
    }
}

fn segment(part: &str, last: bool) -> Option<Segment> {
    match part {
        "*" => Some(Segment::One),
        "**" => last.then_some(Segment::Rest),
        // A trailing slash, which only a template that ends in one matches.
        "" => last.then(|| Segment::Literal("".into())),
        _ => {
            if let Some(name) = part
                .strip_prefix('{')
                .and_then(|rest| rest.strip_suffix('}'))
            {
                let valid = !name.is_empty()
                    && name
                        .bytes()
                        .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
                return valid.then_some(Segment::One);
            }
            let literal = format!("/{part}");
            let canonical =
                !part.contains(['*', '?', '{', '}']) && canonical::path(literal.as_bytes()).is_ok();
            canonical.then(|| Segment::Literal(part.into()))
        }
    }
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

/// The operations of a resource, free of overlaps, most specific first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OperationSet(Box<[Operation]>);

impl OperationSet {
    /// Takes operations of which no two match one request equally well.
    pub fn new(mut operations: Vec<Operation>) -> Result<Self, TemplateError> {
        for operation in &operations {
            if canonical::method(operation.method.as_bytes()).is_err() {
                return Err(TemplateError::Method(operation.method.clone()));
            }
        }
        for (index, first) in operations.iter().enumerate() {
            for second in operations.iter().skip(index.saturating_add(1)) {
                let same = first.method == second.method && first.template.meets(&second.template);
                if same && first.template.specificity(&second.template) == Ordering::Equal {
                    return Err(TemplateError::Overlap {
                        method: first.method.clone(),
                        first: first.template.to_string(),
                        second: second.template.to_string(),
                    });
                }
            }
        }
        operations.sort_by(|a, b| {
            a.template
                .segments
                .iter()
                .map(rank_key)
                .cmp(b.template.segments.iter().map(rank_key))
        });
        Ok(Self(operations.into()))
    }

    /// The most specific operation of a request.
    pub fn find(&self, method: &str, path: &CanonicalPath<'_>) -> Option<&Operation> {
        self.0
            .iter()
            .find(|operation| operation.method == method && operation.template.matches(path))
    }

    /// All operations, most specific first.
    pub fn iter(&self) -> std::slice::Iter<'_, Operation> {
        self.0.iter()
    }
}

impl<'a> IntoIterator for &'a OperationSet {
    type Item = &'a Operation;
    type IntoIter = std::slice::Iter<'a, Operation>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

fn rank_key(segment: &Segment) -> u8 {
    match segment {
        Segment::Literal(_) => 0,
        Segment::One => 1,
        Segment::Rest => 2,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn operations(list: &[(&str, &str)]) -> Result<OperationSet, TemplateError> {
        let operations = list.iter().map(|(method, template)| {
            Template::parse(template).map(|template| Operation {
                method: (*method).to_owned(),
                template,
                scopes: ScopeSet::default(),
            })
        });
        OperationSet::new(operations.collect::<Result<_, _>>()?)
    }

    fn found(set: &OperationSet, path: &str) -> Option<String> {
        set.find("GET", &canonical::path(path.as_bytes()).unwrap())
            .map(|operation| operation.template.to_string())
    }

    #[test]
    fn the_most_specific_operation_is_found() {
        let set = operations(&[
            ("GET", "/v1/**"),
            ("GET", "/v1/invoices/{id}"),
            ("GET", "/v1/invoices/summary"),
            ("GET", "/v1/invoices/"),
            ("GET", "/"),
            ("POST", "/v1/invoices"),
            ("GET", "/v1/*/lines"),
        ])
        .unwrap();
        for (path, expected) in [
            ("/v1/invoices/summary", Some("/v1/invoices/summary")),
            ("/v1/invoices/42", Some("/v1/invoices/{id}")),
            ("/v1/invoices/42/x", Some("/v1/**")),
            ("/v1/invoices/", Some("/v1/invoices/")),
            ("/v1/invoices", Some("/v1/**")),
            ("/v1/orders/lines", Some("/v1/*/lines")),
            ("/v1", None),
            ("/", Some("/")),
            ("/v2", None),
        ] {
            assert_eq!(found(&set, path).as_deref(), expected, "{path}");
        }
    }

    #[test]
    fn operations_that_match_equally_well_are_refused() {
        for overlapping in [
            [("GET", "/a/{x}"), ("GET", "/a/{y}")],
            [("GET", "/a/*"), ("GET", "/a/{y}")],
            [("GET", "/a"), ("GET", "/a")],
            [("GET", "/a/**"), ("GET", "/a/**")],
        ] {
            assert!(
                matches!(operations(&overlapping), Err(TemplateError::Overlap { .. })),
                "{overlapping:?}"
            );
        }
        for distinct in [
            [("GET", "/a/{x}"), ("POST", "/a/{x}")],
            [("GET", "/a/{x}/b"), ("GET", "/a/b/{y}")],
            [("GET", "/a/{x}"), ("GET", "/a/b")],
        ] {
            assert!(operations(&distinct).is_ok(), "{distinct:?}");
        }
    }

    #[test]
    fn a_template_has_canonical_literals() {
        for wrong in [
            "", "a", "/a//b", "/**/a", "/a/{", "/a/{}", "/a/{x y}", "/..", "/a%2fb", "/a?b", "/a*",
            "/x{id}",
        ] {
            assert!(Template::parse(wrong).is_err(), "{wrong}");
        }
    }

    fn template() -> impl proptest::strategy::Strategy<Value = String> {
        use proptest::prelude::*;
        let part = prop_oneof![Just("a"), Just("b"), Just("{x}"), Just("*")];
        (proptest::collection::vec(part, 0..4), any::<bool>()).prop_map(|(parts, rest)| {
            let mut text = parts
                .iter()
                .fold(String::new(), |text, part| format!("{text}/{part}"));
            if rest || text.is_empty() {
                text.push_str("/**");
            }
            text
        })
    }

    proptest::proptest! {
        #[test]
        fn templates_meet_if_and_only_if_some_path_fits_both(a in template(), b in template()) {
            let (first, second) = (Template::parse(&a).unwrap(), Template::parse(&b).unwrap());
            let mut paths = vec![String::new()];
            let mut all = Vec::new();
            for _ in 0..5 {
                paths = paths.iter().flat_map(|path| ["a", "b", "c"].map(|part| format!("{path}/{part}"))).collect();
                all.extend(paths.iter().cloned());
            }
            let both = all.iter().any(|path| {
                let path = canonical::path(path.as_bytes()).unwrap();
                first.matches(&path) && second.matches(&path)
            });
            proptest::prop_assert_eq!(first.meets(&second), both);
        }

        #[test]
        fn the_found_operation_does_not_depend_on_the_order_given(a in template(), b in template(), c in template(), at in 0..120_usize) {
            let list = [("GET", a.as_str()), ("GET", b.as_str()), ("GET", c.as_str())];
            let turned = [list[2], list[0], list[1]];
            if let (Ok(one), Ok(other)) = (operations(&list), operations(&turned)) {
                let parts = ["a", "b", "c"];
                let path = format!("/{}/{}/{}", parts[at % 3], parts[at / 3 % 3], parts[at / 9 % 3]);
                proptest::prop_assert_eq!(found(&one, &path), found(&other, &path));
            }
        }
    }
}
