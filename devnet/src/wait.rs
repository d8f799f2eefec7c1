//! Waits for messages, in every mode of mining and across reorgs.

use anyhow::{Context, Result};
use bucket_rpc::json::MsgLookup;
use cid::Cid;
use fvm_shared::clock::ChainEpoch;
use tokio::sync::broadcast::error::RecvError;

use crate::{
    block,
    node::{Node, NodeRef},
};

/// A message to wait for, and how. lotus:node/impl/full/state.go `StateWaitMsg`.
#[derive(Debug, Clone, Copy)]
pub struct Wait {
    /// Either CID of the message.
    pub message: Cid,
    /// How many epochs the head has to be above the tipset that shows the result.
    pub confidence: u64,
    /// How many epochs to look back; negative for all.
    pub limit: ChainEpoch,
    /// Whether a message that offers other gas but does the same counts as this one.
    pub allow_replaced: bool,
}

impl NodeRef {
    /// Waits until the message is executed on the chain of that moment, and deep enough.
    ///
    /// It looks again whenever the head changes. What a reorg has undone counts as not found, until it is mined again.
    pub async fn wait(&self, wait: Wait) -> Result<MsgLookup> {
        // Before the first look: a change in between would be missed.
        let mut changes = self.follow()?;
        loop {
            if let Some(lookup) = self.run(move |node| look(node, wait)).await? {
                return Ok(lookup);
            }
            match changes.recv().await {
                Ok(_) | Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => anyhow::bail!("the devnet has ended while waiting for {}", wait.message),
            }
        }
    }
}

fn look(node: &mut Node, wait: Wait) -> Result<Option<MsgLookup>> {
    let Wait { message, confidence, limit, allow_replaced } = wait;
    block::message(node.chain.store(), &message)?
        .with_context(|| format!("failed to load message: {message} was never pushed to this node"))?;
    let head = node.chain.head().clone();
    let Some(lookup) = node.chain.search(&head, &message, limit, allow_replaced)? else { return Ok(None) };
    Ok(node.reach(lookup.height, confidence)?.then_some(lookup))
}
