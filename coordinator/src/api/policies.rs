//! Policies: immutable versions of a zone's policy data, one of which is active.

use std::sync::Arc;

use axum::extract::State;
use chassis::BoxError;
use ledger::event::EventKind;
use mandate::id::ZoneId;
use policy::data::PolicyData;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::api::body::{Body, Fingerprint, Shape};
use crate::api::change::{Answer, Change, fresh};
use crate::api::page::{Listing, Page, PageQuery};
use crate::api::path::Id;
use crate::api::principal::{InZone, Operator};
use crate::api::router::ProblemDocument;
use crate::app::App;
use crate::delta::{self, hexadecimal};
use crate::error::{Error, Finding};
use crate::evidence::Evidence;
use crate::reach;
use crate::store::anchors::{self, AnchorKind};
use crate::store::policies::{self, NewVersion};

/// Policy data.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct PolicyBody {
    /// The six roots `app_ids`, `grants`, `confinement`, `restrict`, `risk`, `approval_tiers`.
    #[schema(value_type = Object)]
    data: Box<RawValue>,
}

impl Shape for PolicyBody {
    const LIMIT: usize = 1024 * 1024;
}

/// A policy version.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Version {
    /// Its id.
    id: Uuid,
    /// Its number within the zone.
    number: i32,
    /// SHA-256 of its canonical form, in hexadecimal.
    content_sha256: String,
    /// Whether it is the active one.
    active: bool,
    /// When it was uploaded.
    created_at: String,
    /// By whom.
    created_by: String,
}

/// The active version.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ActiveVersion {
    /// Its id.
    id: Uuid,
    /// Its number within the zone.
    number: i32,
    /// SHA-256 of its canonical form.
    content_sha256: String,
    /// What it says.
    #[schema(value_type = Object)]
    data: serde_json::Value,
}

/// What a check found.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Validation {
    /// Whether it could be uploaded.
    valid: bool,
    /// SHA-256 of its canonical form, when it is valid.
    #[serde(skip_serializing_if = "Option::is_none")]
    content_sha256: Option<String>,
    /// Everything that is wrong.
    findings: Vec<Finding>,
}

/// How far the active version has come.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ActivationStatus {
    /// The active version.
    id: Uuid,
    /// Its position; absent while it has none yet, or when it has been pruned because every
    /// position of the last hour is above it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pos: Option<u64>,
    /// Whether every reader has it, or refuses by itself because it was silent for too long.
    everywhere: bool,
    /// The readers.
    readers: Vec<ReaderStatus>,
}

/// How far one reader is.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ReaderStatus {
    /// Its name.
    reader: String,
    /// Its service.
    service: String,
    /// Its position.
    pos: u64,
    /// When it was heard of last.
    seen_at: String,
    /// `applied`, `behind`, or `silent`: not heard of for so long that it refuses by itself.
    state: &'static str,
}

impl From<policies::Version> for Version {
    fn from(row: policies::Version) -> Self {
        Self {
            id: row.id,
            number: row.number,
            content_sha256: hexadecimal(&row.content_sha256),
            active: row.active,
            created_at: row.created_at.to_jiff().to_string(),
            created_by: row.created_by,
        }
    }
}

/// Policy data that is valid and compiles.
#[derive(Debug)]
struct Checked {
    canonical: Vec<u8>,
    content_sha256: [u8; 32],
}

fn check(app: &App, json: &[u8]) -> Result<Checked, Error> {
    let data = PolicyData::parse(json).map_err(|findings| {
        Error::Invalid(
            findings
                .into_iter()
                .map(|finding| Finding::new(format!("data{}", at(&finding.path)), finding.what))
                .collect(),
        )
    })?;
    app.evaluator
        .prepare(&data)
        .map_err(|error| Error::invalid("data", format!("does not compile: {error}")))?;
    Ok(Checked {
        canonical: data.canonical(),
        content_sha256: data.content_sha256(),
    })
}

fn at(path: &str) -> String {
    if path.is_empty() || path.starts_with(['.', '[']) {
        path.to_owned()
    } else {
        format!(".{path}")
    }
}

