//! What the watcher knows and HTTP tells: how far the index is, and what is wrong.

use std::collections::BTreeSet;
use std::sync::{Arc, RwLock};
use std::time::{Duration, Instant};

/// How the index stands to the chain.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    /// Epoch of the chain's head.
    pub chain: Option<i64>,
    /// Epoch of the newest tipset in the index: at best that of the head's parent.
    pub indexed: Option<i64>,
    /// Epoch up to which nothing will be reverted.
    pub finalized: Option<i64>,
    /// Epochs that the index is behind what it could know; `None` before the first look at the chain.
    pub lag: Option<i64>,
    /// When the chain was last looked at with success.
    pub seen: Option<Instant>,
    /// Why the last look failed.
    pub error: Option<String>,
    /// Buckets that don't follow the chain any more.
    pub halted: BTreeSet<String>,
}

/// A [`Snapshot`] that one side writes and the other reads.
#[derive(Debug, Clone, Default)]
pub struct Status(Arc<RwLock<Snapshot>>);

impl Status {
    /// As it is now.
    pub fn get(&self) -> Snapshot {
        self.0.read().unwrap_or_else(std::sync::PoisonError::into_inner).clone()
    }

    /// Whether a bucket is halted.
    pub fn is_halted(&self, bucket: &str) -> bool {
        self.0.read().unwrap_or_else(std::sync::PoisonError::into_inner).halted.contains(bucket)
    }

    /// Changes it.
    pub fn update(&self, change: impl FnOnce(&mut Snapshot)) {
        change(&mut self.0.write().unwrap_or_else(std::sync::PoisonError::into_inner));
    }
}

impl Snapshot {
    /// Why the index should not be asked; empty when all is well.
    pub fn reasons(&self, lag_max: i64, silence_max: Duration) -> Vec<String> {
        let mut reasons = Vec::new();
        match (self.seen, &self.error) {
            (Some(seen), Some(error)) if seen.elapsed() > silence_max => {
                reasons.push(format!("no word from the node for {} s: {error}", seen.elapsed().as_secs()));
            }
            (None, Some(error)) => reasons.push(format!("no word from the node yet: {error}")),
            (None, None) => reasons.push("the node hasn't been asked yet".into()),
            (Some(_), _) => {}
        }
        if self.seen.is_some() && self.indexed.is_none() {
            reasons.push("the actor is not on the chain yet".into());
        }
        if let Some(lag) = self.lag
            && lag > lag_max
        {
            reasons.push(format!("{lag} epochs behind the chain, more than {lag_max}"));
        }
        reasons
            .extend(self.halted.iter().map(|bucket| format!("bucket {bucket} differs from the chain and is halted")));
        reasons
    }
}
