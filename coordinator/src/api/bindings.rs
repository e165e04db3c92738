//! Bindings: at which attachment, host and prefix a resource is reached. One place holds one binding
//! of a zone; what several zones claim at one attachment is refused when it is decided.

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
use crate::store::bindings::{self, BindingValues};
use crate::store::resources;

/// A binding to be, or what one is made of from now on.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct BindingBody {
    /// The proxy's attachment.
    #[schema(example = "edge")]
    attachment: String,
    /// The resource's identifier.
    resource: String,
    /// The hosts, in lower case without default port.
    hosts: Vec<String>,
    /// The prefix of the path, whole segments; left out, `/`.
    #[serde(default = "root")]
    path_prefix: String,
    /// The proxy's clusters that requests may go to.
    upstream_clusters: Vec<String>,
    /// How callers reach it.
    #[schema(example = "https://invoices.example")]
    public_url: String,
    /// How evidence is kept; only `per_request`.
    #[serde(default)]
    evidence: EvidenceMode,
    /// The most delegations a mandate may have passed through, 0 to 10; left out, 10.
    #[serde(default = "ten")]
    max_hops: i32,
    /// Whether the upstream sees the mandate; left out, `strip`.
    #[serde(default)]
    forward_mandate: ForwardMandate,
}

impl Shape for BindingBody {}

/// How evidence of requests is kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum EvidenceMode {
    /// One event a request, before it is let through.
    #[default]
    PerRequest,
}

/// Whether the upstream sees the mandate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ForwardMandate {
    /// It does not.
    #[default]
    Strip,
    /// It does.
    Keep,
}

fn root() -> String {
    "/".to_owned()
}

fn ten() -> i32 {
    10
}

/// A binding.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Binding {
    /// Its id.
    id: Uuid,
    /// The proxy's attachment.
    attachment: String,
    /// The resource's identifier.
    resource: String,
    /// The hosts.
    hosts: Vec<String>,
    /// The prefix of the path.
    path_prefix: String,
    /// The proxy's clusters.
    upstream_clusters: Vec<String>,
    /// How callers reach it.
    public_url: String,
    /// How evidence is kept.
    evidence: String,
    /// The most delegations.
    max_hops: i32,
    /// Whether the upstream sees the mandate.
    forward_mandate: String,
    /// `active` or `disabled`.
    state: String,
    /// Rises with every change; the `ETag`.
    version: i64,
    /// When it was made.
    created_at: String,
}

impl From<bindings::Binding> for Binding {
    fn from(row: bindings::Binding) -> Self {
        Self {
            id: row.id,
            attachment: row.attachment,
            resource: row.resource,
            hosts: row.hosts,
            path_prefix: row.path_prefix,
            upstream_clusters: row.upstream_clusters,
            public_url: row.public_url,
            evidence: row.evidence,
            max_hops: row.max_hops,
            forward_mandate: row.forward_mandate,
            state: row.state,
            version: row.version,
            created_at: row.created_at.to_jiff().to_string(),
        }
    }
}

impl BindingBody {
    fn check(&self) -> Result<(), Error> {
        let mut findings = Findings::default();
        findings.attachment("attachment", &self.attachment);
        findings.resource("resource", &self.resource);
        findings.hosts("hosts", &self.hosts);
        findings.prefix("path_prefix", &self.path_prefix);
        findings.issuer("public_url", self.public_url.trim_end_matches('/'));
        if self.upstream_clusters.is_empty() || self.upstream_clusters.len() > 64 {
            findings.add("upstream_clusters", "must be 1 to 64");
        }
        for (index, cluster) in self.upstream_clusters.iter().enumerate() {
            let fit = (1..=255).contains(&cluster.len())
                && cluster.bytes().all(|byte| byte.is_ascii_graphic());
            if !fit {
                let what = "must have 1 to 255 visible characters";
                findings.add(format!("upstream_clusters[{index}]"), what);
            }
        }
        if !(0..=10).contains(&self.max_hops) {
            findings.add("max_hops", "must be between 0 and 10");
        }
        findings.into_result()
    }

    fn values(&self, resource_id: Uuid) -> BindingValues<'_> {
        BindingValues {
            resource_id,
            attachment: &self.attachment,
            hosts: &self.hosts,
            path_prefix: &self.path_prefix,
            upstream_clusters: &self.upstream_clusters,
            public_url: &self.public_url,
            evidence: match self.evidence {
                EvidenceMode::PerRequest => "per_request",
            },
            max_hops: self.max_hops,
            forward_mandate: match self.forward_mandate {
                ForwardMandate::Strip => "strip",
                ForwardMandate::Keep => "keep",
            },
        }
    }
}

/// Makes a binding.
#[utoipa::path(
    post, path = "/v1/zones/{zone}/bindings", tag = "bindings", operation_id = "create_binding",
    params(("zone" = Uuid, Path)),
    request_body = BindingBody,
    responses((status = 201, body = Binding), (status = "default", body = ProblemDocument)),
)]
pub(crate) async fn create(
    State(app): State<Arc<App>>,
    Operator(caller): Operator,
    InZone(zone): InZone,
    body: Body<BindingBody>,
) -> Result<Answer, Error> {
    let asked = body.value;
    asked.check()?;
    let mut change = fresh!(Change::begin(&app, &caller, zone, body.fingerprint).await?);
    let now = change.now();
    let resource = find_resource(&mut change, &asked.resource).await?;
    let id = app.rng.uuid_v7(now);
    bindings::insert(change.tx(), id, &asked.values(resource), now).await?;
    let row = bindings::get(change.tx(), id).await?;
    tell(&app, &caller, &mut change, zone, &row, "binding_created").await?;
    let version = row.version;
    Ok(change.finish(201, &Binding::from(row)).await?.at(version))
}

