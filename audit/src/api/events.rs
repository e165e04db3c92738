//! `GET /v1/zones/{zone}/events` and `GET /v1/events`.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, HeaderName, HeaderValue, header};
use jiff::Timestamp;
use ledger::event::{Event, EventKind, Outcome};
use mandate::id::ZoneId;
use serde::Deserialize;
use serde_json::Value;
use uuid::Uuid;

use super::{Desk, document};
use crate::error::Error;
use crate::store::search::{self, After, Filter, Hit};
use crate::{SYSTEM, SYSTEM_NAME};

const NDJSON: &str = "application/x-ndjson";
/// Where a list that goes on continues.
const NEXT: HeaderName = HeaderName::from_static("x-caracal-next");
const DEFAULT: usize = 100;
const MOST: usize = 1_000;
/// Rows read at once; some of them are no answers.
const ROWS: i64 = 500;

/// What may be asked.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Search {
    request_id: Option<String>,
    decision_id: Option<Uuid>,
    code: Option<String>,
    kind: Option<String>,
    decision: Option<String>,
    application: Option<Uuid>,
    session: Option<Uuid>,
    resource: Option<String>,
    jti: Option<Uuid>,
    sid: Option<Uuid>,
    since: Option<String>,
    until: Option<String>,
    limit: Option<usize>,
    cursor: Option<String>,
}

impl Search {
    fn filter(&self) -> Result<Filter, Error> {
        let known = |name: &str, known: bool| {
            if known {
                Ok(())
            } else {
                Err(Error::Invalid(format!(
                    "{name} is not a value that events have"
                )))
            }
        };
        known(
            "kind",
            self.kind
                .as_deref()
                .is_none_or(|kind| EventKind::parse(kind).is_some()),
        )?;
        known(
            "decision",
            self.decision
                .as_deref()
                .is_none_or(|word| Outcome::parse(word).is_some()),
        )?;
        let texts = [&self.request_id, &self.code, &self.resource];
        known(
            "a text",
            texts.into_iter().flatten().all(|text| !text.contains('\0')),
        )?;
        Ok(Filter {
            request_id: self.request_id.clone(),
            decision_id: self.decision_id,
            code: self.code.clone(),
            kind: self.kind.clone(),
            decision: self.decision.clone(),
            application: self.application,
            session: self.session,
            resource: self.resource.clone(),
            jti: self.jti,
            sid: self.sid,
            since: moment("since", self.since.as_deref())?,
            until: moment("until", self.until.as_deref())?,
        })
    }

    fn limit(&self) -> Result<usize, Error> {
        let limit = self.limit.unwrap_or(DEFAULT);
        if (1..=MOST).contains(&limit) {
            Ok(limit)
        } else {
            Err(Error::Invalid(format!(
                "limit must be between 1 and {MOST}"
            )))
        }
    }

    fn after(&self) -> Result<After, Error> {
        let Some(text) = &self.cursor else {
            return Ok(After {
                zone: SYSTEM,
                seq: 0,
            });
        };
        let parsed = text.rsplit_once(':').and_then(|(zone, seq)| {
            Some(After {
                zone: ZoneId::parse(zone).ok()?,
                seq: seq.parse().ok()?,
            })
        });
        let fit = parsed.filter(|after| i64::try_from(after.seq).is_ok());
        fit.ok_or_else(|| Error::Invalid("cursor is not the next of an earlier answer".to_owned()))
    }
}

/// A time of a query.
fn moment(name: &str, text: Option<&str>) -> Result<Option<Timestamp>, Error> {
    let parsed = text.map(str::parse::<Timestamp>).transpose();
    parsed.map_err(|_| Error::Invalid(format!("{name} is not a time such as 2026-11-25T08:00:00Z")))
}

/// The ledger that a name means.
pub(crate) fn ledger(name: &str) -> Result<ZoneId, Error> {
    if name == SYSTEM_NAME {
        return Ok(SYSTEM);
    }
    ZoneId::parse(name)
        .ok()
        .filter(|zone| *zone != SYSTEM)
        .ok_or_else(|| Error::Invalid("zone is neither a zone's id nor `system`".to_owned()))
}

