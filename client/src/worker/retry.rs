//! When what failed is tried again: later after each failure, up to a bound, and each place on its own.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// The first pause and the longest. Each is twice the one before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pauses {
    /// After the first failure.
    pub first: Duration,
    /// However many there were.
    pub longest: Duration,
}

impl Default for Pauses {
    /// A second, and five minutes.
    fn default() -> Self {
        Self { first: Duration::from_secs(1), longest: Duration::from_secs(300) }
    }
}

impl Pauses {
    /// The pause after so many failures in a row.
    pub fn after(&self, failures: u32) -> Duration {
        let times = 1u32.checked_shl(failures.saturating_sub(1)).unwrap_or(u32::MAX);
        self.first.saturating_mul(times).min(self.longest)
    }
}

/// What failed last, and how often in a row.
#[derive(Debug)]
pub(super) struct Retries<K> {
    pauses: Pauses,
    failed: BTreeMap<K, (u32, Instant)>,
}

impl<K: Ord> Retries<K> {
    pub(super) fn new(pauses: Pauses) -> Self {
        Self { pauses, failed: BTreeMap::new() }
    }

    /// Whether its pause is over, or there was no failure.
    pub(super) fn may(&self, key: &K, now: Instant) -> bool {
        self.failed.get(key).is_none_or(|(failures, since)| now.duration_since(*since) >= self.pauses.after(*failures))
    }

    /// Notes a failure; answers the pause after it.
    pub(super) fn failed(&mut self, key: K, now: Instant) -> Duration {
        let (failures, since) = self.failed.entry(key).or_insert((0, now));
        (*failures, *since) = (failures.saturating_add(1), now);
        self.pauses.after(*failures)
    }

    /// Notes that it went well.
    pub(super) fn went_well(&mut self, key: &K) {
        self.failed.remove(key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_up_to_a_bound() {
        let pauses = Pauses { first: Duration::from_secs(1), longest: Duration::from_secs(5) };
        let seconds = [1, 2, 3, 4, 5, 33, u32::MAX].map(|failures| pauses.after(failures).as_secs());
        assert_eq!(seconds, [1, 2, 4, 5, 5, 5, 5]);
    }

    #[test]
    fn each_waits_on_its_own() {
        let start = Instant::now();
        let later = |seconds| start + Duration::from_secs(seconds);
        let mut retries = Retries::new(Pauses::default());
        assert_eq!(retries.failed("a", start), Duration::from_secs(1));
        assert_eq!(retries.failed("a", later(1)), Duration::from_secs(2));
        assert!(!retries.may(&"a", later(2)) && retries.may(&"a", later(3)) && retries.may(&"b", start));
        retries.went_well(&"a");
        assert!(retries.may(&"a", start));
        assert_eq!(retries.failed("a", later(9)), Duration::from_secs(1));
    }
}
