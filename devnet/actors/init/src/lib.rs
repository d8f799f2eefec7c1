//! The devnet's Init actor (f01): names every other actor, and lets anyone bring code.
//!
//! Methods 2 and 3 and the state are those of the real networks' Init (`filecoin-project/builtin-actors`,
//! `actors/init`). Two things differ:
//! - `InstallCode` (4) exists. The real networks have no way to install native code.
//! - `Exec` (2) admits whatever has been installed. The real one admits multisig and payment channel actors only.
//!
//! `Exec4` (3) belongs to the Ethereum address manager, which the devnet does not have yet; its number stays free.

use cid::Cid;
use devnet_actor_runtime::{
    BLAKE2B_256, FvmBlockstore, abort, get, load, or_abort, params, put, reply, save, unhandled,
};
use fvm_ipld_encoding::{CBOR, RawBytes, ipld_block::IpldBlock, tuple::*};
use fvm_ipld_hamt::Hamt;
use fvm_sdk::{actor, ipld, message, send, vm};
use fvm_shared::{
    ActorID, HAMT_BIT_WIDTH, IPLD_RAW, METHOD_CONSTRUCTOR, address::Address, error::ExitCode, sys::SendFlags,
};

const EXEC: u64 = 2;
const INSTALL_CODE: u64 = 4;

/// As `fvm::init_actor::State` reads it with the feature `m2-native`.
#[derive(Serialize_tuple, Deserialize_tuple)]
struct State {
    /// `HAMT[Address]ActorID`, of all addresses but f0 ones.
    address_map: Cid,
    next_id: ActorID,
    network_name: String,
    /// `[Cid]`: the code that `Exec` admits.
    installed_actors: Cid,
}

#[derive(Deserialize_tuple)]
struct ExecParams {
    code_cid: Cid,
    constructor_params: RawBytes,
}

#[derive(Serialize_tuple)]
struct ExecReturn {
    /// f0 address.
    id_address: Address,
    /// f2 address: stays the same when a reorg gives the actor another id.
    robust_address: Address,
}

#[derive(Deserialize_tuple)]
struct InstallCodeParams {
    code: RawBytes,
}

#[derive(Serialize_tuple)]
struct InstallCodeReturn {
    code_cid: Cid,
    /// False when the code had been there already.
    installed: bool,
}

#[unsafe(no_mangle)]
#[expect(unsafe_code, reason = "the FVM finds the entry point by its name")]
pub extern "C" fn invoke(params_id: u32) -> u32 {
    fvm_sdk::initialize();
    match message::method_number() {
        EXEC => reply(&exec(params(params_id))),
        INSTALL_CODE => reply(&install_code(params(params_id))),
        _ => unhandled(),
    }
}

/// Creates an actor of installed code and runs its constructor with the value received.
fn exec(ExecParams { code_cid, constructor_params }: ExecParams) -> ExecReturn {
    let mut state: State = load();
    if !installed(&state).contains(&code_cid) {
        abort(ExitCode::USR_FORBIDDEN, format!("code {code_cid} is not installed: send it to InstallCode (4) first"));
    }
    let robust_address = actor::next_actor_address();
    let id = register(&mut state, &robust_address);
    // Before anything of the new actor runs: its constructor may call back.
    save(&state);
    or_abort(actor::create_actor(id, &code_cid, None), ExitCode::USR_ILLEGAL_STATE, "creating the actor");

    let id_address = Address::new_id(id);
    construct(&id_address, constructor_params);
    ExecReturn { id_address, robust_address }
}

/// Gives `address` the next actor id.
fn register(state: &mut State, address: &Address) -> ActorID {
    let id = state.next_id;
    let Some(next) = id.checked_add(1) else { abort(ExitCode::USR_ILLEGAL_STATE, "no actor id is left") };
    state.next_id = next;

    let map = Hamt::<_, ActorID>::load_with_bit_width(&state.address_map, FvmBlockstore, HAMT_BIT_WIDTH);
    let mut map = or_abort(map, ExitCode::USR_ILLEGAL_STATE, "loading the address map");
    let fresh = map.set_if_absent(address.to_bytes().into(), id);
    if !or_abort(fresh, ExitCode::USR_ILLEGAL_STATE, "writing the address map") {
        abort(ExitCode::USR_FORBIDDEN, format!("the address {address} is taken"));
    }
    state.address_map = or_abort(map.flush(), ExitCode::USR_ILLEGAL_STATE, "saving the address map");
    id
}

/// Calls the constructor; its failure is the whole message's failure, with its own exit code.
fn construct(actor: &Address, constructor_params: RawBytes) {
    let block = (!constructor_params.is_empty()).then(|| IpldBlock { codec: CBOR, data: constructor_params.to_vec() });
    let value = message::value_received();
    let sent = send::send(actor, METHOD_CONSTRUCTOR, block, value, None, SendFlags::empty());
    let response = or_abort(sent, ExitCode::USR_ILLEGAL_STATE, "calling the constructor");
    if !response.exit_code.is_success() {
        vm::exit(response.exit_code.value(), response.return_data, Some("the constructor failed"));
    }
}

/// Stores a wasm module and has the engine load it, so that code which cannot run is never installed.
fn install_code(InstallCodeParams { code }: InstallCodeParams) -> InstallCodeReturn {
    let (hash, length) = BLAKE2B_256;
    let written = ipld::put(hash, length, IPLD_RAW, code.bytes());
    let code_cid = or_abort(written, ExitCode::USR_ILLEGAL_ARGUMENT, "storing the module (at most 1 MiB)");
    let mut state: State = load();
    let mut codes = installed(&state);
    if codes.contains(&code_cid) {
        return InstallCodeReturn { code_cid, installed: false };
    }
    or_abort(actor::install_actor(&code_cid), ExitCode::USR_ILLEGAL_ARGUMENT, "the FVM's engine refuses the module");

    codes.push(code_cid);
    state.installed_actors = put(&codes, "the installed code");
    save(&state);
    InstallCodeReturn { code_cid, installed: true }
}

fn installed(state: &State) -> Vec<Cid> {
    get(&state.installed_actors, "the installed code")
}
