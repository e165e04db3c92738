//! What the token endpoint refuses, and the one place that says how each refusal looks: OAuth's own
//! JSON (RFC 6749 §5.2), never a problem document.

use std::time::Duration;

use mandate::Rejection;
use policy::{Denial, PolicyDenial, PolicyError};

use crate::token::credential::CredentialError;
use crate::token::form::FormError;
use crate::token::request::ParameterError;

/// Any failure below an answer that is not a refusal.
pub(crate) type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Why no mandate was issued. Closed: every variant has one code, one OAuth error and one status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// Parameters in the URL of the token endpoint, where logs would keep them.
    Query,
    /// The body is not a form.
    Form(FormError),
    /// The form is not a request.
    Parameter(ParameterError),
    /// The zone is not known.
    ZoneUnknown,
    /// The zone is archived: nothing is issued.
    ZoneArchived,
    /// The client presented no credential, several, or none of ours.
    Credential(CredentialError),
    /// No such application, or not its secret; which of the two is not told.
    ClientUnknown,
    /// The source failed too often.
    RateLimited(Duration),
    /// The subject token is not a live session mandate of this zone.
    SubjectToken(Rejection),
    /// The subject token is another application's.
    SubjectForeign,
    /// The session does not exist, or is another application's; which is not told.
    SessionUnknown,
    /// The session has ended or run out.
    SessionEnded,
    /// The session is suspended.
    SessionSuspended,
    /// No resource was named and no single one follows from the authority at hand.
    TargetMissing,
    /// The resource does not exist or is not granted; which is not told.
    TargetNotGranted,
    /// The audience of a gateway mandate is the issuer alone.
    AudienceForeign,
    /// Not every scope asked for may be had.
    ScopeNotGranted,
    /// No scope was named and more are granted than a mandate carries.
    ScopeMissing,
    /// Policy says no.
    Policy(PolicyDenial),
    /// What the mandate would rest on was revoked, cut off or is not active.
    AuthorityGone(Gone),
    /// What the mandate would rest on has no time left.
    NoTimeLeft,
}

/// In which way authority is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Gone {
    /// Dead, cut off, or never there.
    Revoked,
    /// Suspended.
    Suspended,
    /// Disabled.
    Disabled,
    /// Archived.
    Archived,
}

/// Why it could not be decided.
#[derive(Debug)]
pub(crate) enum Unavailable {
    /// The zone has no key yet.
    Provisioning,
    /// Our clock and the database's disagree, or were never compared.
    ClockSkew,
    /// Policy did not answer.
    Policy(PolicyError),
    /// The active policy could not be loaded.
    PolicyBroken(BoxError),
    /// What was decided on kept changing under our hands.
    Contended,
    /// The signing key is distrusted and no other is at hand.
    NoSigningKey,
    /// A dependency did not answer as it should.
    Dependency {
        /// Which.
        dependency: &'static str,
        /// How.
        source: BoxError,
    },
}

/// Why there is no answer of 200.
#[derive(Debug)]
pub(crate) enum Error {
    /// The answer is no.
    Refused(Refusal),
    /// There is no answer.
    Unavailable(Unavailable),
}

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl From<Unavailable> for Error {
    fn from(unavailable: Unavailable) -> Self {
        Self::Unavailable(unavailable)
    }
}

impl From<FormError> for Error {
    fn from(error: FormError) -> Self {
        Self::Refused(Refusal::Form(error))
    }
}

impl From<ParameterError> for Error {
    fn from(error: ParameterError) -> Self {
        Self::Refused(Refusal::Parameter(error))
    }
}

impl From<CredentialError> for Error {
    fn from(error: CredentialError) -> Self {
        Self::Refused(Refusal::Credential(error))
    }
}

impl Error {
    /// A dependency failed.
    pub(crate) fn dependency(dependency: &'static str, source: impl Into<BoxError>) -> Self {
        Self::Unavailable(Unavailable::Dependency {
            dependency,
            source: source.into(),
        })
    }

