#[test]
fn smoke() {
    use crate::{Action, Input};
    use mandate::id::*;
    let data = crate::PolicyData::parse(br#"{"app_ids":{"a":"018f0000-0000-7000-8000-000000000001"},"grants":{"https://x.example":{"a":{"roles":{"agent":["r","w"]}}}},"confinement":{"c":{"scopes":["r"]}},"restrict":{"zone":false,"resources":{},"applications":{}},"risk":{"w":"high"},"approval_tiers":{"high":{"approver":"operator","ttl_seconds":60}}}"#).unwrap();
    let prepared = super::Evaluator::new().unwrap().prepare(&data).unwrap();
    let resource = ResourceUri::parse("https://x.example").unwrap();
    let application = ApplicationId::parse("018f0000-0000-7000-8000-000000000001").unwrap();
    for (scopes, labels) in [
        ("r", vec!["agent"]),
        ("w", vec!["agent"]),
        ("w", vec!["agent", "c"]),
        ("r", vec![]),
        ("", vec!["agent"]),
    ] {
        let labels: Vec<Label> = labels.iter().map(|l| Label::parse(l).unwrap()).collect();
        let scopes = ScopeSet::parse(scopes).unwrap();
        let input = Input {
            action: Action::Use,
            application,
            resource: &resource,
            scopes: &scopes,
            labels: &labels,
        };
        println!("{scopes} {labels:?} {:?}", prepared.evaluate(&input));
    }
}
