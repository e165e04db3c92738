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
    /// From an answer: its status is there and says OK, and it names a decision of ours that allows. To the protocol an
    /// empty answer is an allow; here it is none.
    pub fn of_answer(status: Option<i32>, said: &Said<'_>) -> Option<Self> {
        (status == Some(0)).then_some(())?;
        Self::of(said)
    }

    /// From what the proxy kept of the answer that its own filter got for this request: it must be about this mandate.
    pub fn of_metadata(said: &Said<'_>, mandate: &Mandate) -> Option<Self> {
        (said.digest? == hex(&mandate.digest())).then_some(())?;
        Self::of(said)
    }

    /// The decision.
    pub fn decision(&self) -> DecisionId {
        self.decision
    }

    fn of(said: &Said<'_>) -> Option<Self> {
        let decision = DecisionId::parse(said.decision?).ok()?;
        let ours = decision.as_uuid().get_version_num() == 7 && said.code == Some(ALLOWED);
        ours.then_some(Self { decision })
    }
}

fn hex(bytes: &[u8]) -> String {
    const DIGITS: [char; 16] = [
        '0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'a', 'b', 'c', 'd', 'e', 'f',
    ];
    bytes
        .iter()
        .flat_map(|byte| [byte >> 4, byte & 15])
        .filter_map(|digit| DIGITS.get(usize::from(digit)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;
    use crate::snapshot::PolicyState;

    const OURS: &str = "01890a5d-ac96-774b-bcce-b302099a8057";

    fn said(decision: &str) -> Said<'_> {
        Said {
            decision: Some(decision),
            code: Some(ALLOWED),
            digest: None,
            zone: None,
        }
    }

    #[test]
    fn only_an_explicit_ok_with_a_decision_of_ours_allows() {
        assert!(CheckAllowed::of_answer(Some(0), &said(OURS)).is_some());
        for (status, said) in [
            (None, said(OURS)),
            (Some(7), said(OURS)),
            (Some(14), said(OURS)),
            (Some(0), Said::default()),
            (Some(0), said("")),
            (Some(0), said("not-an-id")),
            (Some(0), said("550e8400-e29b-41d4-a716-446655440000")),
            (
                Some(0),
                Said {
                    code: Some("revoked"),
                    ..said(OURS)
                },
            ),
            (
                Some(0),
                Said {
                    code: None,
                    ..said(OURS)
                },
            ),
        ] {
            assert!(
                CheckAllowed::of_answer(status, &said).is_none(),
                "{status:?} {said:?}"
            );
        }
    }

    #[test]
    fn kept_metadata_allows_only_the_mandate_it_is_about() {
        let snapshot = fixture::snapshot(PolicyState::Missing);
        let mandate = fixture::mandate(&snapshot, &fixture::claims("read", "agent"));
        let digest = hex(&mandate.digest());
        let about = |digest| Said {
            digest,
            zone: None,
            ..said(OURS)
        };
        assert!(CheckAllowed::of_metadata(&about(Some(&digest)), &mandate).is_some());
        assert!(CheckAllowed::of_metadata(&about(None), &mandate).is_none());
        let other = "00".repeat(32);
        assert!(CheckAllowed::of_metadata(&about(Some(&other)), &mandate).is_none());
    }
}
