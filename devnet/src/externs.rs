//! What the FVM asks of the node while it executes.

use anyhow::{Context, Result, bail};
use bucket_rpc::json::{BlockHeader, TipsetKey};
use cid::Cid;
use fvm::externs::{Chain, Consensus, Externs, Rand};
use fvm_ipld_blockstore::Blockstore;
use fvm_shared::{clock::ChainEpoch, consensus::ConsensusFault};

use crate::{account::blake2b_256, store::Store};

/// The node's side of an execution on top of the tipset `parent`.
pub struct DevnetExterns {
    store: Store,
    parent: Option<Cid>,
}

impl DevnetExterns {
    /// With `parent` left out, as for genesis, no earlier tipset can be asked for.
    pub fn new(store: Store, parent: Option<Cid>) -> Self {
        Self { store, parent }
    }

    fn header(&self, cid: &Cid) -> Result<BlockHeader> {
        let bytes = self.store.get(cid)?.with_context(|| format!("block {cid} is not in the store"))?;
        Ok(BlockHeader::from_cbor(&bytes)?)
    }
}

impl Externs for DevnetExterns {}

/// Randomness is a hash of the epoch: fixed, so that executions repeat, and known to everyone in advance.
impl Rand for DevnetExterns {
    fn get_chain_randomness(&self, round: ChainEpoch) -> Result<[u8; 32]> {
        Ok(blake2b_256(format!("devnet chain randomness {round}").as_bytes()))
    }

    fn get_beacon_randomness(&self, round: ChainEpoch) -> Result<[u8; 32]> {
        Ok(blake2b_256(format!("devnet beacon randomness {round}").as_bytes()))
    }
}

/// The devnet has one miner, and it is honest.
impl Consensus for DevnetExterns {
    fn verify_consensus_fault(&self, _: &[u8], _: &[u8], _: &[u8]) -> Result<(Option<ConsensusFault>, i64)> {
        Ok((None, 0))
    }
}

impl Chain for DevnetExterns {
    /// The key of the tipset at `epoch`, or of the nearest before a null round, as one CID.
    fn get_tipset_cid(&self, epoch: ChainEpoch) -> Result<Cid> {
        let mut next = self.parent;
        while let Some(cid) = next {
            let header = self.header(&cid)?;
            if header.height <= epoch {
                return Ok(TipsetKey(vec![cid]).cid());
            }
            next = header.parents.first().copied();
        }
        bail!("there is no tipset at epoch {epoch} or before")
    }
}
