//! Sessions: an operator starts one for an application, or the application for itself, by its
//! session mandate.

use std::sync::Arc;

use axum::extract::{FromRequestParts, Query, State};
use http::request::Parts;
use jiff::SignedDuration;
use ledger::event::EventKind;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::api::body::{Body, Fingerprint, Shape};
use crate::api::change::{Answer, Change, fresh};
use crate::api::check::Findings;
use crate::api::page::{Listing, Page};
use crate::api::path::{self, Id};
use crate::api::principal::{Caller, InZone, Operator, Starter};
use crate::api::router::ProblemDocument;
use crate::app::{App, dead_until};
use crate::bearer::{self, Who};
use crate::delta;
use crate::error::{Conflict, Error};
use crate::evidence::Evidence;
use crate::store::anchors::{self, AnchorKind};
use crate::store::applications::{self, Application};
use crate::store::sessions::{self, NewSession};

/// A session to be.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct SessionBody {
    /// Whose session; an operator names it, an application is itself.
    #[schema(value_type = Option<Uuid>)]
    application_id: Option<String>,
    /// How long it lasts.
    #[schema(example = 3600)]
    ttl_seconds: i64,
    /// Its labels; an application may only keep some of its own. Left out, all of them.
    labels: Option<Vec<String>>,
    /// The scopes it is narrowed to; left out, the application's ceiling.
    ceiling: Option<Vec<String>>,
    /// The resources it is narrowed to; left out, none.
    resources: Option<Vec<String>>,
}

impl Shape for SessionBody {}

/// A session.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Session {
    /// Its id.
    id: Uuid,
    /// Whose it is.
    application_id: Uuid,
    /// `task`.
    kind: String,
    /// Its labels.
    labels: Vec<String>,
    /// The scopes it is narrowed to.
    ceiling: Option<Vec<String>>,
    /// The resources it is narrowed to.
    resources: Option<Vec<String>>,
    /// `active`, `suspended`, `ended` or `expired`.
    state: String,
    /// When it began.
    started_at: String,
    /// When it runs out.
    expires_at: String,
    /// When it ended.
    ended_at: Option<String>,
    /// Rises with every change.
    version: i64,
}

impl From<sessions::Session> for Session {
    fn from(row: sessions::Session) -> Self {
        Self {
            id: row.id,
            application_id: row.application_id,
            kind: row.kind,
            labels: row.labels,
            ceiling: row.ceiling,
            resources: row.resources,
            state: row.state,
            started_at: row.started_at.to_jiff().to_string(),
            expires_at: row.expires_at.to_jiff().to_string(),
            ended_at: row.ended_at.map(|at| at.to_jiff().to_string()),
            version: row.version,
        }
    }
}

/// Starts a session.
#[utoipa::path(
    post, path = "/v1/zones/{zone}/sessions", tag = "sessions", operation_id = "start_session",
    params(("zone" = Uuid, Path)),
    request_body = SessionBody,
    responses((status = 201, body = Session), (status = "default", body = ProblemDocument)),
)]
pub(crate) async fn start(
    State(app): State<Arc<App>>,
    starter: Starter,
    InZone(zone): InZone,
    body: Body<SessionBody>,
) -> Result<Answer, Error> {
    let (caller, who) = bearer::resolve(&app, starter, zone).await?;
    let asked = body.value;
    let application = whose(&who, asked.application_id.as_deref())?;
    let mut change = fresh!(Change::begin(&app, &caller, zone, body.fingerprint).await?);
    bearer::hold(&mut change, &who, application).await?;
    let held = applications::get(change.tx(), application).await?;
    if held.state != "active" {
        return Err(Error::Conflict(Conflict::State));
    }
    let bounds = Bounds::of(&asked, &held, matches!(who, Who::Operator))?;
    let now = change.now();
    let id = app.rng.uuid_v7(now);
    let expires_at = now
        .saturating_add(SignedDuration::from_secs(asked.ttl_seconds))
        .map_err(Error::internal)?;
    let new = NewSession {
        id,
        application_id: application,
        labels: &bounds.labels,
        ceiling: bounds.ceiling.as_deref(),
        resources: asked.resources.as_deref(),
        started_at: now,
        expires_at,
    };
    sessions::insert(change.tx(), &new).await?;
    let text = id.to_string();
    let evidence = Evidence::of(
        EventKind::SessionStarted,
        "session_started",
        "session",
        &text,
    )
    .application(application)
    .session(id)
    .bounds(&bounds.labels, bounds.ceiling.as_deref())
    .until(expires_at.as_second());
    change.record(&app, &caller, evidence).await?;
    let row = sessions::get(change.tx(), id).await?;
    let version = row.version;
    Ok(change.finish(201, &Session::from(row)).await?.at(version))
}

