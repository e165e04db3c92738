//! Revocation: one statement under the anchor's exclusive lock, one message, and on request the
//! proof that it is everywhere.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use jiff::{SignedDuration, Timestamp};
use ledger::event::EventKind;
use mandate::id::{KeyId, ResourceUri, Subject, ZoneId};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::api::body::{Body, Shape};
use crate::api::change::{Answer, Change, fresh};
use crate::api::check::Findings;
use crate::api::page::{Listing, Page, PageQuery};
use crate::api::path;
use crate::api::principal::{Caller, InZone, Operator};
use crate::api::router::ProblemDocument;
use crate::app::{App, dead_until};
use crate::delta;
use crate::error::Error;
use crate::evidence::Evidence;
use crate::reach;
use crate::store::anchors::{self, AnchorKind};
use crate::store::revocations::{self, NewRevocation};
use crate::store::{applications, clock, resources, sessions, signing_keys};

/// A distrusted key stays distrusted: whoever stole it can date what it signs as it likes.
const KEY_IS_DEAD_FOR: SignedDuration = SignedDuration::from_hours(24 * 365 * 10);
/// How far the issuer's clock may be ahead of the database's. Everything it issued before a cut-off
/// is dated at most this far ahead of it.
const SKEW: SignedDuration = SignedDuration::from_secs(2);

/// What is revoked.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RevocationBody {
    /// On what.
    anchor: AnchorBody,
    /// `dead` or `cut_off`; left out, what the anchor's kind allows. Each allows one.
    kind: Option<Kind>,
    /// Why, for the ledger.
    #[serde(default)]
    reason: String,
    /// `everywhere`: answer when every enforcement point has it or refuses by itself.
    wait: Option<Wait>,
}

impl Shape for RevocationBody {}

/// What a revocation is anchored to.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct AnchorBody {
    /// `session`, `mandate`, `record`, `delegation` or `key` die; `application`, `subject`,
    /// `resource` and `zone` are cut off.
    kind: Target,
    /// Its id: a UUID, a key id, a subject, or a resource's identifier.
    id: String,
}

/// The kinds of object that can be revoked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Target {
    /// A session.
    Session,
    /// A mandate, by `jti`.
    Mandate,
    /// An authority record, by `sid`.
    Record,
    /// A delegation.
    Delegation,
    /// A signing key.
    Key,
    /// An application, which is also disabled.
    Application,
    /// A subject.
    Subject,
    /// A resource.
    Resource,
    /// The zone.
    Zone,
}

impl Target {
    fn anchor(self) -> AnchorKind {
        match self {
            Self::Session => AnchorKind::Session,
            Self::Mandate => AnchorKind::Mandate,
            Self::Record => AnchorKind::Record,
            Self::Delegation => AnchorKind::Delegation,
            Self::Key => AnchorKind::Key,
            Self::Application => AnchorKind::Application,
            Self::Subject => AnchorKind::Subject,
            Self::Resource => AnchorKind::Resource,
            Self::Zone => AnchorKind::Zone,
        }
    }

    fn kind(self) -> Kind {
        match self {
            Self::Session | Self::Mandate | Self::Record | Self::Delegation | Self::Key => {
                Kind::Dead
            }
            Self::Application | Self::Subject | Self::Resource | Self::Zone => Kind::CutOff,
        }
    }

    /// Whether the id has the form of this kind's ids.
    fn takes(self, id: &str) -> bool {
        match self {
            Self::Key => KeyId::parse(id).is_ok(),
            Self::Subject => Subject::parse(id).is_ok(),
            Self::Resource => ResourceUri::parse(id).is_ok(),
            Self::Session
            | Self::Mandate
            | Self::Record
            | Self::Delegation
            | Self::Application
            | Self::Zone => path::uuid(id).is_some(),
        }
    }

    /// Whether its anchor appears when it is first revoked.
    fn on_demand(self) -> bool {
        matches!(self, Self::Mandate | Self::Subject | Self::Key)
    }
}

/// How something is revoked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Kind {
    /// For good.
    Dead,
    /// What was issued so far.
    CutOff,
}

/// What to wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Wait {
    /// Every enforcement point.
    Everywhere,
}

/// A revocation that was committed.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Revoked {
    /// Its id.
    revocation_id: Uuid,
    /// `dead` or `cut_off`.
    kind: Kind,
    /// When.
    committed_at: String,
    /// Of a cut-off: what was issued at or before this second is refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    not_before: Option<i64>,
    /// Its position, when waited for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pos: Option<u64>,
    /// Whether it was everywhere when this was answered, when waited for.
    #[serde(skip_serializing_if = "Option::is_none")]
    reached: Option<bool>,
}

