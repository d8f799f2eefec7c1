//! What the worker must not forget: the bytes that it allocated, and what became of each task that it performed.
//!
//! Each attempt of an entry allocates its bytes at most once and frees them at most once, however often and in whatever order
//! it is asked to; a process that is killed leaves what it answered, nothing between.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use bucket_core::cid::CarId;
use bucket_core::did::BucketId;
use redb::{Database, DatabaseError, ReadableDatabase as _, ReadableTable as _, TableDefinition};

/// (bucket, link, attempt) → standing.
const ATTEMPTS: TableDefinition<(&str, &[u8], u64), &[u8]> = TableDefinition::new("attempts");
/// bucket → bytes that are allocated.
const USED: TableDefinition<&str, u64> = TableDefinition::new("used");
/// (bucket, link, idempotency key) → what became of the task.
const MEMO: TableDefinition<Place, &[u8]> = TableDefinition::new("memo");

type Place = (&'static str, &'static [u8], &'static [u8]);

/// The name of an idempotency key.
pub type Key = [u8; 32];

/// One activation of an entry.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Attempt {
    /// The bucket.
    pub bucket: BucketId,
    /// The CAR that the entry is for.
    pub link: CarId,
    /// Its number: 1, and one more with each activation.
    pub number: u64,
}

/// How an attempt stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// So many bytes are its.
    Allocated(u64),
    /// There was no room for it.
    Denied,
    /// It has had its bytes, or gave up its claim, and gets none any more.
    Freed,
}

/// What an attempt to allocate came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Allocation {
    /// The bytes are the attempt's; so many of them are new, 0 when it had them already.
    Allocated(u64),
    /// The bucket's capacity doesn't allow for it.
    Exceeded {
        /// Bytes that the bucket has allocated.
        used: u64,
        /// Bytes that it may have.
        capacity: u64,
    },
    /// It was freed: who still asks is late.
    Freed,
}

/// Why the ledger can't be read or written.
#[derive(Debug, thiserror::Error)]
#[error("{}: {why}", path.display())]
pub struct LedgerError {
    /// The file.
    pub path: PathBuf,
    /// What was wrong.
    pub why: String,
}

/// See the module.
pub struct Ledger {
    db: Database,
    path: PathBuf,
}

impl Standing {
    fn encode(self) -> Vec<u8> {
        match self {
            Self::Allocated(size) => [&[0], &size.to_be_bytes()[..]].concat(),
            Self::Denied => vec![1],
            Self::Freed => vec![2],
        }
    }

    fn decode(bytes: &[u8]) -> Result<Self, String> {
        match bytes {
            [0, size @ ..] if size.len() == 8 => {
                Ok(Self::Allocated(size.iter().fold(0, |n, b| n << 8 | u64::from(*b))))
            }
            [1] => Ok(Self::Denied),
            [2] => Ok(Self::Freed),
            other => Err(format!("expected the standing of an attempt, got {other:?}")),
        }
    }
}

impl Attempt {
    fn key(&self) -> (&str, &[u8], u64) {
        (self.bucket.as_str(), &self.link.0, self.number)
    }
}

impl Ledger {
    /// Opens the ledger in `dir`, making both when they aren't there. One process at a time may have it.
    pub fn open(dir: &Path) -> Result<Self, LedgerError> {
        let path = dir.join("ledger.redb");
        let wrong = |why: String| LedgerError { path: path.clone(), why };
        std::fs::create_dir_all(dir).map_err(|error| wrong(error.to_string()))?;
        let db = Database::create(&path).map_err(|error| match error {
            DatabaseError::DatabaseAlreadyOpen => wrong("another worker has it: each needs a --data of its own".into()),
            error => wrong(error.to_string()),
        })?;
        let ledger = Self { db, path: path.clone() };
        ledger.write(|write| {
            write.open_table(ATTEMPTS)?;
            write.open_table(USED)?;
            write.open_table(MEMO)?;
            Ok(())
        })?;
        Ok(ledger)
    }

