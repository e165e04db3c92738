//! A ledger with a producer to fill it.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::sync::Arc;

use chassis::clock::{Clock, TestClock};
use chassis::crypto::{Holder, RootKek};
use chassis::db::{OperatorStore, Pool, Store};
use chassis::metrics::Registry;
use chassis::secrets::Key32;
use chassis::streams::{self, Entry, EntryId};
use chassis::{Readiness, Rng};
use jiff::Timestamp;
use ledger::envelope::{
    DalekSigner, Envelope, Epoch, EventSigner as _, Producer, Producers, Seal, SignedEnvelope,
};
use ledger::event::{Event, EventKind, Outcome, Sample};
use mandate::id::{ApplicationId, DecisionId, JournalId, KeyId, MandateId, ResourceUri, ZoneId};
use sqlx::PgPool;
use uuid::Uuid;
use wire::convert::envelope_to_bytes;

use crate::config::{OPERATOR, READER, WRITER};
use crate::ingest::append::{AppendError, Appended, Appender};
use crate::ingest::screen::{Candidate, Poison, Trust};
use crate::keyring::Keyring;
use crate::metrics::Metrics;
use crate::store::leases::{self, Lease};
use crate::sweep::Sweep;
use crate::sweep::report::{Report, ZoneReport};
use crate::tamper::{Alarm, Heads};
use crate::{SYSTEM, name_of};

pub(crate) const START: i64 = 1_795_600_000;

pub(crate) struct Stand {
    pub(crate) db: kit::TestDb,
    pub(crate) clock: TestClock,
    pub(crate) appender: Arc<Appender>,
    pub(crate) operator: OperatorStore,
    pub(crate) trust: Arc<Trust>,
    pub(crate) metrics: Metrics,
    pub(crate) readiness: Readiness,
    pub(crate) alarm: Alarm,
    pub(crate) sweep: Sweep,
}

impl Stand {
    pub(crate) async fn new() -> Self {
        let db = kit::database().await;
        Self::on(db).await
    }

    /// Another process on the same database: it has seen nothing yet.
    pub(crate) async fn on(db: kit::TestDb) -> Self {
        let clock = TestClock::new(Timestamp::from_second(START).unwrap());
        let pool = async |role: &'static str| Pool::of(db.pool(role).await, role);
        let registry = Registry::new("audit");
        let readiness = Readiness::new();
        let metrics = Metrics::new(&registry);
        let operator = OperatorStore::new(pool(OPERATOR).await);
        let alarm = Alarm::new(
            metrics.tamper_open.clone(),
            readiness.clone(),
            operator.clone(),
        );
        let root = RootKek::new(Holder::Audit, &Key32::new([3; 32])).unwrap();
        let keyring = Keyring::new(root, Rng::from_system().unwrap());
        let store = Store::new(pool(WRITER).await);
        let appender = Appender::new(store, keyring, clock.clone().into(), Heads::default());
        let appender = Arc::new(appender);
        let trust = Arc::new(Trust {
            producers: producers(),
            partitions: NonZeroU32::MIN,
        });
        let sweep = Sweep {
            appender: Arc::clone(&appender),
            operator: operator.clone(),
            trust: Arc::clone(&trust),
            clock: Clock::from(clock.clone()),
            metrics: metrics.clone(),
            alarm: alarm.clone(),
        };
        Self {
            db,
            clock,
            appender,
            operator,
            trust,
            metrics,
            readiness,
            alarm,
            sweep,
        }
    }

    pub(crate) async fn reader(&self) -> Store {
        Store::new(Pool::of(self.db.pool(READER).await, READER))
    }

    pub(crate) async fn lease(&self) -> Lease {
        let (now, until) = (Clock::from(self.clock.clone()).now(), self.appender.until());
        leases::acquire(self.appender.store.pool(), 0, "test", now, until)
            .await
            .unwrap()
            .expect("a free lease")
    }

