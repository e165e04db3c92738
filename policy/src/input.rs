//! What policy is asked, and what it answers.

use mandate::id::{ApplicationId, Label, ResourceUri, Scope, ScopeSet};

use crate::denial::{PolicyDenial, PolicyError};

/// The most bytes of an input.
pub(crate) const MAX_BYTES: usize = 32 * 1024;
/// The longest string of an input.
pub(crate) const MAX_STRING: usize = 4 * 1024;
/// The most entries of a collection of an input.
pub(crate) const MAX_ENTRIES: usize = 256;

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Action {
    /// To issue a mandate.
    Mint,
    /// To use one.
    Use,
}

impl Action {
    /// The word the rules know.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Mint => "mint",
            Self::Use => "use",
        }
    }
}

/// One question to policy. Every field is read by the rules, so that a verdict holds for all requests that agree in
/// them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Input<'a> {
    /// What is asked for.
    pub action: Action,
    /// Who acts.
    pub application: ApplicationId,
    /// At which resource.
    pub resource: &'a ResourceUri,
    /// With which scopes: those requested of a mint, those the operation requires of a use.
    pub scopes: &'a ScopeSet,
    /// The labels of the session, from the control plane.
    pub labels: &'a [Label],
}

impl Input<'_> {
    /// Checks the bounds that the types do not give.
    pub fn check(&self) -> Result<(), PolicyError> {
        let strings = || {
            let scopes = self.scopes.iter().map(Scope::as_str);
            let labels = self.labels.iter().map(Label::as_str);
            [self.resource.as_str()]
                .into_iter()
                .chain(scopes)
                .chain(labels)
        };
        let total = strings().map(str::len).fold(64, usize::saturating_add);
        let fits = self.scopes.len() <= MAX_ENTRIES
            && self.labels.len() <= MAX_ENTRIES
            && total <= MAX_BYTES
            && strings().all(|string| string.len() <= MAX_STRING);
        if fits {
            Ok(())
        } else {
            Err(PolicyError::Input)
        }
    }

    /// Appends bytes that two inputs share only when they are equal: each text ends in a byte that no text holds, and
    /// each list ends in another.
    pub fn write_key(&self, key: &mut Vec<u8>) {
        const END: u8 = 0;
        const LAST: u8 = 1;
        key.push(match self.action {
            Action::Mint => b'm',
            Action::Use => b'u',
        });
        key.extend_from_slice(self.application.as_uuid().as_bytes());
        key.extend_from_slice(self.resource.as_str().as_bytes());
        key.push(END);
        for scope in self.scopes {
            key.extend_from_slice(scope.as_str().as_bytes());
            key.push(END);
        }
        key.push(LAST);
        for label in self.labels {
            key.extend_from_slice(label.as_str().as_bytes());
            key.push(END);
        }
    }
}

/// What policy answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// Yes.
    Allow,
    /// No, and why.
    Deny(PolicyDenial),
}

impl Verdict {
    /// The denial, if it is one.
    pub const fn denial(self) -> Option<PolicyDenial> {
        match self {
            Self::Allow => None,
            Self::Deny(denial) => Some(denial),
        }
    }
}
