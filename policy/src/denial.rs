//! Every reason not to let a request pass: code, HTTP status, gRPC status, challenge, when to try again.

use mandate::{Challenge, Rejection};

/// What became of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// It passed.
    Allow,
    /// It was refused.
    Deny,
    /// Nothing could be decided, which refuses too.
    Unavailable,
}

impl Outcome {
    /// The word in evidence.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Deny => "deny",
            Self::Unavailable => "unavailable",
        }
    }
}

/// Why a request may not pass. Closed: whoever adds a reason decides its row of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Denial {
    /// The request's form or its mandate.
    Rejected(Rejection),
    /// Where the request goes.
    Refused(Refused),
    /// Policy says no.
    Policy(PolicyDenial),
    /// Nothing can be decided now.
    Unavailable(Unavailable),
}

/// Refused for where the request goes, not for its mandate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Refused {
    /// No binding, or several places that disagree.
    NoBinding,
    /// The binding's resource has no operation for it.
    NoRule,
    /// `x-caracal-resource` names another resource.
    ResourceAssertion,
}

/// What policy says no with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PolicyDenial {
    /// The zone has no active policy.
    Missing,
    /// Policy holds the whole zone back.
    ZoneRestricted,
    /// Policy holds the application back.
    ApplicationRestricted,
    /// Policy holds the resource back.
    ResourceRestricted,
    /// Policy grants the application nothing at the resource.
    NotGranted,
    /// A label of the session confines it to other scopes.
    Confined,
    /// No one role of the session has all the scopes.
    RoleScopes,
    /// A scope needs an approval.
    ApprovalRequired,
}

/// Why policy could not answer. Never an answer, never remembered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum PolicyError {
    /// The active version did not load.
    #[error("the active policy did not load")]
    Broken,
    /// The platform's rules do not compile.
    #[error("the rules do not compile")]
    Rules,
    /// The input is larger than any input may be.
    #[error("the input exceeds its bounds")]
    Input,
    /// Evaluation failed.
    #[error("the evaluation failed")]
    Evaluation,
    /// Evaluation took more instructions than it may.
    #[error("the evaluation exceeded its budget")]
    Budget,
    /// No rule gave a result.
    #[error("the result is undefined")]
    Undefined,
    /// The result is not of the contract's form.
    #[error("the result is not of the contract's form")]
    Malformed,
    /// The engine panicked.
    #[error("the engine panicked")]
    Panicked,
}

/// Why nothing can be decided now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Unavailable {
    /// Nothing was loaded yet.
    NotReady,
    /// Memory is older than its bound.
    Stale,
    /// Memory is of another history than the newest message.
    Resync,
    /// Policy gave no answer.
    PolicyError,
    /// Policy took longer than it may.
    PolicyBudget,
    /// The evidence could not be written.
    JournalUnavailable,
    /// The time for deciding was over.
    Deadline,
    /// Too much at a time.
    Overload,
    /// The service is stopping. Reserved: nobody answers with it yet.
    Draining,
    /// The service that decides did not answer, or not in a form that decides.
    Authorizer,
}

/// One row of the table.
struct Row {
    code: &'static str,
    http: u16,
    grpc: u8,
    retry_after: Option<u32>,
    meaning: &'static str,
}

const fn forbidden(code: &'static str, meaning: &'static str) -> Row {
    Row {
        code,
        http: 403,
        grpc: 7,
        retry_after: None,
        meaning,
    }
}

const fn unavailable(code: &'static str, retry_after: u32, meaning: &'static str) -> Row {
    Row {
        code,
        http: 503,
        grpc: 14,
        retry_after: Some(retry_after),
        meaning,
    }
}

