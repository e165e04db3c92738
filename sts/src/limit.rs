//! How often one source may fail to authenticate: per source, never per application, so that
//! nobody can lock another out (and never by unbounded memory).

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZeroU32;
use std::time::Duration;

/// Who asks, as far as counting goes: an IPv4 address, or the /64 of an IPv6 one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Source(IpAddr);

impl From<IpAddr> for Source {
    fn from(address: IpAddr) -> Self {
        match address.to_canonical() {
            v4 @ IpAddr::V4(_) => Self(v4),
            IpAddr::V6(v6) => Self(IpAddr::V6(Ipv6Addr::from_bits(
                v6.to_bits() & (u128::MAX << 64),
            ))),
        }
    }
}

impl std::fmt::Display for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            IpAddr::V4(v4) => write!(f, "{v4}/32"),
            IpAddr::V6(v6) => write!(f, "{v6}/64"),
        }
    }
}

/// Failures allowed at once, and how fast they are forgiven.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Allowance {
    /// Failures at once.
    pub burst: NonZeroU32,
    /// One failure is forgiven per this time.
    pub every: Duration,
    /// Sources remembered at once; what does not fit shares one bucket.
    pub sources: usize,
}

/// Token buckets of failures, by source (the generic cell rate algorithm: one time per source).
#[derive(Debug)]
pub(crate) struct Failures {
    allowance: Allowance,
    paid_up: HashMap<Source, Duration>,
    shared: Duration,
}

impl Failures {
    /// No failures yet.
    pub(crate) fn new(allowance: Allowance) -> Self {
        Self {
            allowance,
            paid_up: HashMap::new(),
            shared: Duration::ZERO,
        }
    }

    /// How long this source has to wait, if it has failed too often.
    pub(crate) fn wait(&self, source: Source, now: Duration) -> Option<Duration> {
        let paid_up = self
            .paid_up
            .get(&source)
            .copied()
            .unwrap_or_else(|| self.fallback());
        let debt = paid_up.saturating_sub(now);
        let credit = self
            .allowance
            .every
            .saturating_mul(self.allowance.burst.get());
        // One more failure must fit.
        let over = (debt + self.allowance.every).saturating_sub(credit);
        (!over.is_zero()).then_some(over)
    }

    /// Counts one failure.
    pub(crate) fn count(&mut self, source: Source, now: Duration) {
        let every = self.allowance.every;
        if let Some(paid_up) = self.paid_up.get_mut(&source) {
            *paid_up = (*paid_up).max(now) + every;
            return;
        }
        if self.full() {
            self.paid_up.retain(|_, paid_up| *paid_up > now);
        }
        if self.full() {
            self.shared = self.shared.max(now) + every;
        } else {
            self.paid_up.insert(source, now + every);
        }
    }

    fn full(&self) -> bool {
        self.paid_up.len() >= self.allowance.sources
    }

    fn fallback(&self) -> Duration {
        if self.full() {
            self.shared
        } else {
            Duration::ZERO
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const S: Duration = Duration::from_secs(1);

    fn failures(burst: u32, sources: usize) -> Failures {
        let burst = NonZeroU32::new(burst).unwrap();
        Failures::new(Allowance {
            burst,
            every: S,
            sources,
        })
    }

    fn source(n: u32) -> Source {
        IpAddr::V4(n.into()).into()
    }

    #[test]
    fn makes_one_source_wait_and_no_other() {
        let mut failures = failures(3, 10);
        for _ in 0..3 {
            assert_eq!(failures.wait(source(1), S), None);
            failures.count(source(1), S);
        }
        assert_eq!(failures.wait(source(1), S), Some(S));
        assert_eq!(failures.wait(source(2), S), None);
        assert_eq!(failures.wait(source(1), 2 * S), None);
    }

    #[test]
    fn counts_a_whole_ipv6_subnet_as_one() {
        let a: IpAddr = "2001:db8::1".parse().unwrap();
        let b: IpAddr = "2001:db8::ffff:2".parse().unwrap();
        let c: IpAddr = "2001:db8:0:1::1".parse().unwrap();
        assert_eq!(Source::from(a), Source::from(b));
        assert_ne!(Source::from(a), Source::from(c));
        assert_eq!(Source::from(a).to_string(), "2001:db8::/64");
        let mapped: IpAddr = "::ffff:192.0.2.1".parse().unwrap();
        assert_eq!(Source::from(mapped).to_string(), "192.0.2.1/32");
    }

    #[test]
    fn forgets_the_forgiven_before_it_shares_a_bucket() {
        let mut failures = failures(2, 2);
        failures.count(source(1), S);
        failures.count(source(2), S);
        failures.count(source(3), 5 * S);
        assert_eq!(failures.paid_up.len(), 1);
        failures.count(source(4), 5 * S);
        failures.count(source(5), 5 * S);
        failures.count(source(6), 5 * S);
        assert_eq!(failures.paid_up.len(), 2);
        assert_eq!(failures.wait(source(7), 5 * S), Some(S));
    }

    proptest! {
        #[test]
        fn never_holds_more_sources_than_allowed(
            failed in proptest::collection::vec((0u32..200, 0u64..100), 0..400),
        ) {
            let mut failures = failures(3, 16);
            for (who, at) in failed {
                failures.count(source(who), Duration::from_secs(at));
                prop_assert!(failures.paid_up.len() <= 16);
            }
        }
    }
}
