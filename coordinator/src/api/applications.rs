//! Applications and their secrets. A secret is shown in one answer and known by its HMAC from then
//! on.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use jiff::{SignedDuration, Timestamp};
use ledger::event::EventKind;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::api::body::{Body, Fingerprint, Shape};
use crate::api::change::{Answer, Change, fresh};
use crate::api::check::Findings;
use crate::api::page::{Listing, Page, PageQuery};
use crate::api::path::Id;
use crate::api::principal::{Caller, InZone, Operator};
use crate::api::router::ProblemDocument;
use crate::app::App;
use crate::delta;
use crate::error::{Conflict, Error};
use crate::evidence::Evidence;
use crate::store::anchors::{self, AnchorKind};
use crate::store::applications::{self, NewApplication};

/// Two secrets overlap for a day, unless said otherwise.
const OVERLAP: Duration = Duration::from_hours(24);
/// The most secrets accepted at a time.
const MOST_SECRETS: i64 = 2;

/// An application to be.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ApplicationBody {
    /// A name for people.
    #[schema(example = "invoice-agent")]
    name: String,
    /// The labels its sessions carry.
    #[serde(default)]
    labels: Vec<String>,
    /// How long its sessions may last at most, in seconds.
    max_session_ttl_seconds: Option<i32>,
    /// The scopes its sessions are narrowed to; left out, not narrowed.
    session_ceiling: Option<Vec<String>>,
}

impl Shape for ApplicationBody {}

/// How a secret is replaced.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct RotateBody {
    /// How long the secrets so far are still accepted, in seconds: 0 to 604800. Left out, a day.
    overlap_seconds: Option<u32>,
}

impl Shape for RotateBody {}

/// An application.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Application {
    /// Its id, and its `client_id`.
    id: Uuid,
    /// Its name.
    name: String,
    /// The labels its sessions carry.
    labels: Vec<String>,
    /// How long its sessions may last at most.
    max_session_ttl_seconds: i32,
    /// The scopes its sessions are narrowed to.
    session_ceiling: Option<Vec<String>>,
    /// `active` or `disabled`.
    state: String,
    /// Rises with every change.
    version: i64,
    /// When it was made.
    created_at: String,
}

/// An application with its first secret.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ApplicationWithSecret {
    /// The application.
    #[serde(flatten)]
    shown: Application,
    /// The secret, in this answer only.
    client_secret: Option<String>,
}

/// A new secret.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Rotated {
    /// Its id.
    secret_id: Uuid,
    /// The secret, in this answer only.
    client_secret: Option<String>,
    /// When the secrets so far end.
    previous_until: String,
}

impl From<applications::Application> for Application {
    fn from(row: applications::Application) -> Self {
        Self {
            id: row.id,
            name: row.name,
            labels: row.labels,
            max_session_ttl_seconds: row.max_session_ttl_s,
            session_ceiling: row.session_ceiling,
            state: row.state,
            version: row.version,
            created_at: row.created_at.to_jiff().to_string(),
        }
    }
}

/// Makes an application.
#[utoipa::path(
    post, path = "/v1/zones/{zone}/applications", tag = "applications",
    operation_id = "create_application",
    params(("zone" = Uuid, Path)),
    request_body = ApplicationBody,
    responses((status = 201, body = ApplicationWithSecret), (status = "default", body = ProblemDocument)),
)]
pub(crate) async fn create(
    State(app): State<Arc<App>>,
    Operator(caller): Operator,
    InZone(zone): InZone,
    body: Body<ApplicationBody>,
) -> Result<Answer, Error> {
    let asked = body.value;
    let mut findings = Findings::default();
    findings.name("name", &asked.name);
    let labels = findings.labels("labels", &asked.labels);
    let ceiling = asked
        .session_ceiling
        .as_ref()
        .map(|scopes| findings.scopes("session_ceiling", scopes));
    let most = i32::try_from(app.config.max_session_ttl.as_secs()).unwrap_or(i32::MAX);
    let ttl = asked.max_session_ttl_seconds.unwrap_or(most);
    if !(1..=most).contains(&ttl) {
        findings.add(
            "max_session_ttl_seconds",
            format!("must be between 1 and {most}"),
        );
    }
    findings.into_result()?;

    let mut change = fresh!(Change::begin(&app, &caller, zone, body.fingerprint).await?);
    let now = change.now();
    let id = app.rng.uuid_v7(now);
    let anchor = id.to_string();
    let new = NewApplication {
        id,
        name: &asked.name,
        labels: &labels,
        max_session_ttl_s: ttl,
        session_ceiling: ceiling.as_deref(),
        now,
    };
    applications::insert(change.tx(), &new).await?;
    anchors::insert(change.tx(), AnchorKind::Application, &anchor).await?;
    let (_, secret) = add_secret(&app, &mut change, id, now).await?;
    let evidence = Evidence::of(
        EventKind::AdminChange,
        "application_created",
        "application",
        &anchor,
    );
    change.record(&app, &caller, evidence).await?;
    let application: Application = applications::get(change.tx(), id).await?.into();
    let version = application.version;
    let shown = ApplicationWithSecret {
        shown: application,
        client_secret: Some(secret),
    };
    Ok(finish_with_secret(change, 201, &shown, now)
        .await?
        .at(version))
}

