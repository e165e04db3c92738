//! Issuing: from a request that has the right shape to a mandate, in the one order of checks:
//! client → subject token → session → resources and scopes → policy → record under locks → signature.

mod account;
mod client;
mod draft;
pub(crate) mod evidence;
mod laws;
mod subject;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use chassis::clock::Clock;
use chassis::crypto::{EventKey, MacKey};
use chassis::db::{Store, ZoneTx};
use chassis::rng::Rng;
use jiff::Timestamp;
use mandate::id::{ScopeSet, ZoneId};
use mandate::{Rejection, Use};
use policy::PolicyDenial;
use tokio::sync::Semaphore;
use uuid::Uuid;

pub(crate) use account::Account;
pub(crate) use laws::Laws;

use crate::error::{Error, Gone, Refusal, Unavailable};
use crate::keys::ring::Ring;
use crate::keys::{Issuing, ZoneKeys};
use crate::limit::Failures;
use crate::mint::client::Claimed;
use crate::mint::draft::{Decided, Scene};
use crate::skew::Agreement;
use crate::store::client::{self as clients, Known, Question};
use crate::store::mint::{self as records, Outcome, Record};
use crate::token::credential::Presented;
use crate::token::request::{Grant, TokenRequest};

/// Requests of sources that failed too often that are looked at at once; the right secret gets
/// through even there, and guessing cannot take more of the database than this.
const PENALTY_BENCH: usize = 4;
/// How often a decision is made anew when what it rested on changed meanwhile.
const ATTEMPTS: u32 = 4;
/// Verifiers accept a date at most 30 s ahead.
const MOST_AHEAD: i64 = 25;

/// A mandate and what is told of it.
#[derive(Debug)]
pub(crate) struct Issued {
    /// The mandate, compact.
    pub mandate: String,
    /// Its use.
    pub usage: Use,
    /// Seconds it lives.
    pub expires_in: i64,
    /// Its scopes.
    pub scopes: ScopeSet,
}

/// The one issuer.
#[derive(Debug)]
pub(crate) struct Mint {
    pub(crate) store: Store,
    pub(crate) ring: Ring,
    pub(crate) laws: Laws,
    pub(crate) pepper: MacKey,
    pub(crate) events: Arc<EventKey>,
    pub(crate) agreement: Agreement,
    pub(crate) failures: Mutex<Failures>,
    pub(crate) bench: Semaphore,
    pub(crate) clock: Clock,
    pub(crate) rng: Rng,
}

/// A request ready to be decided.
struct Asked {
    zone: ZoneId,
    claimed: Claimed,
    grant: Grant,
}

/// How one attempt went.
enum Attempt {
    Issued(Issued),
    /// What it rested on changed meanwhile.
    Changed,
    /// Refused, unless that is because our keys are old.
    Doubtful(Refusal),
}

impl Mint {
    /// How many penalised requests are looked at at once.
    pub(crate) fn bench() -> Semaphore {
        Semaphore::new(PENALTY_BENCH)
    }

    /// A zone's keys, whatever its state.
    pub(crate) async fn zone(&self, zone: ZoneId) -> Result<Arc<ZoneKeys>, Error> {
        self.ring.zone(zone).await
    }

    /// The time.
    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// A new id.
    pub(crate) fn uuid(&self, now: Timestamp) -> Uuid {
        self.rng.uuid_v7(now)
    }

    /// Issues what was asked for, or says why not. What becomes known goes into `account`.
    pub(crate) async fn issue(
        &self,
        zone: ZoneId,
        request: TokenRequest,
        presented: Presented,
        account: &mut Account,
    ) -> Result<Issued, Error> {
        self.agreement.require()?;
        let asked = Asked {
            zone,
            claimed: Claimed::of(presented),
            grant: request.grant,
        };
        for _ in 0..ATTEMPTS {
            let keys = self.ring.zone(zone).await?;
            match self.attempt(&keys.issuing()?, &asked, account).await? {
                Attempt::Issued(issued) => return Ok(issued),
                Attempt::Changed => {}
                // A key made or revoked elsewhere a moment ago may not have been noticed here yet.
                Attempt::Doubtful(_) if self.ring.forget(zone) => {}
                Attempt::Doubtful(refusal) => return Err(refusal.into()),
            }
        }
        Err(Unavailable::Contended.into())
    }

    async fn attempt(
        &self,
        keys: &Issuing,
        asked: &Asked,
        account: &mut Account,
    ) -> Result<Attempt, Error> {
        let now = self.clock.now();
        let (mut tx, known) = self.authenticated(asked, now, account).await?;
        let policy = known.policy.ok_or(Refusal::Policy(PolicyDenial::Missing))?;
        account.policy = Some(policy);
        let law = self.laws.of(&mut tx, policy).await?;
        let scene = Scene {
            keys,
            known: &known,
            law: &law,
            asked,
            now,
        };
        let decided = match &asked.grant {
            Grant::ClientCredentials(wanted) => self.session(&mut tx, &scene, wanted).await?,
            Grant::Exchange(exchange) => {
                match self.exchange(&mut tx, &scene, exchange, account).await {
                    Err(Error::Refused(refusal @ Refusal::SubjectToken(Rejection::KeyUnknown))) => {
                        return Ok(Attempt::Doubtful(refusal));
                    }
                    decided => decided?,
                }
            }
        };
        self.record(tx, keys, decided, now, account).await
    }

