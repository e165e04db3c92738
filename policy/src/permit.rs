//! The permit: the only value that lets a request go forward.

use std::sync::Arc;

use mandate::id::{DecisionId, PolicyVersionId, ZoneId};
use mandate::{Admitted, Mandate};

use crate::binding::Selected;
use crate::decide::Ground;
use crate::snapshot::Binding;

/// What an allowing answer is called.
pub const ALLOWED: &str = "allowed";

/// One request may pass. It is made by deciding, or from a confirmed decision, and in no other way; code that forwards
/// takes it.
#[derive(Debug, Clone)]
pub struct Permit {
    admitted: Admitted,
    zone: ZoneId,
    binding: Arc<Binding>,
    decision: DecisionId,
    policy: Option<PolicyVersionId>,
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
            policy: Some(policy),
        }
    }

    /// Made where policy is not known: the mandate admits the request here, and the enforcement point that was asked
    /// about this very request allowed it.
    #[expect(
        clippy::needless_pass_by_value,
        reason = "a confirmation is good for one permit"
    )]
    pub fn confirmed(selected: &Selected, admitted: Admitted, allowed: CheckAllowed) -> Self {
        Self {
            admitted,
            zone: selected.zone_id,
            binding: Arc::clone(&selected.binding),
            decision: allowed.decision,
            policy: None,
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

    /// The policy version that it was decided under, where that was decided here.
    pub fn policy_version(&self) -> Option<PolicyVersionId> {
        self.policy
    }
}

/// An enforcement point allowed one request. It is good for one permit.
#[derive(Debug)]
pub struct CheckAllowed {
    decision: DecisionId,
}

/// What an enforcement point says about its decision besides the status: the metadata of its answer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Said<'a> {
    /// `decision_id`.
    pub decision: Option<&'a str>,
    /// `code`.
    pub code: Option<&'a str>,
    /// `mandate_digest`, in lower-case hexadecimal.
    pub digest: Option<&'a str>,
    /// `zone`.
    pub zone: Option<&'a str>,
}

impl CheckAllowed {
    /// From an answer: its status is there and says OK, and it names a decision of ours that allows this mandate. To the
    /// protocol an empty answer is an allow; here it is none.
    pub fn of_answer(status: Option<i32>, said: &Said<'_>, mandate: &Mandate) -> Option<Self> {
        (status == Some(0)).then_some(())?;
        Self::of_metadata(said, mandate)
    }

    /// From what the proxy kept of the answer that its own filter got for this request: it must be about this mandate.
    pub fn of_metadata(said: &Said<'_>, mandate: &Mandate) -> Option<Self> {
        (said.digest? == mandate.digest_text()).then_some(())?;
        let decision = DecisionId::parse(said.decision?).ok()?;
        let ours = decision.as_uuid().get_version_num() == 7 && said.code == Some(ALLOWED);
        ours.then_some(Self { decision })
    }

    /// The decision.
    pub fn decision(&self) -> DecisionId {
        self.decision
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;
    use crate::snapshot::PolicyState;

    const OURS: &str = "01890a5d-ac96-774b-bcce-b302099a8057";

    #[test]
    fn only_an_explicit_ok_with_a_decision_of_ours_about_this_mandate_allows() {
        let snapshot = fixture::snapshot(PolicyState::Missing);
        let mandate = fixture::mandate(&snapshot, &fixture::claims("read", "agent"));
        let (digest, other) = (mandate.digest_text(), "00".repeat(32));
        let whole = Said {
            decision: Some(OURS),
            code: Some(ALLOWED),
            digest: Some(&digest),
            zone: None,
        };
        assert!(CheckAllowed::of_answer(Some(0), &whole, &mandate).is_some());
        assert!(CheckAllowed::of_metadata(&whole, &mandate).is_some());
        for status in [None, Some(7), Some(14)] {
            assert!(CheckAllowed::of_answer(status, &whole, &mandate).is_none());
        }
        let decision = |decision| Said { decision, ..whole };
        let code = |code| Said { code, ..whole };
        let digest = |digest| Said { digest, ..whole };
        for said in [
            Said::default(),
            decision(None),
            decision(Some("")),
            decision(Some("not-an-id")),
            decision(Some("550e8400-e29b-41d4-a716-446655440000")),
            code(None),
            code(Some("revoked")),
            digest(None),
            digest(Some(&other)),
        ] {
            assert!(
                CheckAllowed::of_answer(Some(0), &said, &mandate).is_none(),
                "{said:?}"
            );
            assert!(
                CheckAllowed::of_metadata(&said, &mandate).is_none(),
                "{said:?}"
            );
        }
    }
}