async fn add_secret(
    app: &App,
    change: &mut Change,
    application: Uuid,
    now: Timestamp,
) -> Result<(Uuid, String), Error> {
    let id = app.rng.uuid_v7(now);
    let secret = format!("cs_{id}_{}", app.rng.token());
    let hmac = app.pepper.tag(&[secret.as_bytes()]);
    applications::insert_secret(change.tx(), application, id, &hmac, now).await?;
    Ok((id, secret))
}

/// Ends a change whose answer has a secret: a replay says that it was shown, and when.
async fn finish_with_secret(
    change: Change,
    status: u16,
    shown: &impl Serialize,
    now: Timestamp,
) -> Result<Answer, Error> {
    let shown = serde_json::to_value(shown).map_err(Error::internal)?;
    let mut replayed = shown.clone();
    if let Value::Object(members) = &mut replayed {
        members.insert("client_secret".to_owned(), Value::Null);
        members.insert("secret_shown_at".to_owned(), now.to_string().into());
        let how = "POST .../secrets makes another";
        members.insert("secret_hint".to_owned(), how.into());
    }
    change.finish_apart(status, shown, &replayed).await
}

/// Applications of a zone.
#[utoipa::path(
    get, path = "/v1/zones/{zone}/applications", tag = "applications",
    operation_id = "list_applications",
    params(("zone" = Uuid, Path), PageQuery),
    responses((status = 200, body = Listing<Application>), (status = "default", body = ProblemDocument)),
)]
pub(crate) async fn list(
    State(app): State<Arc<App>>,
    _operator: Operator,
    InZone(zone): InZone,
    page: Page,
) -> Result<Answer, Error> {
    let mut tx = app.begin_known(zone).await?;
    let rows = applications::list(&mut tx, page.after, page.probe()).await?;
    Answer::of(&page.of(rows, |row| row.id, Application::from))
}

/// One application.
#[utoipa::path(
    get, path = "/v1/zones/{zone}/applications/{id}", tag = "applications",
    operation_id = "get_application",
    params(("zone" = Uuid, Path), ("id" = Uuid, Path)),
    responses((status = 200, body = Application), (status = "default", body = ProblemDocument)),
)]
pub(crate) async fn get(
    State(app): State<Arc<App>>,
    _operator: Operator,
    InZone(zone): InZone,
    Id(id): Id,
) -> Result<Answer, Error> {
    let mut tx = app.begin_known(zone).await?;
    let row = applications::get(&mut tx, id).await?;
    let version = row.version;
    Ok(Answer::of(&Application::from(row))?.at(version))
}

/// Disables an application: nothing is issued to it, and what it holds is refused.
#[utoipa::path(
    post, path = "/v1/zones/{zone}/applications/{id}/disable", tag = "applications",
    operation_id = "disable_application",
    params(("zone" = Uuid, Path), ("id" = Uuid, Path)),
    responses((status = 200, body = Application), (status = "default", body = ProblemDocument)),
)]
pub(crate) async fn disable(
    State(app): State<Arc<App>>,
    Operator(caller): Operator,
    InZone(zone): InZone,
    Id(id): Id,
    fingerprint: Fingerprint,
) -> Result<Answer, Error> {
    let change = fresh!(Change::begin(&app, &caller, zone, fingerprint).await?);
    shift(&app, &caller, change, id, "active", "disabled").await
}

