//! What the worker must not forget: the bytes that it allocated, what became of each task that it performed, and which objects
//! may come when nobody accounts for them any more.
//!
//! Each attempt of an entry allocates its bytes at most once and frees them at most once, however often and in whatever order
//! it is asked to; a process that is killed leaves what it answered, nothing between.
//!
//! The chain may take an attempt back and let it begin anew, which another epoch or size tells: then it is judged anew. What it
//! lets go without a word to free it is found by [`Ledger::settle`].

mod memo;
mod objects;
mod tables;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use bucket_core::cid::CarId;
use bucket_core::did::BucketId;
use bucket_protocols::store::{Entry, Status};
use redb::{Database, DatabaseError, ReadableDatabase as _};

use crate::chain::FINALITY;
pub use objects::Ended;
use tables::{ATTEMPTS, Books, MEMO, USED, all, allocated, less, of_bucket, record, used};

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

/// What an attempt asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Claim {
    /// So many bytes.
    pub size: u64,
    /// Since this epoch. Attempts that differ only in it belong to different histories of the chain.
    pub since: i64,
}

/// Bytes that may be allocated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Capacity {
    /// For each bucket.
    pub each: u64,
    /// For all of them together.
    pub total: u64,
}

impl Capacity {
    /// So many for each bucket, for however many.
    pub fn each(each: u64) -> Self {
        Self { each, total: u64::MAX }
    }
}

/// How an attempt stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Its bytes are its.
    Allocated,
    /// There was no room for it.
    Denied,
    /// It has had its bytes.
    Freed,
}

/// How an attempt stands, and what it asked for.
pub type Record = (Standing, Claim);

/// What an attempt's record was and will be.
type Change = (Attempt, Record, Record);

/// What an attempt to allocate came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Allocation {
    /// The bytes are the attempt's; so many of them are new, 0 when it had them already.
    Allocated(u64),
    /// The bucket's capacity doesn't allow for it, or that of all buckets.
    Exceeded {
        /// Bytes that are allocated.
        used: u64,
        /// Bytes that may be.
        capacity: u64,
    },
    /// It was freed: who still asks is late.
    Freed,
}

