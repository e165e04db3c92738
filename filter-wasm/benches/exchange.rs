//! What one exchange costs besides the proxy: natively, so that a VM takes some times as long.
#![expect(
    clippy::unwrap_used,
    unreachable_pub,
    dead_code,
    reason = "a bench; `fixture` is shared with the tests"
)]

#[path = "../src/fixture.rs"]
mod fixture;

use std::hint::black_box;
use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use filter_wasm::Config;
use filter_wasm::exchange::{Asked, Effect, Event, Exchange};
use filter_wasm::feed::Input;
use filter_wasm::worker::{Moment, Seed, Worker};
use fixture::Headers;
use jiff::Timestamp;
use mandate::RustCrypto;
use policy::Said;
use prost::Message as _;

/// A VM that decides.
struct Vm {
    config: Config,
    worker: Worker,
    moment: Moment,
}

impl Vm {
    fn new() -> Self {
        let config = Config::parse(fixture::config("enforce").as_bytes()).unwrap();
        let mut worker = Worker::new(&config, Seed([3; 40]));
        let moment = Moment {
            now: Timestamp::from_second(fixture::START + 1).unwrap(),
            monotonic: Duration::from_secs(100),
        };
        let messages = [
            fixture::snapshot(1, 10, fixture::changes()),
            fixture::pong(1, 10, 100_000_000_000, 0),
        ];
        worker.feed(Input::Tick, &moment);
        worker.feed(Input::Opened, &moment);
        for message in &messages {
            worker.feed(Input::Message(message), &moment);
        }
        Self {
            config,
            worker,
            moment,
        }
    }

    fn on(&mut self, exchange: Exchange, event: &Event<'_>) -> (Exchange, Vec<Effect>) {
        let Self {
            config,
            worker,
            moment,
        } = self;
        exchange.on(config, worker, &RustCrypto, event, moment)
    }

    fn headers(&mut self, headers: &Headers) -> (Exchange, Vec<Effect>) {
        let asked = Asked {
            headers: &fixture::seen(headers),
            source: b"192.0.2.7:4711",
            route: None,
            kept: Said::default(),
            room: true,
        };
        self.on(Exchange::Fresh, &Event::Headers(&asked))
    }
}

fn exchange(criterion: &mut Criterion) {
    let mut vm = Vm::new();
    let good = fixture::good(&fixture::mandate(|_| {}));
    let none = fixture::request("GET", "/v1/invoices/42", &[]);
    let allowed = fixture::allowed().encode_to_vec();
    criterion.bench_function("refused: no mandate", |bench| {
        bench.iter(|| black_box(vm.headers(&none)));
    });
    criterion.bench_function("asked: a mandate known already", |bench| {
        bench.iter(|| black_box(vm.headers(&good)));
    });
    criterion.bench_function("asked and admitted", |bench| {
        bench.iter(|| {
            let (checking, asked) = vm.headers(&good);
            let (admitted, effects) = vm.on(checking, &Event::Answered(&allowed));
            assert!(admitted.is_upstreams());
            black_box((asked, effects, vm.on(admitted, &Event::Ended)))
        });
    });
}

criterion_group!(benches, exchange);
criterion_main!(benches);
