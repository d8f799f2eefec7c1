//! `Filecoin.Mpool…`

use anyhow::{Context, Result};
use bucket_rpc::{
    Lotus, Server,
    methods::{MpoolGetNonce, MpoolPending, MpoolPush},
};
use fvm_shared::address::Address;

use super::Table;
use crate::node::{Node, NodeRef};

pub(super) fn add(server: Server<NodeRef>) -> Server<NodeRef> {
    server
        .node::<MpoolPush>(|node, (message,)| Ok(Lotus(node.push(message)?)))
        .node::<MpoolGetNonce>(next_nonce)
        // The pool is the head's; what waited at an earlier tipset is not remembered.
        .node::<MpoolPending>(|node, _| Ok(node.pool.pending().cloned().collect()))
}

fn next_nonce(node: &mut Node, (address,): (Lotus<Address>,)) -> Result<u64> {
    let state = node.chain.state()?;
    let (_, actor) = state.actor(&address.0).context("resolution lookup failed")?;
    // Messages in the pool name their sender by key.
    let key = state.key_address(&address.0).unwrap_or(address.0);
    Ok(node.pool.next_nonce(&key, actor.sequence))
}
