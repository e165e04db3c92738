//! One policy version as a mint asks it. Pure.

use mandate::id::{ApplicationId, Label, PolicyVersionId, ResourceUri, ScopeSet};
use policy::rego::{Evaluator, Prepared};
use policy::{Action, Input, PolicyData, PolicyDenial, Verdict, mint};

use crate::error::{BoxError, Unavailable};

/// A policy version, loaded and verified.
#[derive(Debug)]
pub(crate) struct ZoneLaw {
    version: PolicyVersionId,
    data: PolicyData,
    prepared: Prepared,
}

impl ZoneLaw {
    /// Loads a version's canonical bytes; they must be what their hash says, and valid.
    pub(crate) fn load(
        evaluator: &Evaluator,
        version: PolicyVersionId,
        canonical: &[u8],
        content_sha256: &[u8],
    ) -> Result<Self, BoxError> {
        let data = PolicyData::parse(canonical)
            .map_err(|findings| format!("policy {version} is not valid: {findings:?}"))?;
        if data.content_sha256().as_slice() != content_sha256 {
            return Err(format!("policy {version} is not what its hash says").into());
        }
        let prepared = evaluator.prepare(&data)?;
        Ok(Self {
            version,
            data,
            prepared,
        })
    }

    /// Its id.
    pub(crate) fn version(&self) -> PolicyVersionId {
        self.version
    }

    /// What it says of one application carrying these labels.
    pub(crate) fn of<'a>(
        &'a self,
        application: ApplicationId,
        labels: &'a [Label],
    ) -> ApplicationLaw<'a> {
        ApplicationLaw {
            law: self,
            application,
            labels,
        }
    }
}

/// What a policy version says of one application carrying certain labels.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ApplicationLaw<'a> {
    law: &'a ZoneLaw,
    application: ApplicationId,
    labels: &'a [Label],
}

impl ApplicationLaw<'_> {
    /// The version's id.
    pub(crate) fn version(&self) -> PolicyVersionId {
        self.law.version
    }

    /// The resources at which the application may hold anything, ascending.
    pub(crate) fn resources(&self) -> Vec<ResourceUri> {
        mint::resources(&self.law.data, self.application, self.labels)
            .cloned()
            .collect()
    }

    /// The most that the application may hold at this resource.
    pub(crate) fn ceiling(&self, resource: &ResourceUri) -> ScopeSet {
        mint::ceiling(&self.law.data, self.application, resource, self.labels)
    }

    /// Why these scopes may not be granted at all of these resources now, if so.
    pub(crate) fn denial(
        &self,
        resources: &[ResourceUri],
        scopes: &ScopeSet,
    ) -> Result<Option<PolicyDenial>, Unavailable> {
        for resource in resources {
            if let Verdict::Deny(denial) = self.verdict(resource, scopes)? {
                return Ok(Some(denial));
            }
        }
        Ok(None)
    }

    fn verdict(&self, resource: &ResourceUri, scopes: &ScopeSet) -> Result<Verdict, Unavailable> {
        let input = Input {
            action: Action::Mint,
            application: self.application,
            resource,
            scopes,
            labels: self.labels,
        };
        let verdict = self.law.prepared.evaluate(&input);
        verdict.map_err(Unavailable::Policy)
    }
}