fn whose(who: &Who, asked: Option<&str>) -> Result<Uuid, Error> {
    let asked = match asked {
        Some(text) => Some(path::uuid(text).ok_or_else(|| {
            Error::invalid("application_id", "is not a UUID in lower case with hyphens")
        })?),
        None => None,
    };
    match (who, asked) {
        (Who::Operator, Some(asked)) => Ok(asked),
        (Who::Operator, None) => Err(Error::invalid("application_id", "an operator must name it")),
        (Who::Application(mandate), None) => Ok(mandate.claims().client_id.as_uuid()),
        (Who::Application(mandate), Some(asked)) => {
            if mandate.claims().client_id.as_uuid() == asked {
                Ok(asked)
            } else {
                Err(Error::Forbidden(
                    "an application starts its own sessions only",
                ))
            }
        }
    }
}

/// What a session is narrowed to.
#[derive(Debug)]
struct Bounds {
    labels: Vec<String>,
    ceiling: Option<Vec<String>>,
}

impl Bounds {
    fn of(asked: &SessionBody, held: &Application, operator: bool) -> Result<Self, Error> {
        let mut findings = Findings::default();
        let most = i64::from(held.max_session_ttl_s);
        if !(1..=most).contains(&asked.ttl_seconds) {
            findings.add("ttl_seconds", format!("must be between 1 and {most}"));
        }
        let labels = match &asked.labels {
            None => held.labels.clone(),
            Some(labels) => {
                for (index, label) in labels.iter().enumerate() {
                    if !operator && !held.labels.contains(label) {
                        let what = "is not a label of the application";
                        findings.add(format!("labels[{index}]"), what);
                    }
                }
                findings.labels("labels", labels)
            }
        };
        let ceiling = match (&asked.ceiling, &held.session_ceiling) {
            (None, ceiling) => ceiling.clone(),
            (Some(asked), ceiling) => {
                for (index, scope) in asked.iter().enumerate() {
                    if ceiling
                        .as_ref()
                        .is_some_and(|ceiling| !ceiling.contains(scope))
                    {
                        let what = "is above the application's ceiling";
                        findings.add(format!("ceiling[{index}]"), what);
                    }
                }
                Some(findings.scopes("ceiling", asked))
            }
        };
        if let Some(resources) = &asked.resources {
            findings.resources("resources", resources);
        }
        findings.into_result()?;
        Ok(Self { labels, ceiling })
    }
}

/// Which sessions, and which page of them.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct SessionQuery {
    /// Those of one application.
    application_id: Option<Uuid>,
    /// The most items, 1 to 200.
    limit: Option<i64>,
    /// `next` of the page before.
    after: Option<Uuid>,
}

/// The same, checked.
#[derive(Debug)]
pub(crate) struct Filtered {
    application: Option<Uuid>,
    page: Page,
}

impl<S: Send + Sync> FromRequestParts<S> for Filtered {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Error> {
        let Query(query) = Query::<SessionQuery>::from_request_parts(parts, state)
            .await
            .map_err(|error| Error::Malformed(error.body_text()))?;
        Ok(Self {
            application: query.application_id,
            page: Page::checked(query.limit, query.after)?,
        })
    }
}

/// Sessions of a zone.
#[utoipa::path(
    get, path = "/v1/zones/{zone}/sessions", tag = "sessions", operation_id = "list_sessions",
    params(("zone" = Uuid, Path), SessionQuery),
    responses((status = 200, body = Listing<Session>), (status = "default", body = ProblemDocument)),
)]
pub(crate) async fn list(
    State(app): State<Arc<App>>,
    _operator: Operator,
    InZone(zone): InZone,
    filtered: Filtered,
) -> Result<Answer, Error> {
    let mut tx = app.begin_known(zone).await?;
    let page = filtered.page;
    let rows = sessions::list(&mut tx, filtered.application, page.after, page.probe()).await?;
    Answer::of(&page.of(rows, |row| row.id, Session::from))
}

/// One session.
#[utoipa::path(
    get, path = "/v1/zones/{zone}/sessions/{id}", tag = "sessions", operation_id = "get_session",
    params(("zone" = Uuid, Path), ("id" = Uuid, Path)),
    responses((status = 200, body = Session), (status = "default", body = ProblemDocument)),
)]
pub(crate) async fn get(
    State(app): State<Arc<App>>,
    starter: Starter,
    InZone(zone): InZone,
    Id(id): Id,
) -> Result<Answer, Error> {
    let (_, who) = bearer::resolve(&app, starter, zone).await?;
    let mut tx = app.begin_known(zone).await?;
    let row = sessions::get(&mut tx, id).await?;
    who.may_see(row.application_id)?;
    let version = row.version;
    Ok(Answer::of(&Session::from(row))?.at(version))
}

