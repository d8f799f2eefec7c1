//! A bucket that is open for one message: its record with its maps, loaded when they are needed, written once at the end.

use cid::Cid;
use fvm_ipld_blockstore::{Block, Blockstore};
use multihash_codetable::Code;

use crate::bucket::{Bucket, Entries, Entry, Item, Queue, Receipts};
use crate::cid::{CarId, RAW};
use crate::did::BucketId;
use crate::error::Abort;
use crate::host::Host;
use crate::limits::QUEUE_MAX;
use crate::protocol::Source;
use crate::state::{self, Buckets};

/// See the module.
pub(crate) struct Open<'h, H: Host> {
    pub host: &'h H,
    pub id: BucketId,
    pub bucket: Bucket,
    buckets: Buckets<'h, H::Store, H::Hasher>,
    receipts: Receipts<'h, H::Store, H::Hasher>,
    queue: Option<Queue<'h, H::Store, H::Hasher>>,
    /// The queue's head as it was: what is before the head now is deleted at the end, if anything is left at all.
    head: u64,
}

/// The committed entries of a bucket's protocols.
pub(crate) struct Committed<'s, H: Host>(pub Entries<'s, H::Store, H::Hasher>);

impl<H: Host> Source for Committed<'_, H> {
    fn read(&self, key: &[u8]) -> Result<Option<Vec<u8>>, Abort> {
        Ok(self.0.get(key)?.map(|bytes| bytes.0))
    }
}

/// Keys sort as numbers do, which makes a dump of the queue readable.
fn queue_key(number: u64) -> [u8; 8] {
    number.to_be_bytes()
}

impl<'h, H: Host> Open<'h, H> {
    pub fn load(host: &'h H, root: &Cid, id: &BucketId) -> Result<Self, Abort> {
        let store = host.store();
        let buckets = state::buckets(store, root)?;
        let bucket: Bucket = match buckets.get(id.as_str().as_bytes())? {
            Some(bucket) => bucket,
            None => return Err(Abort::BucketUnknown(id.clone())),
        };
        let receipts = Receipts::load(store, &bucket.receipts, "receipts")?;
        let head = bucket.head;
        Ok(Self { host, id: id.clone(), bucket, buckets, receipts, queue: None, head })
    }

    pub fn check_controller(&self) -> Result<(), Abort> {
        let caller = self.host.caller();
        match self.bucket.controllers.contains(&caller) {
            true => Ok(()),
            false => Err(Abort::Forbidden { caller, bucket: self.id.clone() }),
        }
    }

    pub fn entries(&self) -> Result<Committed<'h, H>, Abort> {
        Entries::load(self.host.store(), &self.bucket.root, "entries").map(Committed)
    }

    pub fn entry(&self, id: &CarId) -> Result<Entry, Abort> {
        Ok(self.receipts.get(&id.0)?.unwrap_or_default())
    }

    pub fn set_entry(&mut self, id: &CarId, entry: Entry) -> Result<(), Abort> {
        self.receipts.set(&id.0, &entry)
    }

    fn queue(&mut self) -> Result<&mut Queue<'h, H::Store, H::Hasher>, Abort> {
        if self.queue.is_none() {
            let store = self.host.store();
            self.queue = Some(match &self.bucket.queue {
                Some(root) => Queue::load(store, root, "queue")?,
                None => Queue::empty(store, "queue"),
            });
        }
        Ok(self.queue.as_mut().expect("loaded above"))
    }

    /// Whether users may schedule more. Continuations are not asked: a full queue would stop the run that empties it.
    pub fn check_room(&self) -> Result<(), Abort> {
        match self.bucket.pending() < QUEUE_MAX {
            true => Ok(()),
            false => Err(Abort::QueueFull(self.id.clone())),
        }
    }

    /// Marks a pending task as forced; answers whether it was not yet.
    pub fn force(&mut self, number: u64) -> Result<bool, Abort> {
        let item = self.item(number)?;
        if !item.force {
            self.queue()?.set(&queue_key(number), &Item { force: true, ..item })?;
            return Ok(true);
        }
        Ok(false)
    }

    /// Writes `car` and puts it at the queue's end; answers its number.
    pub fn enqueue(&mut self, car: &[u8], item: impl FnOnce(Cid) -> Item) -> Result<u64, Abort> {
        let written = self.host.store().put(Code::Blake2b256, &Block::new(RAW, car));
        let cid = written.map_err(|error| Abort::State(format!("failed to write a CAR: {error}")))?;
        let number = self.bucket.tail;
        self.queue()?.set(&queue_key(number), &item(cid))?;
        self.bucket.tail += 1;
        Ok(number)
    }

    /// A pending CAR's item.
    pub fn item(&mut self, number: u64) -> Result<Item, Abort> {
        let item = self.queue()?.get(&queue_key(number))?;
        item.ok_or_else(|| Abort::State(format!("task {number} of the queue is missing")))
    }

    /// Takes the next pending CAR out of the queue.
    pub fn dequeue(&mut self) -> Result<(Item, Vec<u8>), Abort> {
        let number = self.bucket.head;
        let item = self.item(number)?;
        self.bucket.head += 1;
        let car = self.host.store().get(&item.car);
        let car = car.map_err(|error| Abort::State(format!("failed to read the CAR of task {number}: {error}")))?;
        let car = car.ok_or_else(|| Abort::State(format!("the CAR of task {number} is missing")))?;
        Ok((item, car))
    }

    /// Writes everything and answers the actor's new state root.
    pub fn commit(mut self) -> Result<(Bucket, Cid), Abort> {
        self.bucket.receipts = self.receipts.flush()?;
        if let Some(mut queue) = self.queue.take() {
            self.bucket.queue = match self.bucket.pending() {
                0 => None,
                _ => {
                    (self.head..self.bucket.head).try_for_each(|number| queue.delete(&queue_key(number)).map(drop))?;
                    Some(queue.flush()?)
                }
            };
        }
        self.buckets.set(self.id.as_str().as_bytes(), &self.bucket)?;
        let state = self.buckets.flush()?;
        Ok((self.bucket, state))
    }

    /// How many tasks are before a pending one.
    pub fn position(&self, number: u64) -> Result<u64, Abort> {
        number
            .checked_sub(self.bucket.head)
            .ok_or_else(|| Abort::State(format!("task {number} is before the queue's head")))
    }
}
