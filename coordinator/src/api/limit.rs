//! How often each caller may call. A bucket a caller, spent only after authentication; failed
//! authentications have a bucket a source of their own.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// The most callers remembered at a time.
const MOST_BUCKETS: usize = 10_000;

/// So many calls a second on the average, and so many at once.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rate {
    /// Calls a second.
    pub per_second: f64,
    /// Calls at once.
    pub burst: f64,
}

#[derive(Clone, Copy, Debug)]
struct Bucket {
    tokens: f64,
    at: Duration,
}

/// Buckets by caller.
#[derive(Debug)]
pub(crate) struct Limiter<K> {
    rate: Rate,
    buckets: Mutex<HashMap<K, Bucket>>,
}

impl<K: Eq + Hash> Limiter<K> {
    pub(crate) fn new(rate: Rate) -> Self {
        Self {
            rate,
            buckets: Mutex::new(HashMap::new()),
        }
    }

    /// Takes one call out of a caller's bucket, or says when there will be one.
    pub(crate) fn take(&self, key: K, now: Duration) -> Result<(), Duration> {
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        if buckets.len() >= MOST_BUCKETS && !buckets.contains_key(&key) {
            let rate = self.rate;
            buckets.retain(|_, bucket| refill(rate, *bucket, now).tokens < rate.burst);
            if buckets.len() >= MOST_BUCKETS {
                return Err(Duration::from_secs(1));
            }
        }
        let full = Bucket {
            tokens: self.rate.burst,
            at: now,
        };
        let bucket = buckets.entry(key).or_insert(full);
        *bucket = refill(self.rate, *bucket, now);
        if bucket.tokens >= 1.0 {
            bucket.tokens -= 1.0;
            return Ok(());
        }
        let wait = (1.0 - bucket.tokens) / self.rate.per_second.max(f64::MIN_POSITIVE);
        Err(Duration::try_from_secs_f64(wait).unwrap_or(Duration::from_mins(1)))
    }

    /// Whether a caller has a call left, without taking it.
    pub(crate) fn peek(&self, key: &K, now: Duration) -> bool {
        let buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        buckets
            .get(key)
            .is_none_or(|bucket| refill(self.rate, *bucket, now).tokens >= 1.0)
    }
}

fn refill(rate: Rate, bucket: Bucket, now: Duration) -> Bucket {
    let gained = now.saturating_sub(bucket.at).as_secs_f64() * rate.per_second;
    Bucket {
        tokens: (bucket.tokens + gained).min(rate.burst),
        at: now.max(bucket.at),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gives_a_burst_then_the_rate_to_each_caller_apart() {
        let limiter = Limiter::new(Rate {
            per_second: 2.0,
            burst: 3.0,
        });
        let at = Duration::from_secs(100);
        for _ in 0..3 {
            assert!(limiter.take("a", at).is_ok());
        }
        assert_eq!(limiter.take("a", at), Err(Duration::from_millis(500)));
        assert!(limiter.take("b", at).is_ok());
        assert!(!limiter.peek(&"a", at));
        let later = at + Duration::from_millis(500);
        assert!(limiter.peek(&"a", later));
        assert!(limiter.take("a", later).is_ok());
        assert!(limiter.take("a", later).is_err());
    }

    #[test]
    fn remembers_a_bounded_number_of_callers() {
        let limiter = Limiter::new(Rate {
            per_second: 1.0,
            burst: 1.0,
        });
        for caller in 0..MOST_BUCKETS {
            assert!(limiter.take(caller, Duration::ZERO).is_ok());
        }
        assert!(limiter.take(MOST_BUCKETS, Duration::ZERO).is_err());
        // A second later every bucket is full again and may be forgotten.
        assert!(limiter.take(MOST_BUCKETS, Duration::from_secs(1)).is_ok());
    }
}