impl Denial {
    /// Every denial that is not a [`Rejection`], one for each code, in the order of the table.
    pub const ALL: &'static [Self] = &[
        Self::Refused(Refused::NoBinding),
        Self::Refused(Refused::NoRule),
        Self::Refused(Refused::ResourceAssertion),
        Self::Policy(PolicyDenial::Missing),
        Self::Policy(PolicyDenial::ZoneRestricted),
        Self::Policy(PolicyDenial::ApplicationRestricted),
        Self::Policy(PolicyDenial::ResourceRestricted),
        Self::Policy(PolicyDenial::NotGranted),
        Self::Policy(PolicyDenial::Confined),
        Self::Policy(PolicyDenial::RoleScopes),
        Self::Policy(PolicyDenial::ApprovalRequired),
        Self::Unavailable(Unavailable::NotReady),
        Self::Unavailable(Unavailable::Stale),
        Self::Unavailable(Unavailable::Resync),
        Self::Unavailable(Unavailable::PolicyError),
        Self::Unavailable(Unavailable::PolicyBudget),
        Self::Unavailable(Unavailable::JournalUnavailable),
        Self::Unavailable(Unavailable::Deadline),
        Self::Unavailable(Unavailable::Overload),
        Self::Unavailable(Unavailable::Draining),
        Self::Unavailable(Unavailable::Authorizer),
    ];

    /// The stable code.
    pub const fn code(self) -> &'static str {
        self.row().code
    }

    /// The HTTP status.
    pub const fn http(self) -> u16 {
        self.row().http
    }

    /// The gRPC status code.
    pub const fn grpc(self) -> u8 {
        self.row().grpc
    }

    /// Seconds after which another try makes sense. Set exactly when nothing was decided.
    pub const fn retry_after(self) -> Option<u32> {
        self.row().retry_after
    }

    /// One sentence for people. It never holds anything of the request.
    pub const fn meaning(self) -> &'static str {
        self.row().meaning
    }

    /// What goes into `WWW-Authenticate`.
    pub const fn challenge(self) -> Challenge {
        match self {
            Self::Rejected(rejection) => rejection.challenge(),
            Self::Refused(_) | Self::Policy(_) | Self::Unavailable(_) => Challenge::None,
        }
    }

    /// Refused, or not decided: an outage is never reported as a decision, nor the reverse.
    pub const fn outcome(self) -> Outcome {
        match self {
            Self::Rejected(_) | Self::Refused(_) | Self::Policy(_) => Outcome::Deny,
            Self::Unavailable(_) => Outcome::Unavailable,
        }
    }

    /// Whether nothing was decided.
    pub const fn is_unavailable(self) -> bool {
        matches!(self.outcome(), Outcome::Unavailable)
    }

    /// Everything that refuses, one for each code, in the order of the table.
    pub fn all() -> impl Iterator<Item = Self> {
        let rejected = Rejection::ALL.iter().copied().map(Self::Rejected);
        rejected.chain(Self::ALL.iter().copied())
    }

    const fn row(self) -> Row {
        match self {
            Self::Rejected(rejection) => Row {
                code: rejection.code(),
                http: rejection.http(),
                grpc: rejection.grpc(),
                retry_after: None,
                meaning: rejection.meaning(),
            },
            Self::Refused(refused) => refused.row(),
            Self::Policy(denial) => denial.row(),
            Self::Unavailable(why) => why.row(),
        }
    }
}

impl Refused {
    const fn row(self) -> Row {
        match self {
            Self::NoBinding => forbidden(
                "no_binding",
                "No binding is attached here for this host and path, or several disagree.",
            ),
            Self::NoRule => forbidden(
                "no_rule",
                "The resource has no operation for this method and path.",
            ),
            Self::ResourceAssertion => forbidden(
                "resource_assertion",
                "x-caracal-resource is not the resource of this host and path.",
            ),
        }
    }
}

