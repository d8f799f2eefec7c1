//! What the worker must not forget: the bytes that it allocated, and what became of each task that it performed.
//!
//! Each attempt of an entry allocates its bytes at most once and frees them at most once, however often and in whatever order
//! it is asked to; a process that is killed leaves what it answered, nothing between.
//!
//! The chain may take an attempt back and let it begin anew, which another epoch or size tells: then it is judged anew. What it
//! lets go without a word to free it is found by [`Ledger::settle`].

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use bucket_core::cid::CarId;
use bucket_core::did::BucketId;
use bucket_protocols::store::{Entry, Status};
use redb::{Database, DatabaseError, ReadableDatabase as _, ReadableTable, TableDefinition};

/// (bucket, link, attempt) → standing.
const ATTEMPTS: TableDefinition<(&str, &[u8], u64), Value> = TableDefinition::new("standings");
/// bucket → bytes that are allocated.
const USED: TableDefinition<&str, u64> = TableDefinition::new("allocated");
/// (bucket, link, idempotency key) → what became of the task.
const MEMO: TableDefinition<Place, &[u8]> = TableDefinition::new("memo");

type Place = (&'static str, &'static [u8], &'static [u8]);

/// A [`Record`]: kind, size and epoch.
type Value = (u8, u64, i64);

/// The name of an idempotency key.
pub type Key = [u8; 32];

/// Epochs behind which nothing is taken back (Filecoin's chain finality).
const FINALITY: i64 = 900;

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

fn encode((standing, Claim { size, since }): Record) -> Value {
    (standing as u8, size, since)
}

fn decode((standing, size, since): Value) -> Result<Record, redb::Error> {
    let standings = [Standing::Allocated, Standing::Denied, Standing::Freed];
    let known = standings.into_iter().find(|known| *known as u8 == standing);
    let known = known.ok_or_else(|| corrupted(format!("expected the standing of an attempt, got {standing}")))?;
    Ok((known, Claim { size, since }))
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
            let (mut attempts, mut table) = (write.open_table(ATTEMPTS)?, write.open_table(USED)?);
            let (known, used) = (record(&attempts, at)?, used(&table, &at.bucket)?);
            match known.filter(|known| stands(*known)).map(|(standing, _)| standing) {
                Some(Standing::Allocated) => return Ok(Allocation::Allocated(0)),
                Some(Standing::Denied) => return Ok(Allocation::Exceeded { used, capacity: capacity.each }),
                Some(Standing::Freed) => return Ok(Allocation::Freed),
                None => {}
            }
            let had = known.map_or(0, allocated);
            let others = less(used, had)?;
            let bounds = [(others, capacity.each), (less(all(&table)?, had)?, capacity.total)];
            let full = |(used, capacity): &(u64, u64)| used.checked_add(claim.size).is_none_or(|sum| sum > *capacity);
            let (standing, sum, answer) = match bounds.into_iter().find(full) {
                None => {
                    let new = claim.size.saturating_sub(had);
                    (Standing::Allocated, others.saturating_add(claim.size), Allocation::Allocated(new))
                }
                Some((used, capacity)) => (Standing::Denied, others, Allocation::Exceeded { used, capacity }),
            };
            table.insert(at.bucket.as_str(), sum)?;
            attempts.insert(at.key(), encode((standing, claim)))?;
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
            let (mut attempts, mut table) = (write.open_table(ATTEMPTS)?, write.open_table(USED)?);
            let mut changed = Vec::new();
            for (at, before, after) in changes.drain(..) {
                if record(&attempts, &at)? != Some(before) {
                    continue;
                }
                let (left, more) = (less(used(&table, &at.bucket)?, allocated(before))?, allocated(after));
                let sum = left.checked_add(more).ok_or_else(|| corrupted(format!("{left} bytes and {more}")))?;
                table.insert(at.bucket.as_str(), sum)?;
                attempts.insert(at.key(), encode(after))?;
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

fn allocated((standing, claim): Record) -> u64 {
    if standing == Standing::Allocated { claim.size } else { 0 }
}

fn less(used: u64, size: u64) -> Result<u64, redb::Error> {
    used.checked_sub(size).ok_or_else(|| corrupted(format!("{used} bytes less {size}")))
}

fn used(table: &impl ReadableTable<&'static str, u64>, bucket: &BucketId) -> Result<u64, redb::Error> {
    Ok(table.get(bucket.as_str())?.map_or(0, |used| used.value()))
}

/// Bytes that all buckets have.
fn all(table: &impl ReadableTable<&'static str, u64>) -> Result<u64, redb::Error> {
    table.iter()?.try_fold(0u64, |sum, bucket| {
        let used = bucket?.1.value();
        sum.checked_add(used).ok_or_else(|| corrupted(format!("{sum} bytes and {used}")))
    })
}

type Attempts<'a> = (&'a str, &'a [u8], u64);

fn record(table: &impl ReadableTable<Attempts<'static>, Value>, at: &Attempt) -> Result<Option<Record>, redb::Error> {
    table.get(at.key())?.map(|value| decode(value.value())).transpose()
}

/// Attempts of a bucket, or of one of its CARs.
fn of_bucket(
    table: &impl ReadableTable<Attempts<'static>, Value>,
    bucket: &BucketId,
    link: Option<&CarId>,
) -> Result<Vec<(Attempt, Record)>, redb::Error> {
    let mut all = Vec::new();
    for entry in table.range((bucket.as_str(), link.map_or(&[][..], |link| &link.0), 0)..)? {
        let (key, value) = entry?;
        let (of, at, number) = key.value();
        if of != bucket.as_str() || link.is_some_and(|link| link.0 != at) {
            break;
        }
        let link = CarId(at.try_into().map_err(|_| corrupted("a link that is none"))?);
        all.push((Attempt { bucket: bucket.clone(), link, number }, decode(value.value())?));
    }
    Ok(all)
}

fn corrupted(why: impl ToString) -> redb::Error {
    redb::Error::Corrupted(why.to_string())
}

#[cfg(test)]
mod model;
#[cfg(test)]
mod tests;
