//! Where the chain is kept: blocks by CID, and a few records by name.
//!
//! Blocks are first kept in memory. [`Store::commit`] writes all that came since the last commit, and the records that
//! make sense of it, in one durable transaction: a process that is killed leaves the old chain or the new one, nothing
//! between. Without a directory everything simply stays in memory.

use std::{
    collections::HashMap,
    path::Path,
    sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
};

use anyhow::{Context, Result};
use cid::Cid;
use fvm_ipld_blockstore::Blockstore;
use fvm_ipld_encoding::CborStore;
use multihash_codetable::Code;
use redb::{Database, ReadableDatabase, TableDefinition};
use serde::{Serialize, de::DeserializeOwned};

const BLOCKS: TableDefinition<&[u8], &[u8]> = TableDefinition::new("blocks");
const RECORDS: TableDefinition<&[u8], &[u8]> = TableDefinition::new("records");

/// A store of blocks; clones share it.
#[derive(Clone)]
pub struct Store(Arc<Inner>);

struct Inner {
    disk: Option<Database>,
    /// What is not on the disk yet; everything when there is none.
    memory: RwLock<Memory>,
}

#[derive(Default)]
struct Memory {
    blocks: HashMap<Cid, Vec<u8>>,
    records: HashMap<Vec<u8>, Vec<u8>>,
}

impl Store {
    /// A store that ends with the process.
    pub fn in_memory() -> Self {
        Self(Arc::new(Inner { disk: None, memory: RwLock::default() }))
    }

    /// Opens the store in `directory`, making both when they are not there.
    pub fn open(directory: &Path) -> Result<Self> {
        std::fs::create_dir_all(directory).with_context(|| format!("cannot make {}", directory.display()))?;
        let file = directory.join("chain.redb");
        let disk = Database::create(&file).with_context(|| {
            format!("cannot open {}: does another devnet run on this directory, or is it no store?", file.display())
        })?;
        let write = disk.begin_write()?;
        write.open_table(BLOCKS)?;
        write.open_table(RECORDS)?;
        write.commit()?;
        Ok(Self(Arc::new(Inner { disk: Some(disk), memory: RwLock::default() })))
    }

    /// A record, as the last commit or a later [`Store::set`] left it.
    pub fn record(&self, key: &[u8]) -> Result<Option<Vec<u8>>> {
        if let Some(value) = self.read().records.get(key) {
            return Ok(Some(value.clone()));
        }
        self.on_disk(RECORDS, key)
    }

    /// Sets a record; the next commit makes it durable.
    pub fn set(&self, key: &[u8], value: Vec<u8>) {
        self.write().records.insert(key.to_vec(), value);
    }

    /// Makes durable what was put and set since the last commit, all of it or nothing.
    pub fn commit(&self) -> Result<()> {
        let Some(disk) = &self.0.disk else { return Ok(()) };
        let mut memory = self.write();
        if memory.blocks.is_empty() && memory.records.is_empty() {
            return Ok(());
        }
        // redb's default durability: the transaction is on the disk when `commit` returns.
        let write = disk.begin_write()?;
        {
            let mut table = write.open_table(BLOCKS)?;
            for (cid, block) in &memory.blocks {
                table.insert(cid.to_bytes().as_slice(), block.as_slice())?;
            }
            let mut table = write.open_table(RECORDS)?;
            for (key, value) in &memory.records {
                table.insert(key.as_slice(), value.as_slice())?;
            }
        }
        write.commit().context("cannot write the chain to the disk")?;
        *memory = Memory::default();
        Ok(())
    }

    /// Writes a value as a DAG-CBOR block.
    pub fn put_object<T: Serialize>(&self, value: &T) -> Result<Cid> {
        self.put_cbor(value, Code::Blake2b256)
    }

    /// Reads a DAG-CBOR block that has to be there; `what` appears in the error.
    pub fn object<T: DeserializeOwned>(&self, cid: &Cid, what: &str) -> Result<T> {
        self.get_cbor(cid)
            .with_context(|| format!("{what} {cid} cannot be read"))?
            .with_context(|| format!("{what} {cid} is not in the store"))
    }

    fn on_disk(&self, table: TableDefinition<&[u8], &[u8]>, key: &[u8]) -> Result<Option<Vec<u8>>> {
        let Some(disk) = &self.0.disk else { return Ok(None) };
        let table = disk.begin_read()?.open_table(table)?;
        Ok(table.get(key)?.map(|value| value.value().to_vec()))
    }

    // A panic while the lock was held leaves whole entries only, so a poisoned lock is as good as any.
    fn read(&self) -> RwLockReadGuard<'_, Memory> {
        self.0.memory.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Memory> {
        self.0.memory.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Blockstore for Store {
    fn get(&self, cid: &Cid) -> Result<Option<Vec<u8>>> {
        if let Some(block) = self.read().blocks.get(cid) {
            return Ok(Some(block.clone()));
        }
        self.on_disk(BLOCKS, &cid.to_bytes())
    }

    fn has(&self, cid: &Cid) -> Result<bool> {
        if self.read().blocks.contains_key(cid) {
            return Ok(true);
        }
        Ok(self.on_disk(BLOCKS, &cid.to_bytes())?.is_some())
    }

    fn put_keyed(&self, cid: &Cid, block: &[u8]) -> Result<()> {
        // The FVM puts the same few blocks again and again; they are not to be written with every tipset.
        if !self.has(cid)? {
            self.write().blocks.insert(*cid, block.to_vec());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_committed_is_not_on_the_disk() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path()).unwrap();
        let kept = store.put_object(&"kept").unwrap();
        store.set(b"head", vec![1]);
        store.commit().unwrap();
        let lost = store.put_object(&"lost").unwrap();
        store.set(b"head", vec![2]);
        assert_eq!(store.record(b"head").unwrap(), Some(vec![2]));
        drop(store);

        let store = Store::open(directory.path()).unwrap();
        assert_eq!(store.object::<String>(&kept, "the text").unwrap(), "kept");
        assert_eq!(store.record(b"head").unwrap(), Some(vec![1]));
        let error = store.object::<String>(&lost, "the text").unwrap_err().to_string();
        assert_eq!(error, format!("the text {lost} is not in the store"));
    }
}
