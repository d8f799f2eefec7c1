//! The Ethereum account actor: a sender whose key is an Ethereum one. It has no state, its address says everything.
//!
//! As on the real networks (`filecoin-project/builtin-actors`, `actors/ethaccount`). The FVM makes one of a placeholder
//! when the first message comes from its address; nobody calls the constructor.

use devnet_actor_runtime::{FIRST_EXPORTED_METHOD, abort, unhandled};
use fvm_sdk::{NO_DATA_BLOCK_ID, message};
use fvm_shared::{METHOD_CONSTRUCTOR, error::ExitCode};

const SYSTEM_ACTOR: u64 = 0;

#[unsafe(no_mangle)]
#[expect(unsafe_code, reason = "the FVM finds the entry point by its name")]
pub extern "C" fn invoke(_: u32) -> u32 {
    fvm_sdk::initialize();
    match message::method_number() {
        METHOD_CONSTRUCTOR if message::caller() == SYSTEM_ACTOR => NO_DATA_BLOCK_ID,
        METHOD_CONSTRUCTOR => abort(ExitCode::USR_FORBIDDEN, "only the system creates accounts"),
        // FRC-0042: an account receives any exported method. That is how FIL comes from other Ethereum accounts.
        method if method >= FIRST_EXPORTED_METHOD => NO_DATA_BLOCK_ID,
        _ => unhandled(),
    }
}
