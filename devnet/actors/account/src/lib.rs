//! The account actor: the key behind a sender.
//!
//! Methods and exit codes are those of the real networks (`filecoin-project/builtin-actors`, `actors/account`). The
//! FVM itself creates such an actor when value is sent to an f1 or f3 address that nobody has used.

use devnet_actor_runtime::{FIRST_EXPORTED_METHOD, abort, load, params, reply, save, unhandled};
use fvm_ipld_encoding::{strict_bytes, tuple::*};
use fvm_sdk::{NO_DATA_BLOCK_ID, crypto, message};
use fvm_shared::{
    METHOD_CONSTRUCTOR,
    address::{Address, Protocol},
    crypto::signature::{Signature, SignatureType},
    error::ExitCode,
};

const SYSTEM_ACTOR: u64 = 0;

const PUBKEY_ADDRESS: u64 = 2;

/// FRC-0042 hash of `AuthenticateMessage`.
const AUTHENTICATE_MESSAGE: u64 = 2_643_134_072;

#[derive(Serialize_tuple, Deserialize_tuple)]
struct State {
    /// f1 or f3.
    address: Address,
}

#[derive(Deserialize_tuple)]
struct AuthenticateMessageParams {
    #[serde(with = "strict_bytes")]
    signature: Vec<u8>,
    #[serde(with = "strict_bytes")]
    message: Vec<u8>,
}

#[unsafe(no_mangle)]
#[expect(unsafe_code, reason = "the FVM finds the entry point by its name")]
pub extern "C" fn invoke(params_id: u32) -> u32 {
    fvm_sdk::initialize();
    match message::method_number() {
        METHOD_CONSTRUCTOR => constructor(params(params_id)),
        PUBKEY_ADDRESS => reply(&load::<State>().address),
        AUTHENTICATE_MESSAGE => authenticate(params(params_id)),
        // FRC-0042: an account receives any exported method, so that a payment never fails for its method number.
        method if method >= FIRST_EXPORTED_METHOD => NO_DATA_BLOCK_ID,
        _ => unhandled(),
    }
}

fn constructor(address: Address) -> u32 {
    if message::caller() != SYSTEM_ACTOR {
        abort(ExitCode::USR_FORBIDDEN, "only the system creates accounts");
    }
    if !matches!(address.protocol(), Protocol::Secp256k1 | Protocol::BLS) {
        abort(ExitCode::USR_ILLEGAL_ARGUMENT, format!("an account's address is f1 or f3, not {address}"));
    }
    save(&State { address });
    NO_DATA_BLOCK_ID
}

/// Answers `true`, or aborts: whoever forgets to look at the answer is still safe.
fn authenticate(AuthenticateMessageParams { signature, message }: AuthenticateMessageParams) -> u32 {
    let State { address } = load();
    let sig_type = match address.protocol() {
        Protocol::Secp256k1 => SignatureType::Secp256k1,
        Protocol::BLS => SignatureType::BLS,
        _ => abort(ExitCode::USR_ILLEGAL_STATE, format!("the account {address} has no key")),
    };
    let signature = Signature { sig_type, bytes: signature };
    match crypto::verify_signature(&signature, &address, &message) {
        Ok(true) => reply(&true),
        _ => abort(ExitCode::USR_ILLEGAL_ARGUMENT, "the signature is not this account's"),
    }
}
