//! `Filecoin.State…`, and what a node says of itself.

use std::time::Instant;

use anyhow::{Context, Result, ensure};
use bucket_rpc::{
    Lotus, Server,
    json::{InvocResult, Message, MessageReceipt, MsgGasCost, MsgLookup, TipsetKey, VersionInfo},
    methods::*,
};
use cid::Cid;
use fvm::executor::ApplyRet;
use fvm_shared::{
    address::{Address, Payload},
    clock::ChainEpoch,
    econ::TokenAmount,
};
use num_traits::Zero;

use super::{Table, failure};
use crate::{
    block::{self, Block},
    chain::{env_in, explicit},
    check,
    config::{CHAIN_ID, NETWORK_VERSION},
    drive::implicit,
    executor::Env,
    node::{Node, NodeRef},
    state::State,
    trace,
    wait::Wait,
};

/// Lotus' API v1 in the version that this one resembles: 2.3.0, a byte each.
const API_VERSION: u32 = 0x02_03_00;

/// The namespace of Ethereum addresses, f410.
const EAM_ID: u64 = 10;

pub(super) fn add(server: Server<NodeRef>) -> Server<NodeRef> {
    server
        .node::<Version>(version)
        .node::<EthChainId>(|_, ()| Ok(format!("{CHAIN_ID:#x}")))
        .node::<StateNetworkName>(|node, ()| Ok(node.chain.config().network_name.clone()))
        .node::<StateNetworkVersion>(|_, _| Ok(NETWORK_VERSION))
        .node::<StateCall>(call)
        .node::<StateReplay>(replay)
        .node::<StateGetActor>(|node, (address, key)| Ok(state(node, &key)?.actor(&address.0)?.1.into()))
        .node::<StateLookupID>(lookup_id)
        .node::<StateAccountKey>(|node, (address, key)| Ok(Lotus(state(node, &key)?.key_address(&address.0)?)))
        .node::<StateLookupRobustAddress>(|node, (address, key)| {
            Ok(Lotus(state(node, &key)?.robust_address(&address.0)?))
        })
        .node::<StateSearchMsg>(search)
        .method::<StateWaitMsg, _, _>(|node: NodeRef, (message, confidence, limit, allow_replaced)| async move {
            let wait = Wait { message: message.into_inner(), confidence, limit, allow_replaced };
            node.wait(wait).await.map_err(failure)
        })
        .node::<WalletBalance>(balance)
        .node::<FilecoinAddressToEthAddress>(eth_address)
}

fn version(node: &mut Node, (): ()) -> Result<VersionInfo> {
    Ok(VersionInfo {
        version: concat!("bucket-devnet-", env!("CARGO_PKG_VERSION")).into(),
        api_version: API_VERSION,
        block_delay: node.chain.config().block_delay,
        agent: "bucket-devnet".into(),
    })
}

fn state(node: &Node, key: &TipsetKey) -> Result<State> {
    node.state_at(&*node.chain.tipset(key)?)
}

/// lotus:chain/stmgr/call.go `Call`: on the tipset's parent state, at the epoch after the parent.
fn call(node: &mut Node, (message, key): (Message, TipsetKey)) -> Result<InvocResult> {
    let block = node.chain.tipset(&key)?;
    node.state_at(&block)?.actor(&message.from).context("call raw get actor")?;
    let parent = block.parent().map(|parent| node.chain.block(&parent)).transpose()?;
    let env = Env { epoch: parent.map_or(0, |parent| parent.height() + 1), ..env_in(&block.header) };
    let started = Instant::now();
    let result = node.chain.executor.try_last(env, vec![implicit(message.clone())])?;
    invoc_result(message.cid()?, message, MsgGasCost::default(), &result, started)
}