impl PolicyDenial {
    /// The stable code.
    pub const fn code(self) -> &'static str {
        self.row().code
    }

    /// The denial of a code that the rules may answer with.
    #[cfg(feature = "rego")]
    pub(crate) fn of_rules(code: &str) -> Option<Self> {
        [
            Self::ZoneRestricted,
            Self::ApplicationRestricted,
            Self::ResourceRestricted,
            Self::NotGranted,
            Self::Confined,
            Self::RoleScopes,
            Self::ApprovalRequired,
        ]
        .into_iter()
        .find(|denial| denial.code() == code)
    }

    const fn row(self) -> Row {
        match self {
            Self::Missing => forbidden("policy_missing", "The zone has no active policy."),
            Self::ZoneRestricted => forbidden("zone_restricted", "Policy holds the zone back."),
            Self::ApplicationRestricted => forbidden(
                "application_restricted",
                "Policy holds the application back.",
            ),
            Self::ResourceRestricted => {
                forbidden("resource_restricted", "Policy holds the resource back.")
            }
            Self::NotGranted => forbidden(
                "policy_not_granted",
                "Policy grants the application nothing at this resource.",
            ),
            Self::Confined => forbidden(
                "confinement_violation",
                "A label of the session confines it to other scopes.",
            ),
            Self::RoleScopes => forbidden(
                "role_scope_mismatch",
                "No single role of the session has all the scopes required.",
            ),
            Self::ApprovalRequired => {
                forbidden("approval_required", "A scope required needs an approval.")
            }
        }
    }
}

impl PolicyError {
    /// The stable code.
    pub const fn code(self) -> &'static str {
        self.unavailable().code()
    }

    /// What it means for a request.
    pub const fn unavailable(self) -> Unavailable {
        match self {
            Self::Budget => Unavailable::PolicyBudget,
            Self::Broken
            | Self::Rules
            | Self::Input
            | Self::Evaluation
            | Self::Undefined
            | Self::Malformed
            | Self::Panicked => Unavailable::PolicyError,
        }
    }
}

impl Unavailable {
    /// The stable code.
    pub const fn code(self) -> &'static str {
        self.row().code
    }

    const fn row(self) -> Row {
        match self {
            Self::NotReady => unavailable(
                "authority_not_ready",
                1,
                "The authority has not been loaded yet.",
            ),
            Self::Stale => unavailable(
                "authority_stale",
                1,
                "What is decided from is older than its bound.",
            ),
            Self::Resync => unavailable(
                "authority_resync",
                1,
                "What is decided from is being loaded anew.",
            ),
            Self::PolicyError => unavailable(
                "policy_error",
                5,
                "The zone's policy could not be evaluated.",
            ),
            Self::PolicyBudget => unavailable(
                "policy_budget",
                5,
                "The zone's policy took longer than it may.",
            ),
            Self::JournalUnavailable => {
                unavailable("journal_unavailable", 1, "The evidence cannot be written.")
            }
            Self::Deadline => unavailable("deadline", 1, "The time for deciding was over."),
            Self::Overload => unavailable("overload", 1, "There is too much to decide."),
            Self::Draining => unavailable("draining", 1, "The service is stopping."),
            Self::Authorizer => unavailable(
                "authorizer_unavailable",
                1,
                "The service that decides gave no answer.",
            ),
        }
    }
}

impl From<Rejection> for Denial {
    fn from(rejection: Rejection) -> Self {
        Self::Rejected(rejection)
    }
}

impl From<Refused> for Denial {
    fn from(refused: Refused) -> Self {
        Self::Refused(refused)
    }
}

impl From<PolicyDenial> for Denial {
    fn from(denial: PolicyDenial) -> Self {
        Self::Policy(denial)
    }
}

impl From<PolicyError> for Denial {
    fn from(error: PolicyError) -> Self {
        Self::Unavailable(error.unavailable())
    }
}

impl From<Unavailable> for Denial {
    fn from(why: Unavailable) -> Self {
        Self::Unavailable(why)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_code_stands_for_one_reason() {
        let codes: HashSet<&str> = Denial::all().map(Denial::code).collect();
        assert_eq!(codes.len(), Denial::all().count());
    }

    #[test]
    fn what_was_not_decided_is_503_with_a_time_to_retry_and_nothing_else_is() {
        for denial in Denial::all() {
            let undecided = denial.outcome() == Outcome::Unavailable;
            assert_eq!(denial.http() == 503, undecided, "{denial:?}");
            assert_eq!(denial.grpc() == 14, undecided, "{denial:?}");
            assert_eq!(denial.retry_after().is_some(), undecided, "{denial:?}");
            assert_ne!(denial.outcome(), Outcome::Allow);
        }
    }
}
