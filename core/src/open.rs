//! The state that is open for one message, and a bucket in it: records with their maps, loaded when they are needed, written
//! once at the end.

use cid::Cid;
use fvm_ipld_blockstore::{Block, Blockstore};
use fvm_shared::ActorID;
use multihash_codetable::Code;

use crate::bucket::{Bucket, Entries, Entry, Item, Queue, Receipts};
use crate::cid::{CarId, DAG_CBOR, RAW};
use crate::did::BucketId;
use crate::error::Abort;
use crate::host::Host;
use crate::limits::{QUEUE_MAX, QUEUE_SENDER_MAX};
use crate::protocol::Source;
use crate::state::{self, Buckets};

/// The actor's state.
pub(crate) struct State<'h, H: Host> {
    pub host: &'h H,
    pub buckets: Buckets<'h, H::Store, H::Hasher>,
}

impl<'h, H: Host> State<'h, H> {
    pub fn load(host: &'h H, root: &Cid) -> Result<Self, Abort> {
        Ok(Self { host, buckets: state::buckets(host.store(), root)? })
    }

    pub fn open(&self, id: &BucketId) -> Result<Open<'h, H>, Abort> {
        let store = self.host.store();
        let bucket: Bucket = match self.buckets.get(id.as_str().as_bytes())? {
            Some(bucket) => bucket,
            None => return Err(Abort::BucketUnknown(id.clone())),
        };
        let receipts = Receipts::load(store, &bucket.receipts, "receipts")?;
        let head = bucket.head;
        Ok(Open { host: self.host, id: id.clone(), bucket, receipts, queue: None, head })
    }

    /// Writes a bucket's maps and takes its record back.
    pub fn close(&mut self, open: Open<'h, H>) -> Result<Bucket, Abort> {
        let (id, bucket) = open.flush()?;
        self.buckets.set(id.as_str().as_bytes(), &bucket)?;
        Ok(bucket)
    }

    /// Writes everything and answers the actor's new state root.
    pub fn flush(mut self) -> Result<Cid, Abort> {
        self.buckets.flush()
    }
}

/// See the module.
pub(crate) struct Open<'h, H: Host> {
    pub host: &'h H,
    pub id: BucketId,
    pub bucket: Bucket,
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

/// Where the queue's map keeps how many of the pending CARs a sender scheduled. Longer than a task's key.
fn sender_key(sender: ActorID) -> Vec<u8> {
    [&b"s"[..], &sender.to_be_bytes()].concat()
}

/// Whether a key of the queue's map is a task's.
pub(crate) fn is_task(key: &[u8]) -> bool {
    key.len() == queue_key(0).len()
}

/// Writes a block under the hash that the FVM links.
pub(crate) fn put<S: Blockstore>(store: &S, codec: u64, data: &[u8], what: &str) -> Result<Cid, Abort> {
    let written = store.put(Code::Blake2b256, &Block::new(codec, data));
    written.map_err(|error| Abort::State(format!("failed to write {what}: {error}")))
}

/// Reads a block that state links to.
pub(crate) fn get<S: Blockstore>(store: &S, cid: &Cid, what: &str) -> Result<Vec<u8>, Abort> {
    let block = store.get(cid).map_err(|error| Abort::State(format!("failed to read {what}: {error}")))?;
    block.ok_or_else(|| Abort::State(format!("{what} is missing")))
}

/// Reads a CAR: one RAW block, or a list of links to its pieces.
pub fn read_car<S: Blockstore>(store: &S, cid: &Cid) -> Result<Vec<u8>, Abort> {
    let block = get(store, cid, "a CAR")?;
    if cid.codec() != DAG_CBOR {
        return Ok(block);
    }
    let pieces: Vec<Cid> = fvm_ipld_encoding::from_slice(&block)
        .map_err(|error| Abort::State(format!("a CAR that is no list of pieces: {error}")))?;
    let mut car = Vec::new();
    for piece in pieces {
        car.extend(get(store, &piece, "a piece of a CAR")?);
    }
    Ok(car)
}

