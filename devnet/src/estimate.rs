//! What a message will need: gas, fee cap, premium. lotus:node/impl/full/gas.go.

use anyhow::Result;
use bucket_rpc::{
    Failure,
    json::{Message, MessageSendSpec, Signature, SignedMessage},
    server::code,
};
use cid::Cid;
use fvm_shared::{bigint::Integer, econ::TokenAmount, error::ExitCode};
use num_traits::Zero;

use crate::{
    account::Account,
    chain::explicit,
    check,
    fees::{BLOCK_GAS_LIMIT, MINIMUM_PREMIUM, base_fee_after},
    node::Node,
    state::State,
};

/// A fee cap has to hold for so many full blocks.
const QUEUE_BLOCKS: u32 = 20;

/// The length of a secp256k1 signature, and of a delegated one. It counts as part of the message.
const SIGNATURE_BYTES: usize = 65;

/// The most that gas may cost when the caller sets no limit: 0.07 FIL.
fn default_max_fee() -> TokenAmount {
    TokenAmount::from_nano(70_000_000)
}

/// Fills in the gas fields that are zero.
pub fn message_gas(node: &Node, mut message: Message, spec: Option<MessageSendSpec>) -> Result<Message> {
    if message.gas_limit == 0 {
        // Nodes that execute it later may find more to do.
        message.gas_limit = (gas_used(node, message.clone())? * 5 / 4).min(BLOCK_GAS_LIMIT);
    }
    if message.gas_premium.is_zero() {
        message.gas_premium = premium(10);
    }
    if message.gas_fee_cap.is_zero() {
        message.gas_fee_cap = fee_cap(node, QUEUE_BLOCKS) + &message.gas_premium;
    }
    cap_fee(&mut message, &spec.unwrap_or_default());
    Ok(message)
}

/// A premium to be included within so many blocks. Nobody competes, so it is Lotus' least one.
pub fn premium(blocks: u64) -> TokenAmount {
    let halves = match blocks {
        0 | 1 => 4,
        2 => 3,
        _ => 2,
    };
    TokenAmount::from_atto(MINIMUM_PREMIUM * halves / 2)
}

/// A fee cap that holds for so many full blocks after the head.
pub fn fee_cap(node: &Node, full_blocks: u32) -> TokenAmount {
    base_fee_after(&node.chain.head().header.parent_base_fee, full_blocks)
}

fn cap_fee(message: &mut Message, spec: &MessageSendSpec) {
    let max_fee = if spec.max_fee.is_zero() { default_max_fee() } else { spec.max_fee.clone() };
    let affordable = TokenAmount::from_atto(max_fee.atto().div_floor(&message.gas_limit.max(1).into()));
    if spec.maximize_fee_cap || message.gas_fee_cap > affordable {
        message.gas_fee_cap = affordable;
    }
    if message.gas_premium > message.gas_fee_cap {
        message.gas_premium = message.gas_fee_cap.clone();
    }
}

/// The gas that a message uses after all of its sender's that wait, or the reason why it would fail.
pub fn gas_used(node: &Node, mut message: Message) -> Result<u64> {
    let state = node.chain.state()?;
    let waiting = waiting_of_sender(node, &state, &message)?;
    message.nonce = state.actor(&message.from)?.1.sequence + waiting.len() as u64;
    message.gas_limit = BLOCK_GAS_LIMIT;
    // It is executed as if signed, so that its inclusion is paid for; but without a price, so that nobody is too poor.
    message.gas_fee_cap = TokenAmount::zero();
    message.gas_premium = TokenAmount::zero();
    let signed = SignedMessage { message, signature: Signature::secp256k1(vec![0; SIGNATURE_BYTES]) };
    let calls = waiting.iter().chain([&signed]).map(explicit).collect::<Result<Vec<_>>>()?;
    let result = node.chain.executor.try_last(node.chain.env_after_head(), calls)?;
    match result.msg_receipt.exit_code {
        ExitCode::OK => Ok(result.msg_receipt.gas_used),
        ExitCode::SYS_OUT_OF_GAS => {
            let why = format!("call ran out of gas: it needs more than the {BLOCK_GAS_LIMIT} of a block");
            Err(Failure::with_code(code::OUT_OF_GAS, why).into())
        }
        exit_code => {
            let why = format!(
                "message execution failed: exit {exit_code}, reason: {}",
                check::failure(&signed.message, &result)
            );
            Err(Failure::with_code(code::EXECUTION_REVERTED, why).into())
        }
    }
}

fn waiting_of_sender(node: &Node, state: &State, message: &Message) -> Result<Vec<SignedMessage>> {
    // Senders that are no accounts have no messages in the pool.
    let Ok(key) = state.key_address(&message.from) else { return Ok(Vec::new()) };
    Ok(node.pool.ready_of(&key, state.actor(&key)?.1.sequence))
}

/// Estimates, numbers, signs and hands in a message of `sender`.
pub fn send(node: &mut Node, sender: &Account, message: Message) -> Result<Cid> {
    let mut message = message_gas(node, Message { from: sender.address(), ..message }, None)?;
    let state_nonce = node.chain.state()?.actor(&message.from)?.1.sequence;
    message.nonce = node.pool.next_nonce(&message.from, state_nonce);
    node.push(sender.sign(message)?)
}