    /// Reads what is known of the request and authenticates its client.
    async fn authenticated(
        &self,
        asked: &Asked,
        now: Timestamp,
        account: &mut Account,
    ) -> Result<(ZoneTx, Known), Error> {
        let (session, resources) = match &asked.grant {
            Grant::ClientCredentials(wanted) => (None, wanted.resources.as_slice()),
            Grant::Exchange(exchange) => {
                (Some(exchange.session), exchange.wanted.resources.as_slice())
            }
        };
        let monotonic = self.clock.monotonic();
        let wait = self.with_failures(|failures| failures.wait(account.source, monotonic));
        let _turn = match wait {
            None => None,
            Some(wait) => Some(
                self.bench
                    .try_acquire()
                    .map_err(|_| Refusal::RateLimited(wait))?,
            ),
        };
        let question = Question {
            application: asked.claimed.application,
            secret: asked.claimed.secret,
            session,
            resources,
            now,
        };
        let mut tx = self.store.begin(asked.zone).await?;
        let known = clients::read(&mut tx, &question).await?;
        match asked.claimed.verify(&known, &self.pepper) {
            Ok(_) => {
                account.application = Some(asked.claimed.application);
                Ok((tx, known))
            }
            Err(refusal) => {
                self.with_failures(|failures| failures.count(account.source, monotonic));
                Err(wait.map_or(refusal, Refusal::RateLimited).into())
            }
        }
    }

    /// Locks what the decision rests on, records the mint if all of it stands, signs, commits.
    async fn record(
        &self,
        mut tx: ZoneTx,
        keys: &Issuing,
        decided: Decided,
        now: Timestamp,
        account: &mut Account,
    ) -> Result<Attempt, Error> {
        let Decided {
            draft,
            anchors,
            subject_iat,
            basis,
        } = decided;
        account.jti = Some(draft.jti);
        account.scopes = draft.scopes.clone();
        let event = evidence::minted(account, &draft, &self.events);
        let expires_at =
            Timestamp::from_second(draft.exp).map_err(|error| Error::dependency("clock", error))?;
        records::lock(&mut tx, &anchors).await?;
        let record = Record {
            id: draft.record,
            root: draft.root(),
            parent: draft.records.last().copied(),
            application: (draft.application, basis.application),
            session: draft.sessions.last().copied().zip(basis.session),
            resources: &basis.resources,
            usage: draft.usage.name(),
            expires_at,
            policy: draft.policy,
            subject_iat,
            event: &event.payload,
            event_kind: event.kind,
            now,
        };
        let not_before_s = match records::record(&mut tx, &anchors, &record).await? {
            Outcome::Recorded { not_before_s } => not_before_s,
            Outcome::Gone(gone @ Gone::Revoked) => {
                return Ok(Attempt::Doubtful(Refusal::AuthorityGone(gone)));
            }
            Outcome::Gone(gone) => return Err(Refusal::AuthorityGone(gone).into()),
            Outcome::Changed => return Ok(Attempt::Changed),
        };
        let now_s = now.as_second();
        // A mandate is dated after every cut-off of what it rests on, or it would be born dead.
        let iat = now_s.max(not_before_s.saturating_add(1));
        if iat.saturating_sub(now_s) > MOST_AHEAD {
            return Err(Unavailable::Contended.into());
        }
        if draft.exp <= iat {
            return Err(Refusal::NoTimeLeft.into());
        }
        let (usage, scopes) = (draft.usage, draft.scopes.clone());
        let expires_in = draft.exp.saturating_sub(now_s);
        let mandate = keys
            .signer()?
            .sign(&draft.claims(iat))
            .map_err(|error| Error::dependency("keys", error))?;
        tx.commit().await?;
        Ok(Attempt::Issued(Issued {
            mandate,
            usage,
            expires_in,
            scopes,
        }))
    }

    fn with_failures<T>(&self, act: impl FnOnce(&mut Failures) -> T) -> T {
        act(&mut self.failures.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Seconds from now to the end of a mandate: what was asked, within every bound.
fn expiry(now: Timestamp, asked: Option<i64>, usage: Use, bounds: &[i64]) -> Result<i64, Refusal> {
    let now = now.as_second();
    let longest = asked
        .unwrap_or(usage.max_lifetime())
        .min(usage.max_lifetime());
    let end = bounds
        .iter()
        .copied()
        .fold(now.saturating_add(longest), i64::min);
    if end > now {
        Ok(end)
    } else {
        Err(Refusal::NoTimeLeft)
    }
}

/// A duration as a caller may be told it: whole seconds, at least one.
pub(crate) fn whole_seconds(wait: Duration) -> u64 {
    wait.as_secs()
        .saturating_add(u64::from(wait.subsec_nanos() > 0))
        .max(1)
}
