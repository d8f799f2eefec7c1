//! Finds messages on the chain.

use std::{collections::HashMap, sync::Arc};

use anyhow::{Context, Result, bail};
use bucket_rpc::json::{Message, MessageReceipt, MsgLookup};
use cid::Cid;
use fvm_shared::{address::Address, clock::ChainEpoch};

use crate::{
    block::{self, Block, Included},
    chain::Chain,
};

/// Where the messages between genesis and the head are.
#[derive(Debug, Default)]
pub struct MessageIndex {
    /// By either CID of a message.
    by_cid: HashMap<Cid, Place>,
    /// By sender, as the message names it, and nonce: one message at most, whatever gas it offers.
    by_nonce: HashMap<(Address, u64), Place>,
}

/// A message's place in a tipset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// The tipset.
    pub height: ChainEpoch,
    /// The message's number in order of execution, and so its receipt's.
    pub position: usize,
}

impl MessageIndex {
    /// Takes in the messages of a tipset that came onto the chain.
    pub fn add(&mut self, block: &Block, messages: &[Included]) {
        for (position, included) in messages.iter().enumerate() {
            let place = Place { height: block.height(), position };
            for cid in cids(included) {
                self.by_cid.insert(cid, place);
            }
            self.by_nonce.insert((included.message.from, included.message.nonce), place);
        }
    }

    /// Forgets the messages of a tipset that left the chain.
    pub fn remove(&mut self, messages: &[Included]) {
        for included in messages {
            for cid in cids(included) {
                self.by_cid.remove(&cid);
            }
            self.by_nonce.remove(&(included.message.from, included.message.nonce));
        }
    }
}

/// The CID that the chain knows a message by, and that of the unsigned message.
fn cids(included: &Included) -> impl Iterator<Item = Cid> {
    [Some(included.cid), included.message.cid().ok()].into_iter().flatten()
}

impl Chain {
    /// The message with this CID, or the one that took its place, if it is executed at `from` or before.
    ///
    /// Looks back `limit` epochs, without end when negative. lotus:chain/stmgr/searchwait.go `SearchForMessage`.
    pub fn search(
        &self,
        from: &Arc<Block>,
        cid: &Cid,
        limit: ChainEpoch,
        allow_replaced: bool,
    ) -> Result<Option<MsgLookup>> {
        let Some(wanted) = block::message(&self.store, cid)? else { return Ok(None) };
        let oldest = if limit < 0 { 0 } else { from.height().saturating_sub(limit) };
        // On a fork the index is of no use; the fork's tipsets are looked through one by one.
        let mut child = from.clone();
        while !self.is_canonical(&child) {
            let parent = self.block(&child.parent().context("a fork without a root")?)?;
            for (position, included) in block::messages(&self.store, &parent.header)?.into_iter().enumerate() {
                if included.message.from == wanted.from && included.message.nonce == wanted.nonce {
                    return self.lookup(&child, position, cid, &wanted, allow_replaced).map(Some);
                }
            }
            child = parent;
        }
        let Some(place) = self.place(cid, &wanted) else { return Ok(None) };
        let Some(executed_in) = self.at_or_after(place.height + 1) else { return Ok(None) };
        if executed_in.height() > child.height() || executed_in.height() <= oldest {
            return Ok(None);
        }
        self.lookup(executed_in, place.position, cid, &wanted, allow_replaced).map(Some)
    }

    fn place(&self, cid: &Cid, wanted: &Message) -> Option<Place> {
        let index = &self.index;
        index.by_cid.get(cid).or_else(|| index.by_nonce.get(&(wanted.from, wanted.nonce))).copied()
    }

    /// Whether the message is in a tipset of the chain, executed or not.
    pub fn includes(&self, cid: &Cid) -> bool {
        self.index.by_cid.contains_key(cid)
    }

    fn lookup(
        &self,
        executed_in: &Block,
        position: usize,
        cid: &Cid,
        wanted: &Message,
        allow_replaced: bool,
    ) -> Result<MsgLookup> {
        let parent = self.block(&executed_in.parent().context("genesis executes no messages")?)?;
        let found = block::messages(&self.store, &parent.header)?.into_iter().nth(position);
        let found = found.with_context(|| format!("tipset {} has no message {position}", parent.cid))?;
        if !cids(&found).any(|known| known == *cid) {
            check_replacement(&found, cid, wanted, allow_replaced)?;
        }
        let receipts = block::receipts(&self.store, &executed_in.header.parent_message_receipts)?;
        let receipt = receipts.into_iter().nth(position).context("a message without a receipt")?;
        Ok(MsgLookup {
            message: found.cid,
            receipt: MessageReceipt::from(receipt),
            return_dec: serde_json::Value::Null,
            tipset: executed_in.key(),
            height: executed_in.height(),
        })
    }
}

/// Another message with the sender's nonce: welcome when it does the same and the caller allows it.
fn check_replacement(found: &Included, cid: &Cid, wanted: &Message, allow_replaced: bool) -> Result<()> {
    let message = &found.message;
    let same_call = message.to == wanted.to
        && message.value == wanted.value
        && message.method == wanted.method
        && message.params == wanted.params;
    if same_call && allow_replaced {
        return Ok(());
    }
    let what = if same_call { "" } else { " that is NOT a valid replacement message" };
    bail!(
        "found message with equal nonce as the one we are looking for{what} (wanted {cid}, found {} from {} with \
         nonce {})",
        found.cid,
        message.from,
        message.nonce
    )
}
