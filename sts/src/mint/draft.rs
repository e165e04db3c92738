//! From what is known to what is decided: the draft of a mandate, and everything it rests on.

use chassis::db::ZoneTx;
use jiff::Timestamp;
use mandate::id::{Issuer, MandateId, RecordId, Subject};
use mandate::{Mandate, SubjectType, Use};

use crate::error::{Error, Refusal};
use crate::keys::Issuing;
use crate::mint::{Account, Asked, Mint, expiry, subject};
use crate::store::client::{self as clients, Known, Session, Stored};
use crate::store::mint::Anchor;
use crate::token::claims::Draft;
use crate::token::grant::{self, Bounds, Granted};
use crate::token::law::{ApplicationLaw, ZoneLaw};
use crate::token::request::{Exchange, Wanted};

/// A mandate to be, and what must stand while it is recorded.
#[derive(Debug)]
pub(super) struct Decided {
    pub(super) draft: Draft,
    pub(super) anchors: Vec<Anchor>,
    /// `iat` of what it is narrowed from.
    pub(super) subject_iat: Option<i64>,
    /// What was decided on, as it was read.
    pub(super) basis: Basis,
}

/// What was decided on, as it was read.
#[derive(Debug)]
pub(super) struct Basis {
    pub(super) application: i64,
    pub(super) session: Option<i64>,
    pub(super) resources: Stored,
}

/// What a decision is made from.
pub(super) struct Scene<'a> {
    pub(super) keys: &'a Issuing,
    pub(super) known: &'a Known,
    pub(super) law: &'a ZoneLaw,
    pub(super) asked: &'a Asked,
    pub(super) now: Timestamp,
}

/// Whose authority an exchange narrows, and for which session.
struct Parties<'a> {
    subject: &'a Mandate,
    session: &'a Session,
}

impl Mint {
    /// A session mandate: who the application is, bounded by all that policy grants it.
    pub(super) async fn session(
        &self,
        tx: &mut ZoneTx,
        scene: &Scene<'_>,
        wanted: &Wanted,
    ) -> Result<Decided, Error> {
        let Scene {
            keys,
            known,
            law,
            asked,
            now,
        } = *scene;
        let application = asked.claimed.application;
        let labels = known
            .application
            .as_ref()
            .map(|app| app.labels.clone())
            .unwrap_or_default();
        let law = law.of(application, &labels);
        let resources = if wanted.resources.is_empty() {
            clients::resources(tx, &law.resources()).await?
        } else {
            known.resources.clone()
        };
        let granted = grant::everything(wanted, &resources.scopes, &law)?;
        let draft = Draft {
            zone: asked.zone,
            issuer: keys.keys().issuer.clone(),
            usage: Use::Session,
            subject: Subject::parse(&application.to_string())
                .map_err(|error| Error::dependency("subject", error))?,
            subject_type: SubjectType::Application,
            application,
            jti: MandateId::from_uuid(self.rng.uuid_v7(now)),
            record: RecordId::from_uuid(self.rng.uuid_v7(now)),
            records: Vec::new(),
            sessions: Vec::new(),
            scopes: granted.scopes,
            targets: granted.resources,
            policy: law.version(),
            exp: expiry(now, wanted.ttl, Use::Session, &[])?,
            labels,
        };
        let anchors = anchors(&draft, keys, None)?;
        Ok(Decided {
            draft,
            anchors,
            subject_iat: None,
            basis: Basis {
                application: version_of(known),
                session: None,
                resources: Stored::new(),
            },
        })
    }

    /// A mandate narrowed from the application's own session mandate, for one of its sessions.
    pub(super) async fn exchange(
        &self,
        tx: &mut ZoneTx,
        scene: &Scene<'_>,
        exchange: &Exchange,
        account: &mut Account,
    ) -> Result<Decided, Error> {
        let Scene {
            keys,
            known,
            law,
            asked,
            now,
        } = *scene;
        let application = asked.claimed.application;
        let subject = subject::verify(&exchange.subject_token, application, keys.keys(), now)?;
        let claims = subject.claims();
        account.subject_record = Some(claims.sid);
        let session = usable(known.session.as_ref(), now, account)?;
        let issuer = &keys.keys().issuer;
        for_the_issuer(exchange, issuer)?;
        let law = law.of(application, &session.labels);
        let parties = Parties {
            subject: &subject,
            session,
        };
        let (granted, resources) = narrowed(tx, known, exchange, &parties, &law, account).await?;
        let ends = [claims.exp, session.expires_at.as_second()];
        let draft = Draft {
            zone: asked.zone,
            issuer: issuer.clone(),
            usage: exchange.usage,
            subject: claims.sub.clone(),
            subject_type: claims.sub_type,
            application,
            jti: MandateId::from_uuid(self.rng.uuid_v7(now)),
            record: RecordId::from_uuid(self.rng.uuid_v7(now)),
            records: claims
                .anc
                .iter()
                .map(|id| RecordId::from_uuid(*id))
                .collect(),
            sessions: session.lineage(),
            scopes: granted.scopes,
            targets: granted.resources,
            labels: session.labels.clone(),
            policy: law.version(),
            exp: expiry(now, exchange.wanted.ttl, exchange.usage, &ends)?,
        };
        let anchors = anchors(&draft, keys, Some(&subject))?;
        Ok(Decided {
            draft,
            anchors,
            subject_iat: Some(claims.iat),
            basis: Basis {
                application: version_of(known),
                session: Some(session.version),
                resources,
            },
        })
    }
}

