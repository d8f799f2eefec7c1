//! The machine's surroundings on the FVM: syscalls.

use anyhow::{Result, anyhow};
use bucket_core::cid::{Cid, Hasher};
use bucket_core::host::Host;
use fvm_ipld_blockstore::{Block, Blockstore};
use fvm_sdk as sdk;
use fvm_shared::ActorID;
use fvm_shared::address::Address;
use fvm_shared::clock::ChainEpoch;
use fvm_shared::crypto::hash::SupportedHashes;
use multihash_codetable::Code;

/// SHA-256 by syscall.
pub enum Syscalls {}

impl Hasher for Syscalls {
    fn sha2_256(data: &[u8]) -> [u8; 32] {
        let mut digest = [0; 32];
        sdk::crypto::hash_into(SupportedHashes::Sha2_256, data, &mut digest);
        digest
    }
}

/// Blocks by syscall; the FVM computes their CIDs.
#[derive(Default)]
pub struct SyscallStore;

impl Blockstore for SyscallStore {
    fn get(&self, cid: &Cid) -> Result<Option<Vec<u8>>> {
        sdk::ipld::get(cid).map(Some).map_err(|error| anyhow!("{error} for block {cid}"))
    }

    fn put<D: AsRef<[u8]>>(&self, code: Code, block: &Block<D>) -> Result<Cid> {
        sdk::ipld::put(code.into(), 32, block.codec, block.data.as_ref())
            .map_err(|error| anyhow!("{error} for a block of {} bytes", block.len()))
    }

    fn put_keyed(&self, cid: &Cid, _: &[u8]) -> Result<()> {
        Err(anyhow!("expected the FVM to name block {cid}"))
    }
}

/// The message that is being executed.
#[derive(Default)]
pub struct FvmHost {
    store: SyscallStore,
}

impl Host for FvmHost {
    type Store = SyscallStore;
    type Hasher = Syscalls;

    fn store(&self) -> &SyscallStore {
        &self.store
    }

    fn caller(&self) -> ActorID {
        sdk::message::caller()
    }

    fn origin(&self) -> ActorID {
        sdk::message::origin()
    }

    fn value_received(&self) -> bool {
        sdk::message::value_received() != Default::default()
    }

    fn epoch(&self) -> ChainEpoch {
        sdk::network::curr_epoch()
    }

    fn resolve(&self, address: &Address) -> Option<ActorID> {
        sdk::actor::resolve_address(address)
    }
}
