//! Resources: what is protected, and which operations take which scopes.

use std::sync::Arc;

use axum::extract::State;
use ledger::event::EventKind;
use mandate::id::ZoneId;
use serde::{Deserialize, Serialize};
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
use crate::error::Error;
use crate::evidence::Evidence;
use crate::store::anchors::{self, AnchorKind};
use crate::store::resources::{self, Operation, ResourceValues};

/// A resource to be.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ResourceBody {
    /// An absolute URI, compared byte for byte. It never changes.
    #[schema(example = "https://invoices.example")]
    identifier: String,
    /// A name for people.
    name: String,
    /// The scopes that may be granted.
    scopes: Vec<String>,
    /// What may be done, and the scopes it takes. What no operation matches is refused.
    #[serde(default)]
    operations: Vec<Operation>,
    /// Where it runs, for people.
    upstream: Option<String>,
}

impl Shape for ResourceBody {
    const LIMIT: usize = 512 * 1024;
}

/// What a resource is made of from now on.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ResourceUpdate {
    /// A name for people.
    name: String,
    /// The scopes that may be granted.
    scopes: Vec<String>,
    /// What may be done, and the scopes it takes.
    operations: Vec<Operation>,
    /// Where it runs, for people.
    upstream: Option<String>,
}

impl Shape for ResourceUpdate {
    const LIMIT: usize = 512 * 1024;
}

/// A resource.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Resource {
    /// Its id.
    id: Uuid,
    /// Its identifier.
    identifier: String,
    /// Its name.
    name: String,
    /// The scopes that may be granted.
    scopes: Vec<String>,
    /// What may be done.
    operations: Vec<Operation>,
    /// Where it runs.
    upstream: Option<String>,
    /// `active` or `disabled`.
    state: String,
    /// Rises with every change; the `ETag`.
    version: i64,
    /// When it was made.
    created_at: String,
}

impl From<resources::Resource> for Resource {
    fn from(row: resources::Resource) -> Self {
        Self {
            id: row.id,
            identifier: row.identifier,
            name: row.name,
            scopes: row.scopes,
            operations: row.operations.0,
            upstream: row.upstream,
            state: row.state,
            version: row.version,
            created_at: row.created_at.to_jiff().to_string(),
        }
    }
}

fn check(
    findings: &mut Findings,
    name: &str,
    scopes: &[String],
    operations: &[Operation],
    upstream: Option<&str>,
) -> Vec<String> {
    findings.name("name", name);
    let sorted = findings.scopes("scopes", scopes);
    if sorted.is_empty() {
        findings.add("scopes", "must name at least one scope");
    }
    findings.operations("operations", operations, scopes);
    findings.text("upstream", upstream.unwrap_or_default(), 512);
    sorted
}

/// Makes a resource.
#[utoipa::path(
    post, path = "/v1/zones/{zone}/resources", tag = "resources", operation_id = "create_resource",
    params(("zone" = Uuid, Path)),
    request_body = ResourceBody,
    responses((status = 201, body = Resource), (status = "default", body = ProblemDocument)),
)]
pub(crate) async fn create(
    State(app): State<Arc<App>>,
    Operator(caller): Operator,
    InZone(zone): InZone,
    body: Body<ResourceBody>,
) -> Result<Answer, Error> {
    let asked = body.value;
    let mut findings = Findings::default();
    findings.resource("identifier", &asked.identifier);
    let upstream = asked.upstream.as_deref();
    let scopes = check(
        &mut findings,
        &asked.name,
        &asked.scopes,
        &asked.operations,
        upstream,
    );
    findings.into_result()?;

    let mut change = fresh!(Change::begin(&app, &caller, zone, body.fingerprint).await?);
    let now = change.now();
    let id = app.rng.uuid_v7(now);
    let values = ResourceValues {
        name: &asked.name,
        scopes: &scopes,
        operations: &asked.operations,
        upstream,
    };
    resources::insert(change.tx(), id, &asked.identifier, &values, now).await?;
    anchors::insert(change.tx(), AnchorKind::Resource, &asked.identifier).await?;
    let row = resources::get(change.tx(), id).await?;
    tell(&app, &caller, &mut change, zone, &row, "resource_created").await?;
    let version = row.version;
    Ok(change.finish(201, &Resource::from(row)).await?.at(version))
}

async fn tell(
    app: &App,
    caller: &Caller,
    change: &mut Change,
    zone: ZoneId,
    row: &resources::Resource,
    code: &'static str,
) -> Result<(), Error> {
    change.tell(&delta::resource(zone, row)).await?;
    let evidence = Evidence::of(EventKind::AdminChange, code, "resource", &row.identifier);
    change.record(app, caller, evidence).await
}

