//! The machine's surroundings on the FVM: syscalls.

use std::fmt::Display;

use anyhow::Result;
use bucket_core::abi::{self, DeliverParams, method};
use bucket_core::cid::{Cid, Hasher};
use bucket_core::error::Abort;
use bucket_core::host::Host;
use bucket_core::limits::GAS_BASE;
use bucket_core::ucan::Crypto;
use fvm_ipld_blockstore::{Block, Blockstore};
use fvm_ipld_encoding::ipld_block::IpldBlock;
use fvm_ipld_encoding::{CBOR, RawBytes};
use fvm_sdk as sdk;
use fvm_shared::ActorID;
use fvm_shared::address::Address;
use fvm_shared::clock::ChainEpoch;
use fvm_shared::crypto::hash::SupportedHashes;
use fvm_shared::crypto::signature::{SECP_PUB_LEN, SECP_SIG_LEN};
use fvm_shared::econ::TokenAmount;
use fvm_shared::error::{ErrorNumber, ExitCode};
use fvm_shared::sys::SendFlags;
use multihash_codetable::Code;

/// SHA-256 and secp256k1 by syscall.
pub enum Syscalls {}

impl Hasher for Syscalls {
    fn sha2_256(data: &[u8]) -> [u8; 32] {
        let mut digest = [0; 32];
        sdk::crypto::hash_into(SupportedHashes::Sha2_256, data, &mut digest);
        digest
    }
}

impl Crypto for Syscalls {
    /// There is no syscall that verifies with a key, but one that recovers it; which of two keys it is, a signature of 64
    /// bytes doesn't say.
    fn secp256k1(key: &[u8; 33], digest: &[u8; 32], signature: &[u8; 64]) -> bool {
        let mut recoverable = [0; SECP_SIG_LEN];
        recoverable[..64].copy_from_slice(signature);
        (0..2).any(|id| {
            recoverable[64] = id;
            sdk::crypto::recover_secp_public_key(digest, &recoverable).is_ok_and(|found| is_key(key, &found))
        })
    }
}

/// Whether a compressed key (SEC 1: 2 or 3 by the parity of y, then x) is this one (4, x, y).
fn is_key(compressed: &[u8; 33], found: &[u8; SECP_PUB_LEN]) -> bool {
    compressed[0] == 2 + (found[64] & 1) && compressed[1..] == found[1..33]
}

/// Blocks by syscall; the FVM computes their CIDs. What fails ends the message: state can't be read or written, and errors of
/// `anyhow` would bring 38 kB of backtraces into the module.
#[derive(Default)]
pub struct SyscallStore;

fn broken(error: ErrorNumber, what: &dyn Display) -> ! {
    crate::abort(Abort::State(format!("{error} for {what}")))
}

impl Blockstore for SyscallStore {
    fn get(&self, cid: &Cid) -> Result<Option<Vec<u8>>> {
        Ok(Some(sdk::ipld::get(cid).unwrap_or_else(|error| broken(error, &format_args!("block {cid}")))))
    }

    fn put<D: AsRef<[u8]>>(&self, code: Code, block: &Block<D>) -> Result<Cid> {
        let put = sdk::ipld::put(code.into(), 32, block.codec, block.data.as_ref());
        Ok(put.unwrap_or_else(|error| broken(error, &format_args!("a block of {} bytes", block.len()))))
    }

    fn put_keyed(&self, cid: &Cid, _: &[u8]) -> Result<()> {
        crate::abort(Abort::State(format!("expected the FVM to name block {cid}")))
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

    fn this(&self) -> ActorID {
        sdk::message::receiver()
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

    fn timestamp(&self) -> u64 {
        sdk::network::tipset_timestamp()
    }

    fn resolve(&self, address: &Address) -> Option<ActorID> {
        sdk::actor::resolve_address(address)
    }

    fn is_instance(&self, actor: ActorID) -> bool {
        let code = |id| sdk::actor::get_actor_code_cid(&Address::new_id(id));
        code(actor).is_some_and(|other| code(self.this()) == Some(other))
    }

    fn room(&self, gas: u64, _: u64) -> bool {
        sdk::gas::available() >= gas
    }

    fn deliver(&self, to: ActorID, params: &DeliverParams, gas: u64) -> Result<u32, Abort> {
        // Only code that is known not to call back may be called before this message's state is written.
        if !self.is_instance(to) {
            return Ok(Abort::NotInstance(to).code());
        }
        call(&Address::new_id(to), method::DELIVER, abi::encode(params), gas)
    }
}

/// Sends a message with that much gas; answers the exit code, or that of what kept it from being sent.
pub fn call(to: &Address, method: u64, params: RawBytes, gas: u64) -> Result<u32, Abort> {
    // What this message still has to do afterwards.
    let least = gas + GAS_BASE;
    if sdk::gas::available() < least {
        return Err(Abort::Gas(least));
    }
    let params = Some(IpldBlock { codec: CBOR, data: params.to_vec() });
    let sent = sdk::send::send(to, method, params, TokenAmount::default(), Some(gas), SendFlags::empty());
    Ok(sent.map_or(ExitCode::SYS_INVALID_RECEIVER.value(), |answer| answer.exit_code.value()))
}
