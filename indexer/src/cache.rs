//! A bounded cache of bytes that never change, because their names are their hashes.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;
use std::sync::Mutex;

use bytes::Bytes;

/// Holds at most so many bytes; what came first goes first.
///
/// Not the least recently used: what is asked for most is asked for soon again, and a read then takes no turn in a list.
#[derive(Debug)]
pub struct Cache<K> {
    inner: Mutex<Inner<K>>,
    bytes_max: usize,
}

#[derive(Debug)]
struct Inner<K> {
    entries: HashMap<K, Bytes>,
    order: VecDeque<K>,
    bytes: usize,
}

impl<K: Hash + Eq + Clone> Cache<K> {
    /// An empty cache.
    pub fn new(bytes_max: usize) -> Self {
        let inner = Inner { entries: HashMap::new(), order: VecDeque::new(), bytes: 0 };
        Self { inner: Mutex::new(inner), bytes_max }
    }

    /// What is kept under `key`.
    pub fn get(&self, key: &K) -> Option<Bytes> {
        self.lock().entries.get(key).cloned()
    }

    /// Keeps `value`, unless it is there or would push out much else.
    pub fn put(&self, key: K, value: Bytes) {
        let mut inner = self.lock();
        if value.len() > self.bytes_max / 8 || inner.entries.contains_key(&key) {
            return;
        }
        inner.bytes += value.len();
        inner.entries.insert(key.clone(), value);
        inner.order.push_back(key);
        while inner.bytes > self.bytes_max {
            let Some(oldest) = inner.order.pop_front() else { break };
            inner.bytes -= inner.entries.remove(&oldest).map_or(0, |value| value.len());
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Inner<K>> {
        // A panic can't leave it half-written in a way that matters: it is a cache.
        self.inner.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_goes_when_the_bound_is_passed() {
        let cache = Cache::new(80);
        for key in 0..20u8 {
            cache.put(key, Bytes::from(vec![key; 10]));
        }
        assert_eq!((0..20u8).filter(|key| cache.get(key).is_some()).collect::<Vec<_>>(), (12..20).collect::<Vec<_>>());
        assert_eq!(cache.get(&19), Some(Bytes::from(vec![19; 10])));
        cache.put(99, Bytes::from(vec![0; 11]));
        assert_eq!(cache.get(&99), None, "an eighth of all is the most for one");
    }
}
