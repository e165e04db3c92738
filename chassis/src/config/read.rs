//! From TOML to a raw configuration, going on after the first error.

use std::ops::Range;

use serde::de::DeserializeOwned;
use toml::Spanned;
use toml::de::{DeTable, DeValue, Deserializer};

use super::findings::Findings;

/// More errors than this in one file are not told one by one.
const MOST: usize = 64;

/// Reads `text`. Serde stops at the first error; here the offending entry is taken out and reading
/// goes on, so that one start tells everything. What was read is returned even with findings: it
/// then lacks the entries that were taken out.
pub(super) fn read<R: DeserializeOwned>(text: &str) -> (Option<R>, Findings) {
    let mut findings = Findings::default();
    let (mut document, errors) = DeTable::parse_recoverable(text);
    for error in &errors {
        findings.add(line(text, error.span()), error.message().trim());
    }
    if !errors.is_empty() {
        return (None, findings);
    }
    for _ in 0..MOST {
        let error = match R::deserialize(Deserializer::from(document.clone())) {
            Ok(raw) => return (Some(raw), findings),
            Err(error) => error,
        };
        let message = error.message().trim().to_owned();
        let Some(span) = error.span() else {
            findings.add("(file)", message);
            return (None, findings);
        };
        match take_out(document.get_mut(), &span, "") {
            Some(Place::Entry(path)) => findings.add(path, message),
            // A table that lacks something cannot be mended by taking something out.
            Some(Place::Table(path)) => {
                findings.add(path, message);
                return (None, findings);
            }
            None => {
                findings.add(line(text, Some(span)), message);
                return (None, findings);
            }
        }
    }
    (None, findings)
}

/// Where an error points.
enum Place {
    /// At an entry, which has been taken out.
    Entry(String),
    /// At a whole table, which lacks something.
    Table(String),
}

/// Takes the entry out that `span` points at: its key, or a value without entries of its own.
fn take_out(table: &mut DeTable<'_>, span: &Range<usize>, path: &str) -> Option<Place> {
    let at = table
        .iter()
        .find(|(key, value)| key.span() == *span || holds(value, span))
        .map(|(key, _)| key.clone())?;
    let here = join(path, at.get_ref());
    // The key of a table that was opened by a header has the header's span, as the table has.
    if at.span() != *span {
        match table.get_mut(&at).map(Spanned::get_mut) {
            Some(DeValue::Table(inner)) => {
                return take_out(inner, span, &here).or(Some(Place::Table(here)));
            }
            Some(DeValue::Array(items)) => {
                let inside = items
                    .iter_mut()
                    .enumerate()
                    .find(|(_, item)| holds(item, span));
                if let Some((index, item)) = inside
                    && let DeValue::Table(inner) = item.get_mut()
                {
                    let here = format!("{here}[{index}]");
                    return take_out(inner, span, &here).or(Some(Place::Table(here)));
                }
            }
            _ => {}
        }
    }
    table.remove(&at).map(|_| Place::Entry(here))
}

/// Whether `span` lies in `value`, or in something within it: the span of a table that was opened
/// by a header is the header's.
fn holds(value: &Spanned<DeValue<'_>>, span: &Range<usize>) -> bool {
    let own = value.span();
    if own.start <= span.start && span.end <= own.end {
        return true;
    }
    match value.get_ref() {
        DeValue::Table(inner) => inner
            .iter()
            .any(|(key, value)| key.span() == *span || holds(value, span)),
        DeValue::Array(items) => items.iter().any(|item| holds(item, span)),
        DeValue::String(_)
        | DeValue::Integer(_)
        | DeValue::Float(_)
        | DeValue::Boolean(_)
        | DeValue::Datetime(_) => false,
    }
}

/// The path of a key below another.
pub(super) fn join(path: &str, key: &str) -> String {
    if path.is_empty() {
        key.to_owned()
    } else {
        format!("{path}.{key}")
    }
}

fn line(text: &str, span: Option<Range<usize>>) -> String {
    let before = span.and_then(|span| text.get(..span.start)).unwrap_or("");
    format!("line {}", before.matches('\n').count().saturating_add(1))
}