/// Says what is wrong with policy data, and uploads nothing.
#[utoipa::path(
    post, path = "/v1/zones/{zone}/policies/validate", tag = "policies",
    operation_id = "validate_policy",
    params(("zone" = Uuid, Path)),
    request_body = PolicyBody,
    responses((status = 200, body = Validation), (status = "default", body = ProblemDocument)),
)]
pub(crate) async fn validate(
    State(app): State<Arc<App>>,
    _operator: Operator,
    InZone(zone): InZone,
    body: Body<PolicyBody>,
) -> Result<Answer, Error> {
    drop(app.begin_known(zone).await?);
    let validation = match check(&app, body.value.data.get().as_bytes()) {
        Ok(checked) => Validation {
            valid: true,
            content_sha256: Some(hexadecimal(&checked.content_sha256)),
            findings: Vec::new(),
        },
        Err(Error::Invalid(findings)) => Validation {
            valid: false,
            content_sha256: None,
            findings,
        },
        Err(error) => return Err(error),
    };
    Answer::of(&validation)
}

/// Uploads a version.
#[utoipa::path(
    post, path = "/v1/zones/{zone}/policies", tag = "policies", operation_id = "create_policy",
    params(("zone" = Uuid, Path)),
    request_body = PolicyBody,
    responses((status = 201, body = Version), (status = "default", body = ProblemDocument)),
)]
pub(crate) async fn create(
    State(app): State<Arc<App>>,
    Operator(caller): Operator,
    InZone(zone): InZone,
    body: Body<PolicyBody>,
) -> Result<Answer, Error> {
    let checked = check(&app, body.value.data.get().as_bytes())?;
    let data: serde_json::Value =
        serde_json::from_slice(&checked.canonical).map_err(Error::internal)?;
    let mut change = fresh!(Change::begin(&app, &caller, zone, body.fingerprint).await?);
    let now = change.now();
    let id = app.rng.uuid_v7(now);
    let new = NewVersion {
        id,
        data: &data,
        canonical: &checked.canonical,
        content_sha256: &checked.content_sha256,
        by: &caller.name,
        now,
    };
    policies::insert(change.tx(), &new).await?;
    let text = id.to_string();
    let evidence =
        Evidence::of(EventKind::AdminChange, "policy_uploaded", "policy", &text).policy(id);
    change.record(&app, &caller, evidence).await?;
    let row = policies::get(change.tx(), id).await?;
    change.finish(201, &Version::from(row)).await
}

/// Versions of a zone.
#[utoipa::path(
    get, path = "/v1/zones/{zone}/policies", tag = "policies", operation_id = "list_policies",
    params(("zone" = Uuid, Path), PageQuery),
    responses((status = 200, body = Listing<Version>), (status = "default", body = ProblemDocument)),
)]
pub(crate) async fn list(
    State(app): State<Arc<App>>,
    _operator: Operator,
    InZone(zone): InZone,
    page: Page,
) -> Result<Answer, Error> {
    let mut tx = app.begin_known(zone).await?;
    let rows = policies::list(&mut tx, page.after, page.probe()).await?;
    Answer::of(&page.of(rows, |row| row.id, Version::from))
}

/// One version.
#[utoipa::path(
    get, path = "/v1/zones/{zone}/policies/{id}", tag = "policies", operation_id = "get_policy",
    params(("zone" = Uuid, Path), ("id" = Uuid, Path)),
    responses((status = 200, body = Version), (status = "default", body = ProblemDocument)),
)]
pub(crate) async fn get(
    State(app): State<Arc<App>>,
    _operator: Operator,
    InZone(zone): InZone,
    Id(id): Id,
) -> Result<Answer, Error> {
    let mut tx = app.begin_known(zone).await?;
    Answer::of(&Version::from(policies::get(&mut tx, id).await?))
}

