//! What the devnet's actors share: parameters in, a reply out, state in between, and one way to refuse.
//!
//! It replaces `fil_actors_runtime`, whose published versions do not fit today's FVM.

use std::fmt::Display;

use anyhow::anyhow;
use cid::Cid;
use fvm_ipld_blockstore::{Block, Blockstore};
use fvm_ipld_encoding::{CBOR, CborStore, DAG_CBOR};
use fvm_sdk::{ipld, message, sself, vm};
use fvm_shared::{error::ExitCode, sys::BlockId};
use multihash_codetable::Code;
use serde::{Serialize, de::DeserializeOwned};

/// The only hash that the FVM links blocks by, and its length in bytes.
pub const BLAKE2B_256: (u64, u32) = (0xb220, 32);

/// The first method number of FRC-0042; account-like actors accept everything from here on.
pub const FIRST_EXPORTED_METHOD: u64 = 1 << 24;

/// Ends the message: nothing of it stays but the exit code and the gas.
pub fn abort(code: ExitCode, why: impl Display) -> ! {
    vm::abort(code.value(), Some(&why.to_string()))
}

/// Unwraps a result, or aborts with `code` and what had been attempted.
pub fn or_abort<T, E: Display>(result: Result<T, E>, code: ExitCode, attempt: &str) -> T {
    result.unwrap_or_else(|error| abort(code, format!("{attempt}: {error}")))
}

/// The answer to a method that the actor does not have.
pub fn unhandled() -> ! {
    abort(ExitCode::USR_UNHANDLED_MESSAGE, format!("no method {}", message::method_number()))
}

/// The message's parameters.
pub fn params<T: DeserializeOwned>(id: BlockId) -> T {
    match or_abort(message::params_raw(id), ExitCode::USR_ILLEGAL_STATE, "reading the parameters") {
        Some(block) => or_abort(block.deserialize(), ExitCode::USR_SERIALIZATION, "decoding the parameters"),
        None => abort(ExitCode::USR_ILLEGAL_ARGUMENT, "the method wants parameters, none came"),
    }
}

/// Makes a return value. Its codec is CBOR, not DAG-CBOR, because the caller could not reach what it links to.
pub fn reply<T: Serialize>(value: &T) -> BlockId {
    let bytes = or_abort(fvm_ipld_encoding::to_vec(value), ExitCode::USR_SERIALIZATION, "encoding the reply");
    or_abort(ipld::put_block(CBOR, &bytes), ExitCode::USR_ILLEGAL_STATE, "writing the reply")
}

/// The actor's state.
pub fn load<T: DeserializeOwned>() -> T {
    let root = or_abort(sself::root(), ExitCode::USR_ILLEGAL_STATE, "reading the state root");
    get(&root, "the state")
}

/// Replaces the actor's state.
pub fn save<T: Serialize>(state: &T) {
    let root = put(state, "the state");
    or_abort(sself::set_root(&root), ExitCode::USR_ILLEGAL_STATE, "setting the state root");
}

/// Reads a block of the actor's own state; `name` appears in the error only.
pub fn get<T: DeserializeOwned>(cid: &Cid, name: &str) -> T {
    or_abort(FvmBlockstore.get_cbor(cid), ExitCode::USR_ILLEGAL_STATE, name)
        .unwrap_or_else(|| abort(ExitCode::USR_ILLEGAL_STATE, format!("{name} {cid} is missing")))
}

/// Writes a block that the state will link to; `name` appears in the error only.
pub fn put<T: Serialize>(value: &T, name: &str) -> Cid {
    let bytes = or_abort(fvm_ipld_encoding::to_vec(value), ExitCode::USR_SERIALIZATION, name);
    let (hash, length) = BLAKE2B_256;
    or_abort(ipld::put(hash, length, DAG_CBOR, &bytes), ExitCode::USR_ILLEGAL_STATE, name)
}

/// The FVM's blocks as a [`Blockstore`], for the HAMT.
pub struct FvmBlockstore;

impl Blockstore for FvmBlockstore {
    fn get(&self, cid: &Cid) -> anyhow::Result<Option<Vec<u8>>> {
        // The FVM lets an actor read only what its state reaches, so a block that is not there is an error.
        ipld::get(cid).map(Some).map_err(|error| anyhow!("cannot read block {cid}: {error}"))
    }

    fn put_keyed(&self, cid: &Cid, block: &[u8]) -> anyhow::Result<()> {
        let (_, length) = BLAKE2B_256;
        let written = ipld::put(cid.hash().code(), length, cid.codec(), block)
            .map_err(|error| anyhow!("cannot write block {cid}: {error}"))?;
        anyhow::ensure!(written == *cid, "block {cid} was written as {written}");
        Ok(())
    }

    fn put<D: AsRef<[u8]>>(&self, code: Code, block: &Block<D>) -> anyhow::Result<Cid> {
        let (_, length) = BLAKE2B_256;
        ipld::put(code.into(), length, block.codec, block.data.as_ref())
            .map_err(|error| anyhow!("cannot write a block: {error}"))
    }
}
