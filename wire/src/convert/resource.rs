//! Resources, and the bindings under which they are reached.

use mandate::canonical;
use mandate::id::{AttachmentName, BindingId, ResourceId, ResourceUri, Scope, ScopeSet, ZoneId};
use mandate::template::{Operation, OperationSet, Template};
use policy::snapshot::{Binding, EvidenceMode, Forward, Resource, What};

use super::error::{ConvertError, Wrong, malformed, visible};
use crate::pb::caracal::authority::v1 as pb;

const MOST_URL: usize = 2_048;
const MOST_CLUSTER: usize = 256;

pub(super) fn resource_of(message: pb::Resource) -> Result<(ZoneId, What), ConvertError> {
    let zone = malformed("resource.zone_id", ZoneId::parse(&message.zone_id))?;
    let operations = message
        .operations
        .into_iter()
        .map(operation_of)
        .collect::<Result<Vec<_>, _>>()?;
    let resource = Resource {
        id: malformed("resource.id", ResourceId::parse(&message.id))?,
        identifier: malformed(
            "resource.identifier",
            ResourceUri::parse(&message.identifier),
        )?,
        scopes: scopes("resource.scopes", &message.scopes)?,
        operations: malformed("resource.operations", OperationSet::new(operations))?,
        active: in_force("resource.state", message.state)?,
    };
    let granted = resource
        .operations
        .iter()
        .all(|one| one.scopes.is_subset(&resource.scopes));
    if !granted {
        return Err(ConvertError::new(
            "resource.operations",
            Wrong::Contradiction,
        ));
    }
    Ok((zone, What::Resource(resource)))
}

fn operation_of(message: pb::Operation) -> Result<Operation, ConvertError> {
    Ok(Operation {
        template: malformed("operation.template", Template::parse(&message.template))?,
        scopes: scopes("operation.scopes", &message.scopes)?,
        method: message.method,
    })
}

pub(super) fn binding_of(message: pb::Binding) -> Result<(ZoneId, What), ConvertError> {
    let zone = malformed("binding.zone_id", ZoneId::parse(&message.zone_id))?;
    let attachment = AttachmentName::parse(&message.attachment);
    let evidence = match message.evidence.as_str() {
        "per_request" => EvidenceMode::PerRequest,
        "lease" => EvidenceMode::Lease,
        _ => return Err(ConvertError::new("binding.evidence", Wrong::Unknown)),
    };
    let forward = match message.forward_mandate.as_str() {
        "strip" => Forward::Strip,
        "keep" => Forward::Keep,
        _ => return Err(ConvertError::new("binding.forward_mandate", Wrong::Unknown)),
    };
    let clusters = message.upstream_clusters.into_iter();
    let binding = Binding {
        id: malformed("binding.id", BindingId::parse(&message.id))?,
        attachment: malformed("binding.attachment", attachment)?,
        resource: malformed("binding.resource", ResourceUri::parse(&message.resource))?,
        hosts: hosts(message.hosts)?,
        path_prefix: path_prefix(message.path_prefix)?,
        upstream_clusters: clusters
            .map(|name| visible("binding.upstream_clusters", name, MOST_CLUSTER))
            .collect::<Result<_, _>>()?,
        public_url: public_url(message.public_url)?,
        evidence,
        max_hops: u8::try_from(message.max_hops)
            .map_err(|_| ConvertError::new("binding.max_hops", Wrong::Range))?,
        forward,
        active: in_force("binding.state", message.state)?,
    };
    Ok((zone, What::Binding(binding)))
}

fn hosts(given: Vec<String>) -> Result<Vec<String>, ConvertError> {
    const FIELD: &str = "binding.hosts";
    if given.is_empty() {
        return Err(ConvertError::new(FIELD, Wrong::Missing));
    }
    let canonical = |host: &String| {
        canonical::host(host.as_bytes()).is_ok_and(|canonical| canonical.as_str() == host)
    };
    if given.iter().all(canonical) {
        Ok(given)
    } else {
        Err(ConvertError::new(FIELD, Wrong::Malformed))
    }
}

/// A canonical path of one form, without a query. `/` is everything; another one does not end in a slash.
fn path_prefix(given: String) -> Result<String, ConvertError> {
    if canonical::is_prefix(&given) {
        Ok(given)
    } else {
        Err(ConvertError::new("binding.path_prefix", Wrong::Malformed))
    }
}

fn public_url(given: String) -> Result<String, ConvertError> {
    const FIELD: &str = "binding.public_url";
    let given = visible(FIELD, given, MOST_URL)?;
    if given.starts_with("https://") || given.starts_with("http://") {
        Ok(given)
    } else {
        Err(ConvertError::new(FIELD, Wrong::Malformed))
    }
}

fn scopes(field: &'static str, given: &[String]) -> Result<ScopeSet, ConvertError> {
    let scopes = given
        .iter()
        .map(|scope| Scope::parse(scope))
        .collect::<Result<Vec<_>, _>>();
    malformed(field, malformed(field, scopes).map(ScopeSet::new)?)
}

fn in_force(field: &'static str, state: i32) -> Result<bool, ConvertError> {
    match pb::State::try_from(state) {
        Ok(pb::State::Active) => Ok(true),
        Ok(pb::State::Disabled | pb::State::Archived) => Ok(false),
        Ok(
            pb::State::Unspecified
            | pb::State::Provisioning
            | pb::State::Suspended
            | pb::State::Ended,
        )
        | Err(_) => Err(ConvertError::new(field, Wrong::Unknown)),
    }
}

pub(super) fn resource_to_pb(zone_id: String, resource: &Resource) -> pb::Resource {
    pb::Resource {
        zone_id,
        id: resource.id.to_string(),
        identifier: resource.identifier.as_str().to_owned(),
        state: state_to_pb(resource.active),
        scopes: words(&resource.scopes),
        operations: resource
            .operations
            .iter()
            .map(|operation| pb::Operation {
                method: operation.method.clone(),
                template: operation.template.as_str().to_owned(),
                scopes: words(&operation.scopes),
            })
            .collect(),
    }
}

pub(super) fn binding_to_pb(zone_id: String, binding: Binding) -> pb::Binding {
    let evidence = match binding.evidence {
        EvidenceMode::PerRequest => "per_request",
        EvidenceMode::Lease => "lease",
    };
    let forward_mandate = match binding.forward {
        Forward::Strip => "strip",
        Forward::Keep => "keep",
    };
    pb::Binding {
        zone_id,
        id: binding.id.to_string(),
        attachment: binding.attachment.as_str().to_owned(),
        resource: binding.resource.as_str().to_owned(),
        hosts: binding.hosts,
        path_prefix: binding.path_prefix,
        upstream_clusters: binding.upstream_clusters,
        public_url: binding.public_url,
        evidence: evidence.to_owned(),
        max_hops: u32::from(binding.max_hops),
        state: state_to_pb(binding.active),
        forward_mandate: forward_mandate.to_owned(),
    }
}

fn state_to_pb(active: bool) -> i32 {
    if active {
        pb::State::Active
    } else {
        pb::State::Disabled
    }
    .into()
}

fn words(scopes: &ScopeSet) -> Vec<String> {
    scopes
        .iter()
        .map(|scope| scope.as_str().to_owned())
        .collect()
}
