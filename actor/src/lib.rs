//! The actor: method numbers, one match, nothing else. What it does is in `core`; how it reaches the FVM is in [`host`].
//!
//! | method | params | return |
//! |---|---|---|
//! | `Constructor` (1) | none | none |
//! | `Create`, `Schedule`, `Run`, `Invoke`, `Stage`, `Chunk`, `Drop`, `Deliver` | see `bucket_core::abi` | see there |
//! | `Receipt`, `Bucket` | see there; they change nothing and are for `StateCall` | see there |
//! | `InvokeEVM` | any of these, wrapped as `bucket_core::evm` says | wrapped likewise |
#![cfg(target_arch = "wasm32")]
#![deny(clippy::disallowed_types, clippy::disallowed_methods, clippy::disallowed_macros)]
#![deny(clippy::float_arithmetic, clippy::iter_over_hash_type, clippy::unwrap_used, clippy::panic)]

mod event;
mod host;

use bucket_core::abi::{self, BucketParams, Call, Hook, HookParams, Message, ReceiptParams, method};
use bucket_core::batch::Execution;
use bucket_core::cid::Cid;
use bucket_core::error::Abort;
use bucket_core::execute;
use bucket_core::host::Host;
use bucket_core::limits::{GAS_HOOK, HOOK_CAR_BYTES_MAX};
use bucket_core::state;
use bucket_protocols::table;
use fvm_ipld_encoding::{CBOR, RawBytes};
use fvm_sdk as sdk;
use fvm_shared::error::ExitCode;

use crate::host::{FvmHost, SyscallStore, Syscalls};

/// Actor id of Init, the only one that constructs (builtin-actors).
const INIT: u64 = 1;

const UNKNOWN: &str =
    "unknown method: expected Create, Schedule, Run, Invoke, Stage, Chunk, Drop, Deliver, Receipt or Bucket";

/// The FVM's entry point.
#[allow(unsafe_code, reason = "the FVM finds its entry point by this name")]
#[unsafe(no_mangle)]
pub fn invoke(params: u32) -> u32 {
    sdk::initialize();
    match dispatch(sdk::message::method_number(), params) {
        Ok(bytes) if bytes.is_empty() => sdk::NO_DATA_BLOCK_ID,
        Ok(bytes) => match sdk::ipld::put_block(CBOR, bytes.bytes()) {
            Ok(id) => id,
            Err(error) => abort(Abort::State(format!("failed to return: {error}"))),
        },
        Err(error) => abort(error),
    }
}

fn dispatch(number: u64, params: u32) -> Result<RawBytes, Abort> {
    if number == method::CONSTRUCTOR {
        return construct().map(|()| RawBytes::default());
    }
    let params = read(params)?;
    let Call { method, params, wire } = Call::unwrap(number, &params)?;
    Ok(wire.returned(answer(method, &params)?))
}

fn answer(number: u64, params: &[u8]) -> Result<RawBytes, Abort> {
    match number {
        method::RECEIPT => {
            no_value()?;
            let params: ReceiptParams = abi::decode("Receipt", params)?;
            execute::receipt(&FvmHost::default(), &root()?, &params).map(|found| abi::encode(&found))
        }
        method::BUCKET => {
            no_value()?;
            let params: BucketParams = abi::decode("Bucket", params)?;
            execute::bucket(&FvmHost::default(), &root()?, &params.bucket).map(|found| abi::encode(&found))
        }
        number => match Message::read(number, params) {
            Some(message) => apply(message?),
            None => sdk::vm::abort(ExitCode::USR_UNHANDLED_MESSAGE.value(), Some(UNKNOWN)),
        },
    }
}

/// The machine refuses value for the methods that it applies; these two are the actor's.
fn no_value() -> Result<(), Abort> {
    if FvmHost::default().value_received() { Err(Abort::Value) } else { Ok(()) }
}

fn construct() -> Result<(), Abort> {
    no_value()?;
    if sdk::message::caller() != INIT {
        sdk::vm::abort(ExitCode::USR_FORBIDDEN.value(), Some("expected Init to construct the actor"));
    }
    set_root(&state::create::<_, Syscalls>(&SyscallStore)?)
}

fn apply(message: Message) -> Result<RawBytes, Abort> {
    let before = root()?;
    let applied = execute::apply(&FvmHost::default(), &table::<Syscalls>(), &before, message)?;
    if applied.state != before {
        set_root(&applied.state)?;
    }
    applied.ran.iter().try_for_each(event::emit)?;
    // All is written: whatever a hook does, and it may call back, changes none of it.
    applied.ran.into_iter().try_for_each(tell)?;
    Ok(applied.returned.encode())
}

/// Calls a task's hook with its receipt. What it answers changes nothing; too little gas for it reverts the message, or
/// whoever runs tasks could keep hooks from being called.
fn tell(execution: Execution) -> Result<(), Abort> {
    let Execution { bucket, ran, receipt, ok, receipt_car, hook, .. } = execution;
    if let Some(Hook { to, method }) = hook {
        let fits = receipt_car.len() <= HOOK_CAR_BYTES_MAX;
        let receipt_car = if fits { receipt_car } else { vec![] };
        host::call(&to, method, abi::encode(&HookParams { bucket, ran, receipt, ok, receipt_car }), GAS_HOOK)?;
    }
    Ok(())
}

fn read(params: u32) -> Result<Vec<u8>, Abort> {
    match sdk::message::params_raw(params) {
        Ok(block) => Ok(block.map(|block| block.data).unwrap_or_default()),
        Err(error) => Err(Abort::State(format!("failed to read the parameters: {error}"))),
    }
}

fn root() -> Result<Cid, Abort> {
    sdk::sself::root().map_err(|error| Abort::State(format!("failed to read the root: {error}")))
}

fn set_root(root: &Cid) -> Result<(), Abort> {
    sdk::sself::set_root(root).map_err(|error| Abort::State(format!("failed to set the root: {error}")))
}

/// Ends the message, and reverts it.
fn abort(error: Abort) -> ! {
    sdk::vm::abort(error.code(), Some(&error.to_string()))
}