fn invoc_result(
    msg_cid: Cid,
    msg: Message,
    gas_cost: MsgGasCost,
    result: &ApplyRet,
    started: Instant,
) -> Result<InvocResult> {
    Ok(InvocResult {
        msg_cid,
        execution_trace: trace::call_tree(&msg.clone().into(), result),
        msg_rct: Some(MessageReceipt::from(result.msg_receipt.clone())),
        gas_cost,
        error: check::failure(&msg, result),
        msg,
        duration: i64::try_from(started.elapsed().as_nanos()).unwrap_or(i64::MAX),
    })
}

/// Executes the tipset again up to the message.
fn replay(node: &mut Node, (key, cid): (TipsetKey, Lotus<Cid>)) -> Result<InvocResult> {
    let (block, cid) = if key.is_head() { find(node, &cid.0)? } else { (node.chain.tipset(&key)?, cid.0) };
    let mut messages = block::signed_messages(node.chain.store(), &block)?;
    let mut position = None;
    for (index, message) in messages.iter().enumerate() {
        if message.cid()? == cid || message.message.cid()? == cid {
            position = Some(index);
        }
    }
    let position = position.with_context(|| format!("message {cid} not found in tipset {}", block.key()))?;
    messages.truncate(position + 1);
    let calls = messages.iter().map(explicit).collect::<Result<Vec<_>>>()?;
    let started = Instant::now();
    let result = node.chain.executor.try_last(env_in(&block.header), calls)?;
    let signed = messages.pop().context("no message to replay")?;
    let (cid, message) = (signed.cid()?, signed.message);
    let gas_cost = trace::gas_cost(&message.clone().into(), cid, &result);
    invoc_result(cid, message, gas_cost, &result, started)
}

/// The tipset that holds a message, and the message's name there.
fn find(node: &Node, cid: &Cid) -> Result<(std::sync::Arc<Block>, Cid)> {
    let lookup = node.chain.search(node.chain.head(), cid, -1, true)?;
    let lookup = lookup.with_context(|| format!("message {cid} is not executed on the chain"))?;
    let executed_in = node.chain.tipset(&lookup.tipset)?;
    let parent = executed_in.parent().context("genesis executes no messages")?;
    Ok((node.chain.block(&parent)?, lookup.message))
}

fn lookup_id(node: &mut Node, (address, key): (Lotus<Address>, TipsetKey)) -> Result<Lotus<Address>> {
    let (id, _) = state(node, &key)?.actor(&address.0)?;
    Ok(Lotus(Address::new_id(id)))
}

fn search(
    node: &mut Node,
    (from, message, limit, allow_replaced): (TipsetKey, Lotus<Cid>, ChainEpoch, bool),
) -> Result<Option<MsgLookup>> {
    node.chain.search(&node.chain.tipset(&from)?, &message.0, limit, allow_replaced)
}

fn balance(node: &mut Node, (address,): (Lotus<Address>,)) -> Result<Lotus<TokenAmount>> {
    let actor = state(node, &TipsetKey::HEAD)?.find(&address.0)?;
    Ok(Lotus(actor.map_or_else(TokenAmount::zero, |(_, actor)| actor.balance)))
}

/// lotus:chain/types/ethtypes/eth_types.go `EthAddressFromFilecoinAddress`: f410 holds it, others are masked ids.
fn eth_address(node: &mut Node, (address, block): (Lotus<Address>, Option<String>)) -> Result<String> {
    if let Payload::Delegated(delegated) = address.0.payload() {
        ensure!(delegated.namespace() == EAM_ID, "{} is no Ethereum address: expected f410…", address.0);
        return Ok(format!("0x{}", hex::encode(delegated.subaddress())));
    }
    let block = match block.as_deref().unwrap_or("finalized") {
        "finalized" | "safe" => node.chain.finalized().clone(),
        _ => node.chain.head().clone(),
    };
    let id = node.state_at(&block)?.id(&address.0)?;
    let id = id.with_context(|| format!("actor not found: {} at epoch {}", address.0, block.height()))?;
    Ok(format!("0xff{:022}{id:016x}", 0))
}