    /// The stable code, our own.
    pub(crate) fn code(&self) -> &'static str {
        match self {
            Self::Refused(refusal) => refusal.code(),
            Self::Unavailable(unavailable) => unavailable.code(),
        }
    }

    /// How it looks on the wire.
    pub(crate) fn face(&self) -> Face {
        match self {
            Self::Refused(refusal) => refusal.face(),
            Self::Unavailable(_) => Face {
                status: 503,
                error: "temporarily_unavailable",
                retry_after: Some(Duration::from_secs(1)),
            },
        }
    }

    /// What the caller is told; never why a dependency failed.
    pub(crate) fn describe(&self) -> String {
        match self {
            Self::Refused(refusal) => refusal.describe(),
            Self::Unavailable(Unavailable::Provisioning) => "the zone is not ready yet".to_owned(),
            Self::Unavailable(Unavailable::ClockSkew) => {
                "nothing is issued while clocks disagree".to_owned()
            }
            Self::Unavailable(Unavailable::Policy(_) | Unavailable::PolicyBroken(_)) => {
                "the zone's policy could not be evaluated".to_owned()
            }
            Self::Unavailable(Unavailable::Dependency { dependency, .. }) => {
                format!("{dependency} does not answer; try again")
            }
            Self::Unavailable(Unavailable::Contended | Unavailable::NoSigningKey) => {
                "the request could not be decided; try again".to_owned()
            }
        }
    }
}

impl Unavailable {
    /// The stable code.
    pub(crate) fn code(&self) -> &'static str {
        match self {
            Self::Provisioning => "zone_provisioning",
            Self::ClockSkew => "clock_skew",
            Self::Policy(error) => error.code(),
            Self::PolicyBroken(_) => "policy_error",
            Self::Contended => "contended",
            Self::NoSigningKey => "no_signing_key",
            Self::Dependency { .. } => "dependency_unavailable",
        }
    }
}

/// Status line, OAuth error and `Retry-After` of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Face {
    /// HTTP status.
    pub status: u16,
    /// The `error` member.
    pub error: &'static str,
    /// When to come back.
    pub retry_after: Option<Duration>,
}

const fn face(status: u16, error: &'static str) -> Face {
    Face {
        status,
        error,
        retry_after: None,
    }
}

/// RFC 8707 §2 for the target, RFC 6749 §5.2 for scope and client.
const fn policy_face(denial: PolicyDenial) -> Face {
    match denial {
        PolicyDenial::Missing
        | PolicyDenial::ZoneRestricted
        | PolicyDenial::ApplicationRestricted => face(400, "unauthorized_client"),
        PolicyDenial::ResourceRestricted | PolicyDenial::NotGranted => face(400, "invalid_target"),
        PolicyDenial::Confined | PolicyDenial::RoleScopes => face(400, "invalid_scope"),
        PolicyDenial::ApprovalRequired => face(400, "interaction_required"),
    }
}