/// Makes a version the active one. It is checked again first.
#[utoipa::path(
    post, path = "/v1/zones/{zone}/policies/{id}/activate", tag = "policies",
    operation_id = "activate_policy",
    params(("zone" = Uuid, Path), ("id" = Uuid, Path)),
    responses((status = 200, body = Version), (status = "default", body = ProblemDocument)),
)]
pub(crate) async fn activate(
    State(app): State<Arc<App>>,
    Operator(caller): Operator,
    InZone(zone): InZone,
    Id(id): Id,
    fingerprint: Fingerprint,
) -> Result<Answer, Error> {
    let mut change = fresh!(Change::begin(&app, &caller, zone, fingerprint).await?);
    let content = policies::content(change.tx(), id).await?;
    let checked = check(&app, &content.canonical)?;
    if checked.content_sha256.as_slice() != content.content_sha256 {
        return Err(Error::bad_row("policies", id));
    }
    let anchor = zone.to_string();
    anchors::lock(change.tx(), AnchorKind::Policy, &anchor).await?;
    let before = policies::active(change.tx()).await?;
    if before.is_none_or(|active| active.id != id) {
        policies::activate(change.tx(), id).await?;
        anchors::touch(change.tx(), AnchorKind::Policy, &anchor).await?;
        let active = policies::active(change.tx())
            .await?
            .ok_or_else(|| Error::bad_row("policy_heads", zone))?;
        change.tell(&delta::policy(zone, &active)).await?;
        let text = id.to_string();
        let evidence = Evidence::of(
            EventKind::PolicyActivated,
            "policy_activated",
            "policy",
            &text,
        )
        .policy(id);
        change.record(&app, &caller, evidence).await?;
    }
    let row = policies::get(change.tx(), id).await?;
    change.finish(200, &Version::from(row)).await
}

/// The active version, with what it says.
#[utoipa::path(
    get, path = "/v1/zones/{zone}/policies/active", tag = "policies",
    operation_id = "get_active_policy",
    params(("zone" = Uuid, Path)),
    responses((status = 200, body = ActiveVersion), (status = "default", body = ProblemDocument)),
)]
pub(crate) async fn active(
    State(app): State<Arc<App>>,
    _operator: Operator,
    InZone(zone): InZone,
) -> Result<Answer, Error> {
    let mut tx = app.begin_known(zone).await?;
    let active = policies::active(&mut tx)
        .await?
        .ok_or(Error::NotFound("active policy"))?;
    Answer::of(&ActiveVersion {
        id: active.id,
        number: active.number,
        content_sha256: hexadecimal(&active.content_sha256),
        data: serde_json::from_slice(&active.canonical).map_err(Error::internal)?,
    })
}

/// Where the active version has arrived.
#[utoipa::path(
    get, path = "/v1/zones/{zone}/policies/activation-status", tag = "policies",
    operation_id = "get_policy_activation_status",
    params(("zone" = Uuid, Path)),
    responses((status = 200, body = ActivationStatus), (status = "default", body = ProblemDocument)),
)]
pub(crate) async fn activation_status(
    State(app): State<Arc<App>>,
    _operator: Operator,
    InZone(zone): InZone,
) -> Result<Answer, Error> {
    let mut tx = app.begin_known(zone).await?;
    let active = policies::active(&mut tx)
        .await?
        .ok_or(Error::NotFound("active policy"))?;
    drop(tx);
    let found = reach::of_policy(&app, ZoneId::from_uuid(zone.as_uuid()), active.id).await?;
    let readers = found
        .readers
        .iter()
        .map(|reader| ReaderStatus {
            reader: reader.name.clone(),
            service: reader.service.clone(),
            pos: reader.pos,
            seen_at: reader.seen_at.to_string(),
            state: reader.standing.as_str(),
        })
        .collect();
    Answer::of(&ActivationStatus {
        id: active.id,
        pos: found.pos,
        everywhere: found.everywhere(),
        readers,
    })
}

/// Errors of the evaluator, for the start of the process.
pub(crate) fn evaluator() -> Result<policy::rego::Evaluator, BoxError> {
    policy::rego::Evaluator::new().map_err(Into::into)
}