/// Ends a session: everything minted under it is refused from now on.
#[utoipa::path(
    post, path = "/v1/zones/{zone}/sessions/{id}/end", tag = "sessions",
    operation_id = "end_session",
    params(("zone" = Uuid, Path), ("id" = Uuid, Path)),
    responses((status = 200, body = Session), (status = "default", body = ProblemDocument)),
)]
pub(crate) async fn end(
    State(app): State<Arc<App>>,
    starter: Starter,
    InZone(zone): InZone,
    Id(id): Id,
    fingerprint: Fingerprint,
) -> Result<Answer, Error> {
    let (caller, who) = bearer::resolve(&app, starter, zone).await?;
    let mut change = fresh!(Change::begin(&app, &caller, zone, fingerprint).await?);
    let anchor = id.to_string();
    anchors::lock(change.tx(), AnchorKind::Session, &anchor).await?;
    let held = sessions::get(change.tx(), id).await?;
    who.may_see(held.application_id)?;
    if ["active", "suspended"].contains(&held.state.as_str()) {
        let now = change.now();
        let from = ["active", "suspended"];
        sessions::set_state(change.tx(), id, &from, "ended", Some(now)).await?;
        let until = dead_until(now);
        let version = anchors::kill(change.tx(), AnchorKind::Session, &anchor, until, false)
            .await?
            .ok_or_else(|| Error::bad_row("anchors", &anchor))?;
        change
            .tell(&delta::dead(
                zone,
                AnchorKind::Session,
                &anchor,
                until,
                version,
            ))
            .await?;
        let evidence = Evidence::of(EventKind::SessionEnded, "session_ended", "session", &anchor)
            .application(held.application_id)
            .session(id);
        change.record(&app, &caller, evidence).await?;
    }
    let row = sessions::get(change.tx(), id).await?;
    let version = row.version;
    Ok(change.finish(200, &Session::from(row)).await?.at(version))
}

/// Suspends a session until it is resumed.
#[utoipa::path(
    post, path = "/v1/zones/{zone}/sessions/{id}/suspend", tag = "sessions",
    operation_id = "suspend_session",
    params(("zone" = Uuid, Path), ("id" = Uuid, Path)),
    responses((status = 200, body = Session), (status = "default", body = ProblemDocument)),
)]
pub(crate) async fn suspend(
    State(app): State<Arc<App>>,
    Operator(caller): Operator,
    InZone(zone): InZone,
    Id(id): Id,
    fingerprint: Fingerprint,
) -> Result<Answer, Error> {
    let change = fresh!(Change::begin(&app, &caller, zone, fingerprint).await?);
    shift(&app, &caller, change, id, "active", "suspended").await
}

/// Resumes a suspended session.
#[utoipa::path(
    post, path = "/v1/zones/{zone}/sessions/{id}/resume", tag = "sessions",
    operation_id = "resume_session",
    params(("zone" = Uuid, Path), ("id" = Uuid, Path)),
    responses((status = 200, body = Session), (status = "default", body = ProblemDocument)),
)]
pub(crate) async fn resume(
    State(app): State<Arc<App>>,
    Operator(caller): Operator,
    InZone(zone): InZone,
    Id(id): Id,
    fingerprint: Fingerprint,
) -> Result<Answer, Error> {
    let change = fresh!(Change::begin(&app, &caller, zone, fingerprint).await?);
    shift(&app, &caller, change, id, "suspended", "active").await
}

async fn shift(
    app: &App,
    caller: &Caller,
    mut change: Change,
    id: Uuid,
    from: &str,
    to: &str,
) -> Result<Answer, Error> {
    let (zone, now) = (change.zone(), change.now());
    let anchor = id.to_string();
    anchors::lock(change.tx(), AnchorKind::Session, &anchor).await?;
    let held = sessions::get(change.tx(), id).await?;
    let over = held.expires_at.to_jiff() <= now;
    if over || ![from, to].contains(&held.state.as_str()) {
        return Err(Error::Conflict(Conflict::State));
    }
    if held.state == from {
        sessions::set_state(change.tx(), id, &[from], to, None).await?;
        let version = anchors::set_state(change.tx(), AnchorKind::Session, &anchor, &[from], to)
            .await?
            .ok_or_else(|| Error::bad_row("anchors", &anchor))?;
        change
            .tell(&delta::state(
                zone,
                AnchorKind::Session,
                &anchor,
                to,
                version,
            ))
            .await?;
        let code = if to == "active" {
            "session_resumed"
        } else {
            "session_suspended"
        };
        let evidence = Evidence::of(EventKind::StateChanged, code, "session", &anchor)
            .application(held.application_id)
            .session(id);
        change.record(app, caller, evidence).await?;
    }
    let row = sessions::get(change.tx(), id).await?;
    let version = row.version;
    Ok(change.finish(200, &Session::from(row)).await?.at(version))
}
