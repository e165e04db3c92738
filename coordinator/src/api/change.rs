//! One change: rows, evidence, what enforcement points are told, and the receipt for an idempotency
//! key, all in one transaction.

use axum::response::{IntoResponse, Response};
use chassis::db::ZoneTx;
use chassis::outbox;
use http::{HeaderValue, StatusCode, header};
use jiff::Timestamp;
use ledger::event::Event;
use mandate::id::ZoneId;
use serde::Serialize;
use serde_json::Value;

use crate::api::body::Fingerprint;
use crate::api::principal::Caller;
use crate::app::App;
use crate::delta::Delta;
use crate::error::{Conflict, Error};
use crate::evidence::{self, Evidence};
use crate::store::{receipts, zones};

/// What a call is answered with.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    status: u16,
    version: Option<i64>,
    body: Value,
}

impl Answer {
    /// An answer without effect.
    pub(crate) fn of(body: &impl Serialize) -> Result<Self, Error> {
        Ok(Self {
            status: 200,
            version: None,
            body: to_value(body)?,
        })
    }

    /// Names the version of what is shown.
    pub(crate) fn at(mut self, version: i64) -> Self {
        self.version = Some(version);
        self
    }

    /// Adds members to the document.
    pub(crate) fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        if let Value::Object(members) = &mut self.body {
            members.insert(name.to_owned(), value.into());
        }
        self
    }
}

impl IntoResponse for Answer {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::OK);
        let mut response = (status, axum::Json(self.body)).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some(version) = self.version
            && let Ok(etag) = HeaderValue::from_str(&format!("\"{version}\""))
        {
            headers.insert(header::ETAG, etag);
        }
        response
    }
}

fn to_value(body: &impl Serialize) -> Result<Value, Error> {
    serde_json::to_value(body).map_err(Error::internal)
}

/// Whether a change is still to be made.
#[derive(Debug)]
pub(crate) enum Begun {
    /// It is.
    Fresh(Change),
    /// It was made before, under the same idempotency key.
    Replayed(Answer),
}

/// A change under way. Dropped without an end it never was.
#[derive(Debug)]
pub(crate) struct Change {
    tx: ZoneTx,
    now: Timestamp,
    receipt: Option<[u8; 32]>,
    outbox: Option<i64>,
}

impl Change {
    /// Opens a transaction on a zone and claims nothing yet.
    pub(crate) async fn begin_unclaimed(app: &App, zone: ZoneId) -> Result<Self, Error> {
        let tx = app.store.begin(zone).await?;
        Ok(Self {
            tx,
            now: app.clock.now(),
            receipt: None,
            outbox: None,
        })
    }

    /// Claims the caller's idempotency key. False when another request used it; if that one is
    /// still running, this waits for its end.
    pub(crate) async fn claim(
        &mut self,
        app: &App,
        caller: &Caller,
        fingerprint: Fingerprint,
    ) -> Result<bool, Error> {
        let Some(key) = &caller.idempotency_key else {
            return Ok(true);
        };
        let digest = app.receipt_key(&caller.name, key);
        let fresh = receipts::claim(&mut self.tx, &digest, &fingerprint.0, self.now).await?;
        if fresh {
            self.receipt = Some(digest);
        }
        Ok(fresh)
    }

    /// Opens a transaction on a zone that exists; with an idempotency key, claims it or replays its
    /// answer.
    pub(crate) async fn begin_any(
        app: &App,
        caller: &Caller,
        zone: ZoneId,
        fingerprint: Fingerprint,
    ) -> Result<Begun, Error> {
        let mut change = Self::begin_unclaimed(app, zone).await?;
        zones::get(&mut change.tx).await?;
        change.claimed(app, caller, fingerprint).await
    }

    /// The same, in a zone that is not archived.
    pub(crate) async fn begin(
        app: &App,
        caller: &Caller,
        zone: ZoneId,
        fingerprint: Fingerprint,
    ) -> Result<Begun, Error> {
        let mut change = Self::begin_unclaimed(app, zone).await?;
        let archived = zones::get(&mut change.tx).await?.state == "archived";
        let begun = change.claimed(app, caller, fingerprint).await?;
        if archived && matches!(begun, Begun::Fresh(_)) {
            return Err(Error::Conflict(Conflict::State));
        }
        Ok(begun)
    }

    async fn claimed(
        mut self,
        app: &App,
        caller: &Caller,
        fingerprint: Fingerprint,
    ) -> Result<Begun, Error> {
        if self.claim(app, caller, fingerprint).await? {
            return Ok(Begun::Fresh(self));
        }
        let key = caller.idempotency_key.as_deref().unwrap_or_default();
        let held = receipts::get(&mut self.tx, &app.receipt_key(&caller.name, key))
            .await?
            .ok_or_else(|| Error::Contended("a receipt vanished".into()))?;
        if held.request_digest != fingerprint.0 {
            return Err(Error::KeyReused);
        }
        let status = u16::try_from(held.status).map_err(Error::internal)?;
        let body = held.body.unwrap_or(Value::Null);
        Ok(Begun::Replayed(Answer {
            status,
            version: None,
            body,
        }))
    }

    /// The transaction.
    pub(crate) fn tx(&mut self) -> &mut ZoneTx {
        &mut self.tx
    }

    /// When the change is made.
    pub(crate) fn now(&self) -> Timestamp {
        self.now
    }

    /// The zone it is made in.
    pub(crate) fn zone(&self) -> ZoneId {
        self.tx.zone()
    }

    /// Tells enforcement points.
    pub(crate) async fn tell(&mut self, delta: &Delta) -> Result<(), Error> {
        let id = outbox::authority(&mut self.tx, delta.kind, &delta.change, self.now).await?;
        self.outbox = self.outbox.max(Some(id));
        Ok(())
    }

    /// The last of what enforcement points are told, by its id in the outbox.
    pub(crate) fn told(&self) -> Option<i64> {
        self.outbox
    }

    /// Writes evidence.
    pub(crate) async fn record(
        &mut self,
        app: &App,
        caller: &Caller,
        evidence: Evidence<'_>,
    ) -> Result<(), Error> {
        let event: Event = evidence::event(self.tx.zone(), self.now, caller, evidence);
        outbox::audit(&mut self.tx, event, app.event_key.as_ref(), self.now).await?;
        Ok(())
    }

    /// Ends the change with an answer; what a replay would show is kept with it.
    pub(crate) async fn finish(self, status: u16, body: &impl Serialize) -> Result<Answer, Error> {
        let body = to_value(body)?;
        self.finish_apart(status, body.clone(), &body).await
    }

    /// The same where a replay shows something else: an answer with a secret is shown once.
    pub(crate) async fn finish_apart(
        mut self,
        status: u16,
        body: Value,
        replayed: &Value,
    ) -> Result<Answer, Error> {
        if let Some(key) = self.receipt {
            receipts::settle(&mut self.tx, &key, status, replayed).await?;
        }
        self.tx.commit().await?;
        Ok(Answer {
            status,
            version: None,
            body,
        })
    }
}

/// The change that is still to be made; where it was made before, its answer is the answer.
macro_rules! fresh {
    ($begun:expr) => {
        match $begun {
            $crate::api::change::Begun::Fresh(change) => change,
            $crate::api::change::Begun::Replayed(answer) => return Ok(answer),
        }
    };
}
pub(crate) use fresh;
