//! What became of tasks.

use std::collections::BTreeSet;

use bucket_core::cid::CarId;
use bucket_core::did::BucketId;
use redb::ReadableTable as _;

use super::tables::{MEMO, OBJECTS};
use super::{Key, Ledger, LedgerError};

impl Ledger {
    /// What became of a task of an entry, in bytes that the caller knows.
    pub fn recall(&self, bucket: &BucketId, link: &CarId, key: &Key) -> Result<Option<Vec<u8>>, LedgerError> {
        self.read(|read| {
            let table = read.open_table(MEMO)?;
            Ok(table.get((bucket.as_str(), &link.0[..], &key[..]))?.map(|value| value.value().to_vec()))
        })
    }

    /// Keeps what became of a task.
    pub fn remember(&self, bucket: &BucketId, link: &CarId, key: &Key, value: &[u8]) -> Result<(), LedgerError> {
        self.write(|write| {
            write.open_table(MEMO)?.insert((bucket.as_str(), &link.0[..], &key[..]), value)?;
            Ok(())
        })
    }

    /// Keeps a URL for a CAR, whose object is left alone `until` then, in seconds since 1970.
    pub fn remember_url(
        &self,
        bucket: &BucketId,
        link: &CarId,
        key: &Key,
        value: &[u8],
        until: u64,
    ) -> Result<(), LedgerError> {
        self.write(|write| {
            write.open_table(MEMO)?.insert((bucket.as_str(), &link.0[..], &key[..]), value)?;
            let mut objects = write.open_table(OBJECTS)?;
            let known = objects.get(&link.0[..])?.map_or(0, |known| known.value());
            objects.insert(&link.0[..], until.max(known))?;
            Ok(())
        })
    }

    /// Forgets the tasks of a bucket's entries but for these: nobody will ask for them again.
    pub fn forget(&self, bucket: &BucketId, but: &BTreeSet<CarId>) -> Result<(), LedgerError> {
        let gone = |link: &[u8]| <[u8; 32]>::try_from(link).is_ok_and(|link| !but.contains(&CarId(link)));
        let idle = self.read(|read| {
            for entry in read.open_table(MEMO)?.range((bucket.as_str(), &[][..], &[][..])..)? {
                let entry = entry?.0;
                let (of, link, _) = entry.value();
                if of != bucket.as_str() {
                    break;
                }
                if gone(link) {
                    return Ok(false);
                }
            }
            Ok(true)
        })?;
        // Most of the time there is nothing, and a transaction waits for the disk.
        if idle {
            return Ok(());
        }
        self.write(|write| {
            write.open_table(MEMO)?.retain(|(of, link, _), _| of != bucket.as_str() || !gone(link))?;
            Ok(())
        })
    }
}
