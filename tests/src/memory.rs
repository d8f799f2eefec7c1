//! The machine in process.

use std::collections::BTreeMap;

use bucket_core::abi::*;
use bucket_core::batch::Execution;
use bucket_core::bucket::{Bucket, Queue};
use bucket_core::cid::{CarId, NativeHasher};
use bucket_core::dag_cbor::Ipld;
use bucket_core::did::BucketId;
use bucket_core::error::Abort;
use bucket_core::invariants;
use bucket_core::memory::Memory;
use bucket_core::open::read_car;
use bucket_core::receipt::Receipt;
use bucket_protocols::TABLE;
use bucket_protocols::kv::charwise;
use fvm_ipld_blockstore::Blockstore;
use fvm_shared::address::Address;

use crate::cars::id;
use crate::{Refused, USERS, User, World};

/// The machine in process, with an index made of what it answers.
pub struct MemoryWorld {
    /// The actor.
    pub memory: Memory,
    /// Actor ids of the users.
    pub ids: [u64; USERS.len()],
    index: Index,
}

/// Receipt CARs and `kv` rows, as any follower of the machine keeps them.
#[derive(Default)]
pub struct Index {
    receipts: BTreeMap<CarId, Vec<u8>>,
    rows: BTreeMap<(BucketId, Vec<u8>), Ipld>,
}

impl Index {
    /// Takes in what a message ran.
    pub fn extend(&mut self, ran: Vec<Execution>) {
        for execution in ran {
            self.receipts.insert(execution.receipt, execution.receipt_car);
            for op in execution.ops {
                let key = (execution.bucket.clone(), op.key);
                match op.value {
                    Some(value) => drop(self.rows.insert(key, value)),
                    None => drop(self.rows.remove(&key)),
                }
            }
        }
    }

    /// The receipt, checked against its id.
    pub fn receipt(&self, receipt: CarId) -> Receipt {
        let car = self.receipts.get(&receipt).unwrap_or_else(|| panic!("no receipt {receipt}")).clone();
        assert_eq!(id(&car), receipt);
        Receipt::from_car::<NativeHasher>(car).expect("a receipt")
    }

    /// A bucket's rows.
    pub fn rows(&self, bucket: &BucketId) -> Vec<(Ipld, Ipld)> {
        let mine = self.rows.iter().filter(|((owner, _), _)| owner == bucket);
        let decode = |key: &[u8]| charwise::decode(std::str::from_utf8(key).expect("text")).expect("a key");
        mine.map(|((_, key), value)| (decode(key), value.clone())).collect()
    }
}

/// What a bucket's queue holds, read from its state.
pub fn queue<S: Blockstore>(store: &S, bucket: &Bucket) -> Vec<CarId> {
    let Some(root) = &bucket.queue else { return vec![] };
    let queue = Queue::<S, NativeHasher>::load(store, root, "queue").expect("a queue");
    let car = |number: u64| {
        let item = queue.get(&number.to_be_bytes()).expect("readable").expect("no gaps");
        id(&read_car(store, &item.car).expect("the CAR is kept"))
    };
    (bucket.head..bucket.tail).map(car).collect()
}

impl Default for MemoryWorld {
    fn default() -> Self {
        let mut other = Memory::new(TABLE);
        other.this += 1;
        let mut memory = Memory::new(TABLE);
        memory.timestamp = 1_700_000_000;
        (memory.siblings, other.siblings) = ([other.this].into(), [memory.this].into());
        memory.instances.get_mut().insert(other.this, other);
        Self { memory, ids: [100, 101, 102], index: Index::default() }
    }
}

impl From<Abort> for Refused {
    fn from(abort: Abort) -> Self {
        Refused::Abort { code: abort.code(), message: abort.to_string() }
    }
}

impl MemoryWorld {
    fn actor_id(&self, user: User) -> u64 {
        self.ids[user as usize]
    }
}

impl World for MemoryWorld {
    fn name(&self) -> &'static str {
        "memory"
    }

    fn address(&self, user: User) -> Address {
        Address::new_id(self.actor_id(user))
    }

    /// Applies a message.
    fn apply(&mut self, user: User, message: Message) -> Result<Returned, Refused> {
        let before = self.memory.root;
        let applied = self.memory.apply(self.actor_id(user), message);
        self.pass(1);
        match applied {
            Ok(applied) => {
                self.index.extend(applied.ran);
                Ok(applied.returned)
            }
            Err(abort) => {
                assert_eq!(self.memory.root, before);
                Err(abort.into())
            }
        }
    }

    fn receipt(&mut self, bucket: &BucketId, car: CarId) -> Result<ReceiptReturn, Refused> {
        Ok(self.memory.receipt(&ReceiptParams { bucket: bucket.clone(), car })?)
    }

    fn bucket(&mut self, bucket: &BucketId) -> Result<Bucket, Refused> {
        Ok(self.memory.bucket(bucket)?)
    }

    fn receipt_car(&mut self, _: &BucketId, receipt: CarId) -> Receipt {
        self.index.receipt(receipt)
    }

    fn rows(&mut self, bucket: &BucketId) -> Vec<(Ipld, Ipld)> {
        self.index.rows(bucket)
    }

    fn queue(&mut self, bucket: &BucketId) -> Vec<CarId> {
        let record = self.memory.bucket(bucket).expect("the bucket exists");
        queue(self.memory.store(), &record)
    }

    fn now(&mut self) -> u64 {
        self.memory.timestamp
    }

    fn pass(&mut self, epochs: u64) {
        self.memory.epoch += epochs as i64;
        self.memory.timestamp += 30 * epochs;
    }

    fn instance(&mut self) -> u64 {
        self.memory.this
    }

    fn swap(&mut self) {
        let mut others = self.memory.instances.take();
        let (_, mut other) = others.pop_first().expect("another instance");
        (other.epoch, other.timestamp) = (self.memory.epoch, self.memory.timestamp);
        std::mem::swap(&mut self.memory, &mut other);
        self.memory.instances.get_mut().insert(other.this, other);
    }

    fn check(&mut self) -> (String, Vec<String>) {
        let violations = invariants::check::<_, NativeHasher>(self.memory.store(), &self.memory.root);
        (self.memory.root.to_string(), violations.expect("the state is readable"))
    }
}
