//! Whatever happens in whatever order, nothing goes forward without a mandate and a permit.

use proptest::prelude::*;

use super::*;

#[derive(Debug, Clone)]
enum Move {
    Headers { good: bool, kept: bool },
    Allowed,
    Denied,
    Undecided(usize),
    Unanswered,
    Failed,
    Answering,
    Recheck,
    Ended,
    Revoked,
    Resync,
    Fresh,
    Later(u64),
}

/// What random exchanges are made of, made once.
struct Words {
    token: String,
    digest: String,
    allowed: Vec<u8>,
    denied: Vec<u8>,
    undecided: Vec<(&'static str, Vec<u8>)>,
}

fn words() -> &'static Words {
    static WORDS: std::sync::LazyLock<Words> = std::sync::LazyLock::new(|| {
        let token = mandate(|_| {});
        Words {
            digest: fixture::digest(&token),
            token,
            allowed: fixture::allowed().encode_to_vec(),
            denied: fixture::denied(7, 403, "revoked").encode_to_vec(),
            undecided: fixture::undecided(),
        }
    });
    &WORDS
}

fn moves() -> impl Strategy<Value = Move> {
    prop_oneof![
        16 => (any::<bool>(), any::<bool>()).prop_map(|(good, kept)| Move::Headers { good, kept }),
        16 => Just(Move::Allowed),
        4 => Just(Move::Denied),
        6 => (0_usize..16).prop_map(Move::Undecided),
        4 => Just(Move::Unanswered),
        4 => Just(Move::Failed),
        4 => Just(Move::Answering),
        4 => Just(Move::Recheck),
        4 => Just(Move::Ended),
        1 => Just(Move::Revoked),
        1 => Just(Move::Resync),
        6 => Just(Move::Fresh),
        4 => (0_u64..12_000).prop_map(Move::Later),
    ]
}

/// A VM, and what must be true before a request goes forward.
struct Model {
    case: Case,
    verify_only: bool,
    revoked: bool,
    usable: bool,
    fresh_until: Duration,
}

impl Model {
    fn new(verify_only: bool) -> Self {
        let case = Case::new(if verify_only {
            "verify_only"
        } else {
            "enforce"
        });
        let fresh_until = case.moment.monotonic + Duration::from_secs(10);
        Self {
            case,
            verify_only,
            revoked: false,
            usable: true,
            fresh_until,
        }
    }

    fn holds(&self) -> bool {
        !self.revoked && self.usable && self.case.moment.monotonic <= self.fresh_until
    }

    /// Moves the VM. The end of its memory is the end of a case, so it comes seldom.
    fn feed(&mut self, step: &Move) {
        match step {
            Move::Revoked if self.usable => {
                let pos = self.case.worker.feed.pos().unwrap() + 1;
                self.case.feed(Input::Message(&fixture::deltas(
                    1,
                    pos,
                    vec![fixture::revocation()],
                )));
                self.revoked = true;
            }
            Move::Resync => {
                self.case
                    .feed(Input::Message(&fixture::deltas(9, 1, vec![])));
                self.usable = false;
            }
            Move::Fresh if self.usable => {
                self.case.fresh();
                self.fresh_until = self.case.moment.monotonic + Duration::from_secs(10);
            }
            Move::Later(ms) => self.case.moment.monotonic += Duration::from_millis(*ms),
            _ => {}
        }
    }

    /// Moves an exchange; whether it may go forward by that.
    fn step(&mut self, state: Exchange, step: &Move) -> (Exchange, Effects, bool) {
        let words = words();
        let checking = matches!(state, Exchange::Checking(_));
        let event = match step {
            Move::Headers { good, kept } => {
                let fresh = matches!(state, Exchange::Fresh);
                let headers = if *good {
                    fixture::good(&words.token)
                } else {
                    request(
                        "GET",
                        "/v1/invoices/42",
                        &[("authorization", "Bearer a.b.c")],
                    )
                };
                let kept = kept.then_some(Said {
                    decision: Some(fixture::DECISION),
                    code: Some("allowed"),
                    digest: Some(&words.digest),
                    zone: None,
                });
                let asked = Asked {
                    headers: &fixture::seen(&headers),
                    source: b"",
                    route: None,
                    kept: kept.unwrap_or_default(),
                    room: true,
                };
                let may = fresh && *good && self.holds();
                let (next, effects) = self.case.on(state, &Event::Headers(&asked));
                assert!(call(&effects).is_none() || (may && !self.verify_only));
                return (next, effects, may && self.verify_only && kept.is_some());
            }
            Move::Allowed => Event::Answered(&words.allowed),
            Move::Denied => Event::Answered(&words.denied),
            Move::Undecided(which) => Event::Answered(&words.undecided[*which].1),
            Move::Unanswered => Event::Unanswered,
            Move::Failed => Event::Failed,
            Move::Answering => Event::Answering,
            Move::Recheck => Event::Recheck,
            Move::Ended => Event::Ended,
            Move::Revoked | Move::Resync | Move::Fresh | Move::Later(_) => {
                self.feed(step);
                return (state, Effects::new(), false);
            }
        };
        let may = matches!(step, Move::Allowed) && checking && self.holds();
        let (next, effects) = self.case.on(state, &event);
        (next, effects, may)
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(10_000))]

    /// Whatever happens in whatever order, a request goes forward once at most, only after its genuine mandate was
    /// verified against a memory that is fresh and knows of no revocation, and only with an explicit allow about it. Ten
    /// exchanges of one VM in each of ten thousand cases.
    #[test]
    fn nothing_goes_forward_without_a_mandate_and_a_permit(
        verify_only in any::<bool>(),
        sequences in proptest::collection::vec(proptest::collection::vec(moves(), 1..10), 10),
    ) {
        let mut model = Model::new(verify_only);
        for sequence in sequences {
            let (mut exchange, mut asked, mut passed) = (Exchange::Fresh, 0, 0);
            for step in sequence {
                let (next, effects, may) = model.step(exchange, &step);
                exchange = next;
                asked += usize::from(call(&effects).is_some());
                let forward = forwarded(&effects).is_some();
                passed += usize::from(forward);
                prop_assert!(!forward || may, "{step:?}");
                prop_assert!(!(forward && reply(&effects).is_some()), "{step:?}");
            }
            prop_assert!(asked <= 1 && passed <= 1);
        }
    }
}
