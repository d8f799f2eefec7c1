//! What the store knows beside blocks: where the chain is, and what executing each tipset gave.

use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use bucket_rpc::json::BlockHeader;
use cid::Cid;
use fvm_ipld_blockstore::Blockstore;

use crate::{block::Block, config::Config, genesis, store::Store};

/// The CID of the newest block.
pub const HEAD: &[u8] = b"head";

/// The CID of the block at epoch 0.
pub const GENESIS: &[u8] = b"genesis";

/// How many null rounds have passed since the head.
pub const SKIPPED: &[u8] = b"skipped";

/// How many reorgs there have been.
pub const FORKS: &[u8] = b"forks";

/// The settings that the chain was begun with.
const SETTINGS: &[u8] = b"settings";

fn outcome_key(cid: &Cid) -> Vec<u8> {
    [b"outcome/".as_slice(), &cid.to_bytes()].concat()
}

/// Keeps a tipset: its block as a block, its outcome as a record.
pub fn save(store: &Store, block: &Block) -> Result<()> {
    store.put_keyed(&block.cid, &block.header.to_cbor()?)?;
    store.set(&outcome_key(&block.cid), fvm_ipld_encoding::to_vec(&block.outcome)?);
    Ok(())
}

/// Reads a tipset that [`save`] has kept.
pub fn load(store: &Store, cid: &Cid) -> Result<Arc<Block>> {
    let outcome = store.record(&outcome_key(cid))?.with_context(|| format!("block {cid} not found"))?;
    let header = store.get(cid)?.with_context(|| format!("block {cid} is not in the store"))?;
    let (header, outcome) = (BlockHeader::from_cbor(&header)?, fvm_ipld_encoding::from_slice(&outcome)?);
    Ok(Arc::new(Block { cid: *cid, header, outcome }))
}

/// A record that is a CID.
pub fn cid(store: &Store, key: &[u8]) -> Result<Option<Cid>> {
    Ok(store.record(key)?.map(|bytes| Cid::read_bytes(bytes.as_slice())).transpose()?)
}

/// A record that is a number; zero when it is not there.
pub fn number(store: &Store, key: &[u8]) -> Result<u64> {
    let Some(bytes) = store.record(key)? else { return Ok(0) };
    Ok(u64::from_be_bytes(bytes.as_slice().try_into().context("a number of the store has not eight bytes")?))
}

/// Refuses to continue a chain with settings that it was not begun with.
pub fn check_settings(store: &Store, config: &Config) -> Result<()> {
    let settings = genesis::settings(config);
    match store.record(SETTINGS)? {
        None => store.set(SETTINGS, settings.into_bytes()),
        Some(begun) => ensure!(
            begun == settings.as_bytes(),
            "the chain was begun with other settings: expected {}, got {settings}. Give the same ones, or another \
             directory",
            String::from_utf8_lossy(&begun)
        ),
    }
    Ok(())
}
