//! What a decision costs.

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use mandate::id::{ApplicationId, Label, PolicyVersionId, ResourceUri, ScopeSet};
use policy::memo::Memo;
use policy::rego::Evaluator;
use policy::{Action, Finding, Input, PolicyData};
use serde_json::{Map, Value, json};

const APPLICATION: &str = "018f0000-0000-7000-8000-000000000001";

/// A policy with this many resources, each granted to one application of many.
fn policy(resources: usize) -> Result<PolicyData, Vec<Finding>> {
    let id = |number: usize| format!("018f0000-0000-7000-8000-{:012x}", number.wrapping_add(1));
    let app_ids: Map<String, Value> = (0..64)
        .map(|number| (format!("app-{number}"), json!(id(number))))
        .collect();
    let grants: Map<String, Value> = (0..resources)
        .map(|number| {
            let roles = json!({ "agent": ["read", "write"], "auditor": ["read"] });
            (
                format!("https://r{number}.example/api"),
                json!({ format!("app-{}", number % 64): { "roles": roles } }),
            )
        })
        .collect();
    let document = json!({
        "app_ids": app_ids,
        "grants": grants,
        "confinement": { "untrusted": { "scopes": ["read"] } },
        "restrict": { "zone": false, "resources": {}, "applications": {} },
        "risk": { "pay": "high" },
        "approval_tiers": { "high": { "approver": "operator", "ttl_seconds": 600 } },
    });
    PolicyData::parse(document.to_string().as_bytes())
}

fn decide(criterion: &mut Criterion) {
    let parsed = || -> Result<_, mandate::id::IdError> {
        let application = ApplicationId::parse(APPLICATION)?;
        let resource = ResourceUri::parse("https://r0.example/api")?;
        let labels = [Label::parse("agent")?, Label::parse("untrusted")?];
        Ok((
            application,
            resource,
            ScopeSet::parse("read")?,
            labels,
            PolicyVersionId::parse(APPLICATION)?,
        ))
    };
    let Ok((application, resource, scopes, labels, version)) = parsed() else {
        return;
    };
    let input = Input {
        action: Action::Use,
        application,
        resource: &resource,
        scopes: &scopes,
        labels: &labels,
    };
    let Ok(evaluator) = Evaluator::new() else {
        return;
    };
    for resources in [1, 100, 5_000, 8_000] {
        let Ok(data) = policy(resources) else { return };
        let Ok(prepared) = evaluator.prepare(&data) else {
            return;
        };
        criterion.bench_function(&format!("evaluate/{resources}_resources"), |bencher| {
            bencher.iter(|| prepared.evaluate(black_box(&input)));
        });
        let mut memo = Memo::new(4_096);
        criterion.bench_function(&format!("memo_hit/{resources}_resources"), |bencher| {
            bencher.iter(|| memo.verdict(version, black_box(&input), || prepared.evaluate(&input)));
        });
    }
}

criterion_group!(benches, decide);
criterion_main!(benches);
