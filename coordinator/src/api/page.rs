//! Lists, a page at a time: each page says after which id the next begins.

use axum::extract::{FromRequestParts, Query};
use http::request::Parts;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use crate::error::Error;

const DEFAULT: i64 = 50;
const MOST: i64 = 200;

/// Which page.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct PageQuery {
    /// The most items, 1 to 200.
    limit: Option<i64>,
    /// `next` of the page before.
    after: Option<Uuid>,
}

/// Which page, checked.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Page {
    pub(crate) after: Uuid,
    pub(crate) limit: i64,
}

impl Page {
    /// Of the values of a query.
    pub(crate) fn checked(limit: Option<i64>, after: Option<Uuid>) -> Result<Self, Error> {
        let limit = limit.unwrap_or(DEFAULT);
        if !(1..=MOST).contains(&limit) {
            return Err(Error::invalid(
                "limit",
                format!("must be between 1 and {MOST}"),
            ));
        }
        Ok(Self {
            after: after.unwrap_or(Uuid::nil()),
            limit,
        })
    }

    /// One more than asked for, which tells whether there is a next page.
    pub(crate) fn probe(self) -> i64 {
        self.limit.saturating_add(1)
    }

    /// The page out of the rows of a probe.
    pub(crate) fn of<R, T>(
        self,
        mut rows: Vec<R>,
        id: impl Fn(&R) -> Uuid,
        item: impl Fn(R) -> T,
    ) -> Listing<T> {
        let limit = usize::try_from(self.limit).unwrap_or_default();
        let more = rows.len() > limit;
        rows.truncate(limit);
        let next = if more { rows.last().map(&id) } else { None };
        Listing {
            items: rows.into_iter().map(item).collect(),
            next,
        }
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Page {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Error> {
        let Query(query) = Query::<PageQuery>::from_request_parts(parts, state)
            .await
            .map_err(|error| Error::Malformed(error.body_text()))?;
        Self::checked(query.limit, query.after)
    }
}

/// A page.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Listing<T> {
    /// The items.
    pub(crate) items: Vec<T>,
    /// Ask for what follows with `after` set to this; absent at the end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) next: Option<Uuid>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_probe_has_a_next_page_and_a_short_one_has_not() {
        let page = Page {
            after: Uuid::nil(),
            limit: 2,
        };
        let ids = |count: u128| (1..=count).map(Uuid::from_u128).collect::<Vec<_>>();
        let full = page.of(ids(3), |id| *id, |id| id);
        assert_eq!((full.items.len(), full.next), (2, Some(Uuid::from_u128(2))));
        let short = page.of(ids(2), |id| *id, |id| id);
        assert_eq!((short.items.len(), short.next), (2, None));
    }
}
