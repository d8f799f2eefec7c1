//! An actor for tests of whatever calls others: it can be told things, refuse, burn, call back, and call on behalf of whoever
//! asks. What happened to it is in its state, a tuple that tests read.

use devnet_actor_runtime::{FIRST_EXPORTED_METHOD, abort, load, or_abort, params, reply, save, unhandled};
use fvm_ipld_encoding::{CBOR, RawBytes, ipld_block::IpldBlock, strict_bytes, tuple::*};
use fvm_sdk::{NO_DATA_BLOCK_ID, message, send};
use fvm_shared::{
    ActorID, METHOD_CONSTRUCTOR, address::Address, econ::TokenAmount, error::ExitCode, sys::BlockId, sys::SendFlags,
};

/// Keeps who called with what.
const TELL: u64 = FIRST_EXPORTED_METHOD + 1;
/// Keeps nothing and fails.
const REFUSE: u64 = FIRST_EXPORTED_METHOD + 2;
/// Takes all gas that there is.
const BURN: u64 = FIRST_EXPORTED_METHOD + 3;
/// Sends the caller what was prepared, and keeps the exit code.
const CALL_BACK: u64 = FIRST_EXPORTED_METHOD + 4;
/// Prepares what `CALL_BACK` sends.
const PREPARE: u64 = FIRST_EXPORTED_METHOD + 5;
/// Sends a message at once, and answers its exit code and return value.
const FORWARD: u64 = FIRST_EXPORTED_METHOD + 6;

/// Keeps who called with how many bytes.
const MEASURE: u64 = FIRST_EXPORTED_METHOD + 7;

#[derive(Default, Serialize_tuple, Deserialize_tuple)]
struct State {
    told: Vec<Told>,
    prepared: Option<Call>,
    /// Exit codes of what was called back.
    answers: Vec<u32>,
}

#[derive(Serialize_tuple, Deserialize_tuple)]
struct Told {
    caller: ActorID,
    #[serde(with = "strict_bytes")]
    params: Vec<u8>,
}

#[derive(Clone, Serialize_tuple, Deserialize_tuple)]
struct Call {
    to: Address,
    method: u64,
    params: RawBytes,
}

#[derive(Serialize_tuple)]
struct Answer {
    exit_code: u32,
    returned: RawBytes,
}

#[unsafe(no_mangle)]
#[expect(unsafe_code, reason = "the FVM finds the entry point by its name")]
pub extern "C" fn invoke(params_id: u32) -> u32 {
    fvm_sdk::initialize();
    match message::method_number() {
        METHOD_CONSTRUCTOR => save(&State::default()),
        TELL => keep(read(params_id)),
        MEASURE => keep((read(params_id).len() as u64).to_be_bytes().to_vec()),
        REFUSE => abort(ExitCode::USR_FORBIDDEN, "it refuses, as it was asked to"),
        BURN => burn(),
        CALL_BACK => call_back(params_id),
        PREPARE => save(&State { prepared: Some(params(params_id)), ..load() }),
        FORWARD => return forward(params(params_id)),
        _ => unhandled(),
    }
    NO_DATA_BLOCK_ID
}

fn read(params_id: BlockId) -> Vec<u8> {
    let block = or_abort(message::params_raw(params_id), ExitCode::USR_ILLEGAL_STATE, "reading the parameters");
    block.map(|block| block.data).unwrap_or_default()
}

fn keep(params: Vec<u8>) {
    let mut state: State = load();
    state.told.push(Told { caller: message::caller(), params });
    save(&state);
}

fn burn() {
    let mut turns = 0u64;
    loop {
        turns = std::hint::black_box(turns.wrapping_add(1));
    }
}

fn call_back(params_id: BlockId) {
    keep(read(params_id));
    let mut state: State = load();
    let Some(Call { method, params, .. }) = state.prepared.clone() else {
        abort(ExitCode::USR_ILLEGAL_STATE, "nothing was prepared")
    };
    let Answer { exit_code, .. } = call(Call { to: Address::new_id(message::caller()), method, params });
    state.answers.push(exit_code);
    save(&state);
}

fn forward(message: Call) -> BlockId {
    reply(&call(message))
}

fn call(Call { to, method, params }: Call) -> Answer {
    let block = Some(IpldBlock { codec: CBOR, data: params.to_vec() });
    let sent = send::send(&to, method, block, TokenAmount::default(), None, SendFlags::empty());
    let answer = or_abort(sent, ExitCode::USR_ILLEGAL_STATE, "sending");
    let returned = answer.return_data.map(|block| block.data).unwrap_or_default();
    Answer { exit_code: answer.exit_code.value(), returned: RawBytes::new(returned) }
}