/// Enables an application that was disabled or revoked.
#[utoipa::path(
    post, path = "/v1/zones/{zone}/applications/{id}/enable", tag = "applications",
    operation_id = "enable_application",
    params(("zone" = Uuid, Path), ("id" = Uuid, Path)),
    responses((status = 200, body = Application), (status = "default", body = ProblemDocument)),
)]
pub(crate) async fn enable(
    State(app): State<Arc<App>>,
    Operator(caller): Operator,
    InZone(zone): InZone,
    Id(id): Id,
    fingerprint: Fingerprint,
) -> Result<Answer, Error> {
    let change = fresh!(Change::begin(&app, &caller, zone, fingerprint).await?);
    shift(&app, &caller, change, id, "disabled", "active").await
}

async fn shift(
    app: &App,
    caller: &Caller,
    mut change: Change,
    id: Uuid,
    from: &str,
    to: &str,
) -> Result<Answer, Error> {
    applications::get(change.tx(), id).await?;
    let anchor = id.to_string();
    let zone = change.zone();
    anchors::lock(change.tx(), AnchorKind::Application, &anchor).await?;
    let moved =
        anchors::set_state(change.tx(), AnchorKind::Application, &anchor, &[from], to).await?;
    if let Some(version) = moved {
        let delta = delta::state(zone, AnchorKind::Application, &anchor, to, version);
        change.tell(&delta).await?;
        let code = if to == "active" {
            "application_enabled"
        } else {
            "application_disabled"
        };
        let evidence = Evidence::of(EventKind::StateChanged, code, "application", &anchor);
        change.record(app, caller, evidence).await?;
    }
    let row = applications::get(change.tx(), id).await?;
    let version = row.version;
    Ok(change
        .finish(200, &Application::from(row))
        .await?
        .at(version))
}

/// Makes another secret; those so far end after an overlap.
#[utoipa::path(
    post, path = "/v1/zones/{zone}/applications/{id}/secrets", tag = "applications",
    operation_id = "rotate_application_secret",
    params(("zone" = Uuid, Path), ("id" = Uuid, Path)),
    request_body = RotateBody,
    responses((status = 201, body = Rotated), (status = "default", body = ProblemDocument)),
)]
pub(crate) async fn rotate(
    State(app): State<Arc<App>>,
    Operator(caller): Operator,
    InZone(zone): InZone,
    Id(id): Id,
    body: Body<RotateBody>,
) -> Result<Answer, Error> {
    let overlap = body
        .value
        .overlap_seconds
        .map_or(OVERLAP, |seconds| Duration::from_secs(u64::from(seconds)));
    if overlap > OVERLAP.saturating_mul(7) {
        return Err(Error::invalid(
            "overlap_seconds",
            "must be between 0 and 604800",
        ));
    }
    let mut change = fresh!(Change::begin(&app, &caller, zone, body.fingerprint).await?);
    let now = change.now();
    applications::get(change.tx(), id).await?;
    let anchor = id.to_string();
    anchors::lock(change.tx(), AnchorKind::Application, &anchor).await?;
    let overlap = SignedDuration::try_from(overlap).map_err(Error::internal)?;
    let until = now.saturating_add(overlap).map_err(Error::internal)?;
    applications::expire_secrets(change.tx(), id, until).await?;
    if applications::count_secrets(change.tx(), id, now).await? >= MOST_SECRETS {
        return Err(Error::Conflict(Conflict::Secrets));
    }
    let (secret_id, secret) = add_secret(&app, &mut change, id, now).await?;
    let evidence = Evidence::of(
        EventKind::AdminChange,
        "application_secret_rotated",
        "application",
        &anchor,
    );
    change.record(&app, &caller, evidence).await?;
    let shown = Rotated {
        secret_id,
        client_secret: Some(secret),
        previous_until: until.to_string(),
    };
    finish_with_secret(change, 201, &shown, now).await
}