async fn find_resource(change: &mut Change, identifier: &str) -> Result<Uuid, Error> {
    resources::find(change.tx(), identifier)
        .await?
        .ok_or_else(|| Error::invalid("resource", "is not a resource of this zone"))
}

async fn tell(
    app: &App,
    caller: &Caller,
    change: &mut Change,
    zone: ZoneId,
    row: &bindings::Binding,
    code: &'static str,
) -> Result<(), Error> {
    change.tell(&delta::binding(zone, row)).await?;
    let id = row.id.to_string();
    let evidence = Evidence::of(EventKind::AdminChange, code, "binding", &id);
    change.record(app, caller, evidence).await
}

/// Bindings of a zone.
#[utoipa::path(
    get, path = "/v1/zones/{zone}/bindings", tag = "bindings", operation_id = "list_bindings",
    params(("zone" = Uuid, Path), PageQuery),
    responses((status = 200, body = Listing<Binding>), (status = "default", body = ProblemDocument)),
)]
pub(crate) async fn list(
    State(app): State<Arc<App>>,
    _operator: Operator,
    InZone(zone): InZone,
    page: Page,
) -> Result<Answer, Error> {
    let mut tx = app.begin_known(zone).await?;
    let rows = bindings::list(&mut tx, page.after, page.probe()).await?;
    Answer::of(&page.of(rows, |row| row.id, Binding::from))
}

/// One binding.
#[utoipa::path(
    get, path = "/v1/zones/{zone}/bindings/{id}", tag = "bindings", operation_id = "get_binding",
    params(("zone" = Uuid, Path), ("id" = Uuid, Path)),
    responses((status = 200, body = Binding), (status = "default", body = ProblemDocument)),
)]
pub(crate) async fn get(
    State(app): State<Arc<App>>,
    _operator: Operator,
    InZone(zone): InZone,
    Id(id): Id,
) -> Result<Answer, Error> {
    let mut tx = app.begin_known(zone).await?;
    let row = bindings::get(&mut tx, id).await?;
    let version = row.version;
    Ok(Answer::of(&Binding::from(row))?.at(version))
}

/// Replaces what a binding is made of.
#[utoipa::path(
    put, path = "/v1/zones/{zone}/bindings/{id}", tag = "bindings", operation_id = "update_binding",
    params(("zone" = Uuid, Path), ("id" = Uuid, Path), ("If-Match" = String, Header)),
    request_body = BindingBody,
    responses((status = 200, body = Binding), (status = "default", body = ProblemDocument)),
)]
pub(crate) async fn update(
    State(app): State<Arc<App>>,
    Operator(caller): Operator,
    InZone(zone): InZone,
    Id(id): Id,
    body: Body<BindingBody>,
) -> Result<Answer, Error> {
    let asked = body.value;
    asked.check()?;
    let mut change = fresh!(Change::begin(&app, &caller, zone, body.fingerprint).await?);
    let now = change.now();
    let held = bindings::get(change.tx(), id).await?;
    let version = caller.expected(held.version)?;
    let resource = find_resource(&mut change, &asked.resource).await?;
    bindings::update(change.tx(), id, version, &asked.values(resource), now).await?;
    let row = bindings::get(change.tx(), id).await?;
    tell(&app, &caller, &mut change, zone, &row, "binding_updated").await?;
    let version = row.version;
    Ok(change.finish(200, &Binding::from(row)).await?.at(version))
}

/// Disables a binding: what only it let through is refused.
#[utoipa::path(
    post, path = "/v1/zones/{zone}/bindings/{id}/disable", tag = "bindings",
    operation_id = "disable_binding",
    params(("zone" = Uuid, Path), ("id" = Uuid, Path)),
    responses((status = 200, body = Binding), (status = "default", body = ProblemDocument)),
)]
pub(crate) async fn disable(
    State(app): State<Arc<App>>,
    Operator(caller): Operator,
    InZone(zone): InZone,
    Id(id): Id,
    fingerprint: Fingerprint,
) -> Result<Answer, Error> {
    let change = fresh!(Change::begin(&app, &caller, zone, fingerprint).await?);
    shift(&app, &caller, change, id, "disabled").await
}

/// Enables a binding.
#[utoipa::path(
    post, path = "/v1/zones/{zone}/bindings/{id}/enable", tag = "bindings",
    operation_id = "enable_binding",
    params(("zone" = Uuid, Path), ("id" = Uuid, Path)),
    responses((status = 200, body = Binding), (status = "default", body = ProblemDocument)),
)]
pub(crate) async fn enable(
    State(app): State<Arc<App>>,
    Operator(caller): Operator,
    InZone(zone): InZone,
    Id(id): Id,
    fingerprint: Fingerprint,
) -> Result<Answer, Error> {
    let change = fresh!(Change::begin(&app, &caller, zone, fingerprint).await?);
    shift(&app, &caller, change, id, "active").await
}

async fn shift(
    app: &App,
    caller: &Caller,
    mut change: Change,
    id: Uuid,
    to: &str,
) -> Result<Answer, Error> {
    let zone = change.zone();
    let now = change.now();
    bindings::get(change.tx(), id).await?;
    let moved = bindings::set_state(change.tx(), id, to, now).await?;
    let row = bindings::get(change.tx(), id).await?;
    if moved {
        let code = if to == "active" {
            "binding_enabled"
        } else {
            "binding_disabled"
        };
        tell(app, caller, &mut change, zone, &row, code).await?;
    }
    let version = row.version;
    Ok(change.finish(200, &Binding::from(row)).await?.at(version))
}