/// Events of one zone, as the role that sees one zone.
pub(crate) async fn in_zone(
    State(desk): State<Arc<Desk>>,
    Path(zone): Path<String>,
    query: Result<Query<Search>, QueryRejection>,
    headers: HeaderMap,
) -> Result<Response, Error> {
    let Query(search) = query.map_err(|error| Error::Invalid(error.body_text()))?;
    let zone = ledger(&zone)?;
    let (filter, mut after) = (search.filter()?, search.after()?);
    let mut page = Page::new(&filter, search.limit()?);
    let reading = async {
        let mut tx = desk.reader.begin_view(zone).await?;
        loop {
            let hits = search::in_zone(&mut tx, &filter, after.seq, ROWS).await?;
            match page.take(hits)? {
                Some(on) => after = on,
                None => break,
            }
        }
        Ok::<_, Error>(tx.rollback().await?)
    };
    tokio::time::timeout(desk.timeout, reading)
        .await
        .map_err(|_| Error::Deadline)??;
    Ok(page.answer(&headers))
}

/// Events of all zones, as the role that sees all.
pub(crate) async fn everywhere(
    State(desk): State<Arc<Desk>>,
    query: Result<Query<Search>, QueryRejection>,
    headers: HeaderMap,
) -> Result<Response, Error> {
    let Query(search) = query.map_err(|error| Error::Invalid(error.body_text()))?;
    let (filter, mut after) = (search.filter()?, search.after()?);
    let mut page = Page::new(&filter, search.limit()?);
    let reading = async {
        let mut tx = desk.operator.begin_view().await?;
        loop {
            let hits = search::everywhere(&mut tx, &filter, after, ROWS).await?;
            match page.take(hits)? {
                Some(on) => after = on,
                None => break,
            }
        }
        Ok::<_, Error>(tx.rollback().await?)
    };
    tokio::time::timeout(desk.timeout, reading)
        .await
        .map_err(|_| Error::Deadline)??;
    Ok(page.answer(&headers))
}

/// A page on its way.
struct Page<'a> {
    filter: &'a Filter,
    limit: usize,
    events: Vec<Value>,
    last: Option<After>,
    more: bool,
}

impl<'a> Page<'a> {
    fn new(filter: &'a Filter, limit: usize) -> Self {
        Self {
            filter,
            limit,
            events: Vec::new(),
            last: None,
            more: false,
        }
    }

    /// Takes rows; says from where more are wanted.
    fn take(&mut self, hits: Vec<Hit>) -> Result<Option<After>, Error> {
        let whole = i64::try_from(hits.len()).is_ok_and(|rows| rows == ROWS);
        let mut behind = None;
        for hit in hits {
            let here = After {
                zone: hit.zone,
                seq: hit.seq,
            };
            behind = Some(here);
            let (signed, event) = document::read(&hit)?;
            if !matches(self.filter, &event) {
                continue;
            }
            if self.events.len() == self.limit {
                self.more = true;
                return Ok(None);
            }
            self.events.push(document::of(&hit, &signed, &event));
            self.last = Some(here);
        }
        Ok(behind.filter(|_| whole))
    }

    fn answer(self, headers: &HeaderMap) -> Response {
        let next = self
            .last
            .filter(|_| self.more)
            .map(|last| format!("{}:{}", last.zone, last.seq));
        let lines = headers
            .get_all(header::ACCEPT)
            .iter()
            .any(|accept| accept.as_bytes().starts_with(NDJSON.as_bytes()));
        if !lines {
            let mut body = serde_json::Map::new();
            body.insert("events".to_owned(), Value::Array(self.events));
            if let Some(next) = next {
                body.insert("next".to_owned(), Value::String(next));
            }
            return Json(Value::Object(body)).into_response();
        }
        let mut body = String::new();
        for event in &self.events {
            body.push_str(&event.to_string());
            body.push('\n');
        }
        let mut response = ([(header::CONTENT_TYPE, NDJSON)], body).into_response();
        if let Some(next) = next.and_then(|next| HeaderValue::try_from(next).ok()) {
            response.headers_mut().insert(NEXT, next);
        }
        response
    }
}

/// Whether an event matches, where its columns leave it open: a request may be among those counted together.
fn matches(filter: &Filter, event: &Event) -> bool {
    let Some(request) = &filter.request_id else {
        return true;
    };
    let samples = event.samples.iter().flatten();
    event.request_id.as_ref() == Some(request)
        || samples
            .into_iter()
            .any(|sample| sample.request_id == *request)
}
