//! What must hold of every state. Answers all violations, so that a test's end, an indexer's `validate` and a debugger see
//! more than the first.

use std::collections::{BTreeMap, BTreeSet};

use cid::Cid;
use fvm_ipld_blockstore::Blockstore;

use crate::bucket::{Bucket, Entry, Item, Queue, Receipts};
use crate::car::Car;
use crate::cid::{CarId, Hasher};
use crate::error::Abort;
use crate::limits::CONTROLLERS_MAX;
use crate::open::{is_task, read_car};
use crate::{stage, state};

/// Checks the state under `root`; an empty list is good news.
pub fn check<S: Blockstore, H: Hasher>(store: &S, root: &Cid) -> Result<Vec<String>, Abort> {
    let mut violations = Vec::new();
    let mut buckets = Vec::new();
    state::buckets::<S, H>(store, root)?
        .each_of(state::is_bucket, |key, bucket| buckets.push((key.to_vec(), bucket)))?;
    for (key, bucket) in buckets {
        let name = String::from_utf8_lossy(&key).into_owned();
        let mut require = |holds: bool, what: String| {
            if !holds {
                violations.push(format!("{name}: {what}"));
            }
        };
        check_record(&bucket, &mut require);
        check_queue::<S, H>(store, &bucket, &mut require)?;
    }
    stage::check::<S, H>(store, root, &mut violations)?;
    Ok(violations)
}

fn check_record(bucket: &Bucket, require: &mut impl FnMut(bool, String)) {
    let count = bucket.controllers.len();
    require(count <= CONTROLLERS_MAX, format!("{count} controllers"));
    require(bucket.controllers.is_sorted_by(|a, b| a < b), "controllers are not sorted, or not each once".into());
    require(bucket.head <= bucket.tail, format!("head {} is behind tail {}", bucket.head, bucket.tail));
    require(
        bucket.queue.is_some() == (bucket.head < bucket.tail),
        "a queue without tasks, or tasks without a queue".into(),
    );
}

/// The queue, the pending marks and the receipts agree.
fn check_queue<S: Blockstore, H: Hasher>(
    store: &S,
    bucket: &Bucket,
    require: &mut impl FnMut(bool, String),
) -> Result<(), Abort> {
    let mut items: BTreeMap<u64, Item> = BTreeMap::new();
    if let Some(queue) = &bucket.queue {
        let queue = Queue::<S, H>::load(store, queue, "queue")?;
        queue.each_of(is_task, |key, item| {
            items.insert(key.try_into().map_or(u64::MAX, u64::from_be_bytes), item);
        })?;
        let (mut counted, mut counts) = (0, 0);
        queue.each_of(|key| !is_task(key), |_, count: u64| counted += count)?;
        items.values().for_each(|item| counts += u64::from(item.counts()));
        require(counted == counts, format!("{counts} tasks of senders in the queue, {counted} are counted"));
    }
    require(items.keys().copied().eq(bucket.head..bucket.tail), "the queue has gaps".into());
    let mut entries: Vec<(CarId, Entry)> = Vec::new();
    Receipts::<S, H>::load(store, &bucket.receipts, "receipts")?.each(|key, entry| {
        entries.push((CarId(key.try_into().unwrap_or_default()), entry));
    })?;
    let known: BTreeSet<CarId> = entries.iter().map(|(id, _)| *id).collect();
    let runs: u64 = entries.iter().map(|(_, entry)| entry.version).sum();
    require(runs == bucket.ran, format!("{runs} runs in the receipts, {} in the record", bucket.ran));
    let pending = entries.iter().filter(|(_, entry)| entry.pending.is_some()).count() as u64;
    require(pending == bucket.pending(), format!("{pending} pending marks for {} tasks", bucket.pending()));
    for (id, entry) in entries {
        if let Some(car) = entry.brought {
            require(known.contains(&car), format!("an invocation was brought by {car}, which is unknown"));
            continue;
        }
        require((entry.version == 0) == entry.receipt.is_none(), format!("{id}: version {}", entry.version));
        let Some(number) = entry.pending else { continue };
        let Some(item) = items.get(&number) else {
            require(false, format!("{id} is marked as task {number}, which is not in the queue"));
            continue;
        };
        let named = read_car(store, &item.car).ok().and_then(|car| Car::decode::<H>(car).ok()).map(|car| car.id::<H>());
        require(named == Some(id), format!("task {number} is not {id}"));
    }
    Ok(())
}
