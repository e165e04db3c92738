//! What a client sends along for everybody, where it reads like ours.

use prost::Message as _;

use super::*;

#[test]
fn baggage_that_reads_like_ours_does_not_go_forward() {
    let token = mandate(|_| {});
    let digest = fixture::digest(&token);
    let kept = Said {
        decision: Some(fixture::DECISION),
        code: Some("allowed"),
        digest: Some(&digest),
        zone: None,
    };
    let goes = |mode, values: &[&str]| {
        let mut case = Case::new(mode);
        let mut headers = good(&token);
        headers.extend(
            values
                .iter()
                .map(|value| (b"baggage".to_vec(), value.as_bytes().to_vec())),
        );
        let (exchange, mut effects) = case.ask(&headers, kept);
        if mode == "enforce" {
            let answer = fixture::allowed().encode_to_vec();
            effects = case.on(exchange, &Event::Answered(&answer)).1;
        }
        let forward = forwarded(&effects).unwrap();
        let set = forward.set.iter().find(|(name, _)| *name == "baggage");
        let removed = forward.remove.contains(&b"baggage".to_vec());
        (removed, set.map(|(_, value)| value.clone()))
    };
    for mode in ["enforce", "verify_only"] {
        assert_eq!(goes(mode, &["a=1"]), (false, None));
        assert_eq!(goes(mode, &["caracal.zone=z"]), (true, None));
        let left = Some("a=1,b=2".to_owned());
        assert_eq!(goes(mode, &["a=1,caracal.zone=z", "b=2"]), (true, left));
    }
}
