//! The machine in process: a host over blocks in memory, and an actor that takes messages.
//!
//! Reads of blocks that the FVM would not have let the actor read are refused, so that a test that passes here doesn't fail
//! on chain (ref-fvm `fvm/src/kernel/blocks.rs`: only what is reachable from the root, or was written in the same message).

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Result, bail};
use cid::Cid;
use fvm_ipld_blockstore::{Blockstore, MemoryBlockstore};
use fvm_shared::ActorID;
use fvm_shared::address::{Address, Payload};
use fvm_shared::clock::ChainEpoch;

use crate::abi::{DeliverParams, Message, ReceiptParams, ReceiptReturn};
use crate::bucket::Bucket;
use crate::cid::{DAG_CBOR, NativeHasher};
use crate::dag_cbor::{self, Ipld};
use crate::did::BucketId;
use crate::error::Abort;
use crate::execute::{self, Applied};
use crate::host::{Host, Told};
use crate::protocol::Protocols;
use crate::state;

/// A blockstore that refuses what one message could not reach.
pub struct Reachable<S> {
    store: S,
    reachable: RefCell<BTreeSet<Cid>>,
}

impl<S: Blockstore> Reachable<S> {
    /// A view on `store` for a message that starts at `root`.
    pub fn new(store: S, root: Cid) -> Self {
        Self { store, reachable: RefCell::new(BTreeSet::from([root])) }
    }
}

impl<S: Blockstore> Blockstore for Reachable<S> {
    fn get(&self, cid: &Cid) -> Result<Option<Vec<u8>>> {
        if !self.reachable.borrow().contains(cid) {
            bail!("block {cid} is not reachable from the actor's root");
        }
        let block = self.store.get(cid)?;
        if let (Some(block), DAG_CBOR) = (&block, cid.codec()) {
            let mut links = Vec::new();
            dag_cbor::links(&fvm_ipld_encoding::from_slice::<Ipld>(block)?, &mut links);
            self.reachable.borrow_mut().extend(links);
        }
        Ok(block)
    }

    fn put_keyed(&self, cid: &Cid, block: &[u8]) -> Result<()> {
        self.reachable.borrow_mut().insert(*cid);
        self.store.put_keyed(cid, block)
    }
}

/// The environment of one message in process.
pub struct MemoryHost<'a, S> {
    /// Where blocks are.
    pub store: S,
    /// This actor.
    pub this: ActorID,
    /// The sender.
    pub caller: ActorID,
    /// Who signed the outermost message.
    pub origin: ActorID,
    /// The epoch.
    pub epoch: ChainEpoch,
    /// Its time.
    pub timestamp: u64,
    /// Addresses that are no ids, and the actors that the chain knows by them.
    pub addresses: Vec<(Address, ActorID)>,
    /// What is beyond this message.
    pub outside: Outside<'a>,
}

/// What is beyond one message.
pub enum Outside<'a> {
    /// Gas without end, and this actor's other instances.
    Instances(&'a Memory),
    /// What the chain told of the message that is done again.
    Told(Told),
}

impl<S: Blockstore> Host for MemoryHost<'_, S> {
    type Store = S;
    type Hasher = NativeHasher;

    fn store(&self) -> &S {
        &self.store
    }

    fn this(&self) -> ActorID {
        self.this
    }

    fn caller(&self) -> ActorID {
        self.caller
    }

    fn origin(&self) -> ActorID {
        self.origin
    }

    fn value_received(&self) -> bool {
        false
    }

    fn epoch(&self) -> ChainEpoch {
        self.epoch
    }

    fn timestamp(&self) -> u64 {
        self.timestamp
    }

    fn resolve(&self, address: &Address) -> Option<ActorID> {
        if let Payload::ID(id) = address.payload() {
            return Some(*id);
        }
        self.addresses.iter().find(|(known, _)| known == address).map(|(_, id)| *id)
    }

    fn is_instance(&self, actor: ActorID) -> bool {
        match &self.outside {
            Outside::Instances(memory) => memory.siblings.contains(&actor),
            // A message that succeeded came from one.
            Outside::Told(_) => true,
        }
    }

    fn room(&self, _: u64, taken: u64) -> bool {
        match &self.outside {
            Outside::Instances(_) => true,
            Outside::Told(told) => told.room(taken),
        }
    }

    fn deliver(&self, to: ActorID, params: &DeliverParams, _: u64) -> Result<u32, Abort> {
        let mut instances = match &self.outside {
            Outside::Instances(memory) => memory.instances.borrow_mut(),
            Outside::Told(told) => return Ok(told.deliver()),
        };
        let Some(other) = instances.get_mut(&to) else { return Ok(Abort::NotInstance(to).code()) };
        other.epoch = self.epoch;
        other.timestamp = self.timestamp;
        let applied = other.apply_from(self.this, self.origin, Message::Deliver(params.clone()));
        Ok(applied.map_or_else(|abort| abort.code(), |_| 0))
    }
}

