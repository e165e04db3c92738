//! What went forward, when its authority ends.

use prost::Message as _;

use super::*;

#[test]
fn an_open_stream_is_cut_off_when_its_authority_ends() {
    let mut case = Case::new("enforce");
    let open = |case: &mut Case| {
        let (exchange, _) = case.ask(&good(&mandate(|_| {})), Said::default());
        case.on(
            exchange,
            &Event::Answered(&fixture::allowed().encode_to_vec()),
        )
        .0
    };
    let (first, second) = (open(&mut case), open(&mut case));
    let (first, effects) = case.on(first, &Event::Recheck);
    assert!(effects.is_empty());
    let (first, effects) = case.on(first, &Event::Answering);
    assert!(effects.is_empty() && first.is_upstreams());
    case.feed(Input::Message(&fixture::deltas(
        1,
        11,
        vec![fixture::revocation()],
    )));
    let (first, effects) = case.on(first, &Event::Recheck);
    assert!(first.is_over() && matches!(effects.last(), Some(Effect::Reset)));
    let (told, _) = case.reports();
    assert_eq!((told.len(), told[0].code.as_str()), (1, "revoked"));
    assert!(told[0].cut && told[0].forwarded && told[0].withdraws);
    assert_eq!(told[0].decision_id, fixture::DECISION);
    // What nobody began to answer is refused: the client learns why, and the allow is taken back.
    let (second, effects) = case.on(second, &Event::Recheck);
    assert_eq!(refused(&effects), Some("revoked"));
    assert!(!second.is_upstreams());
    let (denied, _) = case.reports();
    assert!(denied[0].withdraws && denied[0].decision_id == fixture::DECISION);
    assert!(
        denied[0].forwarded && !denied[0].cut,
        "the upstream may have acted on it"
    );
    let mut case = Case::new("enforce");
    let third = open(&mut case);
    case.moment.now = Timestamp::from_second(fixture::START + 600).unwrap();
    let (_, effects) = case.on(third, &Event::Recheck);
    assert_eq!(refused(&effects), Some("expired"));
}
