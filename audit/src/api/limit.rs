//! How often: wrong credentials by address, calls by the one principal there is. Nobody's calls are spent before it is
//! known who calls.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Addresses remembered at a time; the rest share one count.
const MOST: usize = 4_096;

/// A level that rises by one a call and falls with time.
#[derive(Clone, Copy, Debug, Default)]
struct Level {
    full: f64,
    at: Duration,
}

impl Level {
    /// What is left of it.
    fn now(self, per_second: f64, now: Duration) -> f64 {
        (self.full - now.saturating_sub(self.at).as_secs_f64() * per_second).max(0.0)
    }
}

/// The limits.
#[derive(Debug)]
pub(crate) struct Limits {
    calls: f64,
    failures: f64,
    called: Mutex<Level>,
    failed: Mutex<HashMap<Option<IpAddr>, Level>>,
}

impl Limits {
    /// So many calls and so many failures a second; as many at once as in ten seconds.
    pub(crate) fn new(calls_per_second: u32, failures_per_second: u32) -> Self {
        Self {
            calls: f64::from(calls_per_second),
            failures: f64::from(failures_per_second),
            called: Mutex::default(),
            failed: Mutex::default(),
        }
    }

    /// Whether an address may still try, or when.
    pub(crate) fn may_try(&self, peer: Option<IpAddr>, now: Duration) -> Result<(), Duration> {
        let failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        let known = failed
            .get(&peer)
            .or_else(|| failed.get(&None).filter(|_| failed.len() >= MOST));
        let level = known.map_or(0.0, |level| level.now(self.failures, now));
        within(level, self.failures)
    }

    /// An address presented a wrong credential.
    pub(crate) fn failed(&self, peer: Option<IpAddr>, now: Duration) {
        let mut failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        if failed.len() >= MOST {
            failed.retain(|_, level| level.now(self.failures, now) > 0.0);
        }
        let full = failed.len() >= MOST && !failed.contains_key(&peer);
        let level = failed.entry(if full { None } else { peer }).or_default();
        *level = Level {
            full: level.now(self.failures, now) + 1.0,
            at: now,
        };
    }

    /// The principal calls.
    pub(crate) fn call(&self, now: Duration) -> Result<(), Duration> {
        let mut called = self.called.lock().unwrap_or_else(PoisonError::into_inner);
        let level = called.now(self.calls, now);
        within(level, self.calls)?;
        *called = Level {
            full: level + 1.0,
            at: now,
        };
        Ok(())
    }
}

fn within(level: f64, per_second: f64) -> Result<(), Duration> {
    let over = level + 1.0 - per_second * 10.0;
    if over <= 0.0 {
        return Ok(());
    }
    Err(Duration::try_from_secs_f64(over / per_second).unwrap_or(Duration::from_secs(1)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(last: u8) -> IpAddr {
        IpAddr::from([192, 0, 2, last])
    }

    #[test]
    fn failures_of_one_address_stop_that_address_for_a_while() {
        let limits = Limits::new(1, 1);
        let at = Duration::from_secs(100);
        for _ in 0..10 {
            limits.may_try(Some(address(1)), at).unwrap();
            limits.failed(Some(address(1)), at);
        }
        assert_eq!(
            limits.may_try(Some(address(1)), at),
            Err(Duration::from_secs(1))
        );
        assert_eq!(limits.may_try(Some(address(2)), at), Ok(()));
        assert_eq!(
            limits.may_try(Some(address(1)), at + Duration::from_secs(1)),
            Ok(())
        );
    }

    #[test]
    fn more_addresses_than_are_remembered_share_one_count() {
        let limits = Limits::new(1, 1);
        for number in 0..5_000_u32 {
            let peer = Some(IpAddr::from(number.to_be_bytes()));
            limits.failed(peer, Duration::ZERO);
        }
        assert!(limits.failed.lock().unwrap().len() <= MOST + 1);
        assert!(limits.may_try(Some(address(9)), Duration::ZERO).is_err());
    }

    #[test]
    fn calls_come_at_a_rate() {
        let limits = Limits::new(2, 1);
        for _ in 0..20 {
            limits.call(Duration::ZERO).unwrap();
        }
        assert_eq!(limits.call(Duration::ZERO), Err(Duration::from_millis(500)));
        limits.call(Duration::from_millis(500)).unwrap();
    }
}