/// What came of comparing attempts with the chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settled {
    /// Attempts that were freed, and how many bytes.
    pub freed: Vec<(Attempt, u64)>,
    /// CARs of which nothing can be said yet, because the chain may still bring back what it took.
    pub unsettled: BTreeSet<CarId>,
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
            Books::open(write)?;
            write.open_table(MEMO)?;
            Ok(())
        })?;
        Ok(ledger)
    }

    /// Gives an attempt its bytes, if there is room for them. Once denied or freed, an attempt stays so.
    pub fn allocate(&self, at: &Attempt, claim: Claim, capacity: Capacity) -> Result<Allocation, LedgerError> {
        self.judge(at, claim, capacity, |(standing, before)| match standing {
            Standing::Allocated => before == claim,
            Standing::Denied => before == claim,
            Standing::Freed => before.since == claim.since,
        })
    }

    /// The same for an attempt of which the chain says that it has room: where that isn't so, a reorganisation took back why.
    pub fn keep(&self, at: &Attempt, claim: Claim, capacity: Capacity) -> Result<Allocation, LedgerError> {
        self.judge(at, claim, capacity, |(standing, before)| {
            standing == Standing::Allocated && before.size == claim.size
        })
    }

    /// Answers what is known of an attempt if that `stands`, else judges it anew.
    fn judge(
        &self,
        at: &Attempt,
        claim: Claim,
        capacity: Capacity,
        stands: impl Fn(Record) -> bool,
    ) -> Result<Allocation, LedgerError> {
        // Most of the time it is asked once more, and a transaction waits for the disk.
        if self.standing(at)?.is_some_and(|known| known.0 == Standing::Allocated && stands(known)) {
            return Ok(Allocation::Allocated(0));
        }
        self.write(|write| {
            let mut books = Books::open(write)?;
            let known = record(&books.attempts, at)?;
            match known.filter(|known| stands(*known)).map(|(standing, _)| standing) {
                Some(Standing::Allocated) => return Ok(Allocation::Allocated(0)),
                Some(Standing::Denied) => {
                    let used = used(&books.used, &at.bucket)?;
                    return Ok(Allocation::Exceeded { used, capacity: capacity.each });
                }
                Some(Standing::Freed) => return Ok(Allocation::Freed),
                None => {}
            }
            // An entry is at one attempt: what an earlier one has still, another provider's term kept from being given back.
            for (earlier, had) in of_bucket(&books.attempts, &at.bucket, Some(&at.link))? {
                if earlier.number < at.number && had.0 == Standing::Allocated {
                    books.set(&earlier, Some(had), (Standing::Freed, had.1))?;
                }
            }
            let had = known.map_or(0, allocated);
            let others = [used(&books.used, &at.bucket)?, all(&books.used)?];
            let bounds = [(less(others[0], had)?, capacity.each), (less(others[1], had)?, capacity.total)];
            let full = |(used, capacity): &(u64, u64)| used.checked_add(claim.size).is_none_or(|sum| sum > *capacity);
            let (standing, answer) = match bounds.into_iter().find(full) {
                None => (Standing::Allocated, Allocation::Allocated(claim.size.saturating_sub(had))),
                Some((used, capacity)) => (Standing::Denied, Allocation::Exceeded { used, capacity }),
            };
            books.set(at, known, (standing, claim))?;
            Ok(answer)
        })
    }

    /// Takes an attempt's bytes back, and answers how many there were. One that never had any needs no record: an entry has one
    /// turn at a time, so nobody is about to allocate for it.
    pub fn free(&self, at: &Attempt) -> Result<u64, LedgerError> {
        let Some(before @ (Standing::Allocated, claim)) = self.standing(at)? else { return Ok(0) };
        let freed = self.change(vec![(at.clone(), before, (Standing::Freed, claim))])?;
        Ok(freed.iter().map(|_| claim.size).sum())
    }

    /// CARs of a bucket for which bytes are allocated.
    pub fn allocated(&self, bucket: &BucketId) -> Result<BTreeSet<CarId>, LedgerError> {
        let all = self.read(|read| of_bucket(&read.open_table(ATTEMPTS)?, bucket, None))?;
        Ok(all
            .into_iter()
            .filter(|(_, (standing, _))| *standing == Standing::Allocated)
            .map(|(at, _)| at.link)
            .collect())
    }

    /// Compares attempts with the entries of their CARs, which have no effects, as the index has them at `epoch`. What ended
    /// without an effect that would free it, or never was on the chain, is freed: reorganisations leave such.
    pub fn settle(
        &self,
        bucket: &BucketId,
        entries: &BTreeMap<CarId, Option<Entry>>,
        epoch: i64,
    ) -> Result<Settled, LedgerError> {
        let (mut changes, mut unsettled) = (Vec::new(), BTreeSet::new());
        for (link, entry) in entries {
            for (at, record) in self.read(|read| of_bucket(&read.open_table(ATTEMPTS)?, bucket, Some(link)))? {
                match settled(entry.as_ref(), at.number, record, epoch) {
                    Some(after) if after == record => {}
                    Some(after) => changes.push((at, record, after)),
                    None => drop(unsettled.insert(*link)),
                }
            }
        }
        let freed = self.change(changes)?.into_iter().filter(|(_, _, after)| after.0 == Standing::Freed);
        Ok(Settled { freed: freed.map(|(at, before, _)| (at, before.1.size)).collect(), unsettled })
    }

    /// Changes records that are as they were, and what their buckets have allocated by it. Answers what was changed.
    fn change(&self, mut changes: Vec<Change>) -> Result<Vec<Change>, LedgerError> {
        // Most of the time there is nothing, and a transaction waits for the disk.
        if changes.is_empty() {
            return Ok(changes);
        }
        self.write(|write| {
            let (mut books, mut changed) = (Books::open(write)?, Vec::new());
            for (at, before, after) in changes.drain(..) {
                if record(&books.attempts, &at)? != Some(before) {
                    continue;
                }
                books.set(&at, Some(before), after)?;
                changed.push((at, before, after));
            }
            Ok(changed)
        })
    }

    /// How an attempt stands, if it was told of.
    pub fn standing(&self, at: &Attempt) -> Result<Option<Record>, LedgerError> {
        self.read(|read| record(&read.open_table(ATTEMPTS)?, at))
    }

    /// Bytes that a bucket has allocated.
    pub fn used(&self, bucket: &BucketId) -> Result<u64, LedgerError> {
        self.read(|read| used(&read.open_table(USED)?, bucket))
    }

    /// All attempts of a bucket that were ever told of.
    pub fn attempts(&self, bucket: &BucketId) -> Result<Vec<(Attempt, Record)>, LedgerError> {
        self.read(|read| of_bucket(&read.open_table(ATTEMPTS)?, bucket, None))
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

/// How an attempt stands when its CAR's entry is this and has no effects; `None` when that can't be said yet.
fn settled(entry: Option<&Entry>, number: u64, record: Record, epoch: i64) -> Option<Record> {
    let (standing, claim) = record;
    let entry = entry.filter(|entry| entry.attempt >= number);
    let own = entry.filter(|entry| entry.attempt == number);
    match own.map(|own| (own.status, own.car)) {
        Some((Status::Ok, Some((_, size)))) => Some((Standing::Allocated, Claim { size, ..claim })),
        _ if standing != Standing::Allocated => Some(record),
        // Its effects came a moment later.
        Some((Status::Active | Status::Receiving, _)) => None,
        // The chain took it back, or the index is behind.
        _ if entry.is_none() && epoch < claim.since.saturating_add(FINALITY) => None,
        _ => Some((Standing::Freed, claim)),
    }
}

#[cfg(test)]
mod model;
#[cfg(test)]
mod tests;