impl Refusal {
    /// The stable code.
    pub(crate) fn code(&self) -> &'static str {
        match self {
            Self::Query => "query_not_allowed",
            Self::Form(FormError::ContentType) => "content_type",
            Self::Form(FormError::TooLarge) => "body_too_large",
            Self::Form(FormError::TooMany | FormError::Malformed) => "malformed_form",
            Self::Form(FormError::Empty(_)) => "parameter_empty",
            Self::Parameter(ParameterError::Repeated(_)) => "parameter_repeated",
            Self::Parameter(ParameterError::Unknown(_)) => "parameter_unknown",
            Self::Parameter(ParameterError::Missing(_)) => "parameter_missing",
            Self::Parameter(ParameterError::Invalid { .. }) => "parameter_invalid",
            Self::Parameter(ParameterError::GrantType) => "grant_type_not_offered",
            Self::Parameter(ParameterError::Target(_)) => "target_malformed",
            Self::Parameter(ParameterError::Scope) => "scope_malformed",
            Self::ZoneUnknown => "zone_unknown",
            Self::ZoneArchived => "zone_archived",
            Self::Credential(CredentialError::Missing) => "client_credential_missing",
            Self::Credential(CredentialError::Ambiguous) => "client_credential_ambiguous",
            Self::Credential(CredentialError::Malformed) => "client_credential_malformed",
            Self::ClientUnknown => "client_unknown",
            Self::RateLimited(_) => "rate_limited",
            Self::SubjectToken(rejection) => rejection.code(),
            Self::SubjectForeign => "subject_token_foreign",
            Self::SessionUnknown => "session_unknown",
            Self::SessionEnded => "session_ended",
            Self::SessionSuspended => "session_suspended",
            Self::TargetMissing => "target_missing",
            Self::TargetNotGranted => "target_not_granted",
            Self::AudienceForeign => "audience_foreign",
            Self::ScopeNotGranted => "scope_not_granted",
            Self::ScopeMissing => "scope_unnamed",
            Self::Policy(denial) => denial.code(),
            Self::AuthorityGone(Gone::Revoked) => "revoked",
            Self::AuthorityGone(Gone::Suspended) => "suspended",
            Self::AuthorityGone(Gone::Disabled) => "disabled",
            Self::AuthorityGone(Gone::Archived) => "archived",
            Self::NoTimeLeft => "no_time_left",
        }
    }

    /// Status and OAuth error (RFC 6749 §5.2, RFC 8693 §2.2.2, RFC 8707 §2).
    pub(crate) fn face(&self) -> Face {
        match self {
            Self::Form(FormError::TooLarge) => face(413, "invalid_request"),
            Self::Parameter(ParameterError::GrantType) => face(400, "unsupported_grant_type"),
            Self::Parameter(ParameterError::Scope) | Self::ScopeNotGranted | Self::ScopeMissing => {
                face(400, "invalid_scope")
            }
            Self::Parameter(ParameterError::Target(_))
            | Self::TargetMissing
            | Self::TargetNotGranted
            | Self::AudienceForeign => face(400, "invalid_target"),
            Self::ZoneUnknown | Self::ZoneArchived => face(404, "invalid_request"),
            Self::Credential(CredentialError::Missing | CredentialError::Malformed)
            | Self::ClientUnknown => face(401, "invalid_client"),
            Self::RateLimited(wait) => Face {
                retry_after: Some(*wait),
                ..face(429, "rate_limited")
            },
            Self::Policy(denial) => policy_face(*denial),
            Self::SessionUnknown
            | Self::SessionEnded
            | Self::SessionSuspended
            | Self::AuthorityGone(_)
            | Self::NoTimeLeft => face(400, "invalid_grant"),
            Self::Query
            | Self::Form(_)
            | Self::Parameter(_)
            | Self::Credential(CredentialError::Ambiguous)
            | Self::SubjectToken(_)
            | Self::SubjectForeign => face(400, "invalid_request"),
        }
    }

    /// What the caller is told.
    pub(crate) fn describe(&self) -> String {
        let text = match self {
            Self::Form(error) => return error.to_string(),
            Self::Parameter(error) => return error.to_string(),
            Self::Policy(denial) => return Denial::Policy(*denial).meaning().to_owned(),
            Self::SubjectToken(rejection) => {
                return format!("the subject token was refused: {}", rejection.code());
            }
            Self::Query => "parameters belong in the body",
            Self::ZoneUnknown => "no such zone",
            Self::ZoneArchived => "the zone is archived",
            Self::Credential(CredentialError::Missing) => "client authentication is required",
            Self::Credential(CredentialError::Ambiguous) => {
                "a client authenticates once, by one method"
            }
            Self::Credential(CredentialError::Malformed) | Self::ClientUnknown => {
                "client authentication failed"
            }
            Self::RateLimited(_) => "too many failed authentications from this source",
            Self::SubjectForeign => "the subject token was issued to another application",
            Self::SessionUnknown => "no such session of this application",
            Self::SessionEnded => "the session has ended",
            Self::SessionSuspended => "the session is suspended",
            Self::TargetMissing => "name the resource",
            Self::TargetNotGranted => "no such resource is granted to this application",
            Self::AudienceForeign => "a gateway mandate's audience is the issuer",
            Self::ScopeNotGranted => "not every scope asked for is granted",
            Self::ScopeMissing => "more scopes are granted than a mandate carries; name some",
            Self::AuthorityGone(Gone::Revoked) => "the authority was revoked",
            Self::AuthorityGone(Gone::Suspended) => "the authority is suspended",
            Self::AuthorityGone(Gone::Disabled) => "the authority is disabled",
            Self::AuthorityGone(Gone::Archived) => "the authority is archived",
            Self::NoTimeLeft => "the authority has run out",
        };
        text.to_owned()
    }
}
