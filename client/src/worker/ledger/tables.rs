//! What lies in the ledger's file, and how an attempt's record changes.

use bucket_core::cid::CarId;
use bucket_core::did::BucketId;
use redb::{ReadableTable, Table, TableDefinition, WriteTransaction};

use super::{Attempt, Claim, Record, Standing};

type Name = (&'static str, &'static [u8], u64);
type Place = (&'static str, &'static [u8], &'static [u8]);

/// A [`Record`]: kind, size and epoch.
type Value = (u8, u64, i64);

/// (bucket, link, attempt) → standing.
pub(super) const ATTEMPTS: TableDefinition<Name, Value> = TableDefinition::new("standings");
/// bucket → bytes that are allocated.
pub(super) const USED: TableDefinition<&str, u64> = TableDefinition::new("allocated");
/// (bucket, link, idempotency key) → what became of the task.
pub(super) const MEMO: TableDefinition<Place, &[u8]> = TableDefinition::new("memo");
/// link → until when its object is left alone, in seconds since 1970, or [`UNDATED`].
pub(super) const OBJECTS: TableDefinition<&[u8], u64> = TableDefinition::new("objects");

/// Whoever asks next dates it.
pub(super) const UNDATED: u64 = 0;

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

/// Tables that change together.
pub(super) struct Books<'a> {
    pub attempts: Table<'a, Name, Value>,
    pub used: Table<'a, &'static str, u64>,
    pub objects: Table<'a, &'static [u8], u64>,
}

impl<'a> Books<'a> {
    pub fn open(write: &'a WriteTransaction) -> Result<Self, redb::Error> {
        let (attempts, used) = (write.open_table(ATTEMPTS)?, write.open_table(USED)?);
        Ok(Self { attempts, used, objects: write.open_table(OBJECTS)? })
    }

    /// Changes an attempt's record, and what its bucket has allocated by it.
    pub fn set(&mut self, at: &Attempt, before: Option<Record>, after: Record) -> Result<(), redb::Error> {
        let (had, more) = (before.map_or(0, allocated), allocated(after));
        let left = less(used(&self.used, &at.bucket)?, had)?;
        let sum = left.checked_add(more).ok_or_else(|| corrupted(format!("{left} bytes and {more}")))?;
        self.used.insert(at.bucket.as_str(), sum)?;
        self.attempts.insert(at.key(), encode(after))?;
        let link = &at.link.0[..];
        // Nobody may account for the object any more.
        if had > 0 && more == 0 && self.objects.get(link)?.is_none() {
            self.objects.insert(link, UNDATED)?;
        }
        Ok(())
    }
}

/// Bytes that a record stands for.
pub(super) fn allocated((standing, claim): Record) -> u64 {
    if standing == Standing::Allocated { claim.size } else { 0 }
}

pub(super) fn less(used: u64, size: u64) -> Result<u64, redb::Error> {
    used.checked_sub(size).ok_or_else(|| corrupted(format!("{used} bytes less {size}")))
}

/// Bytes that a bucket has.
pub(super) fn used(table: &impl ReadableTable<&'static str, u64>, bucket: &BucketId) -> Result<u64, redb::Error> {
    Ok(table.get(bucket.as_str())?.map_or(0, |used| used.value()))
}

/// Bytes that all buckets have.
pub(super) fn all(table: &impl ReadableTable<&'static str, u64>) -> Result<u64, redb::Error> {
    table.iter()?.try_fold(0u64, |sum, bucket| {
        let used = bucket?.1.value();
        sum.checked_add(used).ok_or_else(|| corrupted(format!("{sum} bytes and {used}")))
    })
}

pub(super) fn record(table: &impl ReadableTable<Name, Value>, at: &Attempt) -> Result<Option<Record>, redb::Error> {
    table.get(at.key())?.map(|value| decode(value.value())).transpose()
}

/// Attempts of a bucket, or of one of its CARs.
pub(super) fn of_bucket(
    table: &impl ReadableTable<Name, Value>,
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
        let link = car_id(at)?;
        all.push((Attempt { bucket: bucket.clone(), link, number }, decode(value.value())?));
    }
    Ok(all)
}

/// Whether an attempt of any bucket has bytes for a CAR.
pub(super) fn is_allocated(
    buckets: &impl ReadableTable<&'static str, u64>,
    attempts: &impl ReadableTable<Name, Value>,
    link: &CarId,
) -> Result<bool, redb::Error> {
    for bucket in buckets.iter()? {
        let (bucket, used) = bucket?;
        if used.value() == 0 {
            continue;
        }
        let [first, last] = [0, u64::MAX].map(|number| (bucket.value(), &link.0[..], number));
        for attempt in attempts.range(first..=last)? {
            if allocated(decode(attempt?.1.value())?) > 0 {
                return Ok(true);
            }
        }
    }
    Ok(false)
}

pub(super) fn car_id(bytes: &[u8]) -> Result<CarId, redb::Error> {
    Ok(CarId(bytes.try_into().map_err(|_| corrupted("a link that is none"))?))
}

pub(super) fn corrupted(why: impl ToString) -> redb::Error {
    redb::Error::Corrupted(why.to_string())
}
