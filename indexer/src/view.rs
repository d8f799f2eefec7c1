//! Reading the actor's state: buckets, queues and the marks of CARs. Synchronous, as the machine is.

use anyhow::{Context, Result};
use bucket_core::bucket::{Bucket, Entry, Item, Queue, Receipts};
use bucket_core::car::Car;
use bucket_core::cid::{CarId, NativeHasher};
use bucket_core::did::BucketId;
use bucket_core::error::Abort;
use bucket_core::open::read_car;
use bucket_core::state as actor;
use bucket_core::task::Task;
use bucket_core::ucan::Request;
use cid::Cid;
use fvm_ipld_blockstore::Blockstore;

/// All buckets of a state, sorted.
pub fn buckets<S: Blockstore>(store: &S, state: &Cid) -> Result<Vec<BucketId>> {
    let mut keys = Vec::new();
    actor::buckets::<S, NativeHasher>(store, state)?
        .each_of(actor::is_bucket, |key, _: Bucket| keys.push(key.to_vec()))?;
    keys.sort_unstable();
    keys.into_iter().map(|key| Ok(String::from_utf8(key)?.parse()?)).collect()
}

/// A bucket's record.
pub fn record<S: Blockstore>(store: &S, state: &Cid, bucket: &BucketId) -> Result<Option<Bucket>> {
    match actor::bucket::<S, NativeHasher>(store, state, bucket) {
        Ok(record) => Ok(Some(record)),
        Err(Abort::BucketUnknown(_)) => Ok(None),
        Err(abort) => Err(abort.into()),
    }
}

/// What is known of a CAR on a bucket; by default, nothing.
pub fn entry<S: Blockstore>(store: &S, bucket: &Bucket, car: &CarId) -> Result<Entry> {
    let receipts = Receipts::<S, NativeHasher>::load(store, &bucket.receipts, "receipts")?;
    Ok(receipts.get(&car.0)?.unwrap_or_default())
}

/// All marks of a bucket's CARs.
pub fn entries<S: Blockstore>(store: &S, bucket: &Bucket) -> Result<Vec<(CarId, Entry)>> {
    let mut entries = Vec::new();
    let receipts = Receipts::<S, NativeHasher>::load(store, &bucket.receipts, "receipts")?;
    receipts.each(|key, entry| entries.push((key.to_vec(), entry)))?;
    let id = |key: Vec<u8>| <[u8; 32]>::try_from(key).ok().map(CarId).context("a receipt's key that is no digest");
    entries.into_iter().map(|(key, entry)| Ok((id(key)?, entry))).collect()
}

/// What a CAR asks for: a task, or an invocation that somebody signed.
pub fn task(car: &Car) -> Result<Task> {
    Ok(match Request::from_car::<NativeHasher>(car)? {
        Some(request) => request.invocation.task.clone(),
        None => Task::from_ipld(car.root_value())?,
    })
}

/// A task of a queue.
#[derive(Debug, Clone)]
pub struct Queued {
    /// Its number; the record's `head` is the next to run.
    pub number: u64,
    /// What the queue says of it.
    pub item: Item,
    /// The CAR.
    pub car: Vec<u8>,
}

/// At most `limit` tasks of a bucket's queue, from number `from` on.
pub fn queue<S: Blockstore>(store: &S, bucket: &Bucket, from: u64, limit: usize) -> Result<Vec<Queued>> {
    let Some(root) = &bucket.queue else { return Ok(vec![]) };
    let queue = Queue::<S, NativeHasher>::load(store, root, "queue")?;
    let numbers = (from.max(bucket.head)..bucket.tail).take(limit);
    let read = |number: u64| {
        let item = queue.get(&number.to_be_bytes())?.with_context(|| format!("task {number} is missing"))?.clone();
        let car = read_car(store, &item.car).with_context(|| format!("the CAR of task {number}"))?;
        Ok(Queued { number, item, car })
    };
    numbers.map(read).collect()
}