    pub(crate) fn screen(&self, signed: &SignedEnvelope) -> Result<Candidate, Poison> {
        self.trust
            .screen(&mut self.trust.checker(), &entry(signed), 0)
    }

    pub(crate) async fn append(
        &self,
        lease: &Lease,
        zone: ZoneId,
        events: &[SignedEnvelope],
    ) -> Result<Appended, AppendError> {
        let batch: Vec<Candidate> = events
            .iter()
            .map(|signed| self.screen(signed).unwrap())
            .collect();
        self.appender.append(lease, zone, &batch, None).await
    }

    pub(crate) async fn verify(&self) -> Report {
        self.sweep.verify(None).await.unwrap()
    }

    /// The report on one zone.
    pub(crate) async fn verify_zone(&self, zone: ZoneId) -> ZoneReport {
        let report = self.verify().await;
        let found = report
            .zones
            .into_iter()
            .find(|report| report.zone == name_of(zone));
        found.expect("the zone")
    }

    /// Runs SQL as whoever can do everything, past triggers and row-level security.
    pub(crate) async fn break_in(&self, sql: &str) {
        let pool: PgPool = self.db.superuser().await;
        let mut connection = pool.acquire().await.unwrap();
        sqlx::query("SET session_replication_role = 'replica'")
            .execute(&mut *connection)
            .await
            .unwrap();
        for statement in sql
            .split(';')
            .filter(|statement| !statement.trim().is_empty())
        {
            sqlx::query(sqlx::AssertSqlSafe(statement.to_owned()))
                .execute(&mut *connection)
                .await
                .unwrap_or_else(|error| panic!("{statement}: {error}"));
        }
        connection.close().await.unwrap();
    }

    pub(crate) async fn count(&self, zone: ZoneId) -> i64 {
        let pool = self.db.superuser().await;
        sqlx::query_scalar("SELECT count(*) FROM audit_events WHERE zone_id = $1")
            .bind(zone.as_uuid())
            .fetch_one(&pool)
            .await
            .unwrap()
    }
}

pub(crate) fn zone(number: u128) -> ZoneId {
    ZoneId::from_uuid(Uuid::from_u128(
        0x0190_0000_0000_7000_8000_0000_0000_0000 + number,
    ))
}

pub(crate) fn entry(signed: &SignedEnvelope) -> Entry {
    Entry {
        id: EntryId { ms: 1, seq: 1 },
        bytes: envelope_to_bytes(signed.clone()),
    }
}

pub(crate) fn signer(name: &str) -> DalekSigner {
    let seed = chassis::crypto::sha256(name.as_bytes());
    DalekSigner::new(KeyId::parse(name).unwrap(), &seed)
}

fn producers() -> Producers {
    let all: Vec<String> = EventKind::ALL
        .iter()
        .map(|kind| kind.as_str().to_owned())
        .collect();
    let one = |name: &str, service: &str, kinds: &[String]| Producer {
        kid: KeyId::parse(name).unwrap(),
        public_key: signer(name).public(),
        service: service.to_owned(),
        kinds: kinds.iter().cloned().collect(),
    };
    Producers::new([
        one(
            "ext-authz-1",
            "ext-authz",
            &[
                "decision".into(),
                "refusals".into(),
                "journal_opened".into(),
            ],
        ),
        one("sts-1", "sts", &["mint".into()]),
        one("outbox-1", "outbox", &all),
    ])
}

/// A journal somewhere else.
pub(crate) struct Source {
    signer: DalekSigner,
    service: &'static str,
    pub(crate) journal: JournalId,
    counters: HashMap<ZoneId, u64>,
    made: u64,
}

impl Source {
    pub(crate) fn new(number: u128) -> Self {
        Self::of("ext-authz-1", "ext-authz", number)
    }

    pub(crate) fn of(kid: &str, service: &'static str, number: u128) -> Self {
        Self {
            signer: signer(kid),
            service,
            journal: JournalId::from_uuid(Uuid::from_u128(0xa000 + number)),
            counters: HashMap::new(),
            made: 0,
        }
    }

