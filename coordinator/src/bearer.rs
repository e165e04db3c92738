//! An application that presents its session mandate: genuine by the zone's keys, and live by the
//! anchors it rests on, which are held while the change is made.

use std::sync::Arc;

use chassis::crypto::AwsLc;
use jiff::Timestamp;
use mandate::id::{ApplicationId, Issuer, KeyId, SessionId, Subject, ZoneId};
use mandate::{
    Algorithm, CutOffAnchor, DeadId, KeySet, Mandate, ObjectState, Revocations, StateAnchor, Trust,
    UnverifiedMandate, Use, VerifyingKey,
};
use uuid::Uuid;

use crate::api::change::Change;
use crate::api::principal::{Caller, Starter, failed};
use crate::app::App;
use crate::error::{Conflict, Error};
use crate::store::anchors::{self, Anchor, AnchorKind};
use crate::store::signing_keys::{self, PublicKey};
use crate::store::zones;

/// Who calls, once the zone is known.
#[derive(Clone, Debug)]
pub(crate) enum Who {
    /// An operator.
    Operator,
    /// An application, by its session mandate.
    Application(Mandate),
}

impl Who {
    /// Another application's objects are as good as not there.
    pub(crate) fn may_see(&self, application: Uuid) -> Result<(), Error> {
        match self {
            Self::Operator => Ok(()),
            Self::Application(mandate) => {
                if mandate.claims().client_id.as_uuid() == application {
                    Ok(())
                } else {
                    Err(Error::NotFound("session"))
                }
            }
        }
    }
}

/// Finds out who calls. What is not a genuine session mandate of the zone counts against its source.
pub(crate) async fn resolve(
    app: &Arc<App>,
    starter: Starter,
    zone: ZoneId,
) -> Result<(Caller, Who), Error> {
    let (token, mut caller, source, line) = match starter {
        Starter::Operator(caller) => return Ok((caller, Who::Operator)),
        Starter::Bearer {
            token,
            caller,
            source,
            line,
        } => (token, caller, source, line),
    };
    let mandate = match authenticate(app, &token, zone).await {
        Ok(mandate) => mandate,
        Err(error @ (Error::Rejected(_) | Error::Unauthenticated(_))) => {
            failed(app, source)?;
            return Err(error);
        }
        Err(error) => return Err(error),
    };
    let application = mandate.claims().client_id;
    caller.name = format!("application:{application}");
    line.is(caller.name.clone());
    caller.spend(app)?;
    Ok((caller, Who::Application(mandate)))
}

async fn authenticate(app: &App, token: &[u8], zone: ZoneId) -> Result<Mandate, Error> {
    let unverified = UnverifiedMandate::parse(token).map_err(Error::Rejected)?;
    let mut tx = app.store.begin(zone).await?;
    let known = match zones::get(&mut tx).await {
        Ok(known) => known,
        // Whether the zone exists is not for a stranger to know.
        Err(Error::NotFound(_)) => {
            return Err(Error::Unauthenticated("the token is not one of ours"));
        }
        Err(error) => return Err(error),
    };
    let keys = key_set(&signing_keys::verifying(&mut tx).await?)?;
    drop(tx);
    let issuer =
        Issuer::parse(&known.issuer).map_err(|_| Error::bad_row("zones", &known.issuer))?;
    let trust = Trust {
        zone,
        issuer,
        usage: Use::Session,
    };
    unverified
        .authenticate(&trust, &keys, &AwsLc, app.clock.now())
        .map_err(Error::Rejected)
}

fn key_set(keys: &[PublicKey]) -> Result<KeySet, Error> {
    let mut verifying = Vec::with_capacity(keys.len());
    for key in keys {
        let bad = || Error::bad_row("signing_keys", &key.kid);
        let kid = KeyId::parse(&key.kid).map_err(|_| bad())?;
        let algorithm = Algorithm::parse(&key.alg).ok_or_else(bad)?;
        verifying.push(VerifyingKey::new(kid, algorithm, &key.public).map_err(|_| bad())?);
    }
    Ok(KeySet::new(verifying))
}

