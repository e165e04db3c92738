//! Zones.

use std::sync::Arc;

use axum::extract::State;
use chassis::Rng;
use jiff::Timestamp;
use ledger::event::EventKind;
use mandate::id::ZoneId;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::api::body::{Body, Fingerprint, Shape};
use crate::api::change::{Answer, Change, fresh};
use crate::api::check::Findings;
use crate::api::page::{Listing, Page, PageQuery};
use crate::api::path;
use crate::api::principal::{Caller, InZone, Operator};
use crate::api::router::ProblemDocument;
use crate::app::App;
use crate::delta;
use crate::error::{Conflict, Error};
use crate::evidence::Evidence;
use crate::store::anchors::{self, AnchorKind};
use crate::store::signing_keys;
use crate::store::zones::{self, NewZone};

/// A zone to be.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ZoneBody {
    /// A name for people.
    #[schema(example = "payments")]
    name: String,
    /// The issuer of its mandates; left out, the deployment's base with the zone's id.
    issuer: Option<String>,
    /// Its id; left out, a new one.
    #[schema(value_type = Option<Uuid>)]
    id: Option<String>,
    /// How old an enforcement point's knowledge may be, in milliseconds: 1000 to 60000.
    freshness_bound_ms: Option<i32>,
}

impl Shape for ZoneBody {}

/// A zone.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Zone {
    /// Its id.
    id: Uuid,
    /// Its name.
    name: String,
    /// The issuer of its mandates.
    issuer: String,
    /// `provisioning` until it has its first key, `ready`, or `archived`.
    state: String,
    /// How old an enforcement point's knowledge may be.
    freshness_bound_ms: i32,
    /// Rises with every change.
    version: i64,
    /// When it was made.
    created_at: String,
    /// When it changed last.
    updated_at: String,
}

impl From<zones::Zone> for Zone {
    fn from(zone: zones::Zone) -> Self {
        Self {
            id: zone.id,
            name: zone.name,
            issuer: zone.issuer,
            state: zone.state,
            freshness_bound_ms: zone.freshness_bound_ms,
            version: zone.version,
            created_at: zone.created_at.to_jiff().to_string(),
            updated_at: zone.updated_at.to_jiff().to_string(),
        }
    }
}

/// Makes a zone.
#[utoipa::path(
    post, path = "/v1/zones", tag = "zones", operation_id = "create_zone",
    request_body = ZoneBody,
    responses((status = 201, body = Zone), (status = "default", body = ProblemDocument)),
)]
pub(crate) async fn create(
    State(app): State<Arc<App>>,
    Operator(caller): Operator,
    body: Body<ZoneBody>,
) -> Result<Answer, Error> {
    let asked = body.value;
    let mut findings = Findings::default();
    findings.name("name", &asked.name);
    let bound = asked.freshness_bound_ms.unwrap_or(10_000);
    if !(1_000..=60_000).contains(&bound) {
        findings.add("freshness_bound_ms", "must be between 1000 and 60000");
    }
    let id = match &asked.id {
        Some(text) => match path::uuid(text) {
            Some(id) if !id.is_nil() => ZoneId::from_uuid(id),
            _ => {
                findings.add("id", "is not a UUID in lower case with hyphens");
                ZoneId::from_uuid(Uuid::nil())
            }
        },
        None => new_id(&app, &caller, &app.rng, app.clock.now()),
    };
    let issuer = asked
        .issuer
        .unwrap_or_else(|| format!("{}/z/{id}", app.config.issuer_base));
    let issuer = findings.issuer("issuer", &issuer);
    findings.into_result()?;
    let issuer = issuer.ok_or_else(|| Error::invalid("issuer", "is not an issuer"))?;

    let mut tx = app.store.begin(id).await?;
    if zones::get(&mut tx).await.is_err() {
        // The zone's row comes first: the receipt refers to it.
        drop(tx);
        return insert(
            &app,
            &caller,
            id,
            &asked.name,
            &issuer,
            bound,
            body.fingerprint,
        )
        .await;
    }
    drop(tx);
    let _change = fresh!(Change::begin_any(&app, &caller, id, body.fingerprint).await?);
    Err(Error::Conflict(Conflict::Exists))
}

async fn insert(
    app: &App,
    caller: &Caller,
    id: ZoneId,
    name: &str,
    issuer: &mandate::id::Issuer,
    freshness_bound_ms: i32,
    fingerprint: Fingerprint,
) -> Result<Answer, Error> {
    let mut change = Change::begin_unclaimed(app, id).await?;
    let now = change.now();
    let new = NewZone {
        name,
        issuer,
        freshness_bound_ms,
        now,
    };
    let zone = zones::insert(change.tx(), &new).await?;
    change.claim(app, caller, fingerprint).await?;
    let anchor = id.to_string();
    anchors::insert(change.tx(), AnchorKind::Zone, &anchor).await?;
    anchors::insert(change.tx(), AnchorKind::Policy, &anchor).await?;
    change.tell(&delta::zone(&zone)).await?;
    let evidence = Evidence::of(EventKind::ZoneCreated, "zone_created", "zone", &anchor);
    change.record(app, caller, evidence).await?;
    let version = zone.version;
    Ok(change.finish(201, &Zone::from(zone)).await?.at(version))
}

