//! What enforcement points are told of a change: the wire message for each object. Built from what
//! was written, in the transaction that wrote it.

use jiff::Timestamp;
use mandate::id::ZoneId;
use wire::pb::caracal::authority::v1 as pb;
use wire::pb::caracal::authority::v1::change::What;

use crate::store::anchors::AnchorKind;
use crate::store::bindings::Binding;
use crate::store::policies::ActivePolicy;
use crate::store::resources::Resource;
use crate::store::signing_keys::PublicKey;
use crate::store::zones::Zone;

/// A change with the stream kind it travels under.
#[derive(Clone, Debug)]
pub(crate) struct Delta {
    /// `revocation`, `cutoff`, `state`, `policy`, `resource`, `binding` or `zone`.
    pub(crate) kind: &'static str,
    /// The message.
    pub(crate) change: pb::Change,
}

fn delta(kind: &'static str, version: i64, what: What) -> Delta {
    let version = u64::try_from(version).unwrap_or(0);
    Delta {
        kind,
        change: pb::Change {
            version,
            what: Some(what),
        },
    }
}

pub(crate) fn zone(zone: &Zone) -> Delta {
    let state = match zone.state.as_str() {
        "ready" => pb::State::Active,
        "provisioning" => pb::State::Provisioning,
        _ => pb::State::Archived,
    };
    delta(
        "zone",
        zone.version,
        What::Zone(pb::Zone {
            zone_id: zone.id.to_string(),
            name: zone.name.clone(),
            issuer: zone.issuer.clone(),
            state: state.into(),
            freshness_bound_ms: u32::try_from(zone.freshness_bound_ms).unwrap_or(0),
        }),
    )
}

pub(crate) fn key(zone: ZoneId, key: &PublicKey) -> Delta {
    delta(
        "key",
        key.version,
        What::Key(pb::SigningKey {
            zone_id: zone.to_string(),
            kid: key.kid.clone(),
            alg: key.alg.clone(),
            public_key: key.public.clone(),
            state: key.state.clone(),
        }),
    )
}

pub(crate) fn resource(zone: ZoneId, resource: &Resource) -> Delta {
    let operations = resource
        .operations
        .iter()
        .map(|operation| pb::Operation {
            method: operation.method.clone(),
            template: operation.template.clone(),
            scopes: operation.scopes.clone(),
        })
        .collect();
    delta(
        "resource",
        resource.version,
        What::Resource(pb::Resource {
            zone_id: zone.to_string(),
            id: resource.id.to_string(),
            identifier: resource.identifier.clone(),
            // Disabled travels as the object's state, so that it can be taken back alone.
            state: pb::State::Active.into(),
            scopes: resource.scopes.clone(),
            operations,
        }),
    )
}

pub(crate) fn binding(zone: ZoneId, binding: &Binding) -> Delta {
    let state = if binding.state == "active" {
        pb::State::Active
    } else {
        pb::State::Disabled
    };
    delta(
        "binding",
        binding.version,
        What::Binding(pb::Binding {
            zone_id: zone.to_string(),
            id: binding.id.to_string(),
            attachment: binding.attachment.clone(),
            resource: binding.resource.clone(),
            hosts: binding.hosts.clone(),
            path_prefix: binding.path_prefix.clone(),
            upstream_clusters: binding.upstream_clusters.clone(),
            public_url: binding.public_url.clone(),
            evidence: binding.evidence.clone(),
            max_hops: u32::try_from(binding.max_hops).unwrap_or(0),
            state: state.into(),
            forward_mandate: binding.forward_mandate.clone(),
        }),
    )
}

pub(crate) fn policy(zone: ZoneId, policy: &ActivePolicy) -> Delta {
    delta(
        "policy",
        policy.head_version,
        What::Policy(pb::Policy {
            zone_id: zone.to_string(),
            version_id: policy.id.to_string(),
            number: u32::try_from(policy.number).unwrap_or(0),
            content_sha256: policy.content_sha256.clone(),
            data: policy.canonical.clone(),
        }),
    )
}

pub(crate) fn state(zone: ZoneId, kind: AnchorKind, id: &str, state: &str, version: i64) -> Delta {
    let state = match state {
        "active" => pb::State::Active,
        "suspended" => pb::State::Suspended,
        "archived" => pb::State::Archived,
        _ => pb::State::Disabled,
    };
    delta(
        "state",
        version,
        What::State(pb::ObjectState {
            zone_id: zone.to_string(),
            kind: object_kind(kind).into(),
            id: id.to_owned(),
            state: state.into(),
        }),
    )
}

pub(crate) fn dead(
    zone: ZoneId,
    kind: AnchorKind,
    id: &str,
    until: Timestamp,
    version: i64,
) -> Delta {
    delta(
        "revocation",
        version,
        What::Dead(pb::DeadId {
            zone_id: zone.to_string(),
            kind: object_kind(kind).into(),
            id: id.to_owned(),
            until_ns: nanoseconds(until),
        }),
    )
}

pub(crate) fn cut_off(
    zone: ZoneId,
    kind: AnchorKind,
    id: &str,
    not_before_s: i64,
    version: i64,
) -> Delta {
    delta(
        "cutoff",
        version,
        What::CutOff(pb::CutOff {
            zone_id: zone.to_string(),
            kind: object_kind(kind).into(),
            id: id.to_owned(),
            not_before_s,
        }),
    )
}

/// Bytes as lower-case hexadecimal.
pub(crate) fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().fold(
        String::with_capacity(bytes.len().saturating_mul(2)),
        |mut text, byte| {
            for nibble in [byte >> 4, byte & 15] {
                text.extend(char::from_digit(u32::from(nibble), 16));
            }
            text
        },
    )
}

/// Nanoseconds since the Unix epoch, saturating: nothing of ours lives in 2262.
pub(crate) fn nanoseconds(at: Timestamp) -> i64 {
    i64::try_from(at.as_nanosecond()).unwrap_or(i64::MAX)
}

fn object_kind(kind: AnchorKind) -> pb::ObjectKind {
    match kind {
        // The policy head is no object of a mandate; it is never revoked.
        AnchorKind::Zone | AnchorKind::Policy => pb::ObjectKind::Zone,
        AnchorKind::Application => pb::ObjectKind::Application,
        AnchorKind::Subject => pb::ObjectKind::Subject,
        AnchorKind::Resource => pb::ObjectKind::Resource,
        AnchorKind::Session => pb::ObjectKind::Session,
        AnchorKind::Delegation => pb::ObjectKind::Delegation,
        AnchorKind::Record => pb::ObjectKind::Record,
        AnchorKind::Mandate => pb::ObjectKind::Mandate,
        AnchorKind::Key => pb::ObjectKind::Key,
    }
}