/// A recorded revocation.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Recorded {
    /// Its id.
    revocation_id: Uuid,
    /// `dead` or `cut_off`.
    kind: String,
    /// Of what.
    anchor_kind: String,
    /// Which.
    anchor_id: String,
    /// Why.
    reason: String,
    /// By whom.
    by: String,
    /// When.
    committed_at: String,
}

/// Revokes.
#[utoipa::path(
    post, path = "/v1/zones/{zone}/revocations", tag = "revocations",
    operation_id = "create_revocation",
    params(("zone" = Uuid, Path)),
    request_body = RevocationBody,
    responses((status = 201, body = Revoked), (status = "default", body = ProblemDocument)),
)]
pub(crate) async fn create(
    State(app): State<Arc<App>>,
    Operator(caller): Operator,
    InZone(zone): InZone,
    body: Body<RevocationBody>,
) -> Result<Answer, Error> {
    let asked = body.value;
    check(&asked)?;
    let mut change = fresh!(Change::begin_any(&app, &caller, zone, body.fingerprint).await?);
    let done = revoke(&app, &caller, &mut change, zone, &asked).await?;
    let outbox_id = change.told();
    let mut answer = change.finish(201, &done).await?;
    if asked.wait.is_some()
        && let Some(outbox_id) = outbox_id
    {
        let reach = reach::wait(&app, zone, outbox_id, patience(&app)).await?;
        answer = answer.with("reached", reach.everywhere());
        if let Some(pos) = reach.pos {
            answer = answer.with("pos", pos);
        }
    }
    Ok(answer)
}

/// As long as the request may take, less what is left for the answer.
fn patience(app: &App) -> Duration {
    app.config
        .http
        .timeout
        .saturating_sub(Duration::from_secs(1))
}

fn check(asked: &RevocationBody) -> Result<(), Error> {
    let mut findings = Findings::default();
    let target = asked.anchor.kind;
    if !target.takes(&asked.anchor.id) {
        findings.add("anchor.id", "is not an id of this kind");
    }
    if asked.kind.is_some_and(|kind| kind != target.kind()) {
        let what = match target.kind() {
            Kind::Dead => "objects of this kind die: leave it out or say dead",
            Kind::CutOff => "objects of this kind are cut off: leave it out or say cut_off",
        };
        findings.add("kind", what);
    }
    findings.text("reason", &asked.reason, 512);
    findings.into_result()
}

/// Revokes within a change: takes the anchor's lock, and only then reads and writes.
pub(crate) async fn revoke(
    app: &App,
    caller: &Caller,
    change: &mut Change,
    zone: ZoneId,
    asked: &RevocationBody,
) -> Result<Revoked, Error> {
    let (target, id) = (asked.anchor.kind, asked.anchor.id.as_str());
    anchors::lock(change.tx(), target.anchor(), id).await?;
    // From here on, a later statement sees every mint that was before us, and none can follow.
    exists(change, zone, target, id).await?;
    let now = clock::now(change.tx().as_mut()).await?;
    let written = match target.kind() {
        Kind::Dead => kill(change, zone, target, id, now).await?,
        Kind::CutOff => cut_off(change, zone, target, id, now).await?,
    };
    let revocation = app.rng.uuid_v7(now);
    let new = NewRevocation {
        id: revocation,
        kind: match target.kind() {
            Kind::Dead => "dead",
            Kind::CutOff => "cut_off",
        },
        anchor_kind: target.anchor(),
        anchor_id: id,
        reason: &asked.reason,
        not_before_s: written.not_before_s,
        dead_until: written.dead_until,
        by: &caller.name,
        committed_at: now,
    };
    revocations::insert(change.tx(), &new).await?;
    record(app, caller, change, asked, &written).await?;
    Ok(Revoked {
        revocation_id: revocation,
        kind: target.kind(),
        committed_at: now.to_string(),
        not_before: written.not_before_s,
        pos: None,
        reached: None,
    })
}

/// Another zone's object is as good as none.
async fn exists(change: &mut Change, zone: ZoneId, target: Target, id: &str) -> Result<(), Error> {
    let uuid = path::uuid(id).unwrap_or_default();
    match target {
        Target::Session => sessions::get(change.tx(), uuid).await.map(drop),
        Target::Application => applications::get(change.tx(), uuid).await.map(drop),
        Target::Resource => match resources::find(change.tx(), id).await? {
            Some(_) => Ok(()),
            None => Err(Error::NotFound("resource")),
        },
        Target::Key => {
            if signing_keys::exists(change.tx(), id).await? {
                Ok(())
            } else {
                Err(Error::NotFound("key"))
            }
        }
        Target::Zone => {
            if uuid == zone.as_uuid() {
                Ok(())
            } else {
                Err(Error::NotFound("zone"))
            }
        }
        Target::Mandate | Target::Record | Target::Delegation | Target::Subject => Ok(()),
    }
}