/// Resources of a zone.
#[utoipa::path(
    get, path = "/v1/zones/{zone}/resources", tag = "resources", operation_id = "list_resources",
    params(("zone" = Uuid, Path), PageQuery),
    responses((status = 200, body = Listing<Resource>), (status = "default", body = ProblemDocument)),
)]
pub(crate) async fn list(
    State(app): State<Arc<App>>,
    _operator: Operator,
    InZone(zone): InZone,
    page: Page,
) -> Result<Answer, Error> {
    let mut tx = app.begin_known(zone).await?;
    let rows = resources::list(&mut tx, page.after, page.probe()).await?;
    Answer::of(&page.of(rows, |row| row.id, Resource::from))
}

/// One resource.
#[utoipa::path(
    get, path = "/v1/zones/{zone}/resources/{id}", tag = "resources", operation_id = "get_resource",
    params(("zone" = Uuid, Path), ("id" = Uuid, Path)),
    responses((status = 200, body = Resource), (status = "default", body = ProblemDocument)),
)]
pub(crate) async fn get(
    State(app): State<Arc<App>>,
    _operator: Operator,
    InZone(zone): InZone,
    Id(id): Id,
) -> Result<Answer, Error> {
    let mut tx = app.begin_known(zone).await?;
    let row = resources::get(&mut tx, id).await?;
    let version = row.version;
    Ok(Answer::of(&Resource::from(row))?.at(version))
}

/// Replaces what a resource is made of.
#[utoipa::path(
    put, path = "/v1/zones/{zone}/resources/{id}", tag = "resources",
    operation_id = "update_resource",
    params(("zone" = Uuid, Path), ("id" = Uuid, Path), ("If-Match" = String, Header)),
    request_body = ResourceUpdate,
    responses((status = 200, body = Resource), (status = "default", body = ProblemDocument)),
)]
pub(crate) async fn update(
    State(app): State<Arc<App>>,
    Operator(caller): Operator,
    InZone(zone): InZone,
    Id(id): Id,
    body: Body<ResourceUpdate>,
) -> Result<Answer, Error> {
    let asked = body.value;
    let mut findings = Findings::default();
    let upstream = asked.upstream.as_deref();
    let scopes = check(
        &mut findings,
        &asked.name,
        &asked.scopes,
        &asked.operations,
        upstream,
    );
    findings.into_result()?;

    let mut change = fresh!(Change::begin(&app, &caller, zone, body.fingerprint).await?);
    let now = change.now();
    let held = resources::get(change.tx(), id).await?;
    let version = caller.expected(held.version)?;
    anchors::lock(change.tx(), AnchorKind::Resource, &held.identifier).await?;
    let values = ResourceValues {
        name: &asked.name,
        scopes: &scopes,
        operations: &asked.operations,
        upstream,
    };
    resources::update(change.tx(), id, version, &values, now).await?;
    let row = resources::get(change.tx(), id).await?;
    tell(&app, &caller, &mut change, zone, &row, "resource_updated").await?;
    let version = row.version;
    Ok(change.finish(200, &Resource::from(row)).await?.at(version))
}

/// Disables a resource: nothing is issued for it, and what was is refused.
#[utoipa::path(
    post, path = "/v1/zones/{zone}/resources/{id}/disable", tag = "resources",
    operation_id = "disable_resource",
    params(("zone" = Uuid, Path), ("id" = Uuid, Path)),
    responses((status = 200, body = Resource), (status = "default", body = ProblemDocument)),
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

/// Enables a resource.
#[utoipa::path(
    post, path = "/v1/zones/{zone}/resources/{id}/enable", tag = "resources",
    operation_id = "enable_resource",
    params(("zone" = Uuid, Path), ("id" = Uuid, Path)),
    responses((status = 200, body = Resource), (status = "default", body = ProblemDocument)),
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
    let identifier = resources::get(change.tx(), id).await?.identifier;
    let zone = change.zone();
    anchors::lock(change.tx(), AnchorKind::Resource, &identifier).await?;
    let moved =
        anchors::set_state(change.tx(), AnchorKind::Resource, &identifier, &[from], to).await?;
    if let Some(version) = moved {
        let delta = delta::state(zone, AnchorKind::Resource, &identifier, to, version);
        change.tell(&delta).await?;
        let code = if to == "active" {
            "resource_enabled"
        } else {
            "resource_disabled"
        };
        let evidence = Evidence::of(EventKind::StateChanged, code, "resource", &identifier);
        change.record(app, caller, evidence).await?;
    }
    let row = resources::get(change.tx(), id).await?;
    let version = row.version;
    Ok(change.finish(200, &Resource::from(row)).await?.at(version))
}
