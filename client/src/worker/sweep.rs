//! Takes objects away that nobody accounts for, when nobody may put them any more.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use bucket_core::cid::CarId;
use tokio::sync::{Mutex as AsyncMutex, OwnedMutexGuard};

use super::entry::seconds;
use super::ledger::Ended;
use super::{Inner, WorkerError};

/// Objects that one look takes away at most.
const SWEPT_MAX: usize = 64;

/// One lock for each object. Whoever allocates for it, reads it or takes it away does so alone.
#[derive(Debug, Default)]
pub(super) struct Objects(Mutex<BTreeMap<CarId, Weak<AsyncMutex<()>>>>);

impl Objects {
    /// Waits until nobody else is at work with an object.
    pub async fn own(&self, link: &CarId) -> OwnedMutexGuard<()> {
        self.lock(link).lock_owned().await
    }

    fn lock(&self, link: &CarId) -> Arc<AsyncMutex<()>> {
        let mut locks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        locks.retain(|_, lock| lock.strong_count() > 0);
        let known = locks.get(link).and_then(Weak::upgrade);
        known.unwrap_or_else(|| {
            let lock = Arc::default();
            locks.insert(*link, Arc::downgrade(&lock));
            lock
        })
    }
}

impl Inner {
    /// Until when an object is left alone if nobody accounts for it, in seconds since 1970: as long as a URL counts that is signed
    /// now, and once more as long, for what is on its way then.
    pub(super) fn left_alone(&self, now: u64) -> u64 {
        now.saturating_add(self.s3.upload_seconds().saturating_mul(2))
    }

    /// Takes away what may be. An object that somebody is at work with is left for the next time.
    pub(super) async fn sweep(&self) -> Result<(), WorkerError> {
        let now = seconds();
        let Ended { unaccounted, others } = self.ledger.ended(now)?;
        if !others.is_empty() {
            let until = self.left_alone(now);
            self.ledger("ledger date", move |ledger| ledger.date(&others, now, until)).await?;
        }
        for link in unaccounted.into_iter().take(SWEPT_MAX) {
            let Ok(_own) = self.objects.lock(&link).try_lock_owned() else { continue };
            // Somebody may have come back to it meanwhile.
            if !self.ledger.is_unaccounted(&link, now)? {
                continue;
            }
            if let Some(head) = self.step("s3 head", self.s3.head(&link)).await? {
                self.step("s3 delete", self.s3.delete(&link)).await?;
                self.note(format!("CAR {link}: deleted {} bytes that no entry accounts for", head.size));
            }
            self.ledger("ledger gone", move |ledger| ledger.gone(&link)).await?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_object_has_one_owner_at_a_time() {
        let objects = Objects::default();
        let (one, other) = (CarId([1; 32]), CarId([2; 32]));
        let own = objects.own(&one).await;
        assert!(objects.lock(&one).try_lock_owned().is_err());
        drop(objects.own(&other).await);
        drop(own);
        let own = objects.lock(&one).try_lock_owned();
        assert!(own.is_ok());
        // What nobody has is forgotten.
        assert_eq!(objects.0.lock().unwrap().len(), 1);
    }
}