/// An actor in memory: messages in, receipts out, without a chain.
pub struct Memory {
    protocols: Protocols,
    store: MemoryBlockstore,
    /// The actor's state root.
    pub root: Cid,
    /// The epoch of the next message.
    pub epoch: ChainEpoch,
    /// Its time.
    pub timestamp: u64,
    /// The actor's id.
    pub this: ActorID,
    /// Other instances of the actor, which this one can send to.
    pub instances: RefCell<BTreeMap<ActorID, Memory>>,
    /// Ids of other instances, which may send to this one.
    pub siblings: BTreeSet<ActorID>,
    strict: bool,
}

impl Memory {
    /// An actor without buckets, at epoch 0.
    pub fn new(protocols: Protocols) -> Self {
        let store = MemoryBlockstore::new();
        let root = state::create::<_, NativeHasher>(&store).expect("a memory store takes blocks");
        let (instances, siblings) = (RefCell::default(), BTreeSet::new());
        Self { protocols, store, root, epoch: 0, timestamp: 0, this: 1000, instances, siblings, strict: true }
    }

    /// The same without the check of reachable reads, for those who measure.
    pub fn unchecked(protocols: Protocols) -> Self {
        Self { strict: false, ..Self::new(protocols) }
    }

    /// All blocks that were ever written.
    pub fn store(&self) -> &MemoryBlockstore {
        &self.store
    }

    /// Applies a message of `caller`; an abort leaves the state as it was.
    pub fn apply(&mut self, caller: ActorID, message: Message) -> Result<Applied, Abort> {
        let before: Vec<_> = self.instances.get_mut().iter().map(|(id, other)| (*id, other.root)).collect();
        let applied = self.apply_from(caller, caller, message);
        if applied.is_err() {
            let instances = self.instances.get_mut();
            for (id, root) in before {
                instances.entry(id).and_modify(|other| other.root = root);
            }
        }
        applied
    }

    /// Applies a call of an actor, in a message of `origin`.
    pub fn apply_from(&mut self, caller: ActorID, origin: ActorID, message: Message) -> Result<Applied, Abort> {
        let applied = if self.strict {
            let store = Reachable::new(&self.store, self.root);
            execute::apply(&self.host(store, caller, origin), &self.protocols, &self.root, message)?
        } else {
            execute::apply(&self.host(&self.store, caller, origin), &self.protocols, &self.root, message)?
        };
        self.root = applied.state;
        Ok(applied)
    }

    /// Forgets the blocks that the state no longer reaches.
    pub fn compact(&mut self) -> Result<()> {
        let kept = MemoryBlockstore::new();
        let mut wanted = vec![self.root];
        while let Some(cid) = wanted.pop() {
            let Some(block) = self.store.get(&cid)? else { bail!("block {cid} is missing") };
            if cid.codec() == DAG_CBOR {
                dag_cbor::links(&fvm_ipld_encoding::from_slice::<Ipld>(&block)?, &mut wanted);
            }
            kept.put_keyed(&cid, &block)?;
        }
        self.store = kept;
        Ok(())
    }

    /// Answers `Receipt`.
    pub fn receipt(&self, params: &ReceiptParams) -> Result<ReceiptReturn, Abort> {
        execute::receipt(&self.host(&self.store, 0, 0), &self.root, params)
    }

    /// Answers `Bucket`.
    pub fn bucket(&self, id: &BucketId) -> Result<Bucket, Abort> {
        execute::bucket(&self.host(&self.store, 0, 0), &self.root, id)
    }

    fn host<S>(&self, store: S, caller: ActorID, origin: ActorID) -> MemoryHost<'_, S> {
        let (this, epoch, timestamp) = (self.this, self.epoch, self.timestamp);
        let outside = Outside::Instances(self);
        MemoryHost { store, this, caller, origin, epoch, timestamp, addresses: vec![], outside }
    }
}
