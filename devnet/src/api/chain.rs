//! `Filecoin.Chain…`

use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use bucket_rpc::{
    Lotus, Server,
    json::{ApiMessage, BlockHeader, HeadChange, HeadChangeType, Message, MessageReceipt, Tipset, TipsetKey},
    methods::*,
};
use cid::Cid;
use futures::{Stream, StreamExt, stream};
use fvm_ipld_blockstore::Blockstore;
use fvm_shared::clock::ChainEpoch;
use tokio::sync::broadcast::error::RecvError;

use super::{Table, failure};
use crate::{
    block::{self, Block, Included},
    chain::change,
    node::{Node, NodeRef},
};

pub(super) fn add(server: Server<NodeRef>) -> Server<NodeRef> {
    server
        .node::<ChainHead>(|node, ()| Ok(node.chain.head().tipset()))
        .node::<ChainGetGenesis>(|node, ()| Ok(node.chain.genesis().tipset()))
        .node::<ChainGetFinalizedTipSet>(|node, ()| Ok(node.chain.finalized().tipset()))
        .node::<ChainGetTipSet>(tipset)
        .node::<ChainGetTipSetByHeight>(tipset_by_height)
        .node::<ChainGetTipSetAfterHeight>(tipset_after_height)
        .node::<ChainGetBlock>(header)
        .node::<ChainGetPath>(path)
        .node::<ChainGetParentMessages>(parent_messages)
        .node::<ChainGetParentReceipts>(parent_receipts)
        .node::<ChainGetMessagesInTipset>(messages_in_tipset)
        .node::<ChainGetMessage>(message)
        .node::<ChainReadObj>(read_object)
        .node::<ChainHasObj>(has_object)
        .subscription::<ChainNotify, _, _, _>(|node, ()| async move { notify(node).await.map_err(failure) })
}

fn tipset(node: &mut Node, (key,): (TipsetKey,)) -> Result<Tipset> {
    Ok(node.chain.tipset(&key)?.tipset())
}

fn tipset_by_height(node: &mut Node, (height, key): (ChainEpoch, TipsetKey)) -> Result<Tipset> {
    Ok(ancestors_down_to(node, height, &key)?.at_or_before.tipset())
}

fn tipset_after_height(node: &mut Node, (height, key): (ChainEpoch, TipsetKey)) -> Result<Tipset> {
    Ok(ancestors_down_to(node, height, &key)?.at_or_after.tipset())
}

/// The two ancestors between which a height lies; the same one when there is a tipset at that height.
struct Around {
    at_or_before: Arc<Block>,
    at_or_after: Arc<Block>,
}

fn ancestors_down_to(node: &Node, height: ChainEpoch, key: &TipsetKey) -> Result<Around> {
    let chain = &node.chain;
    let mut from = chain.tipset(key)?;
    ensure!(height >= 0, "expected a height of at least 0, got {height}");
    ensure!(
        height <= from.height(),
        "looking for tipset with height greater than start point: {height} is after {}",
        from.height()
    );
    let mut at_or_after = from.clone();
    while from.height() > height {
        if chain.is_canonical(&from) {
            let at_or_before = chain.at_or_before(height).context("there is no genesis")?.clone();
            let at_or_after = chain.at_or_after(height).context("there is no head")?.clone();
            return Ok(Around { at_or_before, at_or_after });
        }
        at_or_after = from.clone();
        from = chain.block(&from.parent().context("a fork without a root")?)?;
    }
    if from.height() == height {
        at_or_after = from.clone();
    }
    Ok(Around { at_or_before: from, at_or_after })
}

fn header(node: &mut Node, (cid,): (Lotus<Cid>,)) -> Result<BlockHeader> {
    Ok(node.chain.block(&cid.0)?.header.clone())
}

fn path(node: &mut Node, (from, to): (TipsetKey, TipsetKey)) -> Result<Vec<HeadChange>> {
    node.chain.path(&from, &to)
}

fn parent_messages(node: &mut Node, (cid,): (Lotus<Cid>,)) -> Result<Vec<ApiMessage>> {
    match node.chain.block(&cid.0)?.parent() {
        Some(parent) => messages(node, &*node.chain.block(&parent)?),
        None => Ok(Vec::new()),
    }
}

fn parent_receipts(node: &mut Node, (cid,): (Lotus<Cid>,)) -> Result<Vec<MessageReceipt>> {
    let root = node.chain.block(&cid.0)?.header.parent_message_receipts;
    Ok(block::receipts(node.chain.store(), &root)?.into_iter().map(MessageReceipt::from).collect())
}

fn messages_in_tipset(node: &mut Node, (key,): (TipsetKey,)) -> Result<Vec<ApiMessage>> {
    messages(node, &*node.chain.tipset(&key)?)
}

fn messages(node: &Node, block: &Block) -> Result<Vec<ApiMessage>> {
    let messages = block::messages(node.chain.store(), &block.header)?;
    Ok(messages.into_iter().map(|Included { cid, message }| ApiMessage { cid, message }).collect())
}

fn message(node: &mut Node, (cid,): (Lotus<Cid>,)) -> Result<Message> {
    block::message(node.chain.store(), &cid.0)?.with_context(|| format!("message {} not found", cid.0))
}

fn read_object(node: &mut Node, (cid,): (Lotus<Cid>,)) -> Result<Lotus<Vec<u8>>> {
    let bytes = node.chain.store().get(&cid.0)?;
    Ok(Lotus(bytes.with_context(|| format!("blockstore get: block {} not found", cid.0))?))
}

fn has_object(node: &mut Node, (cid,): (Lotus<Cid>,)) -> Result<bool> {
    node.chain.store().has(&cid.0)
}

/// The head, then its changes. The stream ends when the reader is so late that it has missed some.
async fn notify(node: NodeRef) -> Result<impl Stream<Item = Vec<HeadChange>> + Send> {
    // Both in the node's thread, so that no change falls between them.
    let follower = node.clone();
    let (head, changes) =
        node.run(move |node| Ok((change(HeadChangeType::Current, node.chain.head()), follower.follow()?))).await?;
    let later = stream::unfold(changes, |mut changes| async move {
        match changes.recv().await {
            Ok(step) => Some((step.as_ref().clone(), changes)),
            Err(RecvError::Lagged(_) | RecvError::Closed) => None,
        }
    });
    Ok(stream::iter([vec![head]]).chain(later))
}