    /// Gives an attempt its bytes, if a bucket of this capacity has room for them. Once denied, an attempt stays denied. After a
    /// reorganisation the same attempt may come with another size: then what it had is replaced.
    pub fn allocate(&self, at: &Attempt, size: u64, capacity: u64) -> Result<Allocation, LedgerError> {
        self.write(|write| {
            let mut attempts = write.open_table(ATTEMPTS)?;
            let mut table = write.open_table(USED)?;
            let bucket = at.bucket.as_str();
            let used = table.get(bucket)?.map_or(0, |used| used.value());
            let known = attempts.get(at.key())?.map(|bytes| Standing::decode(bytes.value()));
            let (standing, answer) = match known.transpose().map_err(corrupted)? {
                Some(Standing::Allocated(before)) if before == size => return Ok(Allocation::Allocated(0)),
                Some(Standing::Allocated(before)) => {
                    let others =
                        used.checked_sub(before).ok_or_else(|| corrupted(format!("{used} bytes less {before}")))?;
                    match others.checked_add(size).filter(|sum| *sum <= capacity) {
                        Some(sum) => {
                            table.insert(bucket, sum)?;
                            (Standing::Allocated(size), Allocation::Allocated(size.saturating_sub(before)))
                        }
                        None => {
                            table.insert(bucket, others)?;
                            (Standing::Denied, Allocation::Exceeded { used: others, capacity })
                        }
                    }
                }
                Some(Standing::Denied) => return Ok(Allocation::Exceeded { used, capacity }),
                Some(Standing::Freed) => return Ok(Allocation::Freed),
                None => match used.checked_add(size).filter(|sum| *sum <= capacity) {
                    Some(sum) => {
                        table.insert(bucket, sum)?;
                        (Standing::Allocated(size), Allocation::Allocated(size))
                    }
                    None => (Standing::Denied, Allocation::Exceeded { used, capacity }),
                },
            };
            attempts.insert(at.key(), standing.encode().as_slice())?;
            Ok(answer)
        })
    }

    /// Takes an attempt's bytes back, and answers how many there were. It gets none any more.
    pub fn free(&self, at: &Attempt) -> Result<u64, LedgerError> {
        self.write(|write| {
            let mut attempts = write.open_table(ATTEMPTS)?;
            let known = attempts.get(at.key())?.map(|bytes| Standing::decode(bytes.value()));
            let size = match known.transpose().map_err(corrupted)? {
                Some(Standing::Allocated(size)) => size,
                Some(Standing::Denied | Standing::Freed) => return Ok(0),
                None => 0,
            };
            let mut table = write.open_table(USED)?;
            let used = table.get(at.bucket.as_str())?.map_or(0, |used| used.value());
            let left = used.checked_sub(size).ok_or_else(|| corrupted(format!("{used} bytes less {size}")))?;
            table.insert(at.bucket.as_str(), left)?;
            attempts.insert(at.key(), Standing::Freed.encode().as_slice())?;
            Ok(size)
        })
    }

    /// Bytes that a bucket has allocated.
    pub fn used(&self, bucket: &BucketId) -> Result<u64, LedgerError> {
        self.read(|read| {
            let table = read.open_table(USED)?;
            Ok(table.get(bucket.as_str())?.map_or(0, |used| used.value()))
        })
    }

    /// All attempts that were ever told of.
    pub fn attempts(&self) -> Result<Vec<(Attempt, Standing)>, LedgerError> {
        self.read(|read| {
            let mut all = Vec::new();
            for entry in read.open_table(ATTEMPTS)?.iter()? {
                let (key, value) = entry?;
                let (bucket, link, number) = key.value();
                let bucket = bucket.parse().map_err(corrupted)?;
                let link = CarId(link.try_into().map_err(|_| corrupted("a link that is none"))?);
                all.push((Attempt { bucket, link, number }, Standing::decode(value.value()).map_err(corrupted)?));
            }
            Ok(all)
        })
    }

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

    fn read<T>(&self, f: impl FnOnce(&redb::ReadTransaction) -> Result<T, redb::Error>) -> Result<T, LedgerError> {
        let run = || f(&self.db.begin_read()?);
        run().map_err(|error| self.error(&error))
    }

    /// All of it is on the disk when this returns, or nothing.
    fn write<T>(&self, f: impl FnOnce(&redb::WriteTransaction) -> Result<T, redb::Error>) -> Result<T, LedgerError> {
        let run = || {
            let write = self.db.begin_write()?;
            let value = f(&write)?;
            write.commit()?;
            Ok(value)
        };
        run().map_err(|error: redb::Error| self.error(&error))
    }

    fn error(&self, error: &redb::Error) -> LedgerError {
        LedgerError { path: self.path.clone(), why: error.to_string() }
    }
}

fn corrupted(why: impl ToString) -> redb::Error {
    redb::Error::Corrupted(why.to_string())
}

#[cfg(test)]
mod tests;