/// What a revocation wrote.
#[derive(Debug, Default)]
struct Written {
    not_before_s: Option<i64>,
    dead_until: Option<Timestamp>,
}

async fn kill(
    change: &mut Change,
    zone: ZoneId,
    target: Target,
    id: &str,
    now: Timestamp,
) -> Result<Written, Error> {
    let kind = target.anchor();
    let until = if target == Target::Key {
        now.saturating_add(KEY_IS_DEAD_FOR)
            .map_err(Error::internal)?
    } else {
        dead_until(now)
    };
    let version = anchors::kill(change.tx(), kind, id, until, target.on_demand())
        .await?
        .ok_or(Error::NotFound(kind.as_str()))?;
    if target == Target::Session {
        let session = path::uuid(id).unwrap_or_default();
        let from = ["active", "suspended"];
        sessions::set_state(change.tx(), session, &from, "ended", Some(now)).await?;
    }
    change
        .tell(&delta::dead(zone, kind, id, until, version))
        .await?;
    Ok(Written {
        dead_until: Some(until),
        not_before_s: None,
    })
}

async fn cut_off(
    change: &mut Change,
    zone: ZoneId,
    target: Target,
    id: &str,
    now: Timestamp,
) -> Result<Written, Error> {
    let kind = target.anchor();
    let at_least = now
        .saturating_add(SKEW)
        .map_err(Error::internal)?
        .as_second();
    let written = anchors::cut_off(change.tx(), kind, id, at_least, target.on_demand())
        .await?
        .ok_or(Error::NotFound(kind.as_str()))?;
    let delta = delta::cut_off(zone, kind, id, written.not_before_s, written.version);
    change.tell(&delta).await?;
    if target == Target::Application {
        let version =
            anchors::set_state(change.tx(), kind, id, &["active", "suspended"], "disabled").await?;
        if let Some(version) = version {
            change
                .tell(&delta::state(zone, kind, id, "disabled", version))
                .await?;
        }
    }
    Ok(Written {
        not_before_s: Some(written.not_before_s),
        dead_until: None,
    })
}

async fn record(
    app: &App,
    caller: &Caller,
    change: &mut Change,
    asked: &RevocationBody,
    written: &Written,
) -> Result<(), Error> {
    let target = asked.anchor.kind;
    let id = if target == Target::Subject {
        app.pseudonym(change.zone(), &asked.anchor.id)
    } else {
        asked.anchor.id.clone()
    };
    let (event, code) = match target.kind() {
        Kind::Dead => (EventKind::Revoked, "revoked"),
        Kind::CutOff => (EventKind::CutOff, "cut_off"),
    };
    let mut evidence = Evidence::of(event, code, target.anchor().as_str(), &id)
        .not_before(written.not_before_s)
        .detail(&asked.reason);
    let uuid = path::uuid(&asked.anchor.id).unwrap_or_default();
    evidence = match target {
        Target::Session => evidence.session(uuid),
        Target::Application => evidence.application(uuid),
        Target::Resource => evidence.resource(&asked.anchor.id),
        Target::Mandate
        | Target::Record
        | Target::Delegation
        | Target::Key
        | Target::Subject
        | Target::Zone => evidence,
    };
    change.record(app, caller, evidence).await
}

/// Revocations of a zone.
#[utoipa::path(
    get, path = "/v1/zones/{zone}/revocations", tag = "revocations",
    operation_id = "list_revocations",
    params(("zone" = Uuid, Path), PageQuery),
    responses((status = 200, body = Listing<Recorded>), (status = "default", body = ProblemDocument)),
)]
pub(crate) async fn list(
    State(app): State<Arc<App>>,
    _operator: Operator,
    InZone(zone): InZone,
    page: Page,
) -> Result<Answer, Error> {
    let mut tx = app.begin_known(zone).await?;
    let rows = revocations::list(&mut tx, page.after, page.probe()).await?;
    let listing = page.of(
        rows,
        |row| row.id,
        |row| Recorded {
            revocation_id: row.id,
            kind: row.kind,
            anchor_kind: row.anchor_kind,
            anchor_id: row.anchor_id,
            reason: row.reason,
            by: row.by_actor,
            committed_at: row.committed_at.to_jiff().to_string(),
        },
    );
    Answer::of(&listing)
}