    /// The next event of a ledger.
    pub(crate) fn next(&mut self, ledger: ZoneId) -> SignedEnvelope {
        self.next_with(ledger, |_| {})
    }

    pub(crate) fn next_with(
        &mut self,
        ledger: ZoneId,
        change: impl FnOnce(&mut Event),
    ) -> SignedEnvelope {
        let event = self.event(ledger, change);
        self.wrap(&event)
    }

    fn event(&mut self, ledger: ZoneId, change: impl FnOnce(&mut Event)) -> Event {
        let counter = self.counters.entry(ledger).or_default();
        *counter += 1;
        let counter = *counter;
        self.made += 1;
        let mut event = decision(ledger, self.made);
        change(&mut event);
        event.counter = counter;
        event.journal_id = self.journal;
        event
    }

    /// Events that were written at once, as a journal signs them.
    pub(crate) fn many(&mut self, ledger: ZoneId, events: usize) -> Vec<SignedEnvelope> {
        let envelopes: Vec<Envelope> = (0..events)
            .map(|_| {
                let event = self.event(ledger, |_| {});
                self.envelope(&event)
            })
            .collect();
        let messages: Vec<Vec<u8>> = envelopes.iter().map(Envelope::signing_bytes).collect();
        let seals = Seal::all(&messages, &self.signer);
        let signed = envelopes.into_iter().zip(seals);
        signed
            .map(|(envelope, seal)| SignedEnvelope { envelope, seal })
            .collect()
    }

    pub(crate) fn wrap(&self, event: &Event) -> SignedEnvelope {
        self.envelope(event).sign(&self.signer)
    }

    fn envelope(&self, event: &Event) -> Envelope {
        Envelope {
            stream: streams::audit_events(0),
            kind: event.kind.as_str().to_owned(),
            zone: event.zone,
            epoch: Epoch([0; 16]),
            pos: 0,
            producer: format!("{}@{}", self.service, event.journal_id),
            counter: event.counter,
            at: event.at_ns,
            payload: event.encode(),
            kid: self.signer.kid().clone(),
        }
    }
}

/// A decision with everything in it that search looks at.
pub(crate) fn decision(ledger: ZoneId, number: u64) -> Event {
    let id = Uuid::from_u128(u128::from(number) + 0xd000);
    let mut event = Event::new(
        EventKind::Decision,
        START * 1_000_000_000 + i64::try_from(number).unwrap() * 1_000_007,
    );
    event.zone = (ledger != SYSTEM).then_some(ledger);
    event.decision = Some(if number.is_multiple_of(3) {
        Outcome::Deny
    } else {
        Outcome::Allow
    });
    event.code = Some(
        if number.is_multiple_of(3) {
            "scope_missing"
        } else {
            "allowed"
        }
        .to_owned(),
    );
    event.decision_id = Some(DecisionId::from_uuid(id));
    event.request_id = Some(format!("request-{number}"));
    event.application = Some(ApplicationId::from_uuid(Uuid::from_u128(7)));
    event.resource = Some(ResourceUri::parse("https://api.example.test/invoices").unwrap());
    event.operation = Some("/v1/invoices/{id}".to_owned());
    event.jti = Some(MandateId::from_uuid(id));
    event
}

/// Refusals counted together, with samples of some.
pub(crate) fn refusals(ledger: ZoneId, samples: &[(u128, &str)]) -> impl FnOnce(&mut Event) {
    move |event| {
        *event = Event::new(EventKind::Refusals, START * 1_000_000_000);
        event.zone = (ledger != SYSTEM).then_some(ledger);
        event.decision = Some(Outcome::Deny);
        event.code = Some("signature_invalid".to_owned());
        event.count = Some(25);
        event.samples = Some(
            samples
                .iter()
                .map(|(id, request)| Sample {
                    decision_id: DecisionId::from_uuid(Uuid::from_u128(*id)),
                    request_id: (*request).to_owned(),
                    at_ns: START,
                })
                .collect(),
        );
    }
}
