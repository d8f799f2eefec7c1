//! The machine in process: a host over blocks in memory, and an actor that takes messages.
//!
//! Reads of blocks that the FVM would not have let the actor read are refused, so that a test that passes here doesn't fail
//! on chain (ref-fvm `fvm/src/kernel/blocks.rs`: only what is reachable from the root, or was written in the same message).

use std::cell::RefCell;
use std::collections::BTreeSet;

use anyhow::{Result, bail};
use cid::Cid;
use fvm_ipld_blockstore::{Blockstore, MemoryBlockstore};
use fvm_shared::ActorID;
use fvm_shared::address::{Address, Payload};
use fvm_shared::clock::ChainEpoch;

use crate::abi::{Message, ReceiptParams, ReceiptReturn};
use crate::bucket::Bucket;
use crate::cid::{DAG_CBOR, NativeHasher};
use crate::dag_cbor::{self, Ipld};
use crate::did::BucketId;
use crate::error::Abort;
use crate::execute::{self, Applied};
use crate::host::Host;
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
pub struct MemoryHost<S> {
    /// Where blocks are.
    pub store: S,
    /// The sender.
    pub caller: ActorID,
    /// The epoch.
    pub epoch: ChainEpoch,
    /// Addresses that are no ids, and the actors that the chain knows by them.
    pub addresses: Vec<(Address, ActorID)>,
}

impl<S: Blockstore> Host for MemoryHost<S> {
    type Store = S;
    type Hasher = NativeHasher;

    fn store(&self) -> &S {
        &self.store
    }

    fn caller(&self) -> ActorID {
        self.caller
    }

    fn origin(&self) -> ActorID {
        self.caller
    }

    fn value_received(&self) -> bool {
        false
    }

    fn epoch(&self) -> ChainEpoch {
        self.epoch
    }

    fn resolve(&self, address: &Address) -> Option<ActorID> {
        if let Payload::ID(id) = address.payload() {
            return Some(*id);
        }
        self.addresses.iter().find(|(known, _)| known == address).map(|(_, id)| *id)
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
    strict: bool,
}

impl Memory {
    /// An actor without buckets, at epoch 0.
    pub fn new(protocols: Protocols) -> Self {
        let store = MemoryBlockstore::new();
        let root = state::create::<_, NativeHasher>(&store).expect("a memory store takes blocks");
        Self { protocols, store, root, epoch: 0, strict: true }
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
        let applied = if self.strict {
            let store = Reachable::new(&self.store, self.root);
            execute::apply(&self.host(store, caller), &self.protocols, &self.root, message)?
        } else {
            execute::apply(&self.host(&self.store, caller), &self.protocols, &self.root, message)?
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
        execute::receipt(&self.host(&self.store, 0), &self.root, params)
    }

    /// Answers `Bucket`.
    pub fn bucket(&self, id: &BucketId) -> Result<Bucket, Abort> {
        execute::bucket(&self.host(&self.store, 0), &self.root, id)
    }

    fn host<S>(&self, store: S, caller: ActorID) -> MemoryHost<S> {
        MemoryHost { store, caller, epoch: self.epoch, addresses: vec![] }
    }
}
