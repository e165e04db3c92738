//! The permit: the only value that lets a request go forward.

use std::sync::Arc;

use mandate::Admitted;
use mandate::id::{DecisionId, PolicyVersionId, ZoneId};

use crate::decide::Ground;
use crate::snapshot::Binding;

/// One request may pass. It is made by deciding and in no other way; code that forwards takes it.
#[derive(Debug, Clone)]
pub struct Permit {
    admitted: Admitted,
    zone: ZoneId,
    binding: Arc<Binding>,
    decision: DecisionId,
    policy: PolicyVersionId,
}

impl Permit {
    /// Made by `decide`, when the mandate admits the request and this policy version allows it.
    pub(crate) fn decided(
        ground: &Ground<'_>,
        admitted: Admitted,
        policy: PolicyVersionId,
    ) -> Self {
        Self {
            admitted,
            zone: ground.selected.zone_id,
            binding: Arc::clone(&ground.selected.binding),
            decision: ground.decision,
            policy,
        }
    }

    /// What the mandate admits.
    pub fn admitted(&self) -> &Admitted {
        &self.admitted
    }

    /// The zone.
    pub fn zone(&self) -> ZoneId {
        self.zone
    }

    /// The binding.
    pub fn binding(&self) -> &Arc<Binding> {
        &self.binding
    }

    /// The decision.
    pub fn decision(&self) -> DecisionId {
        self.decision
    }

    /// The policy version that it was decided under.
    pub fn policy_version(&self) -> PolicyVersionId {
        self.policy
    }
}
