//! What a mandate costs: once to authenticate, and on every request to admit.
#![expect(clippy::unwrap_used, reason = "a bench has nobody to answer to")]

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use jiff::Timestamp;
use mandate::id::{ResourceUri, ScopeSet};
use mandate::{
    CutOffAnchor, DeadId, Demand, Mandate, Proof, Revocations, RustCrypto, Trust,
    UnverifiedMandate, Use, canonical, template,
};
use uuid::Uuid;

#[expect(dead_code, reason = "the vectors use the rest")]
#[path = "../tests/vectors/token.rs"]
mod token;

use token::{ISSUER, NOW, RESOURCE, ZONE};

fn trust() -> Trust {
    Trust {
        zone: ZONE.parse().unwrap(),
        issuer: ISSUER.parse().unwrap(),
        usage: Use::Resource,
    }
}

fn now() -> Timestamp {
    Timestamp::from_second(NOW).unwrap()
}

fn genuine(compact: &str) -> Mandate {
    UnverifiedMandate::parse(compact.as_bytes())
        .unwrap()
        .authenticate(&trust(), &token::keys(), &RustCrypto, now())
        .unwrap()
}

fn authenticate(criterion: &mut Criterion) {
    let (trust, keys) = (trust(), token::keys());
    let mut group = criterion.benchmark_group("authenticate");
    group.throughput(Throughput::Elements(1));
    for (name, compact) in [
        ("es256", token::token().compact()),
        ("eddsa", token::token().eddsa().compact()),
    ] {
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                UnverifiedMandate::parse(black_box(compact.as_bytes()))
                    .unwrap()
                    .authenticate(&trust, &keys, &RustCrypto, now())
            });
        });
    }
    let compact = token::token().compact();
    group.bench_function("parse_alone", |bencher| {
        bencher.iter(|| UnverifiedMandate::parse(black_box(compact.as_bytes())).is_ok());
    });
    group.finish();
}

fn admit(criterion: &mut Criterion) {
    let mandate = genuine(&token::delegated().compact());
    let resource: ResourceUri = RESOURCE.parse().unwrap();
    let scopes = ScopeSet::parse("invoices:read").unwrap();
    let demand = Demand {
        resource: &resource,
        scopes: &scopes,
        max_hops: 4,
        proof: Proof::None,
    };
    let mut group = criterion.benchmark_group("admit");
    group.throughput(Throughput::Elements(1));
    for size in [0_u128, 1_000, 100_000] {
        let mut revocations = Revocations::new();
        for number in 0..size {
            revocations.kill(DeadId::Id(Uuid::from_u128(number)), Timestamp::MAX);
        }
        if size > 0 {
            revocations.cut_off(CutOffAnchor::Zone, 0);
        }
        group.bench_function(BenchmarkId::new("revocations", size), |bencher| {
            bencher.iter(|| black_box(&mandate).admit(&demand, &revocations, now()));
        });
    }
    group.finish();
}

fn operation(criterion: &mut Criterion) {
    let operations = (0..64).map(|number| template::Operation {
        method: "GET".to_owned(),
        template: template::Template::parse(&format!("/v1/kind{number}/{{id}}")).unwrap(),
        scopes: ScopeSet::default(),
    });
    let set = template::OperationSet::new(operations.collect()).unwrap();
    criterion.bench_function("operation/of_64", |bencher| {
        bencher.iter(|| {
            let path = canonical::path(black_box(b"/v1/kind63/42?page=2")).unwrap();
            set.find("GET", &path).is_some()
        });
    });
}

criterion_group!(benches, authenticate, admit, operation);
criterion_main!(benches);