/// Holds what a session of `application` rests on until the change ends, and refuses when any of it
/// is gone: the zone and the application always, and everything the mandate rests on.
pub(crate) async fn hold(change: &mut Change, who: &Who, application: Uuid) -> Result<(), Error> {
    let zone = change.zone();
    let now = change.now();
    let mut asked = vec![
        (AnchorKind::Zone, zone.to_string()),
        (AnchorKind::Application, application.to_string()),
    ];
    if let Who::Application(mandate) = who {
        asked.extend(rests_on(mandate));
    }
    anchors::lock_shared(change.tx(), &asked).await?;
    let held = anchors::read(change.tx(), &asked).await?;
    match who {
        Who::Operator => {
            let active = |kind: AnchorKind| {
                held.iter()
                    .any(|anchor| anchor.kind == kind.as_str() && anchor.state == "active")
            };
            if !active(AnchorKind::Application) {
                let known = held.iter().any(|anchor| anchor.kind == "application");
                let missing =
                    Error::invalid("application_id", "is not an application of this zone");
                return Err(if known {
                    Error::Conflict(Conflict::State)
                } else {
                    missing
                });
            }
            if active(AnchorKind::Zone) {
                Ok(())
            } else {
                Err(Error::Conflict(Conflict::State))
            }
        }
        Who::Application(mandate) => mandate
            .live(&revocations(&held, now)?, now)
            .map_err(Error::Rejected),
    }
}

fn rests_on(mandate: &Mandate) -> Vec<(AnchorKind, String)> {
    let claims = mandate.claims();
    let mut anchors = vec![
        (AnchorKind::Subject, claims.sub.to_string()),
        (AnchorKind::Mandate, claims.jti.to_string()),
        (AnchorKind::Record, claims.sid.to_string()),
        (AnchorKind::Record, claims.root_sid.to_string()),
        (AnchorKind::Key, mandate.kid().to_string()),
    ];
    for ancestor in &claims.anc {
        for kind in [
            AnchorKind::Record,
            AnchorKind::Session,
            AnchorKind::Delegation,
        ] {
            anchors.push((kind, ancestor.to_string()));
        }
    }
    anchors
}

/// Anchors as the set that a mandate is checked against.
fn revocations(held: &[Anchor], now: Timestamp) -> Result<Revocations, Error> {
    let mut revocations = Revocations::new();
    for anchor in held {
        let bad = || Error::bad_row("anchors", format_args!("{} {}", anchor.kind, anchor.id));
        let kind = AnchorKind::parse(&anchor.kind).ok_or_else(bad)?;
        let over = ["ended", "expired"].contains(&anchor.state.as_str());
        if (over || anchor.dead_until.is_some_and(|until| until.to_jiff() > now))
            && let Some(id) = dead_id(kind, &anchor.id)
        {
            revocations.kill(id, Timestamp::MAX);
        }
        if anchor.not_before_s > 0
            && let Some(cut_off) = cut_off(kind, &anchor.id)
        {
            revocations.cut_off(cut_off, anchor.not_before_s);
        }
        let state = match anchor.state.as_str() {
            "active" | "ended" | "expired" => ObjectState::Active,
            "suspended" => ObjectState::Suspended,
            "disabled" => ObjectState::Disabled,
            "archived" => ObjectState::Archived,
            _ => return Err(bad()),
        };
        if let Some(object) = object(kind, &anchor.id) {
            revocations.set_state(object, state);
        }
    }
    Ok(revocations)
}

fn dead_id(kind: AnchorKind, id: &str) -> Option<DeadId> {
    if kind == AnchorKind::Key {
        KeyId::parse(id).ok().map(DeadId::Key)
    } else {
        Uuid::try_parse(id).ok().map(DeadId::Id)
    }
}

fn cut_off(kind: AnchorKind, id: &str) -> Option<CutOffAnchor> {
    match kind {
        AnchorKind::Zone => Some(CutOffAnchor::Zone),
        AnchorKind::Application => ApplicationId::parse(id).ok().map(CutOffAnchor::Application),
        AnchorKind::Subject => Subject::parse(id).ok().map(CutOffAnchor::Subject),
        // A session mandate rests on no resource.
        AnchorKind::Policy
        | AnchorKind::Resource
        | AnchorKind::Session
        | AnchorKind::Delegation
        | AnchorKind::Record
        | AnchorKind::Mandate
        | AnchorKind::Key => None,
    }
}

fn object(kind: AnchorKind, id: &str) -> Option<StateAnchor> {
    match kind {
        AnchorKind::Zone => Some(StateAnchor::Zone),
        AnchorKind::Application => ApplicationId::parse(id).ok().map(StateAnchor::Application),
        AnchorKind::Subject => Subject::parse(id).ok().map(StateAnchor::Subject),
        AnchorKind::Session => SessionId::parse(id).ok().map(StateAnchor::Session),
        AnchorKind::Policy
        | AnchorKind::Resource
        | AnchorKind::Delegation
        | AnchorKind::Record
        | AnchorKind::Mandate
        | AnchorKind::Key => None,
    }
}