impl<'h, H: Host> Open<'h, H> {
    pub fn is_controller(&self, actor: ActorID) -> bool {
        self.bucket.controllers.contains(&actor)
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

    /// The CAR that brought a signed invocation.
    pub fn brought(&self, invocation: &[u8; 32]) -> Result<Option<CarId>, Abort> {
        Ok(self.receipts.get(invocation)?.and_then(|entry| entry.brought))
    }

    pub fn set_brought(&mut self, invocation: &[u8; 32], car: CarId) -> Result<(), Abort> {
        self.receipts.set(invocation, &Entry { brought: Some(car), ..Entry::default() })
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

    /// Whether `more` and one more may come from outside. A bucket's own continuations are not asked: a full queue would stop
    /// the run that empties it.
    pub fn check_room(&self, more: u64) -> Result<(), Abort> {
        match self.bucket.pending() + more < QUEUE_MAX {
            true => Ok(()),
            false => Err(Abort::QueueFull(self.id.clone())),
        }
    }

    /// Whether `more` and one more of a sender may come; answers how many are pending.
    pub fn check_sender(&mut self, sender: ActorID, more: u64) -> Result<u64, Abort> {
        let count: u64 = self.queue()?.get_as(&sender_key(sender))?.unwrap_or_default();
        match count + more < QUEUE_SENDER_MAX {
            true => Ok(count),
            false => Err(Abort::QueueFullSender { bucket: self.id.clone(), sender }),
        }
    }

    /// Counts one more of the sender's pending CARs, unless they are too many.
    pub fn count_in(&mut self, sender: ActorID) -> Result<(), Abort> {
        let count = self.check_sender(sender, 0)?;
        self.queue()?.set_as(&sender_key(sender), &(count + 1))
    }

    fn count_out(&mut self, sender: ActorID) -> Result<(), Abort> {
        let key = sender_key(sender);
        let queue = self.queue()?;
        match queue.get_as::<u64>(&key)? {
            Some(count) if count > 1 => queue.set_as(&key, &(count - 1)),
            Some(_) => queue.delete(&key).map(drop),
            None => Err(Abort::State(format!("f0{sender} has a task in the queue that wasn't counted"))),
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

    /// Puts a CAR at the queue's end and marks it as pending; answers its number.
    pub fn enqueue(&mut self, id: &CarId, entry: Entry, item: &Item) -> Result<u64, Abort> {
        let number = self.bucket.tail;
        self.queue()?.set(&queue_key(number), item)?;
        self.bucket.tail += 1;
        self.set_entry(id, Entry { pending: Some(number), ..entry })?;
        Ok(number)
    }

    /// Writes a CAR as the queue keeps it.
    pub fn write_car(&self, car: &[u8]) -> Result<Cid, Abort> {
        put(self.host.store(), RAW, car, "a CAR")
    }

    /// A pending CAR's item.
    pub fn item(&mut self, number: u64) -> Result<Item, Abort> {
        let item = self.queue()?.get(&queue_key(number))?;
        item.ok_or_else(|| Abort::State(format!("task {number} of the queue is missing")))
    }

    /// Takes the next pending CAR, which is `item`'s, out of the queue.
    pub fn dequeue(&mut self, item: &Item) -> Result<(), Abort> {
        self.bucket.head += 1;
        if item.counts() { self.count_out(item.caller) } else { Ok(()) }
    }

    /// Writes the maps.
    fn flush(mut self) -> Result<(BucketId, Bucket), Abort> {
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
        Ok((self.id, self.bucket))
    }

    /// How many tasks are before a pending one.
    pub fn position(&self, number: u64) -> Result<u64, Abort> {
        number
            .checked_sub(self.bucket.head)
            .ok_or_else(|| Abort::State(format!("task {number} is before the queue's head")))
    }
}