/// What may be granted of what is wanted, and the resources that says so.
async fn narrowed(
    tx: &mut ZoneTx,
    known: &Known,
    exchange: &Exchange,
    parties: &Parties<'_>,
    law: &ApplicationLaw<'_>,
    account: &mut Account,
) -> Result<(Granted, Stored), Error> {
    let (claims, session) = (parties.subject.claims(), parties.session);
    let wanted = &exchange.wanted;
    account.scopes = wanted.scopes.clone().unwrap_or_default();
    account.resource = wanted.resources.first().cloned();
    let targets = grant::targets(wanted, &claims.target, session.resources.as_deref())?;
    account.resource = targets.first().cloned();
    let resources = if wanted.resources.is_empty() {
        clients::resources(tx, &targets).await?
    } else {
        known.resources.clone()
    };
    let bounds = Bounds {
        resources: &resources.scopes,
        subject_scopes: &claims.scope,
        subject_targets: &claims.target,
        session_scopes: session.ceiling.as_ref(),
        session_resources: session.resources.as_deref(),
    };
    let granted = grant::decide(wanted, targets, &bounds, law)?;
    let stored = resources.stored(&granted.resources);
    Ok((granted, stored))
}

fn version_of(known: &Known) -> i64 {
    known
        .application
        .as_ref()
        .map_or(0, |application| application.version)
}

/// A gateway mandate has no audience but the issuer.
fn for_the_issuer(exchange: &Exchange, issuer: &Issuer) -> Result<(), Refusal> {
    match &exchange.audience {
        Some(audience) if audience != issuer.as_str() => Err(Refusal::AudienceForeign),
        Some(_) | None => Ok(()),
    }
}

/// The session, if it can be minted for.
fn usable<'a>(
    session: Option<&'a Session>,
    now: Timestamp,
    account: &mut Account,
) -> Result<&'a Session, Refusal> {
    let session = session.ok_or(Refusal::SessionUnknown)?;
    account.session = Some(session.id);
    match session.state.as_str() {
        "active" if session.expires_at > now => Ok(session),
        "suspended" => Err(Refusal::SessionSuspended),
        _ => Err(Refusal::SessionEnded),
    }
}

/// Everything a mint rests on. Subject, signing key and subject token have a row only once they
/// were revoked; their locks are taken all the same. A session mandate rests on no resource: what
/// becomes of one is asked again at each exchange.
fn anchors(draft: &Draft, keys: &Issuing, subject: Option<&Mandate>) -> Result<Vec<Anchor>, Error> {
    let zone = draft.zone.to_string();
    let mut anchors = vec![
        required("policy", zone.clone()),
        required("zone", zone),
        required("application", draft.application.to_string()),
        optional("subject", draft.subject.as_str().to_owned()),
        optional("key", keys.signer()?.kid().as_str().to_owned()),
    ];
    if draft.usage != Use::Session {
        let resources = draft
            .targets
            .iter()
            .map(|uri| required("resource", uri.as_str().to_owned()));
        anchors.extend(resources);
    }
    anchors.extend(
        draft
            .sessions
            .iter()
            .map(|id| required("session", id.to_string())),
    );
    anchors.extend(
        draft
            .records
            .iter()
            .map(|id| required("record", id.to_string())),
    );
    if let Some(subject) = subject {
        anchors.push(optional("mandate", subject.claims().jti.to_string()));
        anchors.push(optional("key", subject.kid().as_str().to_owned()));
    }
    anchors.sort();
    anchors.dedup();
    Ok(anchors)
}

fn required(kind: &'static str, id: String) -> Anchor {
    Anchor {
        kind,
        id,
        required: true,
    }
}

fn optional(kind: &'static str, id: String) -> Anchor {
    Anchor {
        kind,
        id,
        required: false,
    }
}