/// A new id. Under an idempotency key always the same one, so that a replay finds its zone.
fn new_id(app: &App, caller: &Caller, rng: &Rng, now: Timestamp) -> ZoneId {
    ZoneId::from_uuid(match &caller.idempotency_key {
        Some(key) => {
            let digest = app.receipt_key(&caller.name, key);
            let mut bytes = [0; 16];
            for (to, from) in bytes.iter_mut().zip(digest) {
                *to = from;
            }
            uuid::Builder::from_custom_bytes(bytes).into_uuid()
        }
        None => rng.uuid_v7(now),
    })
}

/// Every zone.
#[utoipa::path(
    get, path = "/v1/zones", tag = "zones", operation_id = "list_zones",
    params(PageQuery),
    responses((status = 200, body = Listing<Zone>), (status = "default", body = ProblemDocument)),
)]
pub(crate) async fn list(
    State(app): State<Arc<App>>,
    _operator: Operator,
    page: Page,
) -> Result<Answer, Error> {
    let mut tx = app.operator.begin().await?;
    let rows = zones::list(&mut tx, page.after, page.probe()).await?;
    Answer::of(&page.of(rows, |zone| zone.id, Zone::from))
}

/// One zone.
#[utoipa::path(
    get, path = "/v1/zones/{zone}", tag = "zones", operation_id = "get_zone",
    params(("zone" = Uuid, Path)),
    responses((status = 200, body = Zone), (status = "default", body = ProblemDocument)),
)]
pub(crate) async fn get(
    State(app): State<Arc<App>>,
    _operator: Operator,
    InZone(zone): InZone,
) -> Result<Answer, Error> {
    let mut tx = app.store.begin(zone).await?;
    let zone = zones::get(&mut tx).await?;
    let version = zone.version;
    Ok(Answer::of(&Zone::from(zone))?.at(version))
}

/// Archives a zone: nothing is issued or admitted any more.
#[utoipa::path(
    post, path = "/v1/zones/{zone}/archive", tag = "zones", operation_id = "archive_zone",
    params(("zone" = Uuid, Path)),
    responses((status = 200, body = Zone), (status = "default", body = ProblemDocument)),
)]
pub(crate) async fn archive(
    State(app): State<Arc<App>>,
    Operator(caller): Operator,
    InZone(zone): InZone,
    fingerprint: Fingerprint,
) -> Result<Answer, Error> {
    let change = fresh!(Change::begin_any(&app, &caller, zone, fingerprint).await?);
    shift(
        &app,
        &caller,
        change,
        &["provisioning", "ready"],
        "archived",
    )
    .await
}

/// Takes a zone out of the archive.
#[utoipa::path(
    post, path = "/v1/zones/{zone}/restore", tag = "zones", operation_id = "restore_zone",
    params(("zone" = Uuid, Path)),
    responses((status = 200, body = Zone), (status = "default", body = ProblemDocument)),
)]
pub(crate) async fn restore(
    State(app): State<Arc<App>>,
    Operator(caller): Operator,
    InZone(zone): InZone,
    fingerprint: Fingerprint,
) -> Result<Answer, Error> {
    let mut change = fresh!(Change::begin_any(&app, &caller, zone, fingerprint).await?);
    let has_key = signing_keys::has_active(change.tx()).await?;
    let to = if has_key { "ready" } else { "provisioning" };
    shift(&app, &caller, change, &["archived"], to).await
}

async fn shift(
    app: &App,
    caller: &Caller,
    mut change: Change,
    from: &[&str],
    to: &str,
) -> Result<Answer, Error> {
    let anchor = change.zone().to_string();
    let now = change.now();
    anchors::lock(change.tx(), AnchorKind::Zone, &anchor).await?;
    let Some(zone) = zones::set_state(change.tx(), from, to, now).await? else {
        return Err(Error::Conflict(Conflict::State));
    };
    let (was, is) = if to == "archived" {
        ("active", "archived")
    } else {
        ("archived", "active")
    };
    anchors::set_state(change.tx(), AnchorKind::Zone, &anchor, &[was], is).await?;
    change.tell(&delta::zone(&zone)).await?;
    let code = if to == "archived" {
        "zone_archived"
    } else {
        "zone_restored"
    };
    let evidence = Evidence::of(EventKind::StateChanged, code, "zone", &anchor);
    change.record(app, caller, evidence).await?;
    let version = zone.version;
    Ok(change.finish(200, &Zone::from(zone)).await?.at(version))
}
