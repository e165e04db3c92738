//! What is decided from: one history at one position, and how old it is.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard};
use std::time::Duration;

use hashbrown::HashMap;
use jiff::Timestamp;
use mandate::Revocations;
use mandate::id::{PolicyVersionId, ZoneId};
use policy::memo::Memo;
use policy::rego::Prepared;
use policy::snapshot::Snapshot;
use policy::{Input, PolicyError, Unavailable, Verdict};

use super::cache::Verified;
use crate::feed::age::Freshness;
use crate::feed::tracker::{Phase, Position};

/// Verdicts remembered of one policy version, per generation (there are two).
const MEMO: usize = 4_096;

/// A moment, on both scales.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// The time of day.
    pub now: Timestamp,
    /// Time since an arbitrary start.
    pub monotonic: Duration,
}

impl Moment {
    /// The time of day in nanoseconds since the Unix epoch.
    pub fn nanoseconds(&self) -> i64 {
        i64::try_from(self.now.as_nanosecond()).unwrap_or(i64::MAX)
    }
}

/// Memory as a decision sees it. Only revocations change under it, and those only refuse more.
#[derive(Clone, Debug)]
pub struct View {
    /// Whether it can be decided from.
    pub phase: Phase,
    /// Where it stands.
    pub position: Option<Position>,
    /// How old it is; none where that is not known.
    pub freshness: Option<Freshness>,
    /// What is known of zones.
    pub snapshot: Snapshot,
    /// What goes with them.
    pub zones: HashMap<ZoneId, Arc<ZoneMemory>>,
}

impl View {
    /// Before anything was loaded.
    pub fn empty() -> Self {
        Self {
            phase: Phase::Empty,
            position: None,
            freshness: None,
            snapshot: Snapshot::new(),
            zones: HashMap::new(),
        }
    }

    /// Whether there is a memory to decide from at all.
    pub fn usable(&self) -> Result<(), Unavailable> {
        match self.phase {
            Phase::Empty => Err(Unavailable::NotReady),
            Phase::Resync => Err(Unavailable::Resync),
            Phase::Held => Ok(()),
        }
    }

    /// The memory of a zone, if it is whole and younger than `bound`.
    pub fn zone(
        &self,
        zone: ZoneId,
        bound: Duration,
        moment: &Moment,
    ) -> Result<&Arc<ZoneMemory>, Unavailable> {
        let fresh = self
            .freshness
            .is_some_and(|fresh| fresh.within(bound, moment.monotonic, moment.nanoseconds()));
        if !fresh {
            return Err(Unavailable::Stale);
        }
        match self.zones.get(&zone) {
            Some(memory) if !memory.broken => Ok(memory),
            // Something about this zone came that was not understood.
            Some(_) | None => Err(Unavailable::Resync),
        }
    }
}

/// What goes with a zone besides its rows.
#[derive(Clone, Debug)]
pub struct ZoneMemory {
    revocations: Arc<RwLock<Revocations>>,
    verified: Arc<Verified>,
    policy: Option<Arc<Ready>>,
    broken: bool,
}

impl ZoneMemory {
    /// A zone about which nothing is revoked.
    pub fn new(verified: Arc<Verified>) -> Self {
        Self {
            revocations: Arc::default(),
            verified,
            policy: None,
            broken: false,
        }
    }

    /// What is revoked, to read.
    pub fn revocations(&self) -> RwLockReadGuard<'_, Revocations> {
        // Each change is one insertion: a writer that panicked left nothing half done.
        self.revocations
            .read()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes what is revoked, for every holder of this memory.
    pub fn revoke<T>(&self, change: impl FnOnce(&mut Revocations) -> T) -> T {
        change(
            &mut self
                .revocations
                .write()
                .unwrap_or_else(PoisonError::into_inner),
        )
    }

    /// The mandates verified by the zone's keys.
    pub fn verified(&self) -> &Verified {
        &self.verified
    }

    /// The same after a key changed: nothing verified before counts.
    #[must_use]
    pub fn with_new_keys(&self) -> Self {
        Self {
            verified: self.verified.renewed(),
            ..self.clone()
        }
    }

    /// The same under another policy; none where it has none that can be asked.
    #[must_use]
    pub fn with_policy(&self, policy: Option<Arc<Ready>>) -> Self {
        Self {
            policy,
            ..self.clone()
        }
    }

    /// The same with another set of revocations.
    #[must_use]
    pub fn with_revocations(&self, revocations: Revocations) -> Self {
        Self {
            revocations: Arc::new(RwLock::new(revocations)),
            ..self.clone()
        }
    }

    /// The same, known not to be whole.
    #[must_use]
    pub fn broken(&self) -> Self {
        Self {
            broken: true,
            ..self.clone()
        }
    }

    /// Asks the active policy.
    pub fn ask(&self, input: &Input<'_>) -> Result<Verdict, PolicyError> {
        self.policy.as_ref().ok_or(PolicyError::Broken)?.ask(input)
    }

    /// The version that is asked.
    pub fn policy_version(&self) -> Option<PolicyVersionId> {
        self.policy.as_ref().map(|ready| ready.version)
    }
}

/// A policy version that can be asked.
#[derive(Debug)]
pub struct Ready {
    version: PolicyVersionId,
    prepared: Prepared,
    memo: Mutex<Memo>,
}

impl Ready {
    /// A version made ready.
    pub fn new(version: PolicyVersionId, prepared: Prepared) -> Self {
        Self {
            version,
            prepared,
            memo: Mutex::new(Memo::new(MEMO)),
        }
    }

    /// Its id.
    pub fn version(&self) -> PolicyVersionId {
        self.version
    }

    fn ask(&self, input: &Input<'_>) -> Result<Verdict, PolicyError> {
        if let Some(verdict) = self.memo().find(self.version, input) {
            return Ok(verdict);
        }
        let verdict = self.prepared.evaluate(input)?;
        self.memo().hold(self.version, input, verdict);
        Ok(verdict)
    }

    fn memo(&self) -> MutexGuard<'_, Memo> {
        self.memo.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
