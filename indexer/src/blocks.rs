//! The actor's blocks, as the machine wants to read them: synchronously.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::Result;
use bucket_core::cid::DAG_CBOR;
use bucket_core::dag_cbor::{self, Ipld};
use bytes::Bytes;
use cid::Cid;
use fvm_ipld_blockstore::Blockstore;
use tokio::runtime::Handle;

use crate::cache::Cache;
use crate::store::Store;

/// Blocks of state that are kept in memory: the upper nodes of the maps are read by every message.
const CACHE_BYTES: usize = 32 << 20;

/// The stored blocks, read through a cache.
///
/// **Not for async code**: a read blocks its thread until the database answers. Use it in `spawn_blocking`.
#[derive(Clone)]
pub struct Blocks {
    store: Arc<dyn Store>,
    cache: Arc<Cache<Cid>>,
    runtime: Handle,
}

impl Blocks {
    /// Blocks of `store`; the runtime that drives its reads is the current one.
    pub fn new(store: Arc<dyn Store>) -> Self {
        Self { store, cache: Arc::new(Cache::new(CACHE_BYTES)), runtime: Handle::current() }
    }
}

impl Blockstore for Blocks {
    fn get(&self, cid: &Cid) -> Result<Option<Vec<u8>>> {
        if let Some(block) = self.cache.get(cid) {
            return Ok(Some(block.to_vec()));
        }
        let block = self.runtime.block_on(self.store.block(cid))?;
        if let Some(block) = &block {
            self.cache.put(*cid, Bytes::copy_from_slice(block));
        }
        Ok(block)
    }

    fn put_keyed(&self, cid: &Cid, _: &[u8]) -> Result<()> {
        anyhow::bail!("block {cid} was to be written outside of a tipset")
    }
}

/// Blocks to be stored.
pub type NewBlocks = Vec<(Cid, Vec<u8>)>;

/// New blocks over stored ones. Nothing is written below.
pub struct Overlay<S> {
    below: S,
    new: RefCell<BTreeMap<Cid, Vec<u8>>>,
    failed: RefCell<Option<anyhow::Error>>,
}

impl<S: Blockstore> Overlay<S> {
    /// No new blocks over `below`.
    pub fn new(below: S) -> Self {
        Self { below, new: RefCell::default(), failed: RefCell::default() }
    }

    /// Why a block below could not be read. The machine takes that for a broken state, which it is not.
    pub fn take_failure(&self) -> Option<anyhow::Error> {
        self.failed.take()
    }

    /// The new blocks that are reachable from `root`; what came and went in between is left out.
    pub fn reachable(&self, root: &Cid) -> Result<NewBlocks> {
        let mut new = self.new.borrow().clone();
        let mut found = Vec::new();
        let mut wanted = vec![*root];
        while let Some(cid) = wanted.pop() {
            let Some(block) = new.remove(&cid) else { continue };
            if cid.codec() == DAG_CBOR {
                dag_cbor::links(&fvm_ipld_encoding::from_slice::<Ipld>(&block)?, &mut wanted);
            }
            found.push((cid, block));
        }
        Ok(found)
    }
}

impl<S: Blockstore> Blockstore for Overlay<S> {
    fn get(&self, cid: &Cid) -> Result<Option<Vec<u8>>> {
        if let Some(block) = self.new.borrow().get(cid) {
            return Ok(Some(block.clone()));
        }
        let failure = match self.below.get(cid) {
            Ok(Some(block)) => return Ok(Some(block)),
            Ok(None) => anyhow::anyhow!("block {cid} is not in the index"),
            Err(error) => error,
        };
        let text = format!("{failure:#}");
        self.failed.borrow_mut().get_or_insert(failure);
        anyhow::bail!(text)
    }

    fn put_keyed(&self, cid: &Cid, block: &[u8]) -> Result<()> {
        self.new.borrow_mut().insert(*cid, block.to_vec());
        Ok(())
    }
}
